//! The clients: a stream of short ones, some that send hello over one connection each, and the real
//! hello-world-client, which the story drives.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{self, MissedTickBehavior};

use crate::Fallible;
use crate::record::{Outcome, Version, Who};
use crate::recorder::Recorder;

/// A client that waits longer for an answer has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 1024;

/// How often a client of the company sends hello.
pub const EVERY: Duration = Duration::from_millis(20);

/// The greeting of version 1 or 2 of the server.
pub fn greeting(version: Version) -> String {
    format!("Hello world! (version {})", version as u8 + 1)
}

/// The version with this greeting.
fn version_of(answer: &str) -> Result<Version, String> {
    let answer = answer.trim_end();
    let mut versions = [Version::One, Version::Two].into_iter();
    let version = versions.find(|version| greeting(*version) == answer);
    version.ok_or_else(|| match answer {
        "" => "closed without an answer".to_owned(),
        other => format!("answered with {other:?}"),
    })
}

/// A connection to the service. Errors are reasons for the record.
struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        Ok(Self(BufReader::new(stream)))
    }

    async fn hello(&mut self) -> Result<Version, String> {
        let exchange = async {
            self.0.get_mut().write_all(b"hello\r\n").await?;
            let mut answer = String::new();
            let mut stream = (&mut self.0).take(ANSWER_MAX);
            stream.read_line(&mut answer).await.map(|_| answer)
        };
        version_of(
            &exchange
                .await
                .map_err(|error| format!("no answer: {error}"))?,
        )
    }

    /// Sends `quit` and waits until the server has closed the connection.
    async fn quit(mut self) -> Result<(), String> {
        let exchange = async {
            self.0.get_mut().write_all(b"quit\r\n").await?;
            self.0.take(ANSWER_MAX).read_to_end(&mut Vec::new()).await
        };
        match exchange.await {
            Ok(0) => Ok(()),
            Ok(_) => Err("more than one answer".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

async fn patiently<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let done = time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

/// A short client: connects, sends hello, reads the answer, quits. True if it was served.
pub async fn visit(address: SocketAddr, recorder: &Recorder) -> bool {
    let number = recorder.visit_begun();
    let served = patiently(async {
        let mut connection = Connection::open(address).await?;
        let version = connection.hello().await?;
        Ok((connection, version))
    });
    let result = match served.await {
        Ok((connection, version)) => {
            // Recorded before the client quits: when its connection counts as closed, its answer is in
            // the record.
            recorder.visit_ended(number, Outcome::Served(version));
            let quit = connection.quit().await;
            quit.map_err(|error| format!("broken after the answer: {error}"))
        }
        Err(reason) => Err(reason),
    };
    if let Err(reason) = &result {
        recorder.visit_ended(number, Outcome::Failed(reason.clone()));
    }
    result.is_ok()
}

/// Clients that continue until they are dismissed.
pub struct Crowd {
    enough: watch::Sender<bool>,
    clients: JoinHandle<()>,
}

impl Crowd {
    /// A new short client at this interval.
    pub fn stream(address: SocketAddr, interval: Duration, recorder: &Recorder) -> Self {
        let (enough, mut end) = watch::channel(false);
        let recorder = recorder.clone();
        let clients = tokio::spawn(async move {
            let mut clock = time::interval(interval);
            clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut clients = JoinSet::new();
            loop {
                tokio::select! {
                    _ = clock.tick() => {
                        let recorder = recorder.clone();
                        clients.spawn(async move { visit(address, &recorder).await });
                    }
                    Some(_) = clients.join_next() => {}
                    _ = end.changed() => break,
                }
            }
            clients.join_all().await;
        });
        Self { enough, clients }
    }

    /// `count` clients that hold one connection each and send hello over it. They are connected, and have
    /// their first answer, when this is complete.
    pub async fn company(count: usize, address: SocketAddr, recorder: &Recorder) -> Fallible<Self> {
        let (enough, end) = watch::channel(false);
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let connection = Connection::open(address).await?;
            let number = recorder.holds(Who::Company);
            let mut talker = Talker(connection, number, recorder.clone());
            talker.hello().await?;
            clients.spawn(talker.talk(end.clone()));
        }
        recorder.enters(Who::Company);
        let recorder = recorder.clone();
        let clients = tokio::spawn(async move {
            clients.join_all().await;
            recorder.leaves(Who::Company);
        });
        Ok(Self { enough, clients })
    }

    /// Dismisses the clients, and waits until the last one has left.
    pub async fn leave(self) -> Fallible<()> {
        self.enough.send_replace(true);
        Ok(self.clients.await?)
    }
}

/// A client of the company: its connection, and the number of that in the record.
struct Talker(Connection, usize, Recorder);

impl Talker {
    async fn hello(&mut self) -> Result<(), String> {
        let asked = self.2.now();
        let version = patiently(self.0.hello()).await?;
        self.2.answered(self.1, asked, version);
        Ok(())
    }

    /// Sends hello until it is dismissed or its connection is lost.
    async fn talk(mut self, mut end: watch::Receiver<bool>) {
        let mut result = Ok(());
        while result.is_ok()
            && time::timeout(EVERY, end.wait_for(|enough| *enough))
                .await
                .is_err()
        {
            result = self.hello().await;
        }
        if result.is_ok() {
            result = match time::timeout(PATIENCE, self.0.quit()).await {
                Ok(quit) => quit.map_err(|error| format!("broken at the end: {error}")),
                Err(_) => Err("not closed at the end".to_owned()),
            };
        }
        let result = result.map_err(|reason| format!("a connection that was held: {reason}"));
        self.2.let_go(self.1, result);
    }
}

/// The real hello-world-client, driven through its standard input.
pub struct Guest {
    who: Who,
    program: Child,
    keyboard: ChildStdin,
    screen: Lines<BufReader<ChildStdout>>,
    connection: usize,
    /// When it typed the hello that is not answered yet.
    asked: Duration,
    recorder: Recorder,
}

impl Guest {
    /// Starts the program, which connects.
    pub fn arrive(
        who: Who,
        program: &Path,
        address: SocketAddr,
        recorder: &Recorder,
    ) -> Fallible<Self> {
        let mut program = Command::new(program)
            .args([address.ip().to_string(), address.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
        recorder.enters(who);
        let keyboard = program.stdin.take().ok_or("no way to type")?;
        let screen = program.stdout.take().ok_or("no way to read")?;
        Ok(Self {
            who,
            program,
            keyboard,
            screen: BufReader::new(screen).lines(),
            connection: recorder.holds(who),
            asked: recorder.now(),
            recorder: recorder.clone(),
        })
    }

    /// Types hello and returns the answer.
    pub async fn hello(&mut self) -> Fallible<String> {
        self.ask().await?;
        self.answer().await
    }

    /// Types hello, and does not wait for the answer.
    pub async fn ask(&mut self) -> Fallible<()> {
        self.asked = self.recorder.now();
        Ok(self.keyboard.write_all(b"hello\n").await?)
    }

    /// Waits for the answer and returns it.
    pub async fn answer(&mut self) -> Fallible<String> {
        let title = self.who.title();
        let answer = time::timeout(PATIENCE, self.screen.next_line()).await;
        let answer = answer.map_err(|_| format!("the {title} got no answer"))??;
        let answer = answer.ok_or_else(|| format!("the {title} lost its connection"))?;
        let version = version_of(&answer)?;
        self.recorder.answered(self.connection, self.asked, version);
        self.recorder.mark(self.who, version);
        Ok(answer)
    }

    /// Ends the program after its connection was lost.
    pub async fn loses_it(mut self, reason: &str) -> Fallible<()> {
        self.ended(Err(reason.to_owned()));
        Ok(self.program.kill().await?)
    }

    /// Closes the program's input, and waits until it has ended.
    pub async fn leave(mut self) -> Fallible<()> {
        self.ended(Ok(())); // from here on the drain may be complete
        drop(self.keyboard);
        match time::timeout(PATIENCE, self.program.wait()).await?? {
            status if status.success() => Ok(()),
            status => Err(format!("the {} ended with {status}", self.who.title()).into()),
        }
    }

    fn ended(&self, how: Result<(), String>) {
        self.recorder.leaves(self.who);
        self.recorder.let_go(self.connection, how);
    }
}
