//! `hello-world-server`: answers `hello`; between two clients it need not run.

mod acceptor;
mod conversation;
mod state;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use state::Server;

use super::options::ServerOptions;
use crate::service::activation::{self, ActivationError, Inherited};
use crate::service::address::Address;
use crate::service::alarm::Alarm;
use crate::service::binding;
use crate::service::exhausted;
use crate::service::listener::Listener;
use crate::service::program::{self, Failure};
use crate::service::serve::{Lifetime, serve};

/// How long a silent client may be unreachable before it is taken for gone.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// The `FileDescriptorName=` of sockets to which clients are handed over.
const HANDOVER_NAME: &str = "handover";

/// Descriptors that are not for connections.
const DESCRIPTORS_RESERVED: u64 = 32;

/// Descriptors that serving needs beside the client's: for signals and times.
const DESCRIPTORS_TO_SERVE: usize = 4;

/// The program `hello-world-server`.
pub fn main() -> ExitCode {
    let inherited = activation::inherited();
    let options = ServerOptions::read().unwrap_or_else(|error| program::refuse(&error));
    let level = options.log_level;
    program::run("hello-world-server", level, run(options, inherited))
}

async fn run(
    options: ServerOptions,
    inherited: Result<Vec<Inherited>, ActivationError>,
) -> Result<(), Failure> {
    let descriptors = program::raise_descriptor_limit();
    let mut listeners = listeners(&options, inherited?).await?;
    for listener in &mut listeners {
        listener.set_options(Some(KEEPALIVE))?;
    }
    // A handed-over client comes with a token.
    let descriptors_each = 1 + u64::from(listeners.iter().any(Listener::is_handover));
    let possible = program::share_descriptors(descriptors, DESCRIPTORS_RESERVED, descriptors_each);
    let connections_max = options.connections_max.min(possible.max(1));
    let alarm = Alarm::new()?;
    exhausted::make_sure_of(DESCRIPTORS_TO_SERVE + descriptors_each as usize)?;
    let server = Arc::new(Server {
        greeting: options.greeting,
        connections_max,
        ..Server::default()
    });
    let lifetime = Lifetime {
        exit_idle_time: options.exit_idle_time.finite(),
        drain_timeout: options.drain_timeout.finite(),
    };
    let listeners: Arc<[Listener]> = listeners.into();
    let accepting = acceptor::accept(Arc::clone(&server), Arc::clone(&listeners), alarm);
    tokio::spawn(accepting);
    serve(server, listeners, lifetime).await?;
    Ok(())
}

/// All inherited listeners, or those of the command line.
async fn listeners(
    options: &ServerOptions,
    inherited: Vec<Inherited>,
) -> Result<Vec<Listener>, Failure> {
    let (handovers, inherited): (Vec<Inherited>, Vec<Inherited>) = inherited
        .into_iter()
        .partition(|socket| socket.name == HANDOVER_NAME);
    if !handovers.is_empty() || !inherited.is_empty() {
        let mut listeners = Listener::inherit_all(inherited)?;
        for socket in handovers {
            listeners.push(Listener::inherited_handover(socket.fd)?);
        }
        return Ok(listeners);
    }
    if let Some(why) = activation::elsewhere() {
        tracing::warn!("{why}");
    }
    let mut addresses = options.listen.clone();
    if let Some(port) = options.port() {
        let host = "::".to_owned();
        addresses.push(Address::Tcp { host, port });
    }
    let mut listeners = binding::bind_all(&addresses, options.bind_timeout).await?;
    for path in &options.handover {
        listeners.push(binding::bind_handover(path, options.bind_timeout).await?);
    }
    Ok(listeners)
}
