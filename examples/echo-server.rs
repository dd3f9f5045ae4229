//! Sends back what it receives. systemd starts it for its first client, and it ends without one.

use disnix_proxy_example::service::server::{self, ClientHandler, ServedClient};
use disnix_proxy_example::service::{activation, log::Level, program};
use std::{io, process::ExitCode, time::Duration};

struct Echo;

impl ClientHandler for Echo {
    async fn handle(&self, client: &ServedClient) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while let count @ 1.. = client.receive(&mut buffer).await? {
            client.send_all(&buffer[..count]).await?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    // First of all: what the process opens before could be taken for a socket of systemd.
    let sockets = activation::inherited();
    program::run("echo-server", Level::default(), async {
        let limits = server::ServerLimits {
            exit_idle_time: Some(Duration::from_secs(1)),
            ..Default::default()
        };
        let listeners = server::Listeners::inherited(sockets?)?;
        server::serve_clients(listeners, limits, Echo).await
    })
}
