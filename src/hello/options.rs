//! The command line of `hello-world-server`.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::service::address::{Address, socket_path};
use crate::service::command_line;
use crate::service::log::Level;
use crate::service::program::positive;
use crate::service::timespan::TimeSpan;
use crate::service::variables::VariableNames;
use crate::service::version::version;

/// Answers `hello` with a greeting; `quit` ends the connection.
///
/// Its listening sockets come from systemd (a .socket unit); otherwise it listens on PORT or where
/// --listen says. Times are written as in systemd: 5s, 1min 30s, 500ms, infinity; a bare number is
/// seconds.
#[derive(Clone, Debug, Parser)]
#[command(name = "hello-world-server", version = version())]
pub struct ServerOptions {
    /// Listen on this port, IPv4 and IPv6, unless systemd passes sockets; 5000 if nothing else is
    /// said.
    #[arg(value_parser = crate::service::program::port)]
    pub port: Option<u16>,

    /// Listen here instead: HOST:PORT, PORT or unix:/PATH; repeatable.
    #[arg(long, value_name = "ADDR", env = "HELLO_WORLD_SERVER_LISTEN", value_delimiter = ' ',
          value_parser = Address::parse_listen)]
    pub listen: Vec<Address>,

    /// Take the clients that a disnix-tcp-proxy with the target handover:PATH hands over; repeatable.
    ///
    /// From systemd: a datagram socket named handover.
    #[arg(
        long,
        value_name = "PATH",
        env = "HELLO_WORLD_SERVER_HANDOVER",
        value_delimiter = ' ',
        value_parser = PathBufValueParser::new().try_map(socket_path)
    )]
    pub handover: Vec<PathBuf>,

    /// How long to wait for an address that is in use, by the previous version perhaps.
    #[arg(
        long,
        value_name = "TIME",
        env = "HELLO_WORLD_SERVER_BIND_TIMEOUT",
        default_value = "0"
    )]
    pub bind_timeout: TimeSpan,

    /// End when no connection was open for so long; systemd starts it again for the next client.
    ///
    /// Only with sockets from systemd.
    #[arg(
        long,
        value_name = "TIME",
        env = "HELLO_WORLD_SERVER_EXIT_IDLE_TIME",
        default_value = "infinity"
    )]
    pub exit_idle_time: TimeSpan,

    /// How long open connections may go on when the server is told to stop.
    #[arg(
        long,
        value_name = "TIME",
        env = "HELLO_WORLD_SERVER_DRAIN_TIMEOUT",
        default_value = "30s"
    )]
    pub drain_timeout: TimeSpan,

    /// The most connections open at a time; further clients wait in the queue.
    #[arg(long, value_name = "N", env = "HELLO_WORLD_SERVER_CONNECTIONS_MAX",
          default_value_t = 16384, value_parser = positive)]
    pub connections_max: usize,

    /// What is answered to hello, one line.
    #[arg(long, value_name = "TEXT", env = "HELLO_WORLD_SERVER_GREETING",
          default_value = "Hello world!", value_parser = one_line)]
    pub greeting: String,

    /// What to log: error, warn, info, debug (every connection) or trace.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "HELLO_WORLD_SERVER_LOG_LEVEL",
        default_value = "info"
    )]
    pub log_level: Level,
}

const DEFAULT_PORT: u16 = 5000;

/// The variables of the server.
const VARIABLES: VariableNames = VariableNames {
    prefix: "HELLO_WORLD_SERVER_",
    others: &[],
};

impl ServerOptions {
    /// Reads the command line and the environment. Variables that belong to no option are an error, too.
    pub(super) fn read() -> Result<Self, clap::Error> {
        let tolerates = false;
        let (options, _) = command_line::parse_with(&VARIABLES, tolerates)?;
        Ok(options)
    }

    /// The port to listen on: none with --listen, and the default one only without --handover too.
    pub fn port(&self) -> Option<u16> {
        let default = self.handover.is_empty().then_some(DEFAULT_PORT);
        self.port.or(default).filter(|_| self.listen.is_empty())
    }
}

fn one_line(text: &str) -> Result<String, String> {
    match text.contains(['\r', '\n']) {
        true => Err("a greeting is one line".to_owned()),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_port_is_listened_on_unless_an_address_is_given() {
        let port = |words: &[&str]| {
            ServerOptions::parse_from([&["hello-world-server"], words].concat()).port()
        };
        assert_eq!(port(&[]), Some(5000));
        assert_eq!(port(&["7"]), Some(7));
        assert_eq!(port(&["7", "--listen=8"]), None);
        assert_eq!(port(&["--listen=8"]), None);
        assert_eq!(port(&["--handover=/run/x"]), None);
        assert_eq!(port(&["7", "--handover=/run/x"]), Some(7));
    }

    #[test]
    fn the_command_line_is_consistent_and_every_option_has_a_variable() {
        command_line::check(ServerOptions::command(), "HELLO_WORLD_SERVER_");
        assert!(ServerOptions::try_parse_from(["hello-world-server", "--greeting=a\nb"]).is_err());
    }
}
