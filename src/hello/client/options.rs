//! The command line.
#![allow(rustdoc::broken_intra_doc_links, reason = "the help says [V6]:PORT")]

use std::net::Ipv6Addr;

use clap::Parser;

use super::failure::ClientFailure;
use crate::service::address::{Address, AddressError};
use crate::service::program;
use crate::service::timespan::{TimeSpan, limit};
use crate::service::version::version;

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
#[command(name = "hello-world-client", version = version(), after_help = EXIT_STATUSES)]
pub struct ClientOptions {
    /// The server's name or IP address, or the whole address: HOST:PORT, [V6]:PORT or unix:/PATH
    pub host: String,

    /// The server's port
    #[arg(value_parser = port)]
    pub port: Option<u16>,

    /// How long to try to connect
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = limit)]
    pub timeout: TimeSpan,

    /// How long to wait for each answer. A client in the queue of a locked proxy is connected and
    /// has no answer until the gate opens, which may well take minutes
    #[arg(long, value_name = "TIME", default_value = "infinity", value_parser = limit)]
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

impl ClientOptions {
    /// The server's address, if a client can connect to it.
    pub(super) fn address(&self) -> Result<Address, ClientFailure> {
        let host = &self.host;
        let Some(port) = self.port else {
            let address = host.parse().map_err(|error| {
                ClientFailure::Usage(format!("{error}; or give HOST and PORT as two words"))
            })?;
            return match address {
                Address::Vsock { .. } => Err(ClientFailure::Usage(format!(
                    "{address} is a vsock address, which this client does not speak: give HOST and \
                     PORT, or unix:/PATH"
                ))),
                address => Ok(address),
            };
        };
        if host.starts_with("unix:") || host.starts_with('/') {
            return Err(ClientFailure::Usage(format!(
                "{host} is the path of a socket, which has no port: leave {port} away"
            )));
        }
        let (ip, _zone) = host.split_once('%').unwrap_or((host, ""));
        let text = match ip.parse::<Ipv6Addr>() {
            Ok(_) => format!("[{host}]:{port}"),
            Err(_) => format!("{host}:{port}"),
        };
        text.parse().map_err(|error: AddressError| {
            ClientFailure::Usage(match (host.parse::<Address>(), host.contains(['[', '%'])) {
                (Ok(_), _) => format!("{host} has a port already: leave {port} away"),
                (_, true) => error.to_string(),
                (Err(_), false) => format!(
                    "“{host}” is not a host: give a name or an IP address, and nothing else, before \
                     the port"
                ),
            })
        })
    }
}

/// A port to connect to.
fn port(text: &str) -> Result<u16, String> {
    match program::port(text) {
        Ok(port @ 1..) => Ok(port),
        _ => Err("a port is a number from 1 to 65535".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn address(words: &[&str]) -> Result<String, u8> {
        let options = ClientOptions::try_parse_from([&["hello-world-client"], words].concat())
            .map_err(|_| 2u8)?;
        let address = options.address().map_err(|failure| failure.exit_status())?;
        Ok(address.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        ClientOptions::command().debug_assert();
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
            &["localhost", "+5000"],
            &["unix:/run/hello", "5000"],
            &["vsock:2:5000"],
            &["a b", "5000"],
        ] {
            assert_eq!(address(words), Err(2), "{words:?}");
        }
    }

    #[test]
    fn an_error_repeats_the_words_that_were_given() {
        for (words, says) in [
            (
                ["localhost:5", "5"],
                "localhost:5 has a port already: leave 5 away",
            ),
            (["[::1]:5", "5"], "[::1]:5 has a port already: leave 5 away"),
            (
                ["http://localhost", "80"],
                "“http://localhost” is not a host",
            ),
            (["a:b:c", "80"], "“a:b:c” is not a host"),
            (["fe80::1%25eth0", "80"], "(write [fe80::1%eth0]:80)"),
        ] {
            let words = [&["hello-world-client"][..], &words].concat();
            let failure = ClientOptions::parse_from(words).address().unwrap_err();
            assert!(failure.to_string().contains(says), "{failure}");
        }
        for (word, says) in [
            ("0", "from 1 to 65535"),
            ("99999", "from 1 to 65535"),
            ("--timeout=0", "write infinity"),
            ("--answer-timeout=0", "write infinity"),
        ] {
            let words = ["hello-world-client", "localhost", word];
            let error = ClientOptions::try_parse_from(words).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn wait_needs_no_time_and_does_not_take_the_host_for_one() {
        let wait = |words: &[&str]| {
            ClientOptions::parse_from([&["hello-world-client"], words].concat()).wait
        };
        assert_eq!(wait(&["h", "1"]), None);
        assert_eq!(wait(&["--wait", "h", "1"]), Some(TimeSpan::Infinity));
        assert_eq!(wait(&["--wait=5s", "h", "1"]), "5s".parse().ok());
    }
}
