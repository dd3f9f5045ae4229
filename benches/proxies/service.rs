//! The service that all proxies lead to, as it is started.

use std::env;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use crate::load::{Destination, when};
use crate::network::Hosts;
use crate::pattern::Protocol;
use crate::program::{Invocation, Running, Socket, free_port, listener};
use crate::tools::tool::{Services, Tool};

/// This program plays it itself, in another process.
pub const UPSTREAM: &str = "--play-upstream";
/// What it is told if it shall speak HTTP.
pub const SPEAK_HTTP: &str = "http";

/// The service, and where it and the others are.
pub struct Upstream {
    /// Where it listens.
    pub at: Destination,
    /// Where clients are handed over to it.
    pub queue: PathBuf,
    /// Whether it is that of this benchmark.
    pub is_ours: bool,
    /// Where everybody is.
    pub hosts: Hosts,
    _running: Running,
}

impl Upstream {
    /// Starts it.
    pub fn start(protocol: Protocol, hosts: Hosts) -> Result<Self, String> {
        let program = env::current_exe().map_err(when("this program"))?;
        let mut queue = PathBuf::new();
        let (mut running, at) = hosts.service.within(|| {
            let (listener, at) = listener(hosts.service.address)?;
            let running = Running::start(Socket::Input(listener), None, |directory| {
                queue = directory.join("handover");
                let mut arguments = vec![UPSTREAM.into(), queue.clone().into()];
                if protocol == Protocol::Http {
                    arguments.push(SPEAK_HTTP.into());
                }
                Ok(Invocation { program, arguments })
            })?;
            Ok((running, at))
        })?;
        let at = Destination {
            at,
            clients: hosts.clients,
            protocol,
        };
        running.wait_until_it_serves(at)?;
        Ok(Self {
            at,
            queue,
            is_ours: true,
            hosts,
            _running: running,
        })
    }

    /// Starts the service of a tool.
    pub fn start_for(tool: Tool, services: &Services, hosts: Hosts) -> Result<Self, String> {
        let (running, at) = hosts.service.within(|| {
            let at = free_port(hosts.service.address)?;
            let serve = |directory: &Path| tool.serve(services, directory, at);
            let mut running = Running::start(Socket::Own, None, serve)?;
            running.wait_until_it_listens(at.port())?;
            tool.wait_until_ready(services, &mut running, at.port())?;
            Ok((running, at))
        })?;
        let at = Destination {
            at,
            clients: hosts.clients,
            protocol: Protocol::Plain,
        };
        Ok(Self {
            at,
            queue: PathBuf::new(),
            is_ours: false,
            hosts,
            _running: running,
        })
    }

    /// The same through a proxy that listens there.
    pub fn through(&self, at: SocketAddrV4) -> Destination {
        Destination { at, ..self.at }
    }
}
