//! The command line.
#![allow(rustdoc::broken_intra_doc_links, reason = "the help says [V6]:PORT")]

use clap::Parser;

use super::failure::Failure;
use crate::service::address::Address;
use crate::service::timespan::TimeSpan;

const EXIT_STATUSES: &str = "\
Exit status:
  0  every request was answered
  1  any other error
  2  usage
  3  unknown host
  4  connection refused: nobody listens there
  5  timed out
  6  closed or reset by the server before it had answered

Times are systemd's: 5s, 1min 30s, 500ms, infinity; a bare number is seconds.";

/// Talk to a hello-world-server
///
/// On a terminal it prompts for requests; in a pipe it is a filter: it sends its input, prints an
/// answer for each line, and ends when its input has ended and the answers have come.
#[derive(Debug, Parser)]
#[command(name = "hello-world-client", version, after_help = EXIT_STATUSES)]
pub struct Options {
    /// The server's name or IP address, or the whole address: HOST:PORT, [V6]:PORT or unix:/PATH
    pub host: String,

    /// The server's port
    #[arg(value_parser = crate::service::program::port)]
    pub port: Option<u16>,

    /// How long to try to connect
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub timeout: TimeSpan,

    /// How long to wait for each answer. A client in the queue of a locked proxy is connected and
    /// has no answer until the gate opens, which may well take minutes
    #[arg(long, value_name = "TIME", default_value = "infinity")]
    pub answer_timeout: TimeSpan,

    /// Keep trying to connect until the server is there, for so long at most; without a TIME for
    /// ever. A host that is unknown is not waited for
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "infinity"
    )]
    pub wait: Option<TimeSpan>,
}

impl Options {
    /// The server's address.
    ///
    /// # Errors
    ///
    /// When it is none, or none that a client can connect to.
    pub fn address(&self) -> Result<Address, Failure> {
        let host = &self.host;
        let Some(port) = self.port else {
            let address = host.parse().map_err(|error| {
                Failure::Usage(format!("{error}; or give HOST and PORT as two words"))
            })?;
            return match address {
                Address::Vsock { .. } => Err(Failure::Usage(format!(
                    "{address} is a vsock address, which this client does not speak: give HOST and \
                     PORT, or unix:/PATH"
                ))),
                address => Ok(address),
            };
        };
        if host.starts_with("unix:") || host.starts_with('/') {
            return Err(Failure::Usage(format!(
                "{host} is the path of a socket, which has no port: leave {port} away"
            )));
        }
        let bracketed = host.contains(':') && !host.starts_with('[');
        let text = match bracketed {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        text.parse()
            .map_err(|error| Failure::Usage(format!("{error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn address(words: &[&str]) -> Result<String, u8> {
        let options =
            Options::try_parse_from([&["hello-world-client"], words].concat()).map_err(|_| 2u8)?;
        let address = options.address().map_err(|failure| failure.exit_status())?;
        Ok(address.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_server_is_a_host_and_a_port_or_an_address() {
        for (words, expected) in [
            (&["localhost", "5000"][..], "localhost:5000"),
            (&["::1", "5000"], "[::1]:5000"),
            (&["[::1]", "5000"], "[::1]:5000"),
            (&["localhost:5000"], "localhost:5000"),
            (&["unix:/run/hello"], "unix:/run/hello"),
            (&["/run/hello"], "unix:/run/hello"),
            (&["unix:@hello"], "unix:@hello"),
        ] {
            assert_eq!(address(words).as_deref(), Ok(expected));
        }
        for words in [
            &[][..],
            &["localhost"],
            &["localhost", "http"],
            &["localhost", "65536"],
            &["unix:/run/hello", "5000"],
            &["vsock:2:5000"],
            &["a b", "5000"],
        ] {
            assert_eq!(address(words), Err(2), "{words:?}");
        }
    }

    #[test]
    fn wait_needs_no_time_and_does_not_take_the_host_for_one() {
        let wait =
            |words: &[&str]| Options::parse_from([&["hello-world-client"], words].concat()).wait;
        assert_eq!(wait(&["h", "1"]), None);
        assert_eq!(wait(&["--wait", "h", "1"]), Some(TimeSpan::Infinity));
        assert_eq!(wait(&["--wait=5s", "h", "1"]), "5s".parse().ok());
    }
}
