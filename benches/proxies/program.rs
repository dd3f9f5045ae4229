//! Starts and ends the programs that take part.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket as Socket2, Type};
use tempfile::TempDir;

use crate::cpu::Tree;
use crate::load::{Client, Destination, PATIENCE, exchange, when};
use crate::memory::Group;
use crate::pattern::Random;

/// Whoever has not ended by then after it was told to, is killed.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A program that uses no processor for this time has nothing to do.
const REST: Duration = Duration::from_millis(50);

/// Enters the control group, takes the listener as systemd hands it over (sd_listen_fds(3): only
/// the new process knows its number), and becomes the program.
pub const BECOME: &str = r#"
    [ -z "$GROUP" ] || echo $$ >"$GROUP" || exit 1
    [ -z "$LISTEN_FDS" ] || { export LISTEN_PID=$$; exec 3<&0 </dev/null; }
    unset GROUP
    exec "$0" "$@""#;

/// A program with its arguments.
pub struct Invocation {
    /// Where it is.
    pub program: PathBuf,
    /// Without its name.
    pub arguments: Vec<OsString>,
}

/// Options without spaces in them.
pub fn words(options: &str) -> Vec<OsString> {
    options.split_whitespace().map(OsString::from).collect()
}

/// Clients that may wait to be accepted, for everybody.
pub const BACKLOG: i32 = 4096;

/// A listener with any port of this host.
pub fn listener(address: Ipv4Addr) -> Result<(TcpListener, SocketAddrV4), String> {
    listen(SocketAddrV4::new(address, 0)).map_err(when("listening"))
}

/// A port below those that the kernel gives to clients, so that none of them takes it meanwhile.
pub fn free_port(address: Ipv4Addr) -> Result<SocketAddrV4, String> {
    let first = 20_000 + (std::process::id() % 100) as u16 * 100;
    (first..32_000)
        .map(|port| SocketAddrV4::new(address, port))
        .find(|&at| listen(at).is_ok())
        .ok_or_else(|| "there is no free port".to_owned())
}

fn listen(at: SocketAddrV4) -> io::Result<(TcpListener, SocketAddrV4)> {
    let socket = Socket2::new(Domain::IPV4, Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let port = listener.local_addr()?.port();
    Ok((listener, SocketAddrV4::new(*at.ip(), port)))
}

/// How a program gets its listening socket.
pub enum Socket {
    /// It makes one itself.
    Own,
    /// As descriptor 3, with `LISTEN_FDS` and `LISTEN_PID`.
    Activated(TcpListener),
    /// As standard input.
    Input(TcpListener),
}

/// A program that runs, in a directory of its own; ended when this is dropped.
pub struct Running {
    child: Child,
    directory: TempDir,
}

impl Running {
    /// Starts a program. Its arguments are made with the directory that it may write to.
    pub fn start(
        socket: Socket,
        group: Option<&Group>,
        invocation: impl FnOnce(&Path) -> Result<Invocation, String>,
    ) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(when("a directory"))?;
        let invocation = invocation(directory.path())?;
        let said = fs::File::create(directory.path().join("said")).map_err(when("a file"))?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", BECOME])
            .arg(invocation.program)
            .args(invocation.arguments)
            .current_dir(directory.path())
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(group.map(|group| ("GROUP", group.entrance())))
            .stdout(said.try_clone().map_err(when("a file"))?)
            .stderr(said);
        match socket {
            Socket::Own => command.stdin(Stdio::null()),
            Socket::Input(listener) => command.stdin(OwnedFd::from(listener)),
            Socket::Activated(listener) => command
                .env("LISTEN_FDS", "1")
                .stdin(OwnedFd::from(listener)),
        };
        let child = command.spawn().map_err(when("sh"))?;
        Ok(Self { child, directory })
    }

    /// Its processes.
    pub fn processes(&self) -> Tree {
        Tree::of(self.child.id())
    }

    /// The directory that it may write to.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until clients can connect to it, without a connection: iperf3 would take it for its client.
    pub fn wait_until_it_listens(&mut self, port: u16) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while !is_listening(port) {
            self.check(until, "it does not listen")?;
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until it does nothing any more.
    pub fn wait_until_it_rests(&self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let before = self.processes().used();
            thread::sleep(REST);
            if self.processes().used() == before {
                return Ok(());
            }
            if Instant::now() > until {
                return Err("it is busy without a client".to_owned());
            }
        }
    }

    /// Waits until a client is served through it.
    pub fn wait_until_it_serves(&mut self, at: Destination) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let served = Client::new(at, 0)
                .map_err(|error| error.to_string())
                .and_then(|mut client| exchange(&mut client, &mut Random(1)));
            let Err(error) = served else { return Ok(()) };
            self.check(until, &format!("it does not serve ({error})"))?;
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// An error with what it has said, if it has ended or it is too late.
    pub fn check(&mut self, until: Instant, what: &str) -> Result<(), String> {
        let ended = self.child.try_wait().map_err(when("wait"))?;
        if ended.is_none() && Instant::now() <= until {
            return Ok(());
        }
        let said = fs::read_to_string(self.directory.path().join("said")).unwrap_or_default();
        Err(format!("{what}: {}", said.trim()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let processes = self.processes();
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM); // it may have ended
        let until = Instant::now() + LAST_WORDS;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                processes.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Where an installed program is: daemons are not always in the `PATH` of a user.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/lib/systemd", "/lib/systemd"];
    env::split_paths(&path)
        .chain(more.map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

/// Whether something listens at the port, in the network of this process (proc_net(5)).
fn is_listening(port: u16) -> bool {
    let end = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|path| {
        let sockets = fs::read_to_string(path).unwrap_or_default();
        sockets.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields.len() > 3 && fields[1].ends_with(&end) && fields[3] == "0A"
        })
    })
}
