//! Plays systemd: holds the listening socket and the store, starts the process, and kills it.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::forking;
use crate::sockets::{Kind, Place};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// Set in the process that relays.
pub const ROLE: &str = "KEEP_TEST_TARGET";
/// How many threads it has.
pub const THREADS: &str = "KEEP_TEST_THREADS";

/// Who is killed.
#[derive(Clone, Copy, Debug)]
pub enum Kill {
    /// The process.
    Process,
    /// The process and its will.
    Group,
}

type Store = Arc<Mutex<Vec<(String, OwnedFd)>>>;

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The small relay of these tests.
    Relay,
    /// The proxy.
    Proxy,
}

pub struct Manager {
    program: Program,
    listener: OwnedFd,
    place: Place,
    store: Store,
    directory: tempfile::TempDir,
    target: String,
    threads: usize,
    child: Option<Child>,
    environment: Vec<(String, String)>,
    /// For the proxy.
    arguments: Vec<String>,
    ready: Receiver<String>,
    room: Arc<AtomicUsize>,
    limit: Option<(u64, u32)>,
}

impl Manager {
    pub fn new(target: String, threads: usize) -> Self {
        Self::of(Program::Relay, Kind::Tcp, target, threads)
    }

    /// One that runs this program, with a listener of this kind.
    pub fn of(program: Program, kind: Kind, target: String, threads: usize) -> Self {
        // Those whom the will leaves behind are ours to wait for.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let notify = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        let store = Store::default();
        let (said, ready) = channel();
        let kept = store.clone();
        let room = Arc::new(AtomicUsize::new(100));
        let most = room.clone();
        std::thread::spawn(move || listen(&notify, &kept, &most, &said));
        let (listener, place) = kind.listen(directory.path(), "clients");
        Self {
            program,
            listener,
            place,
            store,
            directory,
            target,
            threads,
            child: None,
            environment: Vec::new(),
            arguments: vec!["--keep-connections=yes".to_owned()],
            ready,
            room,
            limit: None,
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn address(&self) -> SocketAddr {
        match self.place {
            Place::Tcp(address) | Place::Mptcp(address) => address,
            Place::Unix(_) => panic!("it has a path, no address"),
        }
    }

    /// Where the proxy has its files and its control socket.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The proxy's control socket.
    pub fn control(&self) -> PathBuf {
        self.directory().join("control")
    }

    /// How many descriptors are in the store.
    pub fn stored(&self) -> usize {
        self.store.lock().unwrap().len()
    }

    /// Adds to the environment of the process.
    pub fn env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Adds to the arguments of the proxy.
    pub fn arg(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    /// Has connections end with the process.
    pub fn keep_nothing(&mut self) {
        self.arg("--keep-connections=no");
        self.arguments.remove(0);
    }

    /// What the processes hold of memory that is theirs alone.
    pub fn memory(&self) -> String {
        let group = self.child.as_ref().unwrap().id();
        let command = format!(
            "for p in $(pgrep -g {group}); do cat /proc/$p/comm; \
             grep -E '^(Rss|Private_Dirty|VmPTE)' /proc/$p/smaps_rollup /proc/$p/status; done"
        );
        let output = forking::output(Command::new("sh").args(["-c", &command])).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// As `LimitNOFILE=` and `DynamicUser=`: without privileges, which would lift the limit for
    /// descriptors on their way, and as a user of its own: other processes of that user would count too.
    pub fn limit(&mut self, descriptors: u64, user: u32) {
        use std::os::unix::fs::PermissionsExt;
        let everybody = std::fs::Permissions::from_mode(0o777);
        for path in [self.directory.path(), &self.directory.path().join("notify")] {
            std::fs::set_permissions(path, everybody.clone()).unwrap();
        }
        self.limit = Some((descriptors, user));
    }

    /// As `LimitNOFILE=`; `None` is the limit of this process.
    pub fn limit_descriptors(&mut self, descriptors: Option<u64>) {
        let user = rustix::process::geteuid().as_raw();
        self.limit = descriptors.map(|descriptors| (descriptors, user));
    }

    /// How many descriptors the process may have from now on, though not for good. Returns how many it could have before.
    pub fn change_limit(&self, descriptors: u64) -> u64 {
        let process = self.child.as_ref().unwrap();
        let limit = Rlimit {
            current: Some(descriptors),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        let before = prlimit(Some(Pid::from_child(process)), Resource::Nofile, limit);
        before.unwrap().current.unwrap_or(u64::MAX)
    }

    /// As `FileDescriptorStoreMax=`.
    pub fn store_at_most(&self, count: usize) {
        self.room.store(count, Relaxed);
    }

    /// Makes the table one of another version.
    pub fn change_version(&self) {
        for (_, file) in self.store.lock().unwrap().iter() {
            let mut magic = [0; 8];
            if rustix::io::pread(file, &mut magic, 0) == Ok(8) && &magic == b"kept-tcp" {
                rustix::io::pwrite(file, &[99, 0, 0, 0], 8).unwrap();
            }
        }
    }

    /// Starts the process.
    pub fn spawn(&mut self) {
        while self.ready.try_recv().is_ok() {}
        let store = self.store.lock().unwrap();
        let mut sockets = vec![self.listener.as_raw_fd()];
        sockets.extend(store.iter().map(|(_, fd)| fd.as_raw_fd()));
        let mut names = vec!["clients".to_owned()];
        names.extend(store.iter().map(|(name, _)| name.clone()));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"export LISTEN_PID=$$; exec "$0" "$@""#]);
        match self.program {
            Program::Relay => command.arg(std::env::current_exe().unwrap()).args([
                "relay_process",
                "--exact",
                "--ignored",
                "--nocapture",
                "--quiet",
            ]),
            Program::Proxy => command
                .arg(env!("CARGO_BIN_EXE_disnix-tcp-proxy"))
                .args(self.proxy_target())
                .args(["--connections-max=1000", "--log-level=warn"])
                .arg("--control")
                .arg(self.control())
                .args(&self.arguments)
                .env("DISNIX_TCP_PROXY_THREADS", self.threads.to_string())
                .env_remove("JOURNAL_STREAM"),
        };
        command
            .env("NOTIFY_SOCKET", self.directory.path().join("notify"))
            .env(ROLE, &self.target)
            .envs(self.environment.iter().cloned())
            .env(THREADS, self.threads.to_string())
            .env("LISTEN_FDS", sockets.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .stdout(std::process::Stdio::null())
            .process_group(0);
        let copies: Vec<i32> = sockets
            .iter()
            // SAFETY: duplicates a descriptor that is open.
            .map(|fd| unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, 200) })
            .collect();
        drop(store);
        let (numbers, limit) = (copies.clone(), self.limit);
        let place = move || {
            for (index, copy) in numbers.iter().enumerate() {
                // SAFETY: a system call; it clears FD_CLOEXEC on the copy.
                if unsafe { libc::dup2(*copy, 3 + index as i32) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            limit.map_or(Ok(()), restrict)
        };
        // SAFETY: between fork and exec only system calls are made.
        unsafe { command.pre_exec(place) };
        let child = forking::spawn(&mut command);
        self.child = Some(child.expect("the process cannot be started (as another user, perhaps)"));
        for copy in copies {
            // SAFETY: it was made above, and nothing else has it.
            unsafe { libc::close(copy) };
        }
    }

    /// None if it is one that was saved.
    fn proxy_target(&self) -> Option<String> {
        match self.target.starts_with('/') {
            true => Some(format!("unix:{}", self.target)),
            false => Some(self.target.clone()).filter(|target| !target.is_empty()),
        }
    }

    /// Starts the process and waits until it is ready or has ended; its exit status then.
    pub fn try_to_start(&mut self) -> Option<i32> {
        self.spawn();
        for _ in 0..4000 {
            if self.ready.try_recv().is_ok() {
                return None;
            }
            let status = self.child.as_mut().unwrap().try_wait().unwrap();
            if let Some(status) = status {
                self.child = None;
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it neither gets ready nor ends");
    }

    /// Starts the process and waits until it is ready.
    pub fn start(&mut self) -> String {
        self.spawn();
        let ready = self.ready.recv_timeout(Duration::from_secs(20));
        ready.expect("it does not get ready")
    }

    /// Has it end in order.
    pub fn end(&mut self) {
        let child = self.child.as_ref().unwrap();
        // SAFETY: kill(2) on a child that was not waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        self.wait();
    }

    /// Kills it, and waits until no process is left, as systemd does.
    pub fn kill(&mut self, kill: Kill) {
        let group = self.child.as_ref().unwrap().id() as i32;
        let whom = match kill {
            Kill::Process => group,
            Kill::Group => -group,
        };
        // SAFETY: kill(2) on a child that was not waited for, or its group.
        unsafe { libc::kill(whom, libc::SIGKILL) };
        self.wait();
    }

    /// Waits until all of them have ended.
    fn wait(&mut self) {
        let group = self.child.take().unwrap().id() as i32;
        // SAFETY: waitpid(2) takes a null pointer for the status.
        while unsafe { libc::waitpid(-group, std::ptr::null_mut(), libc::__WALL) } > 0 {}
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill(Kill::Group);
        }
    }
}

/// Restricts this process. Who is not privileged keeps its user.
fn restrict((descriptors, user): (u64, u32)) -> std::io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: descriptors,
        rlim_max: descriptors,
    };
    // SAFETY: system calls; the limit is ours.
    let done = unsafe {
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
            && (libc::geteuid() != 0
                || libc::setgroups(0, std::ptr::null()) == 0
                    && libc::setgid(user) == 0
                    && libc::setuid(user) == 0)
    };
    match done {
        true => Ok(()),
        false => Err(std::io::Error::last_os_error()),
    }
}

fn listen(notify: &UnixDatagram, store: &Store, room: &AtomicUsize, ready: &Sender<String>) {
    loop {
        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        if poll(&mut [PollFd::new(notify, PollFlags::IN)], None).is_err() {
            continue;
        }
        let _in_hand = forking::not_now();
        let Ok(message) = recvmsg(notify, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) else {
            return;
        };
        let fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        let text = String::from_utf8_lossy(&buffer[..message.bytes]).into_owned();
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
        let name = name.unwrap_or_default().to_owned();
        let mut store = store.lock().unwrap();
        if text.contains("FDSTORE=1") {
            let left = room.load(Relaxed).saturating_sub(store.len());
            store.extend(fds.into_iter().take(left).map(|fd| (name.clone(), fd)));
        } else if text.contains("FDSTOREREMOVE=1") {
            store.retain(|(kept, _)| *kept != name);
        } else if text.contains("READY=1") && ready.send(text).is_err() {
            return;
        }
    }
}
