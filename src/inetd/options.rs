//! The command line of `disnix-tcp-proxy-inetd`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::service::address::socket_path;
use crate::service::command_line;
use crate::service::log::Level;
use crate::service::program::positive;
use crate::service::timespan::TimeSpan;
use crate::service::variables::VariableNames;
use crate::service::version::version;

/// Runs COMMAND for each client of a disnix-tcp-proxy with the target handover:PATH; the client is its standard input
/// and output.
///
/// The socket at PATH comes from systemd (ListenDatagram= in a .socket unit), or is made by --handover. Times are
/// written as in systemd: 5s, 1min 30s, 500ms, infinity; a bare number is seconds.
#[derive(Clone, Debug, Parser)]
#[command(name = "disnix-tcp-proxy-inetd", version = version())]
pub struct InetdOptions {
    /// The program, and its arguments: git daemon --inetd, for example.
    #[arg(required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,

    /// Take the clients of a proxy with the target handover:PATH, unless systemd passes sockets; repeatable.
    #[arg(
        long,
        value_name = "PATH",
        env = "DISNIX_TCP_PROXY_INETD_HANDOVER",
        value_delimiter = ' ',
        value_parser = PathBufValueParser::new().try_map(socket_path)
    )]
    pub handover: Vec<PathBuf>,

    /// The most processes at a time, one for each client; further clients wait.
    #[arg(long, value_name = "N", env = "DISNIX_TCP_PROXY_INETD_PROCESSES_MAX",
          default_value_t = 64, value_parser = positive)]
    pub processes_max: usize,

    /// End when no process has run for so long; systemd starts it again for the next client.
    ///
    /// Only with sockets from systemd.
    #[arg(
        long,
        value_name = "TIME",
        env = "DISNIX_TCP_PROXY_INETD_EXIT_IDLE_TIME",
        default_value = "infinity"
    )]
    pub exit_idle_time: TimeSpan,

    /// How long processes may go on when this program is told to stop.
    #[arg(
        long,
        value_name = "TIME",
        env = "DISNIX_TCP_PROXY_INETD_DRAIN_TIMEOUT",
        default_value = "30s"
    )]
    pub drain_timeout: TimeSpan,

    /// What to log: error, warn, info (processes that fail), debug (every process) or trace.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "DISNIX_TCP_PROXY_INETD_LOG_LEVEL",
        default_value = "info"
    )]
    pub log_level: Level,
}

/// The variables of the program. The shipped unit has the command in one, and systemd divides it into words.
const VARIABLES: VariableNames = VariableNames {
    prefix: "DISNIX_TCP_PROXY_INETD_",
    others: &["COMMAND"],
};

impl InetdOptions {
    /// Reads the command line and the environment. Variables that belong to no option are an error, too.
    pub(super) fn read() -> Result<Self, clap::Error> {
        let tolerates = false;
        let (options, _) = command_line::parse_with(&VARIABLES, tolerates)?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_every_option_has_a_variable() {
        command_line::check(InetdOptions::command(), "DISNIX_TCP_PROXY_INETD_");
    }

    #[test]
    fn what_follows_the_program_belongs_to_it() {
        let words = ["inetd", "--processes-max=2", "sh", "-c", "a b", "--help"];
        let options = InetdOptions::try_parse_from(words).unwrap();
        assert_eq!(options.command, ["sh", "-c", "a b", "--help"]);
        assert_eq!(options.processes_max, 2);
        let options = InetdOptions::try_parse_from(["inetd", "--", "cat"]).unwrap();
        assert_eq!(options.command, ["cat"]);
        assert!(InetdOptions::try_parse_from(["inetd"]).is_err());
        assert!(InetdOptions::try_parse_from(["inetd", "--processes-max=0", "cat"]).is_err());
    }
}
