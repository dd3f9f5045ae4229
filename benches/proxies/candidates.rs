//! Who takes part, and how each is started.

use std::env;
use std::ffi::OsString;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::control;
use crate::load::when;
use crate::memory::Group;
use crate::pattern::Protocol;
use crate::peers;
use crate::program::{Invocation, Running, Socket, find, free_port, listener};
use crate::service::Upstream;

/// The program that is measured.
const OURS: &str = env!("CARGO_BIN_EXE_disnix-tcp-proxy");

/// This program plays [`Candidate::Copy`] itself, in another process.
pub const COPY: &str = "--play-copy";

/// When [`Candidate::Detaching`] ends the upstream of an idle client.
const DETACHED_AFTER: &str = "1s";

/// One who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// disnix-tcp-proxy as it comes.
    Ours,
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
    Candidate::Ours,
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
            Self::Ours => "disnix-tcp-proxy".to_owned(),
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
            Self::Ours | Self::Requests | Self::Detaching | Self::Handover => "ours",
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
            Self::Ours | Self::Requests | Self::Detaching | Self::Handover => Ok(OURS.into()),
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
    /// serves, at the address.
    pub fn start(
        self,
        upstream: &Upstream,
        connections: usize,
        group: Option<&Group>,
    ) -> Result<Option<(Running, SocketAddrV4)>, String> {
        if self == Self::Nobody {
            return Ok(None);
        }
        let proxy = &upstream.hosts.proxy;
        let (mut running, at) = proxy.within(|| {
            let mut running = self.launch(upstream, connections, group)?;
            running.0.wait_until_it_listens(running.1.port())?;
            Ok(running)
        })?;
        if upstream.is_ours {
            running.wait_until_it_serves(upstream.through(at))?;
        }
        Ok(Some((running, at)))
    }

    /// Starts it on this host.
    fn launch(
        self,
        upstream: &Upstream,
        connections: usize,
        group: Option<&Group>,
    ) -> Result<(Running, SocketAddrV4), String> {
        let address = upstream.hosts.proxy.address;
        let (socket, at) = match self {
            Self::Haproxy { .. } | Self::Nginx { .. } => (Socket::Own, free_port(address)?),
            Self::Copy => {
                let (listener, at) = listener(address)?;
                (Socket::Input(listener), at)
            }
            _ => {
                let (listener, at) = listener(address)?;
                (Socket::Activated(listener), at)
            }
        };
        let running = Running::start(socket, group, |directory| {
            Ok(Invocation {
                program: self.program()?,
                arguments: self.arguments(directory, at, upstream, connections)?,
            })
        })?;
        Ok((running, at))
    }

    /// The arguments of its program, which may write to the directory.
    fn arguments(
        self,
        directory: &Path,
        at: SocketAddrV4,
        upstream: &Upstream,
        connections: usize,
    ) -> Result<Vec<OsString>, String> {
        let protocol = upstream.at.protocol;
        let target = upstream.at.at.to_string();
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
            Self::Ours => ours(target, Vec::new()),
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
                    peers::haproxy(directory, at, &target, threads, splice, connections)?
                }
                Protocol::Http => {
                    peers::haproxy_http(directory, at, &target, threads, connections)?
                }
            },
            Self::Nginx { workers } => match protocol {
                Protocol::Plain => peers::nginx(directory, at, &target, workers, connections)?,
                Protocol::Http => peers::nginx_http(directory, at, &target, workers, connections)?,
            },
            Self::Nobody => Vec::new(),
        })
    }
}

fn words(list: impl IntoIterator<Item = String>) -> Vec<OsString> {
    list.into_iter().map(OsString::from).collect()
}

fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
