//! `hello-world-server`: answers `hello`; between two clients it need not run.

mod conversation;

use std::io;
use std::process::ExitCode;

use conversation::converse;

use super::options::ServerOptions;
use crate::service::activation::{self, ActivationError, Inherited};
use crate::service::address::Address;
use crate::service::program::{self, Failure};
use crate::service::server::{ClientHandler, Listeners, ServedClient, ServerLimits, serve_clients};

/// The program `hello-world-server`.
pub fn main() -> ExitCode {
    let inherited = activation::inherited();
    let options = ServerOptions::read().unwrap_or_else(|error| program::refuse(&error));
    let level = options.log_level;
    program::run("hello-world-server", level, run(options, inherited))
}

/// Answers `hello` with this.
struct Greeter {
    greeting: String,
}

impl ClientHandler for Greeter {
    async fn handle(&self, client: &ServedClient) -> io::Result<()> {
        converse(client, &self.greeting).await
    }
}

async fn run(
    options: ServerOptions,
    inherited: Result<Vec<Inherited>, ActivationError>,
) -> Result<(), Failure> {
    let listeners = listeners(&options, inherited?).await?;
    let limits = ServerLimits {
        exit_idle_time: options.exit_idle_time.finite(),
        drain_timeout: options.drain_timeout.finite(),
        connections_max: options.connections_max,
    };
    let greeting = options.greeting;
    serve_clients(listeners, limits, Greeter { greeting }).await
}

/// All inherited listeners, or those of the command line.
async fn listeners(
    options: &ServerOptions,
    inherited: Vec<Inherited>,
) -> Result<Listeners, Failure> {
    let listeners = Listeners::inherited(inherited)?;
    if !listeners.is_empty() {
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
    Listeners::bind(&addresses, &options.handover, options.bind_timeout).await
}
