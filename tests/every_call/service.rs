//! Plays systemd: holds the sockets and the store, starts the proxy, and examines what it leaves.

use std::ffi::{CString, c_char};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::failing_calls::{self, FailingCall};
use crate::notifications::{self, FLUSH, Store};
use crate::tracer::{self, From, Tracee};

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The number of descriptors in the store while the proxy keeps connections.
pub const STORED: usize = 13;

/// Room for a process ID.
const NUMBER: &str = "0000000000";

pub struct Service {
    clients: TcpListener,
    control: UnixListener,
    store: Store,
    directory: tempfile::TempDir,
    target: SocketAddr,
    ready: Receiver<()>,
    /// The signal that the process gets at `READY=1`.
    when_ready: Arc<AtomicI32>,
    process: Arc<AtomicI32>,
    refused: Vec<FailingCall>,
}

impl Service {
    /// A proxy for this target; it does not run yet.
    pub fn new(target: SocketAddr) -> Self {
        // Orphans of the process become children of this one.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("systemd")).unwrap();
        let notify = UnixDatagram::bind(directory.path().join("systemd/notify")).unwrap();
        let (said, ready) = channel();
        let service = Self {
            clients: TcpListener::bind("127.0.0.1:0").unwrap(),
            control: UnixListener::bind(directory.path().join("control")).unwrap(),
            store: Store::default(),
            directory,
            target,
            ready,
            when_ready: Arc::default(),
            process: Arc::default(),
            refused: Vec::new(),
        };
        let store = service.store.clone();
        let (when_ready, process) = (service.when_ready.clone(), service.process.clone());
        std::thread::spawn(move || {
            notifications::listen(&notify, &store, &when_ready, &process, &said)
        });
        service
    }

    /// Waits until all messages of the process are handled; systemd too handles its death only then.
    fn settle(&self) {
        while self.ready.try_recv().is_ok() {}
        let socket = UnixDatagram::unbound().unwrap();
        let notify = self.directory.path().join("systemd/notify");
        socket.send_to(FLUSH.as_bytes(), notify).unwrap();
        self.ready.recv_timeout(PATIENCE).unwrap();
    }

    /// Lets these calls fail in the processes that are started from now on.
    pub fn refuse(&mut self, calls: &[FailingCall]) {
        self.refused = calls.to_vec();
    }

    /// The last will of the process, the only one in its group besides itself; `None` if there is none. It may not have
    /// had its turn since it was made, and so not have its name.
    pub fn last_will(&self) -> Option<libc::pid_t> {
        let process = self.process.load(SeqCst);
        let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .parse::<libc::pid_t>()
                .ok()
        });
        let is_it = |pid: &libc::pid_t| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Name, state, parent, process group: proc(5).
            let mut fields = stat.rsplit_once(") ").unwrap_or_default().1.split(' ');
            let (state, group) = (fields.next(), fields.nth(1));
            *pid != process && state != Some("Z") && group == Some(&process.to_string())
        };
        pids.into_iter().find(is_it)
    }

    /// Waits for a text in the log.
    pub fn until_logged(&self, text: &str) {
        let begin = std::time::Instant::now();
        while !self.log().contains(text) {
            assert!(
                begin.elapsed() < PATIENCE,
                "{text:?} is missing: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the proxy, traced. At `READY=1` it gets the signal `when_ready`.
    pub fn trace(&self, from: From, when_ready: libc::c_int) -> Tracee {
        self.when_ready.store(when_ready, SeqCst);
        Tracee::new(self.spawn(true), from)
    }

    /// Starts the proxy, and waits until it is ready.
    pub fn start(&self) {
        self.when_ready.store(0, SeqCst);
        self.spawn(false);
        let ready = self.ready.recv_timeout(PATIENCE);
        assert!(ready.is_ok(), "it does not get ready: {}", self.log());
    }

    /// Starts the proxy, and waits until it has ended by itself.
    pub fn run_to_end(&self) {
        self.spawn(false);
        self.wait();
    }

    /// Ends the proxy by a signal, and waits for all its processes.
    pub fn end(&self, signal: libc::c_int) {
        let process = self.process.load(SeqCst);
        // SAFETY: kill(2) on a child that was not waited for.
        unsafe {
            match signal {
                // The whole group, as systemd kills a service.
                libc::SIGKILL => libc::kill(-process, signal),
                _ => libc::kill(process, signal),
            };
        }
        self.wait();
    }

    fn wait(&self) {
        let process = self.process.load(SeqCst);
        // SAFETY: waitpid(2) without a place for the status.
        while unsafe { libc::waitpid(-process, std::ptr::null_mut(), libc::__WALL) } > 0 {}
    }

    /// The names in the store.
    pub fn stored(&self) -> Vec<String> {
        self.settle();
        let store = self.store.lock().unwrap();
        store.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Keeps only some in the store, by their index.
    pub fn retain(&self, mut is_left: impl FnMut(usize) -> bool) {
        self.settle();
        let mut index = 0..;
        let mut store = self.store.lock().unwrap();
        store.retain(|_| is_left(index.next().unwrap()));
    }

    /// Moves the store to another service.
    pub fn move_to(&self, other: &Self) {
        self.settle();
        let mut store = self.store.lock().unwrap();
        other.store.lock().unwrap().append(&mut store);
    }

    /// Adds to the store.
    pub fn put(&self, name: &str, descriptor: impl Into<OwnedFd>) {
        let mut store = self.store.lock().unwrap();
        store.push((name.to_owned(), descriptor.into()));
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.clients.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// The number of open connections in the status of the proxy.
    pub fn open(&self) -> usize {
        let mut caller = UnixStream::connect(self.directory.path().join("control")).unwrap();
        caller.set_read_timeout(Some(PATIENCE)).unwrap();
        let call = b"{\"method\":\"io.github.disnix-proxy-example.Proxy.GetStatus\"}\0";
        caller.write_all(call).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(&[0]) {
            let mut byte = [0];
            caller.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        answer.pop();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        answer["parameters"]["status"]["open"].as_u64().unwrap() as usize
    }

    /// Forks and executes the proxy with all that systemd would pass to it.
    fn spawn(&self, traced: bool) -> libc::pid_t {
        self.settle();
        let store = self.store.lock().unwrap();
        let mut sockets = vec![self.clients.as_raw_fd(), self.control.as_raw_fd()];
        sockets.extend(store.iter().map(|(_, fd)| fd.as_raw_fd()));
        let mut names = vec!["clients", "varlink"];
        names.extend(store.iter().map(|(name, _)| name.as_str()));
        let path = |name: &str| self.directory.path().join(name);
        let environment = [
            format!("LISTEN_FDS={}", sockets.len()),
            format!("LISTEN_FDNAMES={}", names.join(":")),
            format!("NOTIFY_SOCKET={}", path("systemd/notify").display()),
            format!("RUNTIME_DIRECTORY={}", self.directory.path().display()),
            format!("DISNIX_TCP_PROXY_TARGET={}", self.target),
            "DISNIX_TCP_PROXY_THREADS=1".to_owned(),
            "DISNIX_TCP_PROXY_CONNECTIONS_MAX=64".to_owned(),
            "DISNIX_TCP_PROXY_LOG_LEVEL=debug".to_owned(),
            format!("LISTEN_PID={NUMBER}"),
        ];
        let environment = environment.map(|line| CString::new(line).unwrap());
        let mut environment: Vec<*const c_char> =
            environment.iter().map(|line| line.as_ptr()).collect();
        environment.push(std::ptr::null());
        let program = CString::new(env!("CARGO_BIN_EXE_disnix-tcp-proxy")).unwrap();
        let arguments = [program.as_ptr(), std::ptr::null()];
        let log = CString::new(path("log").as_os_str().as_bytes()).unwrap();
        let mut filter = failing_calls::filter(&self.refused);
        let program_filter = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // Far above all others, so that none is overwritten before it is copied.
        let first_copy = 1000;
        // SAFETY: the child only does what the next block does.
        let process = unsafe { libc::fork() };
        if process == 0 {
            // SAFETY: these are system calls only, on memory that was prepared; the digits are written to
            // the child's own copy of it.
            unsafe {
                libc::setpgid(0, 0);
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
                libc::dup2(libc::open(log.as_ptr(), flags, 0o600), 2);
                for fd in &sockets {
                    libc::fcntl(*fd, libc::F_DUPFD, first_copy);
                }
                for index in 0..sockets.len() as i32 {
                    libc::dup2(first_copy + index, 3 + index);
                }
                libc::close_range(3 + sockets.len() as u32, u32::MAX, 0);
                let line = environment[environment.len() - 2].cast_mut();
                let (mut digit, mut number) =
                    (line.add("LISTEN_PID=".len() + NUMBER.len()), libc::getpid());
                while number > 0 {
                    digit = digit.sub(1);
                    *digit = b'0' as c_char + (number % 10) as c_char;
                    number /= 10;
                }
                if traced {
                    tracer::trace_me();
                }
                if !self.refused.is_empty() {
                    let none: libc::c_ulong = 0;
                    libc::prctl(
                        libc::PR_SET_NO_NEW_PRIVS,
                        1 as libc::c_ulong,
                        none,
                        none,
                        none,
                    );
                    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
                    libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program_filter);
                }
                libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
                libc::_exit(127);
            }
        }
        assert!(process > 0);
        // Parent and child both do it: from here on it can be waited for by its group.
        // SAFETY: a system call; it fails if the child has executed the program, which did it before.
        unsafe { libc::setpgid(process, process) };
        self.process.store(process, SeqCst);
        process
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.process.load(SeqCst) > 0 {
            self.end(libc::SIGKILL);
        }
    }
}
