//! Plays systemd: socket activation, restarts and the file descriptor store.
//!
//! The listening sockets are bound here and stay open. A program gets them as in sd_listen_fds(3):
//! descriptors from 3 on, `LISTEN_FDS`, `LISTEN_FDNAMES`, `LISTEN_PID`. While it does not run, its
//! sockets are watched, and the first client starts it. It is *ready* when it sends `READY=1` to
//! `NOTIFY_SOCKET`, sd_notify(3). Descriptors that it stores there are passed to its next process. After
//! a kill it is started again at once.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Fallible;
use crate::record::Who;
use crate::recorder::Recorder;
use notify::Store;
use process::Process;

mod notify;
mod process;

pub use process::inherit_children;

/// As `FileDescriptorStoreMax=` of the shipped unit.
const STORE_MAX: usize = 16;

/// The accept backlog, which `net.core.somaxconn` caps.
const BACKLOG: i32 = 4096;

/// The exit status after a stop with open connections for the next process
/// (`RestartForceExitStatus=75` of the shipped unit).
const LEFT_CONNECTIONS: i32 = 75;

/// A listening socket and its `FileDescriptorName=`.
#[derive(Clone, Debug)]
pub struct Socket {
    /// The name, without a colon.
    pub name: &'static str,
    /// The socket.
    pub descriptor: Arc<OwnedFd>,
}

/// The program of a unit.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its lane in the record.
    pub who: Who,
    /// The executable file.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// The state of a unit.
#[derive(Clone, Debug)]
enum State {
    /// The first client starts the program.
    Waiting,
    /// The program was started and is not ready.
    Starting,
    /// It is ready.
    Running(Running),
    /// It could not be started, or ended before it was ready.
    Failed(String),
}

/// A process that is ready.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    /// Its number.
    pub process: Pid,
    /// The time from its start to `READY=1`.
    pub took: Duration,
    /// The number of descriptors that were stored for it.
    pub kept: usize,
}

/// A program with its sockets: a `.service` and its `.socket`.
pub struct Unit {
    wanted: watch::Sender<Option<Program>>,
    state: watch::Receiver<State>,
    manager: JoinHandle<()>,
}

impl Unit {
    /// A unit whose program does not run yet. Its files are in `directory`; the program logs to
    /// standard error, or to a file there.
    pub fn load(
        program: Program,
        sockets: Vec<Socket>,
        directory: &Path,
        logs: bool,
        recorder: &Recorder,
    ) -> Fallible<Self> {
        let name = program.path.file_name().unwrap_or_default();
        let file = |extension| directory.join(name).with_extension(extension);
        let notify_path = file("notify");
        let (state_sender, state) = watch::channel(State::Waiting);
        let log = (!logs).then(|| file("log"));
        let (wanted, wanted_receiver) = watch::channel(Some(program));
        let manager = Manager {
            notify: UnixDatagram::bind(&notify_path)?,
            notify_path,
            store: Store::of(STORE_MAX),
            log,
            sockets,
            wanted: wanted_receiver,
            state: state_sender,
            recorder: recorder.clone(),
        };
        let manager = tokio::spawn(manager.manage());
        Ok(Self {
            wanted,
            state,
            manager,
        })
    }

    /// Waits until the program is ready.
    pub async fn ready(&mut self) -> Fallible<Running> {
        self.ready_again(None).await
    }

    /// Waits until the program is ready in another process than `before`.
    pub async fn ready_again(&mut self, before: Option<Pid>) -> Fallible<Running> {
        let settled = |state: &State| match state {
            State::Running(running) => Some(running.process) != before,
            State::Failed(_) => true,
            State::Waiting | State::Starting => false,
        };
        match &*self.state.wait_for(settled).await? {
            State::Running(running) => Ok(*running),
            State::Failed(reason) => Err(reason.clone().into()),
            State::Waiting | State::Starting => unreachable!("these are not settled"),
        }
    }

    /// Waits until the program has exited by itself.
    pub async fn gone(&mut self) -> Fallible<()> {
        let is_waiting = |state: &State| matches!(state, State::Waiting);
        self.state.wait_for(is_waiting).await?;
        Ok(())
    }

    /// `systemctl restart` with a new version: ends the program, starts `next` with the same sockets,
    /// and waits until it is ready.
    pub async fn replace(&mut self, next: Program) -> Fallible<()> {
        let before = match &*self.state.borrow() {
            State::Running(running) => Some(running.process),
            _ => None,
        };
        self.wanted.send_replace(Some(next));
        self.ready_again(before).await.map(drop)
    }

    /// `systemctl stop`, sockets included.
    pub async fn stop(self) -> Fallible<()> {
        self.wanted.send_replace(None);
        self.manager.await?;
        match &*self.state.borrow() {
            State::Failed(reason) => Err(reason.clone().into()),
            _ => Ok(()),
        }
    }
}

/// The task of a [`Unit`].
struct Manager {
    wanted: watch::Receiver<Option<Program>>,
    sockets: Vec<Socket>,
    notify: UnixDatagram,
    notify_path: PathBuf,
    store: Store,
    log: Option<PathBuf>,
    state: watch::Sender<State>,
    recorder: Recorder,
}

impl Manager {
    async fn manage(mut self) {
        if let Err(error) = self.serve().await {
            let log = self.log.as_ref();
            let log = log.and_then(|path| fs::read_to_string(path).ok());
            let reason = format!("{error}\n{}", log.unwrap_or_default());
            self.state.send_replace(State::Failed(reason));
        }
    }

    /// Runs the wanted program for each client that arrives, until none is wanted.
    async fn serve(&mut self) -> Fallible<()> {
        let mut at_once = false;
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let Some(program) = wanted else {
                return Ok(());
            };
            if !at_once {
                self.store.clear();
                self.state.send_replace(State::Waiting);
                tokio::select! {
                    client = client_arrives(&self.sockets) => client?,
                    changed = self.wanted.changed() => {
                        changed?;
                        at_once = true;
                        continue;
                    }
                }
            }
            let run = self.run(&program).await;
            at_once = run.map_err(|error| format!("{}: {error}", program.path.display()))?;
        }
    }

    /// Runs the program until its process ends. Returns whether the next process starts at once.
    async fn run(&mut self, program: &Program) -> Fallible<bool> {
        let started = Instant::now();
        self.state.send_replace(State::Starting);
        let kept = self.store.iter().count();
        let sockets = self.sockets.iter();
        let sockets = sockets.map(|socket| (socket.name, socket.descriptor.as_fd()));
        let descriptors = sockets.chain(self.store.iter());
        let mut process =
            Process::start(program, descriptors, &self.notify_path, self.log.as_ref())?;
        self.recorder.enters(program.who);
        let (mut was_ready, mut is_stopped) = (false, false);
        let status = loop {
            tokio::select! {
                biased; // its last messages come before its end
                notice = notify::receive(&self.notify) => {
                    let notice = notice?;
                    if notice.says("READY=1") {
                        was_ready = true;
                        let (process, took) = (process.id, started.elapsed());
                        self.state.send_replace(State::Running(Running { process, took, kept }));
                    }
                    self.store.hear(notice);
                }
                _ = self.wanted.changed(), if !is_stopped => {
                    is_stopped = true;
                    process.terminate()?;
                }
                status = process.ends() => break status?,
            }
        };
        self.recorder.leaves(program.who);
        process.group_ends().await?;
        let was_killed = status.signal() == Some(Signal::KILL.as_raw());
        match status.code() {
            _ if !was_ready => Err(format!("it ended ({status}) before it was ready").into()),
            Some(0) => Ok(is_stopped),
            Some(LEFT_CONNECTIONS) => Ok(true),
            None if was_killed && !is_stopped => Ok(true),
            _ => Err(format!("it ended with {status}").into()),
        }
    }
}

/// A listening socket on a free port.
pub fn listen() -> Fallible<(SocketAddr, Arc<OwnedFd>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    rustix::net::listen(&listener, BACKLOG)?; // the standard library's own is 128
    Ok((listener.local_addr()?, Arc::new(listener.into())))
}

/// Waits until a client arrives at one of the sockets, without accepting it.
async fn client_arrives(sockets: &[Socket]) -> io::Result<()> {
    let watched = sockets.iter().map(|socket| {
        let descriptor = socket.descriptor.as_fd();
        // SAFETY: the descriptor is borrowed from `sockets`, which outlive `watched`.
        unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }
    });
    let watched = watched.collect::<Result<Vec<_>, _>>()?;
    poll_fn(|context| {
        let mut watched = watched.iter();
        match watched.any(|socket| socket.poll_read_ready(context).is_ready()) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await
}
