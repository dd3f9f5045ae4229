//! A proxy that hands its clients over, and a server.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::event::{PollFd, PollFlags};
use serde_json::Value;

use crate::support::*;

/// What outlives the processes: the directory, the proxy's listener, and the socket to which clients
/// are handed over.
pub struct Setup {
    pub directory: tempfile::TempDir,
    pub listener: TcpListener,
    pub queue: UnixDatagram,
}

impl Setup {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let queue = UnixDatagram::bind(directory.path().join("queue")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // As many as with systemd: a client that finds no room comes again after a second.
        rustix::net::listen(&listener, 4096).unwrap();
        Self {
            directory,
            listener,
            queue,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn target(&self) -> String {
        format!("handover:{}", self.path("queue").display())
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub fn server_unit(&self) -> Unit {
        Unit::new(SERVER).socket("handover", self.queue.try_clone().unwrap())
    }

    pub fn server(&self) -> Running {
        self.server_unit().ready()
    }

    pub fn proxy_unit(&self) -> Unit {
        let directory = self.directory.path().to_str().unwrap();
        Unit::new(PROXY)
            .env("RUNTIME_DIRECTORY", directory)
            .env("STATE_DIRECTORY", directory)
            .socket("clients", self.listener.try_clone().unwrap())
            .arg("--control")
            .arg(self.path("control"))
    }

    fn unit_with(&self, options: &[&str]) -> Unit {
        let unit = self.proxy_unit().arg(self.target());
        options.iter().fold(unit, Unit::arg)
    }

    pub fn proxy_with(&self, options: &[&str]) -> Running {
        self.unit_with(options).ready()
    }

    pub fn proxy(&self) -> Running {
        self.proxy_with(&[])
    }

    /// One without a channel to systemd: for a long test that does not read its messages.
    pub fn quiet_proxy(&self, options: &[&str]) -> Running {
        // Nobody reads what it logs, and a pipe that is full would hold it up.
        let unit = self.unit_with(options).arg("--log-level=error");
        let proxy = unit.env("NOTIFY_SOCKET", "").spawn();
        eventually("it answers", || self.ctl(&["status"]).0 == 0);
        proxy
    }

    /// Waits until a client is in the queue of a server that does not run.
    pub fn until_handed_over(&self) {
        let mut queue = [PollFd::new(&self.queue, PollFlags::IN)];
        let patience = PATIENCE.try_into().unwrap();
        let ready = rustix::event::poll(&mut queue, Some(&patience)).unwrap();
        assert_eq!(ready, 1, "nobody was handed over");
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    /// A client that has been answered.
    pub fn client(&self) -> TcpStream {
        let client = self.connect();
        assert_eq!(hello(&client), "Hello world!");
        client
    }

    pub fn ctl(&self, arguments: &[&str]) -> (i32, String) {
        run_ctl(&self.path("control"), arguments)
    }

    #[track_caller]
    pub fn does(&self, arguments: &[&str]) -> String {
        let (status, text) = self.ctl(arguments);
        assert_eq!(status, 0, "{arguments:?}: {text}");
        text
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.does(&["--json", "status"])).unwrap()
    }

    #[track_caller]
    pub fn connections(&self) -> Vec<Value> {
        serde_json::from_str(&self.does(&["--json", "connections"])).unwrap()
    }

    pub fn open_becomes(&self, count: u64) {
        eventually("the proxy counts them", || self.status()["open"] == count);
    }

    /// A `lock` that waits for the drain.
    pub fn begin_lock(&self, arguments: &[&str]) -> Child {
        let child = ctl(&self.path("control"), &[&["lock"], arguments].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the lock waits", || self.status()["lock"]["callers"] == 1);
        child
    }
}

pub fn ends_well(running: Running) -> String {
    let (status, log) = running.ends();
    assert!(status.success(), "{log}");
    log
}

pub fn is_reset(stream: &TcpStream) -> bool {
    matches!(rest(stream), Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset)
}
