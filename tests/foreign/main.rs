//! Nobody else's words, files or processes: what others have written, made or sent does no harm.

#[path = "../support/mod.rs"]
mod support;

mod files;
mod memory;
mod words;

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use support::*;

/// A proxy with a control socket.
pub(crate) struct Setup {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) listener: TcpListener,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    /// The proxy as systemd starts it, without a target.
    pub(crate) fn unit(&self) -> Unit {
        let directory = self.directory.path().to_str().unwrap();
        Unit::new(PROXY)
            .socket("clients", self.listener.try_clone().unwrap())
            .socket("varlink", UnixListener::bind(self.control()).unwrap())
            .env("RUNTIME_DIRECTORY", directory)
            .env("STATE_DIRECTORY", directory)
    }

    /// Runs a verb that has to succeed; what it printed.
    #[track_caller]
    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        let (status, text) = run_ctl(&self.control(), arguments);
        assert_eq!(status, 0, "{arguments:?}: {text}");
        text
    }
}
