//! The audience: a steady stream of clients, and the one that stays. ([`crate::company`] has those that
//! keep talking.)

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{self, MissedTickBehavior};

use crate::Fallible;
use crate::record::{Outcome, Version, Who};
use crate::recorder::Recorder;

/// No client has to wait longer than this; one that does has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer that is read.
pub const ANSWER_MAX: u64 = 1024;

/// What version 1 or 2 of the server is told to greet with.
pub fn greeting(version: Version) -> String {
    format!("Hello world! (version {})", version as u8 + 1)
}

/// Which version greets like this.
pub fn version_of(answer: &str) -> Result<Version, String> {
    let answer = answer.trim_end();
    let mut versions = [Version::One, Version::Two].into_iter();
    let version = versions.find(|version| greeting(*version) == answer);
    version.ok_or_else(|| match answer {
        "" => "closed without an answer".to_owned(),
        other => format!("answered with {other:?}"),
    })
}

/// One client: connects, says hello, reads the answer, quits. True if it was served.
pub async fn visit(address: SocketAddr, recorder: &Recorder) -> bool {
    let number = recorder.visit_begun();
    let failed = |reason: String| {
        recorder.visit_ended(number, Outcome::Failed(reason));
        false
    };
    let stream = match time::timeout(PATIENCE, hello(address)).await {
        Err(_) => return failed(format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Err(reason)) => return failed(reason),
        Ok(Ok((stream, version))) => {
            // Written down before the client quits: whoever sees the connection closed knows that
            // its answer has been recorded.
            recorder.visit_ended(number, Outcome::Served(version));
            stream
        }
    };
    match quit(stream).await {
        Ok(()) => true,
        Err(error) => failed(format!("broken after the answer: {error}")),
    }
}

async fn hello(address: SocketAddr) -> Result<(TcpStream, Version), String> {
    let connected = TcpStream::connect(address).await;
    let mut stream = connected.map_err(|error| format!("cannot connect: {error}"))?;
    let exchange = async {
        stream.write_all(b"hello\r\n").await?;
        let mut answer = String::new();
        BufReader::new((&mut stream).take(ANSWER_MAX))
            .read_line(&mut answer)
            .await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = exchange
        .await
        .map_err(|error| format!("no answer: {error}"))?;
    Ok((stream, version_of(&answer)?))
}

/// Says `quit` and waits until the server has closed.
pub async fn quit(mut stream: TcpStream) -> Result<(), std::io::Error> {
    stream.write_all(b"quit\r\n").await?;
    let mut rest = Vec::new();
    match stream.take(ANSWER_MAX).read_to_end(&mut rest).await? {
        0 => Ok(()),
        _ => Err(std::io::Error::other("more than one answer")),
    }
}

/// A steady stream of clients, each independent of the others.
pub struct Stream {
    enough: oneshot::Sender<()>,
    clients: JoinHandle<()>,
}

impl Stream {
    /// From now on a client comes `every` so often.
    pub fn begin(address: SocketAddr, every: Duration, recorder: &Recorder) -> Self {
        let (enough, mut end) = oneshot::channel();
        let recorder = recorder.clone();
        let clients = tokio::spawn(async move {
            let mut clock = time::interval(every);
            clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut clients = JoinSet::new();
            loop {
                tokio::select! {
                    _ = clock.tick() => {
                        let recorder = recorder.clone();
                        clients.spawn(async move { visit(address, &recorder).await });
                    }
                    Some(_) = clients.join_next() => {}
                    _ = &mut end => break,
                }
            }
            while clients.join_next().await.is_some() {}
        });
        Self { enough, clients }
    }

    /// No more clients come; waits until the last one has gone.
    pub async fn end(self) -> Fallible<()> {
        let _ = self.enough.send(());
        Ok(self.clients.await?)
    }
}

/// The client that stays: the real hello-world-client, as somebody at a keyboard would use it.
pub struct Guest {
    program: Child,
    keyboard: ChildStdin,
    screen: Lines<BufReader<ChildStdout>>,
    connection: usize,
    recorder: Recorder,
}

impl Guest {
    /// Starts the program; it connects.
    pub fn arrive(program: &Path, address: SocketAddr, recorder: &Recorder) -> Fallible<Self> {
        let mut program = Command::new(program)
            .arg(address.ip().to_string())
            .arg(address.port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
        recorder.enters(Who::Guest);
        let connection = recorder.holds();
        let keyboard = program.stdin.take().ok_or("no way to type")?;
        let screen = program.stdout.take().ok_or("no way to read")?;
        Ok(Self {
            program,
            keyboard,
            screen: BufReader::new(screen).lines(),
            connection,
            recorder: recorder.clone(),
        })
    }

    /// Types hello; the answer.
    pub async fn hello(&mut self) -> Fallible<String> {
        let asked = self.recorder.now();
        self.keyboard.write_all(b"hello\n").await?;
        let answer = time::timeout(PATIENCE, self.screen.next_line()).await;
        let answer = answer.map_err(|_| "the client that stays got no answer")??;
        let answer = answer.ok_or("the client that stays lost its connection")?;
        version_of(&answer)?;
        self.recorder.answered(self.connection, asked);
        self.recorder.mark(Who::Guest);
        Ok(answer)
    }

    /// Its connection is gone, and so is the program.
    pub async fn loses_it(mut self, reason: &str) -> Fallible<()> {
        self.recorder.leaves(Who::Guest);
        self.recorder
            .let_go(self.connection, Err(reason.to_owned()));
        Ok(self.program.kill().await?)
    }

    /// Types the end of its input, and waits until the program has ended.
    pub async fn leave(mut self) -> Fallible<()> {
        self.recorder.leaves(Who::Guest); // from here on the drain may be complete
        self.recorder.let_go(self.connection, Ok(()));
        drop(self.keyboard);
        match time::timeout(PATIENCE, self.program.wait()).await?? {
            status if status.success() => Ok(()),
            status => Err(format!("the client that stays ended with {status}").into()),
        }
    }
}
