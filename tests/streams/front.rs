//! A proxy, in every way in which bytes can go through it, with an upstream that the test plays.

use std::fs::Permissions;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use rustix::net::sockopt;
use socket2::{Domain, SockAddr, SockRef, Type};

use crate::sandbox::{self, Verdict, new_user, restrict, use_up_pipe_pages};
use crate::socket::{Place, Socket, Upstream};
use crate::support::*;

/// The way that bytes take inside the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// As it is started by default.
    Usual,
    /// So many threads.
    Threads(usize),
    /// No pipe can be had, and a process that splices is killed: everything must be copied.
    NoPipes,
    /// Its user has no pages left for pipes: those it gets hold two pages.
    SmallPipes,
    /// Its user is not root, and may have pages for 256 pipes of 256 KiB, pipe(7).
    Unprivileged,
}

/// What is on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    TcpToTcp,
    TcpToUnix,
    UnixToTcp,
    /// TCP on both sides, with the PROXY protocol in version 1.
    HeaderV1,
    /// The same in version 2.
    HeaderV2,
    /// TCP from end to end: the upstream gets the client's own socket.
    Handover,
}

impl Wiring {
    pub const ALL: [Self; 6] = [
        Self::TcpToTcp,
        Self::TcpToUnix,
        Self::UnixToTcp,
        Self::HeaderV1,
        Self::HeaderV2,
        Self::Handover,
    ];

    pub fn is_tcp(self) -> bool {
        !matches!(self, Self::TcpToUnix | Self::UnixToTcp)
    }
}

/// The proxy and what is around it.
pub struct Front {
    pub proxy: Running,
    pub place: Place,
    pub upstream: Upstream,
    /// The proxy's listener: what is set on it holds for every socket that is accepted from it.
    pub listener: Option<TcpListener>,
    pub wiring: Wiring,
    pub control: PathBuf,
    _directory: tempfile::TempDir,
    _held: Vec<OwnedFd>,
}

impl Front {
    pub fn new(path: Path, wiring: Wiring) -> Self {
        Self::with(path, wiring, |unit| unit)
    }

    /// As [`Self::new`], with more that the unit is to have.
    pub fn with(path: Path, wiring: Wiring, more: impl FnOnce(Unit) -> Unit) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (front, back) = (
            directory.path().join("front"),
            directory.path().join("back"),
        );
        let upstream = match wiring {
            Wiring::TcpToUnix => Upstream::Unix(UnixListener::bind(&back).unwrap()),
            Wiring::Handover => Upstream::Handover(UnixDatagram::bind(&back).unwrap()),
            _ => Upstream::Tcp(TcpListener::bind((own_ip(), 0)).unwrap()),
        };
        let target = match &upstream {
            Upstream::Tcp(listener) => listener.local_addr().unwrap().to_string(),
            Upstream::Unix(_) => format!("unix:{}", back.display()),
            Upstream::Handover(_) => format!("handover:{}", back.display()),
        };
        if back.exists() {
            std::fs::set_permissions(&back, Permissions::from_mode(0o777)).unwrap();
        }
        let home = directory.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let control = home.join("control");
        let (unit, held) = unit(path, &directory);
        let mut unit = unit.arg(target).arg("--control").arg(&control);
        unit = match wiring {
            Wiring::HeaderV1 => unit.arg("--proxy-protocol=v1"),
            Wiring::HeaderV2 => unit.arg("--proxy-protocol=v2"),
            _ => unit,
        };
        let (place, listener) = match wiring {
            Wiring::UnixToTcp => {
                unit = unit.socket("clients", UnixListener::bind(&front).unwrap());
                (Place::Unix(front), None)
            }
            _ => {
                let listener = TcpListener::bind((own_ip(), 0)).unwrap();
                let address = listener.local_addr().unwrap();
                unit = unit.socket("clients", listener.try_clone().unwrap());
                (Place::Tcp(address), Some(listener))
            }
        };
        Self {
            proxy: more(unit).ready(),
            place,
            upstream,
            listener,
            wiring,
            control,
            _directory: directory,
            _held: held,
        }
    }

    /// What the upstream receives before anything else.
    pub fn header(&self, client: &Socket) -> Vec<u8> {
        let Some((from, to)) = client.addresses else {
            return Vec::new();
        };
        match self.wiring {
            Wiring::HeaderV1 => format!(
                "PROXY TCP4 {} {} {} {}\r\n",
                from.ip(),
                to.ip(),
                from.port(),
                to.port()
            )
            .into_bytes(),
            Wiring::HeaderV2 => {
                let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
                for address in [from, to] {
                    let std::net::IpAddr::V4(ip) = address.ip() else {
                        panic!("{address} is not of IPv4");
                    };
                    header.extend(ip.octets());
                }
                header.extend(from.port().to_be_bytes());
                header.extend(to.port().to_be_bytes());
                header
            }
            _ => Vec::new(),
        }
    }

    /// Gives every connection that is accepted from now on these receive buffers, at the proxy and at
    /// the upstream: they do not grow by themselves any more, socket(7).
    pub fn has_receive_buffers(&self, proxy: usize, at_upstream: usize) {
        let Upstream::Tcp(upstream) = &self.upstream else {
            panic!("{:?} is not TCP on both sides", self.wiring);
        };
        let listener = self.listener.as_ref().unwrap();
        for (listener, size) in [(listener, proxy), (upstream, at_upstream)] {
            sockopt::set_socket_recv_buffer_size_force(listener, size)
                .expect("only root can do that");
        }
    }

    /// Gives every connection that is accepted from now on segments as on an Ethernet, in both
    /// directions: with those of the loopback interface, 64 KiB, the kernel lets socket buffers grow
    /// to megabytes, and hundreds of full ones are more than it has memory for (`tcp_mem`, tcp(7)).
    pub fn has_small_segments(&self) {
        let Upstream::Tcp(upstream) = &self.upstream else {
            panic!("{:?} is not TCP on both sides", self.wiring);
        };
        for listener in [self.listener.as_ref().unwrap(), upstream] {
            SockRef::from(listener).set_tcp_mss(1400).unwrap();
        }
    }

    /// A client and the upstream's end of its connection, both of TCP.
    pub fn pair(&self) -> (TcpStream, TcpStream) {
        self.pair_with(|_| {})
    }

    /// As [`Self::pair`], with a client whose socket is prepared before it connects.
    pub fn pair_with(&self, prepare: impl FnOnce(SockRef<'_>)) -> (TcpStream, TcpStream) {
        let (Place::Tcp(address), Upstream::Tcp(listener)) = (&self.place, &self.upstream) else {
            panic!("{:?} is not TCP on both sides", self.wiring);
        };
        let client = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        prepare(SockRef::from(&client));
        client.connect(&(*address).into()).unwrap();
        let client = TcpStream::from(client);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        SockRef::from(listener)
            .set_read_timeout(Some(PATIENCE))
            .unwrap();
        let (upstream, _) = listener.accept().expect("the client does not pass");
        upstream.set_read_timeout(Some(PATIENCE)).unwrap();
        (client, upstream)
    }

    /// The same whatever the families are, both with a time limit.
    pub fn ends(&self) -> (socket2::Socket, socket2::Socket) {
        let (domain, address) = match &self.place {
            Place::Tcp(address) => (Domain::IPV4, (*address).into()),
            Place::Unix(path) => (Domain::UNIX, SockAddr::unix(path).unwrap()),
        };
        let client = socket2::Socket::new(domain, Type::STREAM, None).unwrap();
        client.connect(&address).unwrap();
        let listener = match &self.upstream {
            Upstream::Tcp(listener) => SockRef::from(listener),
            Upstream::Unix(listener) => SockRef::from(listener),
            Upstream::Handover(_) => panic!("nobody is accepted there"),
        };
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
        let (upstream, _) = listener.accept().expect("the client does not pass");
        for end in [&client, &upstream] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
            end.set_write_timeout(Some(PATIENCE)).unwrap();
        }
        (client, upstream)
    }

    /// The output of `disnix-tcp-proxyctl --json` with these arguments.
    pub fn asks(&self, arguments: &[&str]) -> serde_json::Value {
        let (status, text) = run_ctl(&self.control, &[arguments, &["--json"]].concat());
        assert_eq!(status, 0, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

/// An address of this machine that no other test uses: a stray client of another test would be taken
/// for one of ours.
fn own_ip() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high.max(1), low, NEXT.fetch_add(1, Relaxed))
}

fn unit(path: Path, directory: &tempfile::TempDir) -> (Unit, Vec<OwnedFd>) {
    match path {
        Path::Usual => (Unit::new(PROXY), Vec::new()),
        Path::Threads(count) => {
            let unit = Unit::new(PROXY).env("DISNIX_TCP_PROXY_THREADS", &count.to_string());
            (unit, Vec::new())
        }
        Path::NoPipes => {
            let rules = [
                (libc::SYS_pipe2, Verdict::Fails(libc::EMFILE)),
                (libc::SYS_splice, Verdict::Kills),
            ];
            (restrict(Unit::new(PROXY), &rules), Vec::new())
        }
        Path::Unprivileged => (as_user(new_user(), directory), Vec::new()),
        Path::SmallPipes => {
            let user = new_user();
            let pipes = use_up_pipe_pages(user);
            (as_user(user, directory), pipes)
        }
    }
}

/// A proxy that runs as this user, with the program where the user can reach it, and a home that root has
/// given to the user.
pub fn as_user(user: u32, directory: &tempfile::TempDir) -> Unit {
    let program = directory.path().join("program");
    // By another process: what this one has open for writing, a child that another test starts just
    // then has open as well, and no process can execute it meanwhile.
    let copied = std::process::Command::new("cp")
        .arg(PROXY)
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let home = directory.path().join("home");
    chown(home, Some(user), Some(user)).expect("only root can do that");
    Unit::new(program.to_str().unwrap()).run_as(user)
}

/// The rule that shows whether a process splices: it would not survive it.
pub const SPLICE_KILLS: sandbox::Rule = (libc::SYS_splice, Verdict::Kills);
