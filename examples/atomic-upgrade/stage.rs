//! Plays systemd, as far as socket activation and the descriptor store go.
//!
//! The listening sockets are bound here and stay open whatever becomes of the programs. A program
//! gets them as sd_listen_fds(3) says: descriptors from 3 on, `LISTEN_FDS`, `LISTEN_FDNAMES`,
//! `LISTEN_PID`. While it does not run, its sockets are watched, and the first client starts it.
//! It is *ready* when it says `READY=1` to `NOTIFY_SOCKET`, sd_notify(3). What it stores there comes
//! back to its next process. Whoever was killed is started again at once.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};

use crate::Fallible;
use crate::record::Who;
use crate::recorder::Recorder;
use notify::{NotifySocket, Store};
use process::Process;

mod notify;
mod process;

pub use process::inherit_children;

/// As `FileDescriptorStoreMax=` of the shipped unit.
const STORE_MAX: usize = 16;

/// Clients that the kernel lets wait at a listener; it allows itself to hold fewer.
const BACKLOG: i32 = 4096;

/// A listening socket and its `FileDescriptorName=`.
#[derive(Clone, Debug)]
pub struct Socket {
    /// Names may not contain a colon.
    pub name: &'static str,
    /// The socket.
    pub descriptor: Arc<OwnedFd>,
}

/// What a unit runs.
#[derive(Clone, Debug)]
pub struct Program {
    /// In whose lane it is recorded.
    pub who: Who,
    /// The executable file.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// What a unit does.
#[derive(Clone, Debug)]
pub enum State {
    /// The program does not run; the first client starts it.
    Waiting,
    /// The program has been started and is not ready.
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
    /// How long it took from its start to `READY=1`.
    pub took: Duration,
    /// So many descriptors were in the store for it.
    pub kept: usize,
}

/// A program with its sockets: a `.service` and its `.socket`.
pub struct Unit {
    orders: mpsc::Sender<Order>,
    state: watch::Receiver<State>,
}

/// End the program; then go on with another one, or not at all.
struct Order {
    next: Option<Program>,
    done: oneshot::Sender<Fallible<()>>,
}

impl Unit {
    /// A unit whose program does not run yet. Its files are made in `directory`; the program logs
    /// to standard error, or to a file there.
    pub fn load(
        program: Program,
        sockets: Vec<Socket>,
        directory: &Path,
        logs: bool,
        recorder: &Recorder,
    ) -> Fallible<Self> {
        let name = program
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let log = directory.join(format!("{name}.log"));
        let (orders, inbox) = mpsc::channel(1);
        let (state_sender, state) = watch::channel(State::Waiting);
        let manager = Manager {
            notify: NotifySocket::bind(directory.join(format!("{name}.notify")))?,
            store: Store::of(STORE_MAX),
            log: (!logs).then_some(log),
            program,
            sockets,
            orders: inbox,
            state: state_sender,
            recorder: recorder.clone(),
        };
        tokio::spawn(manager.manage());
        Ok(Self { orders, state })
    }

    /// Waits until the program is ready.
    pub async fn ready(&mut self) -> Fallible<Running> {
        self.ready_again(None).await
    }

    /// Waits until the program is ready in another process than this one.
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

    /// Waits until the program has ended by itself.
    pub async fn gone(&mut self) -> Fallible<()> {
        self.state
            .wait_for(|state| matches!(state, State::Waiting))
            .await?;
        Ok(())
    }

    /// `systemctl restart` with a new version: ends the program, and starts `next` with the same
    /// sockets. Complete when it is ready.
    pub async fn replace(&self, next: Program) -> Fallible<()> {
        self.order(Some(next)).await
    }

    /// `systemctl stop`, socket included: nobody starts the program again.
    pub async fn stop(&self) -> Fallible<()> {
        self.order(None).await
    }

    async fn order(&self, next: Option<Program>) -> Fallible<()> {
        let (done, answer) = oneshot::channel();
        let sent = self.orders.send(Order { next, done }).await;
        sent.map_err(|_| "the unit has failed")?;
        answer.await?
    }
}

/// What a unit does next.
enum Next {
    /// Nothing, until a client comes.
    Wait,
    /// Run the program.
    Run,
    /// What it has been ordered.
    Obey(Order),
}

/// The task behind a [`Unit`].
struct Manager {
    program: Program,
    sockets: Vec<Socket>,
    notify: NotifySocket,
    store: Store,
    log: Option<PathBuf>,
    orders: mpsc::Receiver<Order>,
    state: watch::Sender<State>,
    recorder: Recorder,
}

impl Manager {
    async fn manage(mut self) {
        if let Err(error) = self.serve().await {
            let program = self.program.path.display();
            let log = self
                .log
                .as_ref()
                .and_then(|path| fs::read_to_string(path).ok());
            let reason = format!("{program}: {error}\n{}", log.unwrap_or_default());
            self.state.send_replace(State::Failed(reason));
        }
    }

    /// Starts the program whenever a client comes, until it is ordered to stop.
    async fn serve(&mut self) -> Fallible<()> {
        let mut done = None;
        let mut next = Next::Wait;
        loop {
            next = match next {
                Next::Wait => {
                    self.store.clear(); // whatever was still in it
                    self.state.send_replace(State::Waiting);
                    tokio::select! {
                        client = client_comes(&self.sockets) => { client?; Next::Run }
                        order = self.orders.recv() => match order {
                            Some(order) => Next::Obey(order),
                            None => return Ok(()),
                        },
                    }
                }
                Next::Run => self.run(done.take()).await?,
                Next::Obey(order) => match order.next {
                    Some(program) => {
                        self.program = program;
                        done = Some(order.done);
                        Next::Run
                    }
                    None => {
                        let _ = order.done.send(Ok(()));
                        return Ok(());
                    }
                },
            };
        }
    }

    /// Runs the program once, until it ends by itself, by an order, or by the hand of somebody else.
    /// `done` is told when it is ready.
    async fn run(&mut self, mut done: Option<oneshot::Sender<Fallible<()>>>) -> Fallible<Next> {
        let started = Instant::now();
        self.state.send_replace(State::Starting);
        let kept = self.store.iter().count();
        let sockets = self.sockets.iter();
        let sockets = sockets.map(|socket| (socket.name, socket.descriptor.as_fd()));
        let mut process = Process::start(
            &self.program,
            sockets.chain(self.store.iter()),
            self.notify.path(),
            self.log.as_ref(),
        )?;
        let mut order = None;
        self.recorder.enters(self.program.who);
        let status = loop {
            tokio::select! {
                biased; // what it said last is heard before its end is seen
                notice = self.notify.next() => {
                    let notice = notice?;
                    if notice.says("READY=1") {
                        let (process, took) = (process.id, started.elapsed());
                        self.state.send_replace(State::Running(Running { process, took, kept }));
                        done.take().map(|done| done.send(Ok(())));
                    }
                    self.store.hear(notice);
                }
                received = self.orders.recv(), if order.is_none() => {
                    order = received;
                    process.terminate()?;
                }
                status = process.ends() => break status?,
            }
        };
        self.recorder.leaves(self.program.who);
        process.leaves_nobody().await?;
        let was_ready = matches!(&*self.state.borrow(), State::Running(_));
        let has_left = process::has_left(status);
        match ((status.success() || has_left) && was_ready, order) {
            (true, Some(order)) => Ok(Next::Obey(order)),
            (true, None) if !has_left => Ok(Next::Wait),
            (_, None) if was_ready && (has_left || process::was_killed(status)) => Ok(Next::Run),
            _ => Err(process::failure(status, was_ready).into()),
        }
    }
}

/// A listening socket on a port that is free.
pub fn listen() -> Fallible<(SocketAddr, Arc<OwnedFd>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    rustix::net::listen(&listener, BACKLOG)?; // the standard library's own is 128
    Ok((listener.local_addr()?, Arc::new(listener.into())))
}

/// Waits until one of the sockets has a client. Nothing is accepted.
async fn client_comes(sockets: &[Socket]) -> io::Result<()> {
    let mut watched = Vec::new();
    for socket in sockets {
        let descriptor = socket.descriptor.as_fd();
        // SAFETY: the descriptor is borrowed from `sockets`, which outlive `watched`.
        watched.push(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?);
    }
    poll_fn(|context| {
        let mut polled = watched.iter().map(|socket| socket.poll_read_ready(context));
        polled
            .find_map(|polled| match polled {
                Poll::Ready(ready) => Some(Poll::Ready(ready.map(drop))),
                Poll::Pending => None,
            })
            .unwrap_or(Poll::Pending)
    })
    .await
}
