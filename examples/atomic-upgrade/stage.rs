//! Plays systemd, as far as socket activation goes.
//!
//! The listening sockets are bound here and stay open whatever becomes of the programs. A program
//! gets them as sd_listen_fds(3) says: descriptors from 3 on, `LISTEN_FDS`, `LISTEN_FDNAMES`,
//! `LISTEN_PID`. While it does not run, its sockets are watched, and the first client starts it.
//! It is *ready* when it says `READY=1` to `NOTIFY_SOCKET`, sd_notify(3).

use std::fs::{self, File};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};

use crate::Fallible;
use crate::record::Who;
use crate::recorder::Recorder;

/// The first descriptor that is handed over, `SD_LISTEN_FDS_START`.
const FIRST_DESCRIPTOR: i32 = 3;

/// Sets `LISTEN_PID`, which only the new process itself knows, and becomes the program.
const BECOME: &str = r#"export LISTEN_PID=$$; exec "$@""#;

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
    Running {
        /// How long it took from its start to `READY=1`.
        took: Duration,
    },
    /// It could not be started, or ended before it was ready.
    Failed(String),
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
        let notify_path = directory.join(format!("{name}.notify"));
        let log = directory.join(format!("{name}.log"));
        let (orders, inbox) = mpsc::channel(1);
        let (state_sender, state) = watch::channel(State::Waiting);
        let manager = Manager {
            notify: UnixDatagram::bind(&notify_path)?,
            notify_path,
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

    /// Waits until the program is ready; says how long it took from its start.
    pub async fn ready(&mut self) -> Fallible<Duration> {
        let settled = |state: &State| matches!(state, State::Running { .. } | State::Failed(_));
        match &*self.state.wait_for(settled).await? {
            State::Running { took } => Ok(*took),
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

/// The task behind a [`Unit`].
struct Manager {
    program: Program,
    sockets: Vec<Socket>,
    notify: UnixDatagram,
    notify_path: PathBuf,
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
        loop {
            self.state.send_replace(State::Waiting);
            let order = match done.is_some() {
                true => None, // ordered to run now
                false => tokio::select! {
                    client = client_comes(&self.sockets) => { client?; None }
                    order = self.orders.recv() => match order {
                        Some(order) => Some(order),
                        None => return Ok(()),
                    },
                },
            };
            let order = match order {
                Some(order) => Some(order),
                None => self.run(done.take()).await?,
            };
            let Some(order) = order else { continue };
            match order.next {
                Some(program) => {
                    self.program = program;
                    done = Some(order.done);
                }
                None => {
                    let _ = order.done.send(Ok(()));
                    return Ok(());
                }
            }
        }
    }

    /// Runs the program once, until it ends by itself or by an order. `done` is told when it is
    /// ready.
    async fn run(
        &mut self,
        mut done: Option<oneshot::Sender<Fallible<()>>>,
    ) -> Fallible<Option<Order>> {
        let started = Instant::now();
        self.state.send_replace(State::Starting);
        let mut child = self.spawn()?;
        let mut order = None;
        self.recorder.enters(self.program.who);
        let status = loop {
            let mut message = [0; 4096];
            tokio::select! {
                biased; // what it said last is heard before its end is seen
                length = self.notify.recv(&mut message) => {
                    if message[..length?].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                        self.state.send_replace(State::Running { took: started.elapsed() });
                        done.take().map(|done| done.send(Ok(())));
                    }
                }
                received = self.orders.recv(), if order.is_none() => {
                    order = received;
                    terminate(&child)?;
                }
                status = child.wait() => break status?,
            }
        };
        self.recorder.leaves(self.program.who);
        let was_ready = matches!(&*self.state.borrow(), State::Running { .. });
        match status.success() && was_ready {
            true => Ok(order),
            false => Err(failure(status, was_ready).into()),
        }
    }

    fn spawn(&self) -> Fallible<Child> {
        // Copies far above the places they are to have, so that none overwrites another.
        let copies = self.sockets.iter();
        let copies = copies.map(|socket| rustix::io::fcntl_dupfd_cloexec(&socket.descriptor, 100));
        let copies = copies.collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&str> = self.sockets.iter().map(|socket| socket.name).collect();
        let output = match &self.log {
            Some(path) => File::options().append(true).create(true).open(path)?.into(),
            None => io::stderr().as_fd().try_clone_to_owned()?,
        };
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", BECOME, "sh"])
            .arg(&self.program.path)
            .args(&self.program.arguments)
            .env_clear()
            .env("LISTEN_FDS", copies.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("NOTIFY_SOCKET", &self.notify_path)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true);
        let prepare = move || {
            set_parent_process_death_signal(Some(Signal::TERM))?;
            for (place, copy) in (FIRST_DESCRIPTOR..).zip(&copies) {
                // SAFETY: both are plain numbers; dup2 touches no memory and may be called
                // between fork and exec.
                if unsafe { libc::dup2(copy.as_raw_fd(), place) } < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: `prepare` makes system calls only and does not allocate.
        unsafe { command.pre_exec(prepare) };
        Ok(command.spawn()?)
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

fn terminate(child: &Child) -> Fallible<()> {
    // No process id: it has ended and been waited for already.
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id as i32)) {
        kill_process(pid, Signal::TERM)?;
    }
    Ok(())
}

fn failure(status: ExitStatus, was_ready: bool) -> String {
    match was_ready {
        true => format!("it ended with {status}"),
        false => format!("it ended ({status}) before it was ready"),
    }
}
