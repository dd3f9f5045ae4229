//! A proxy under a systemd that the tests play: its sockets outlive it.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use crate::support::*;

pub struct Setup {
    pub directory: tempfile::TempDir,
    pub listener: TcpListener,
    pub control: UnixListener,
    pub upstream: TcpListener,
    pub options: Vec<String>,
}

impl Setup {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let control = UnixListener::bind(directory.path().join("control")).unwrap();
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = vec![upstream.local_addr().unwrap().to_string()];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            directory,
            listener,
            control,
            upstream,
            options,
        }
    }

    /// A proxy with a target that is state.
    pub fn without_target() -> Self {
        Self {
            options: Vec::new(),
            ..Self::new()
        }
    }

    pub fn start(&self) -> Running {
        self.start_with(&[])
    }

    pub fn start_with(&self, options: &[&str]) -> Running {
        self.unit(options).ready()
    }

    pub fn unit(&self, options: &[&str]) -> Unit {
        let mut unit = Unit::new(PROXY)
            .socket("clients", self.listener.try_clone().unwrap())
            .socket("varlink", self.control.try_clone().unwrap())
            .env("RUNTIME_DIRECTORY", self.directory.path().to_str().unwrap())
            .env("STATE_DIRECTORY", self.directory.path().to_str().unwrap());
        for option in self
            .options
            .iter()
            .map(String::as_str)
            .chain(options.iter().copied())
        {
            unit = unit.arg(option);
        }
        unit
    }

    pub fn control(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub fn target(&self) -> String {
        self.upstream.local_addr().unwrap().to_string()
    }

    /// A connected client, and the upstream's side of its connection.
    pub fn pair(&self) -> (TcpStream, TcpStream) {
        let client = connect(self.address());
        let (upstream, _) = self.upstream.accept().unwrap();
        upstream.set_read_timeout(Some(PATIENCE)).unwrap();
        (client, upstream)
    }

    pub fn ctl(&self, arguments: &[&str]) -> (i32, String) {
        run_ctl(&self.control(), arguments)
    }

    /// Runs a verb, which must succeed; returns its output.
    pub fn does(&self, arguments: &[&str]) -> String {
        let (status, text) = self.ctl(arguments);
        assert_eq!(status, 0, "{arguments:?}: {text}");
        text
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.does(&["--json", "status"])).unwrap()
    }

    pub fn gate(&self) -> String {
        self.status()["gate"].as_str().unwrap().to_owned()
    }

    /// A `lock` that waits for the drain.
    pub fn begin_lock(&self, arguments: &[&str]) -> Child {
        let callers = |setup: &Self| setup.status()["lock"]["callers"].as_u64().unwrap_or(0);
        let before = callers(self);
        let child = ctl(&self.control(), &[&["lock"], arguments].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the lock waits", || callers(self) > before);
        child
    }
}

pub fn serve_one(upstream: &TcpListener, answer: &[u8]) {
    upstream.accept().unwrap().0.write_all(answer).unwrap();
}
