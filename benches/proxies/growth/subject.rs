//! The proxy, with all that systemd would do for it: the listener, the store of its descriptors, the next process.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

#[path = "../../../tests/every_call/notifications.rs"]
mod notifications;

use crate::candidates::Candidate;
use crate::cpu::Tree;
use crate::load::when;
use crate::memory::Group;
use crate::program::{BECOME, listener};
use notifications::{FLUSH, Store};

const CTL: &str = env!("CARGO_BIN_EXE_disnix-tcp-proxyctl");

/// What is in the store comes after the listener, which is descriptor 3.
const FIRST_KEPT: RawFd = 4;
/// Above all numbers that the store's descriptors get in the new process.
const ABOVE: RawFd = 100;
/// How long a start may take, that is restoring all connections.
pub const LONGEST_START: Duration = Duration::from_secs(120);

/// The proxy with its store; ended when this is dropped.
pub struct Subject {
    /// Where clients connect to.
    pub at: SocketAddrV4,
    listener: TcpListener,
    connections: usize,
    store: Store,
    ready: Receiver<()>,
    /// The leader of its process group: it may have ended.
    leader: Option<Pid>,
    /// Where its memory is counted, if that is possible.
    pub group: Option<Group>,
    directory: TempDir,
}

impl Subject {
    /// A proxy with room for this number of connections; it does not run yet.
    pub fn new(connections: usize) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(when("a directory"))?;
        let notify =
            UnixDatagram::bind(directory.path().join("notify")).map_err(when("the store"))?;
        let (listener, at) = listener(Ipv4Addr::LOCALHOST)?;
        let store = Store::default();
        let (said, ready) = channel();
        let kept = Arc::clone(&store);
        thread::spawn(move || {
            let (no_signal, no_process) = (AtomicI32::default(), AtomicI32::default());
            notifications::listen(&notify, &kept, &no_signal, &no_process, &said);
        });
        Ok(Self {
            at,
            listener,
            connections,
            store,
            ready,
            leader: None,
            group: Group::new("growth").ok(),
            directory,
        })
    }

    /// Starts a process with what is in the store.
    pub fn start(&mut self) -> Result<(), String> {
        self.forget_ready();
        let store = self.store.lock().map_err(when("the store"))?;
        let copy = |(_, kept): &(String, OwnedFd)| rustix::io::fcntl_dupfd_cloexec(kept, ABOVE);
        let copies: Result<Vec<OwnedFd>, _> = store.iter().map(copy).collect();
        let copies = copies.map_err(when("the store"))?;
        let names = store.iter().map(|(name, _)| name.as_str());
        let names: Vec<&str> = ["clients"].into_iter().chain(names).collect();
        let path = |name: &str| self.directory.path().join(name);
        let said = File::options().create(true).append(true).open(path("said"));
        let said = said.map_err(when("a file"))?;
        let listener = self.listener.try_clone().map_err(when("the listener"))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", BECOME])
            .arg(Candidate::Ours.program()?)
            .args(self.arguments())
            .current_dir(self.directory.path())
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.group.as_ref().map(|it| ("GROUP", it.entrance())))
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("NOTIFY_SOCKET", path("notify"))
            .stdin(OwnedFd::from(listener))
            .stdout(said.try_clone().map_err(when("a file"))?)
            .stderr(said)
            .process_group(0);
        drop(store);
        let numbers: Vec<RawFd> = copies.iter().map(AsRawFd::as_raw_fd).collect();
        // SAFETY: between fork and exec only system calls are made; the copies stay open until then.
        unsafe { command.pre_exec(move || place(&numbers)) };
        let child = command.spawn().map_err(when("sh"))?;
        self.leader = Some(Pid::from_child(&child));
        Ok(())
    }

    fn arguments(&self) -> Vec<OsString> {
        let directory = self.directory.path().display();
        [
            format!("--connections-max={}", self.connections),
            "--keep-connections=yes".to_owned(),
            "--respawn=yes".to_owned(),
            format!("--control={}", self.control().display()),
            format!("--runtime-directory={directory}"),
            "--log-level=warn".to_owned(),
        ]
        .map(OsString::from)
        .to_vec()
    }

    fn control(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    /// Waits until the process that was started last serves.
    pub fn wait_until_ready(&self) -> Result<(), String> {
        let ready = self.ready.recv_timeout(LONGEST_START);
        ready.map_err(|_| format!("it does not get ready: {}", self.said()))
    }

    /// Whether another process serves since the last end.
    pub fn is_ready(&self) -> bool {
        self.ready.try_recv().is_ok()
    }

    fn forget_ready(&self) {
        while self.is_ready() {}
    }

    /// What it has printed.
    pub fn said(&self) -> String {
        let said = fs::read_to_string(self.directory.path().join("said"));
        said.unwrap_or_default().trim().to_owned()
    }

    /// The number of the process that was started last.
    pub fn process(&self) -> u32 {
        let process = self.leader.map(|it| it.as_raw_nonzero().get());
        process.unwrap_or(0).unsigned_abs()
    }

    /// The process that was started last, and its children.
    pub fn tree(&self) -> Tree {
        Tree::of(self.process())
    }

    /// Kills the process that was started last. Its last will becomes the next one.
    pub fn kill_process(&self) -> Result<(), String> {
        self.forget_ready();
        let leader = self.leader.ok_or("nothing runs")?;
        kill_process(leader, Signal::KILL).map_err(when("kill"))
    }

    /// Kills all processes at once, and waits until they have ended.
    pub fn kill_all(&mut self) -> Result<(), String> {
        let Some(leader) = self.leader.take() else {
            return Ok(());
        };
        kill_process_group(leader, Signal::KILL).map_err(when("kill"))?;
        let group = -leader.as_raw_nonzero().get();
        // SAFETY: waitpid(2) without a place for the status. All of them are children of this process: a last will
        // is a sibling of the process that has made it.
        while unsafe { libc::waitpid(group, std::ptr::null_mut(), libc::__WALL) } > 0 {}
        Ok(())
    }

    /// Calls `disnix-tcp-proxyctl`.
    pub fn call(&self, arguments: &[&str]) -> Result<Output, String> {
        let mut command = Command::new(CTL);
        command
            .arg("--control")
            .arg(self.control())
            .args(arguments)
            .stdin(Stdio::null());
        let output = command.output().map_err(when("disnix-tcp-proxyctl"))?;
        match output.status.success() {
            true => Ok(output),
            false => Err(format!(
                "disnix-tcp-proxyctl {} has failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        }
    }
}

/// Puts the descriptors where sd_listen_fds(3) looks for them.
fn place(descriptors: &[RawFd]) -> io::Result<()> {
    for (number, descriptor) in (FIRST_KEPT..).zip(descriptors) {
        // SAFETY: a system call on a descriptor that is open; it clears FD_CLOEXEC on the copy.
        if unsafe { libc::dup2(*descriptor, number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.kill_all();
        if let Ok(mut store) = self.store.lock() {
            store.clear();
        }
        // The thread of the store ends when nobody listens to it any more.
        self.ready = channel().1;
        if let Ok(socket) = UnixDatagram::unbound() {
            let _ = socket.send_to(FLUSH.as_bytes(), self.directory.path().join("notify"));
        }
    }
}
