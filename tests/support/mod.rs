//! Runs the real programs as systemd would: with inherited sockets and a notification socket.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use socket2::SockRef;
use tempfile::TempDir;

mod listeners;

pub use listeners::*;

/// Nothing here takes so long, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const SERVER: &str = env!("CARGO_BIN_EXE_hello-world-server");
pub const PROXY: &str = env!("CARGO_BIN_EXE_disnix-tcp-proxy");
pub const CTL: &str = env!("CARGO_BIN_EXE_disnix-tcp-proxyctl");

/// A program that is about to be started.
pub struct Unit {
    command: Command,
    sockets: Vec<OwnedFd>,
    names: Vec<String>,
    directory: TempDir,
    notify: UnixDatagram,
}

/// A program that runs. It is killed when this is dropped.
pub struct Running {
    child: Child,
    notifications: Receiver<String>,
    directory: TempDir,
    seen: Vec<String>,
}

impl Unit {
    pub fn new(program: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let notify_path = directory.path().join("notify");
        let notify = UnixDatagram::bind(&notify_path).unwrap();
        // Only the new process knows its number.
        let mut command = Command::new("/bin/sh");
        command
            .args([
                "-c",
                r#"[ -z "$LISTEN_FDS" ] || export LISTEN_PID=$$; exec "$0" "$@""#,
            ])
            .arg(program)
            .env_remove("JOURNAL_STREAM")
            .env("NOTIFY_SOCKET", &notify_path)
            .env("RUNTIME_DIRECTORY", directory.path())
            .env("STATE_DIRECTORY", directory.path())
            .stdin(Stdio::null());
        Self {
            command,
            sockets: Vec::new(),
            names: Vec::new(),
            directory,
            notify,
        }
    }

    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn current_dir(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Passes a socket, as a `.socket` unit with this `FileDescriptorName=` would.
    pub fn socket(mut self, name: &str, socket: impl Into<OwnedFd>) -> Self {
        self.sockets.push(socket.into());
        self.names.push(name.to_owned());
        self
    }

    /// Passes a TCP listener on a free port of 127.0.0.1, and returns its address.
    pub fn listener(self, address: &mut Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        *address = Some(listener.local_addr().unwrap());
        self.socket("clients", listener)
    }

    pub fn limit_descriptors(self, limit: u64) -> Self {
        self.limit(libc::RLIMIT_NOFILE, limit)
    }

    /// Sets a limit of setrlimit(2), such as `RLIMIT_AS`.
    pub fn limit(mut self, resource: libc::__rlimit_resource_t, limit: u64) -> Self {
        let set = move || {
            let limit = libc::rlimit {
                rlim_cur: limit,
                rlim_max: limit,
            };
            // SAFETY: setrlimit(2) reads the struct it is given.
            match unsafe { libc::setrlimit(resource, &limit) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: setrlimit is a system call and touches no memory of the parent.
        unsafe { self.command.pre_exec(set) };
        self
    }

    /// Runs this in the new process before it becomes the program: system calls only.
    pub fn in_the_child(
        mut self,
        act: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        // SAFETY: callers make system calls only, and allocate nothing.
        unsafe { self.command.pre_exec(act) };
        self
    }

    /// Runs it as another user, the owner of its directory then. Only root can do that.
    pub fn run_as(mut self, user: u32) -> Self {
        let directory = self.directory.path();
        for path in [directory.to_owned(), directory.join("notify")] {
            std::os::unix::fs::chown(path, Some(user), Some(user)).expect("only root can do that");
        }
        self.command.uid(user).gid(user);
        self
    }

    pub fn spawn(mut self) -> Running {
        self.hand_over_sockets();
        let child = self.command.stderr(Stdio::piped()).spawn().unwrap();
        Running {
            child,
            notifications: read_notifications(self.notify),
            directory: self.directory,
            seen: Vec::new(),
        }
    }

    /// Starts it, and waits until it is ready.
    pub fn ready(self) -> Running {
        let mut running = self.spawn();
        running.until(|message| message.contains("READY=1"));
        running
    }

    /// Runs it to its end, for a program that should fail: its exit status and standard error.
    pub fn fails(self) -> (ExitStatus, String) {
        let mut running = self.spawn();
        eventually("it ends", || !running.is_running());
        running.ends()
    }

    fn hand_over_sockets(&mut self) {
        if self.sockets.is_empty() {
            return;
        }
        self.command
            .env("LISTEN_FDS", self.sockets.len().to_string());
        self.command.env("LISTEN_FDNAMES", self.names.join(":"));
        // Copies far above 3 first, so that no descriptor is overwritten before it is copied. They are closed with the
        // command: afterwards the sockets are those of the process only.
        let copies: Vec<OwnedFd> = self
            .sockets
            .iter()
            .map(|socket| rustix::io::fcntl_dupfd_cloexec(socket, 100).unwrap())
            .collect();
        let place = move || {
            for (index, copy) in copies.iter().enumerate() {
                // SAFETY: dup2 is a system call; it clears FD_CLOEXEC on the copy.
                if unsafe { libc::dup2(copy.as_raw_fd(), 3 + index as i32) } < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made.
        unsafe { self.command.pre_exec(place) };
    }
}

impl Running {
    /// The directory for its state and its control socket.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill(2) on a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Stops the process (SIGSTOP), until it gets SIGCONT. All of its threads have stopped when this returns.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let mut status = 0;
        // SAFETY: waitpid(2) on a child that has not been waited for; it writes one int.
        let pid = unsafe { libc::waitpid(self.pid(), &raw mut status, libc::WUNTRACED) };
        assert_eq!(pid, self.pid());
        assert!(libc::WIFSTOPPED(status), "it has ended instead");
    }

    /// How many descriptors it may have from now on, though not for good. Returns how many it could have before.
    pub fn limit_descriptors(&self, limit: u64) -> u64 {
        let limit = Rlimit {
            current: Some(limit),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        let before = prlimit(Pid::from_raw(self.pid()), Resource::Nofile, limit);
        before.unwrap().current.unwrap_or(u64::MAX)
    }

    /// Waits for a notification to systemd; returns it. Each is looked at once.
    pub fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let Ok(message) = self.notifications.recv_timeout(PATIENCE) else {
                let mut log = String::new();
                let _ = self.child.kill();
                let _ = self.child.stderr.take().unwrap().read_to_string(&mut log);
                panic!(
                    "it did not say so to systemd, but {:?}; its log: {log}",
                    self.seen
                );
            };
            self.seen.push(message.clone());
            if wanted(&message) {
                return message;
            }
        }
    }

    /// Waits until it is ready or has ended; whether it is ready.
    pub fn gets_ready(&mut self) -> bool {
        let soon = Duration::from_millis(5);
        let mut is_ready = false;
        eventually("it is ready or has ended", || {
            let message = self.notifications.recv_timeout(soon);
            is_ready = message.is_ok_and(|message| message.starts_with("READY=1"));
            is_ready || !self.is_running()
        });
        is_ready
    }

    /// Waits until it ends by itself; its exit status and its log.
    pub fn ends(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Reads its log up to the line that contains `text`.
    pub fn until_logged(&mut self, text: &str) -> String {
        let stderr = self.child.stderr.as_mut().unwrap();
        let mut lines = BufReader::with_capacity(1, stderr).lines();
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(text)));
        line.expect("it ended before it logged that").unwrap()
    }
}

/// Reads all notifications at once, as systemd does, until an empty one: while nobody reads, a program that sends another
/// one waits.
fn read_notifications(socket: UnixDatagram) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = socket.recv(&mut buffer) {
            let message = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if sender.send(message).is_err() {
                break;
            }
        }
    });
    receiver
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Ok(socket) = UnixDatagram::unbound() {
            let _ = socket.send_to(b"", self.directory.path().join("notify"));
        }
    }
}

/// Connects, with patience for answers.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads a line without its end.
pub fn line(stream: &TcpStream) -> String {
    let mut line = Vec::new();
    let mut stream = stream;
    let mut byte = [0];
    while stream.read(&mut byte).expect("no answer") == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

/// Says hello, and returns the answer.
pub fn hello(mut stream: &TcpStream) -> String {
    stream.write_all(b"hello\n").unwrap();
    line(stream)
}

/// Everything until the end.
pub fn rest(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Closes a socket with a reset.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Waits until something holds that has no event of its own.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "it never came to pass: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A `disnix-tcp-proxyctl` command for a proxy with the control socket `control`.
pub fn ctl(control: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(CTL);
    command
        .arg("--control")
        .arg(control)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// Runs `disnix-tcp-proxyctl`; its exit code and what it printed.
pub fn run_ctl(control: &Path, arguments: &[&str]) -> (i32, String) {
    let output = ctl(control, arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}
