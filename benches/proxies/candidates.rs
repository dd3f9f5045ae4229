//! Who takes part, and how each is started.

use std::env;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use socket2::{Domain, Socket as Socket2, Type};

use crate::control;
use crate::load::{Destination, when};
use crate::memory::Group;
use crate::pattern::Protocol;
use crate::peers;
use crate::program::{Invocation, Running, Socket, find};
use crate::tools::tool::{Services, Tool};

/// Clients that may wait to be accepted, for everybody.
pub const BACKLOG: i32 = 4096;

/// Where everybody listens: clients and service are on this machine.
pub const LISTENING_AT: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The program that is measured.
const OURS: &str = env!("CARGO_BIN_EXE_disnix-tcp-proxy");

/// The roles that this program plays itself, in other processes.
pub const UPSTREAM: &str = "--play-upstream";
/// See [`UPSTREAM`].
pub const COPY: &str = "--play-copy";
/// What the upstream is told if it shall speak HTTP.
pub const SPEAK_HTTP: &str = "http";

/// When [`Candidate::Detaching`] ends the upstream of an idle client.
const DETACHED_AFTER: &str = "1s";

/// One who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// disnix-tcp-proxy, with `--threads` or as it comes.
    Ours {
        /// `None`: as many as there are processors.
        threads: Option<usize>,
    },
    /// disnix-tcp-proxy that knows where a request in HTTP ends.
    Requests,
    /// The same, and clients that are idle are detached.
    Detaching,
    /// disnix-tcp-proxy that hands clients over.
    Handover,
    /// Another build of disnix-tcp-proxy: [`compare_with`].
    Other,
    /// HAProxy, mode tcp or http.
    Haproxy {
        /// `nbthread`
        threads: usize,
        /// `option splice-request` and `splice-response`
        splice: bool,
    },
    /// systemd-socket-proxyd.
    SocketProxyd,
    /// nginx with its stream module, or as an HTTP proxy.
    Nginx {
        /// `worker_processes`
        workers: usize,
    },
    /// [`crate::copy`].
    Copy,
    /// The client talks to the service itself.
    Nobody,
}

/// Everybody, in the order of the tables.
pub const ALL: &[Candidate] = &[
    Candidate::Ours { threads: None },
    Candidate::Ours { threads: Some(1) },
    Candidate::Requests,
    Candidate::Detaching,
    Candidate::Handover,
    Candidate::Other,
    Candidate::Haproxy {
        threads: 1,
        splice: false,
    },
    Candidate::Haproxy {
        threads: 1,
        splice: true,
    },
    Candidate::Haproxy {
        threads: 2,
        splice: false,
    },
    Candidate::Haproxy {
        threads: 2,
        splice: true,
    },
    Candidate::SocketProxyd,
    Candidate::Nginx { workers: 1 },
    Candidate::Nginx { workers: 2 },
    Candidate::Copy,
    Candidate::Nobody,
];

static OTHER: OnceLock<PathBuf> = OnceLock::new();

/// Gives [`Candidate::Other`] its program.
pub fn compare_with(program: PathBuf) {
    // There is one command line.
    let _ = OTHER.set(program);
}

/// The program of [`Candidate::Other`], if it takes part.
pub fn other() -> Option<PathBuf> {
    OTHER.get().cloned()
}

impl Candidate {
    /// As it is called in tables.
    pub fn name(self) -> String {
        match self {
            Self::Ours { threads: None } => "disnix-tcp-proxy".to_owned(),
            Self::Ours { threads: Some(n) } => format!("disnix-tcp-proxy --threads {n}"),
            Self::Requests => "disnix-tcp-proxy --requests http".to_owned(),
            Self::Detaching => {
                format!("disnix-tcp-proxy --requests http --detach-idle {DETACHED_AFTER}")
            }
            Self::Handover => "disnix-tcp-proxy, handover".to_owned(),
            Self::Other => "disnix-tcp-proxy, other build".to_owned(),
            Self::Haproxy { threads, splice } => {
                let threads = many(threads, "thread");
                format!("HAProxy, {threads}{}", if splice { ", splice" } else { "" })
            }
            Self::SocketProxyd => "systemd-socket-proxyd".to_owned(),
            Self::Nginx { workers } => format!("nginx, {}", many(workers, "worker")),
            Self::Copy => "tokio copy_bidirectional".to_owned(),
            Self::Nobody => "no proxy".to_owned(),
        }
    }

    /// The name by which it is chosen or left away on the command line.
    pub fn family(self) -> &'static str {
        match self {
            Self::Ours { .. } | Self::Requests | Self::Detaching | Self::Handover => "ours",
            Self::Other => "other",
            Self::Haproxy { .. } => "haproxy",
            Self::SocketProxyd => "socket-proxyd",
            Self::Nginx { .. } => "nginx",
            Self::Copy => "copy",
            Self::Nobody => "nobody",
        }
    }

    /// One to be compared with.
    pub fn is_peer(self) -> bool {
        !["ours", "nobody"].contains(&self.family())
    }

    /// Descriptors that it has open for each connection.
    pub fn descriptors(self) -> usize {
        match self {
            Self::SocketProxyd => 6, // two sockets, two pipes
            _ => 2,
        }
    }

    /// Its program.
    ///
    /// # Errors
    ///
    /// What to do to have it.
    pub fn program(self) -> Result<PathBuf, String> {
        let installed = |name: &str, package: &str| {
            find(name).ok_or_else(|| format!("{name} is missing: apt-get install {package}"))
        };
        match self {
            Self::Ours { .. } | Self::Requests | Self::Detaching | Self::Handover => {
                Ok(OURS.into())
            }
            Self::Other => other().ok_or_else(|| "--compare-with is missing".to_owned()),
            Self::Haproxy { .. } => installed("haproxy", "haproxy"),
            Self::SocketProxyd => installed("systemd-socket-proxyd", "systemd"),
            Self::Nginx { .. } => installed("nginx", "nginx-light"),
            Self::Copy | Self::Nobody => env::current_exe().map_err(when("this program")),
        }
    }

    /// Whether it can be started.
    ///
    /// # Errors
    ///
    /// What to do to have it, and all that it needs.
    pub fn check(self, protocol: Protocol) -> Result<(), String> {
        if let (Self::Nginx { .. }, Protocol::Plain) = (self, protocol) {
            peers::nginx_module()?;
        }
        self.program().map(drop)
    }

    /// Starts it between clients and `upstream`. `None` when there is nobody to start; else it
    /// serves, at the port.
    pub fn start(
        self,
        upstream: &Upstream,
        connections: usize,
        group: Option<&Group>,
    ) -> Result<Option<(Running, u16)>, String> {
        let (socket, port) = match self {
            Self::Nobody => return Ok(None),
            Self::Haproxy { .. } | Self::Nginx { .. } => (Socket::Own, free_port()?),
            Self::Copy => {
                let (listener, port) = listener(0)?;
                (Socket::Input(listener), port)
            }
            _ => {
                let (listener, port) = listener(0)?;
                (Socket::Activated(listener), port)
            }
        };
        let mut running = Running::start(socket, group, |directory| {
            Ok(Invocation {
                program: self.program()?,
                arguments: self.arguments(directory, port, upstream, connections)?,
            })
        })?;
        match upstream.is_ours {
            true => running.wait_until_it_serves(upstream.through(port))?,
            false => running.wait_until_it_listens(port)?,
        }
        Ok(Some((running, port)))
    }

    /// The arguments of its program, which may write to the directory.
    fn arguments(
        self,
        directory: &Path,
        port: u16,
        upstream: &Upstream,
        connections: usize,
    ) -> Result<Vec<OsString>, String> {
        let protocol = upstream.at.protocol;
        let target = format!("{LISTENING_AT}:{}", upstream.at.port);
        let max = format!("--connections-max={connections}");
        let requests = "--requests=http".to_owned();
        let ours = |target: String, more: Vec<String>| {
            words(
                ["--log-level=warn".to_owned(), max.clone(), target]
                    .into_iter()
                    .chain(more),
            )
        };
        Ok(match self {
            Self::Ours { threads } => {
                let threads = threads.map(|n| format!("--threads={n}"));
                ours(target, threads.into_iter().collect())
            }
            Self::Requests => ours(target, vec![requests]),
            Self::Detaching => {
                let idle = format!("--detach-idle={DETACHED_AFTER}");
                let control = directory.join(control::SOCKET);
                let control = format!("--control={}", control.display());
                ours(target, vec![requests, idle, control])
            }
            Self::Handover => {
                // Where the ends of its tokens are, as under systemd.
                let runtime = format!("--runtime-directory={}", directory.display());
                let target = format!("handover:{}", upstream.queue.display());
                ours(target, vec![runtime])
            }
            Self::Other => match protocol {
                Protocol::Plain => ours(target, Vec::new()),
                Protocol::Http => ours(target, vec![requests]),
            },
            Self::SocketProxyd => words([max, target]),
            Self::Copy => words([COPY.to_owned(), target]),
            Self::Haproxy { threads, splice } => match protocol {
                Protocol::Plain => {
                    peers::haproxy(directory, port, &target, threads, splice, connections)?
                }
                Protocol::Http => {
                    peers::haproxy_http(directory, port, &target, threads, connections)?
                }
            },
            Self::Nginx { workers } => match protocol {
                Protocol::Plain => peers::nginx(directory, port, &target, workers, connections)?,
                Protocol::Http => {
                    peers::nginx_http(directory, port, &target, workers, connections)?
                }
            },
            Self::Nobody => Vec::new(),
        })
    }
}

/// The service that all of them lead to.
pub struct Upstream {
    /// Where it listens.
    pub at: Destination,
    /// Where clients are handed over to it.
    queue: PathBuf,
    /// Whether it is that of this benchmark.
    is_ours: bool,
    _running: Running,
}

impl Upstream {
    /// Starts it.
    pub fn start(protocol: Protocol) -> Result<Self, String> {
        let (listener, port) = listener(0)?;
        let program = env::current_exe().map_err(when("this program"))?;
        let mut queue = PathBuf::new();
        let mut running = Running::start(Socket::Input(listener), None, |directory| {
            queue = directory.join("handover");
            let mut arguments = vec![UPSTREAM.into(), queue.clone().into()];
            if protocol == Protocol::Http {
                arguments.push(SPEAK_HTTP.into());
            }
            Ok(Invocation { program, arguments })
        })?;
        let at = Destination { port, protocol };
        running.wait_until_it_serves(at)?;
        Ok(Self {
            at,
            queue,
            is_ours: true,
            _running: running,
        })
    }

    /// Starts the service of a tool.
    pub fn start_for(tool: Tool, services: &Services) -> Result<Self, String> {
        let port = free_port()?;
        let serve = |directory: &Path| tool.serve(services, directory, port);
        let mut running = Running::start(Socket::Own, None, serve)?;
        running.wait_until_it_listens(port)?;
        tool.wait_until_ready(services, &mut running, port)?;
        Ok(Self {
            at: Destination {
                port,
                protocol: Protocol::Plain,
            },
            queue: PathBuf::new(),
            is_ours: false,
            _running: running,
        })
    }

    /// The same through a proxy that listens there.
    pub fn through(&self, port: u16) -> Destination {
        Destination { port, ..self.at }
    }
}

/// A listener.
fn listener(port: u16) -> Result<(TcpListener, u16), String> {
    let listen = || {
        let socket = Socket2::new(Domain::IPV4, Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((LISTENING_AT, port)).into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let port = listener.local_addr()?.port();
        Ok::<_, std::io::Error>((listener, port))
    };
    listen().map_err(when("listening"))
}

/// A port below those that the kernel gives to clients, so that none of them takes it meanwhile.
fn free_port() -> Result<u16, String> {
    let first = 20_000 + (std::process::id() % 100) as u16 * 100;
    (first..32_000)
        .find(|&port| listener(port).is_ok())
        .ok_or_else(|| "there is no free port".to_owned())
}

fn words(list: impl IntoIterator<Item = String>) -> Vec<OsString> {
    list.into_iter().map(OsString::from).collect()
}

fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
