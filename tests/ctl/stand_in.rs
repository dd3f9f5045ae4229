//! A stand-in for the proxy: the test itself gives its answers.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use tempfile::TempDir;

const INTERFACE: &str = "io.github.disnix-proxy-example.Proxy";

/// Longer than anything here takes; a test that waits in vain fails then.
const PATIENCE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

#[track_caller]
fn await_readable(fd: impl AsFd) {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&PATIENCE)), Ok(1), "waited in vain");
}

pub struct StandIn {
    pub directory: TempDir,
    listener: Option<UnixListener>,
}

impl StandIn {
    pub fn new() -> Self {
        let mut new = Self {
            directory: tempfile::tempdir().unwrap(),
            listener: None,
        };
        new.listen();
        new
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    /// Listens (again).
    pub fn listen(&mut self) {
        self.listener = Some(UnixListener::bind(self.path()).unwrap());
    }

    /// Listens no longer; the socket is there still, as after a crash.
    pub fn stop(&mut self) {
        self.listener = None;
    }

    /// Takes the socket away too.
    pub fn remove(&mut self) {
        self.stop();
        std::fs::remove_file(self.path()).unwrap();
    }

    /// Waits for a caller.
    #[track_caller]
    pub fn caller(&self) -> Caller {
        let listener = self.listener.as_ref().unwrap();
        await_readable(listener);
        Caller {
            stream: listener.accept().unwrap().0,
            received: Vec::new(),
        }
    }

    /// Whether somebody has called, and waits.
    pub fn has_caller(&self) -> bool {
        let mut fds = [PollFd::new(self.listener.as_ref().unwrap(), PollFlags::IN)];
        poll(&mut fds, Some(&AT_ONCE)) == Ok(1)
    }

    /// Waits for the call of `method` on a connection of its own.
    #[track_caller]
    pub fn called(&self, method: &str) -> Caller {
        let mut caller = self.caller();
        caller.calls(method);
        caller
    }

    /// The control program, pointed at this stand-in.
    pub fn ctl(&self, arguments: &[&str]) -> Command {
        let mut command = ctl(arguments);
        command.env("DISNIX_TCP_PROXY_CONTROL", self.path());
        command
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.ctl(arguments).spawn().unwrap()
    }
}

/// The control program without a proxy.
pub fn ctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_disnix-tcp-proxyctl"));
    command
        .args(arguments)
        .env_remove("DISNIX_TCP_PROXY_CONTROL")
        .env_remove("DISNIX_TCP_PROXY_INSTANCE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// One connection to the stand-in.
pub struct Caller {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Caller {
    fn read(&mut self) -> usize {
        await_readable(&self.stream);
        let mut buffer = [0; 4096];
        // A caller that is killed with replies unread resets the connection.
        let count = self.stream.read(&mut buffer).unwrap_or(0);
        self.received.extend_from_slice(&buffer[..count]);
        count
    }

    /// Waits for a call; where it ends among what was received.
    fn await_call(&mut self) -> usize {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == 0) {
                return end;
            }
            assert_ne!(self.read(), 0, "hung up instead of calling");
        }
    }

    /// Waits for a call of `method` and takes it; its parameters.
    #[track_caller]
    pub fn calls(&mut self, method: &str) -> Value {
        assert_eq!(self.next_method(), method);
        let end = self.await_call();
        let call: Value = serde_json::from_slice(&self.received[..end]).unwrap();
        self.received.drain(..=end);
        call["parameters"].clone()
    }

    /// Waits for a call and looks at its method.
    pub fn next_method(&mut self) -> String {
        let end = self.await_call();
        let call: Value = serde_json::from_slice(&self.received[..end]).unwrap();
        let method = call["method"].as_str().unwrap();
        let (interface, name) = method.rsplit_once('.').unwrap();
        assert_eq!(interface, INTERFACE);
        name.to_owned()
    }

    pub fn send(&mut self, message: &Value) {
        self.send_bytes(format!("{message}\0").as_bytes());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends these replies in turn until the caller has hung up.
    pub fn reply_until_it_hangs_up(&mut self, parameters: [Value; 2]) {
        let mut messages = parameters
            .iter()
            .map(|parameters| {
                format!(
                    "{}\0",
                    json!({ "parameters": parameters, "continues": true })
                )
            })
            .collect::<Vec<_>>()
            .into_iter()
            .cycle();
        while self
            .stream
            .write_all(messages.next().unwrap().as_bytes())
            .is_ok()
        {}
    }

    /// The last reply.
    pub fn reply(&mut self, parameters: Value) {
        self.send(&json!({ "parameters": parameters }));
    }

    /// A reply that others follow.
    pub fn reply_and_go_on(&mut self, parameters: Value) {
        self.send(&json!({ "parameters": parameters, "continues": true }));
    }

    pub fn refuse(&mut self, error: &str, parameters: Value) {
        self.send(&json!({ "error": format!("{INTERFACE}.{error}"), "parameters": parameters }));
    }

    /// Waits until the caller hangs up.
    #[track_caller]
    pub fn hangs_up(&mut self) {
        while self.read() > 0 {}
    }
}

/// The state of the gate as `Lock`, `Unlock` and `Switch` reply it.
pub fn gate(gate: &str, open: u64) -> Value {
    json!({ "gate": gate, "open": open, "queued": 2 })
}

/// The whole state, as `GetStatus` and `Monitor` reply it.
pub fn status(gate: &str, lock: Option<Value>) -> Value {
    let mut status = json!({
        "version": "0.1.0", "pid": 42, "gate": gate, "targetFixed": false, "open": 0,
        "connectionsMax": 16384, "queued": 2, "accepted": 10, "unreachable": 0,
        "receivedBytes": 70, "sentBytes": 140, "target": "[::1]:5000",
        "listeners": [{ "address": "[::]:5001", "inherited": true, "waiting": 2, "backlog": 4096 }],
    });
    if let Some(lock) = lock {
        status["lock"] = lock;
    }
    json!({ "status": status })
}

/// What the program printed and how it ended.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub output: String,
    pub errors: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap()
    }

    /// Fails unless it ended with `status` and with `words` on standard error.
    #[track_caller]
    pub fn expect(self, status: i32, words: &str) -> Self {
        assert_eq!(self.status, Some(status), "{self:#?}");
        assert!(self.errors.contains(words), "{self:#?}");
        assert_eq!(words.is_empty(), self.errors.is_empty(), "{self:#?}");
        self
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            output: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub fn end(child: Child) -> Ended {
    child.wait_with_output().unwrap().into()
}

/// Sends a signal to the program.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// A terminal: the end for the program, the end for the person.
pub fn terminal() -> (Stdio, File) {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let person = openpt(flags).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let program = ioctl_tiocgptpeer(&person, flags).unwrap();
    (program.into(), File::from(person))
}

/// Reads from `source` until `text` has appeared; everything up to there.
#[track_caller]
pub fn read_until(mut source: impl Read + AsFd, text: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(text) {
        await_readable(&source);
        let count = source.read(&mut byte).unwrap();
        assert_ne!(
            count,
            0,
            "ended before {text:?}: {:?}",
            String::from_utf8_lossy(&seen)
        );
        seen.push(byte[0]);
    }
    String::from_utf8(seen).unwrap()
}
