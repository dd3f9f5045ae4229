//! A network of its own for each measurement (network_namespaces(7)).
//!
//! Each connection that was closed keeps its port for a minute (`TIME_WAIT`), and connect(2) looks for
//! a free one: it takes the longer, the more connections everybody before has made. In a network of its
//! own each candidate begins with none, and there are enough ports for the fastest. Everything else is as
//! on the machine.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{self, Command, Stdio};

use clap::ValueEnum;
use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::load::when;

/// What a new namespace does not take over from the machine.
const KEPT: [&str; 2] = [
    "/proc/sys/net/unix/max_dgram_qlen",
    "/proc/sys/net/core/somaxconn",
];

/// What is set in each. Ports of connections that were closed are used again after a second, as the kernel
/// does it by default for the loopback interface only.
const SET: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535"),
    ("/proc/sys/net/ipv4/tcp_tw_reuse", "1"),
];

/// The default of a namespace.
const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// What a namespace may have as its default; for the whole machine.
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
/// Whether a host is a router.
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// The network of this thread.
const HERE: &str = "/proc/thread-self/ns/net";

/// The addresses of the clients, counted from the first one: so the ports of connections that were closed
/// are not scarce.
pub const CLIENTS: u32 = 8;

/// How clients, proxy and service are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// They are on one host, and use its loopback interface
    Loopback,
    /// Each is on a host of its own. Pairs of veth(4) devices join the proxy's to the other two
    Veth,
}

/// A congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Congestion {
    /// The kernel's default
    Cubic,
    /// It paces
    Bbr,
}

/// Where a measurement takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// How hosts are joined.
    pub network: Network,
    /// Of all connections; `None`: as on the machine.
    pub congestion: Option<Congestion>,
}

impl Setting {
    /// One host, as the machine is.
    pub const MACHINE: Self = Self {
        network: Network::Loopback,
        congestion: None,
    };

    /// In a word or two.
    pub fn name(self) -> String {
        let network = match self.network {
            Network::Loopback => "loopback",
            Network::Veth => "veth",
        };
        match self.congestion {
            Some(congestion) => format!("{network} {}", congestion.name()),
            None => network.to_owned(),
        }
    }

    /// Whether every measurement can have it.
    ///
    /// # Errors
    ///
    /// What to do to have it.
    pub fn check(self) -> Result<(), String> {
        if self == Self::MACHINE {
            return Ok(());
        }
        if !geteuid().is_root() {
            let name = self.name();
            return Err(format!("{name} needs root, for networks of its own."));
        }
        let Some(name) = self.congestion.map(Congestion::name) else {
            return Ok(());
        };
        let allowed = fs::read_to_string(ALLOWED).map_err(when(ALLOWED))?;
        match allowed.split_whitespace().any(|it| it == name) {
            true => Ok(()),
            false => Err(format!(
                "{name} is not allowed in a network namespace: modprobe tcp_{name}; \
                 sysctl net.ipv4.tcp_allowed_congestion_control=\"{} {name}\"",
                allowed.trim()
            )),
        }
    }
}

impl Congestion {
    fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }
}

/// A host, and its address for those that connect to it.
pub struct Host {
    /// The address.
    pub address: Ipv4Addr,
    /// `None`: this thread is there.
    namespace: Option<OwnedFd>,
}

/// The hosts of a measurement. This thread is on that of the clients.
pub struct Hosts {
    /// The first of the clients' addresses.
    pub clients: Ipv4Addr,
    /// Where the proxy runs.
    pub proxy: Host,
    /// Where the service runs.
    pub service: Host,
}

impl Host {
    fn here(address: Ipv4Addr) -> Self {
        Self {
            address,
            namespace: None,
        }
    }

    /// Does something on this host: sockets that are made meanwhile and programs that are started meanwhile
    /// belong to it.
    pub fn within<T>(&self, act: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        let Some(there) = &self.namespace else {
            return act();
        };
        let back = here().map_err(when("a network"))?;
        go(there).map_err(when("a network"))?;
        let done = act();
        go(&back).map_err(when("a network"))?;
        done
    }
}

/// Makes the hosts, and goes to that of the clients: this thread, and the programs that it starts from now on.
/// Without root they are this machine.
pub fn enter(setting: Setting) -> Result<Hosts, String> {
    let congestion = setting.congestion.map(Congestion::name);
    match setting.network {
        Network::Loopback => {
            if geteuid().is_root() {
                namespace(congestion).map_err(when("a network"))?;
            }
            Ok(Hosts {
                clients: Ipv4Addr::LOCALHOST,
                proxy: Host::here(Ipv4Addr::LOCALHOST),
                service: Host::here(Ipv4Addr::LOCALHOST),
            })
        }
        Network::Veth => join(congestion),
    }
}

/// Three hosts. That of the proxy also forwards packets, for clients that talk to the service itself. The
/// addresses are those for benchmarks (RFC 2544).
fn join(congestion: Option<&str>) -> Result<Hosts, String> {
    let new = || namespace(congestion).map_err(when("a network"));
    let host = |last: [u8; 2], namespace| Host {
        address: Ipv4Addr::new(198, 18, last[0], last[1]),
        namespace: Some(namespace),
    };
    let clients = host([0, 8], new()?);
    let service = host([1, 2], new()?);
    let proxy = host([0, 1], new()?);
    let path = |host: &Host| {
        let descriptor = host.namespace.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        format!("/proc/{}/fd/{descriptor}", process::id())
    };
    ip(&format!(
        "link add clients type veth peer name eth0 netns {}
         link add service type veth peer name eth0 netns {}
         address add 198.18.0.1/24 dev clients
         address add 198.18.1.1/24 dev service
         link set clients up
         link set service up",
        path(&clients),
        path(&service),
    ))?;
    fs::write(FORWARD, "1").map_err(when(FORWARD))?;
    service.within(|| {
        ip("address add 198.18.1.2/24 dev eth0
            link set eth0 up
            route add default via 198.18.1.1")
    })?;
    let first = u32::from(clients.address);
    let addresses = (first..first + CLIENTS).map(Ipv4Addr::from);
    let add = addresses.map(|it| format!("address add {it}/24 dev eth0\n"));
    clients.within(|| {
        ip(&add.collect::<String>())?;
        ip("link set eth0 up
            route add default via 198.18.0.1")
    })?;
    if let Some(there) = &clients.namespace {
        go(there).map_err(when("a network"))?;
    }
    Ok(Hosts {
        clients: clients.address,
        proxy,
        service,
    })
}

/// Enters a new namespace, with nothing but a loopback interface. `congestion` is the default of its
/// connections.
fn namespace(congestion: Option<&str>) -> io::Result<OwnedFd> {
    let kept = KEPT.map(|path| (path, fs::read(path)));
    // SAFETY: only the network changes, which no other thread of this program uses; the descriptor
    // table stays shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    for (path, value) in kept {
        fs::write(path, value?)?;
    }
    for (path, value) in SET {
        fs::write(path, value)?;
    }
    if let Some(name) = congestion {
        fs::write(CONGESTION, name)?;
    }
    ip("link set lo up").map_err(io::Error::other)?;
    here()
}

fn here() -> io::Result<OwnedFd> {
    Ok(File::open(HERE)?.into())
}

fn go(namespace: &OwnedFd) -> io::Result<()> {
    let kind = Some(LinkNameSpaceType::Network);
    Ok(move_into_link_name_space(namespace.as_fd(), kind)?)
}

/// Runs commands of ip(8), one in each line.
fn ip(commands: &str) -> Result<(), String> {
    let doing = "ip (apt-get install iproute2)";
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(when(doing))?;
    if let Some(mut input) = ip.stdin.take() {
        writeln!(input, "{commands}").map_err(when(doing))?;
    }
    let output = ip.wait_with_output().map_err(when(doing))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{doing}: {} {commands}", said.trim()))
        }
    }
}
