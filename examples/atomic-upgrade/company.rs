//! Those that keep talking: each has one connection, over which it says hello again and again.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time;

use crate::Fallible;
use crate::clients::{ANSWER_MAX, PATIENCE, quit, version_of};
use crate::record::Who;
use crate::recorder::Recorder;

/// Each says hello so often.
pub const EVERY: Duration = Duration::from_millis(20);

/// All of them.
pub struct Company {
    enough: watch::Sender<bool>,
    talk: JoinHandle<()>,
}

impl Company {
    /// So many clients connect, and stay. All of them have been answered once when this is complete.
    pub async fn gather(count: usize, address: SocketAddr, recorder: &Recorder) -> Fallible<Self> {
        let (enough, _) = watch::channel(false);
        let mut talkers = JoinSet::new();
        for _ in 0..count {
            let mut talker = Talker::arrive(address, recorder).await?;
            talker.hello().await?;
            let end = enough.subscribe();
            talkers.spawn(talker.talk(end));
        }
        recorder.enters(Who::Company);
        let recorder = recorder.clone();
        let talk = tokio::spawn(async move {
            while talkers.join_next().await.is_some() {}
            recorder.leaves(Who::Company); // the last one
        });
        Ok(Self { enough, talk })
    }

    /// All of them have said enough; waits until the last one has gone.
    pub async fn leave(self) -> Fallible<()> {
        self.enough.send_replace(true);
        Ok(self.talk.await?)
    }
}

struct Talker {
    stream: BufReader<TcpStream>,
    connection: usize,
    recorder: Recorder,
}

impl Talker {
    async fn arrive(address: SocketAddr, recorder: &Recorder) -> Fallible<Self> {
        let stream = TcpStream::connect(address).await?;
        Ok(Self {
            stream: BufReader::new(stream),
            connection: recorder.holds(),
            recorder: recorder.clone(),
        })
    }

    /// Talks until it has said enough or its connection is lost.
    async fn talk(mut self, mut enough: watch::Receiver<bool>) {
        let lost = loop {
            let wait = time::timeout(EVERY, enough.wait_for(|enough| *enough));
            if wait.await.is_ok() {
                break None;
            }
            if let Err(reason) = self.hello().await {
                break Some(reason);
            }
        };
        let how = match lost {
            Some(reason) => Err(reason),
            None => match time::timeout(PATIENCE, quit(self.stream.into_inner())).await {
                Ok(quit) => quit.map_err(|error| format!("broken at the end: {error}")),
                Err(_) => Err("not closed at the end".to_owned()),
            },
        };
        let how = how.map_err(|reason| format!("a connection that was held: {reason}"));
        self.recorder.let_go(self.connection, how);
    }

    /// Says hello, once, and has the answer.
    async fn hello(&mut self) -> Result<(), String> {
        let asked = self.recorder.now();
        let mut answer = String::new();
        let exchange = async {
            self.stream.get_mut().write_all(b"hello\r\n").await?;
            let mut stream = (&mut self.stream).take(ANSWER_MAX);
            stream.read_line(&mut answer).await
        };
        match time::timeout(PATIENCE, exchange).await {
            Ok(Ok(_)) => version_of(&answer)?,
            Ok(Err(error)) => return Err(format!("no answer: {error}")),
            Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        self.recorder.answered(self.connection, asked);
        Ok(())
    }
}
