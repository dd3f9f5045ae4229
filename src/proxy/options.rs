//! The command line of `disnix-tcp-proxy`.
#![allow(rustdoc::broken_intra_doc_links, reason = "the help says [V6]:PORT")]

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::requests::{RequestKind, UnknownKind};
use super::upstream::ProxyProtocol;
use crate::service::address::{Address, socket_path};
use crate::service::log::Level;
use crate::service::timespan::{self, TimeSpan};
use crate::service::variables::{UnknownVariable, VariableNames};
use crate::service::version::version;
use crate::service::{command_line, directory};

/// A TCP proxy whose service can be upgraded without a client seeing an error.
///
/// It stands between clients and a service. While it is locked (disnix-tcp-proxyctl lock) open
/// connections may end and new clients wait; unlock lets them through. Its listening sockets come
/// from systemd (a .socket unit), or from --listen.
///
/// Times are written as in systemd: 5s, 1min 30s, 500ms, infinity; a bare number is seconds.
#[derive(Clone, Debug, Parser)]
#[command(name = "disnix-tcp-proxy", version = version())]
pub struct ProxyOptions {
    /// Where connections go: HOST:PORT, [V6]:PORT, unix:/PATH, vsock:CID:PORT or handover:/PATH.
    ///
    /// As with systemd-socket-proxyd, HOST alone is its port 80, PORT may be the name of a service in
    /// services(5), and /PATH and @NAME are AF_UNIX sockets.
    ///
    /// Without it the target is what `disnix-tcp-proxyctl set-target` said last, and until it has
    /// said something clients wait.
    #[arg(env = "DISNIX_TCP_PROXY_TARGET", value_parser = Address::parse_target)]
    pub target: Option<Address>,

    /// Listen here instead of on sockets from systemd: HOST:PORT, PORT or unix:/PATH; repeatable.
    #[arg(long, value_name = "ADDR", env = "DISNIX_TCP_PROXY_LISTEN", value_delimiter = ' ',
          value_parser = Address::parse_listen)]
    pub listen: Vec<Address>,

    /// How long to wait for an address that is in use, by the previous version perhaps.
    #[arg(
        long,
        value_name = "TIME",
        env = "DISNIX_TCP_PROXY_BIND_TIMEOUT",
        default_value = "0"
    )]
    pub bind_timeout: TimeSpan,

    /// Take calls of disnix-tcp-proxyctl on this socket, unless systemd passes one named varlink.
    #[arg(long, value_name = "PATH", env = "DISNIX_TCP_PROXY_CONTROL",
          value_parser = PathBufValueParser::new().try_map(socket_path))]
    pub control: Option<PathBuf>,

    /// Answer load balancers on this socket, over HTTP: 200 while clients pass, or else 503 with the reason;
    /// HOST:PORT, PORT or unix:/PATH.
    ///
    /// It is one of the sockets from systemd: a further ListenStream= of the .socket unit. With --listen
    /// the proxy makes it. Clients are not served there.
    #[arg(long, value_name = "ADDR", env = "DISNIX_TCP_PROXY_HEALTH",
          value_parser = Address::parse_listen)]
    pub health: Option<Address>,

    /// Take the listening sockets over from the proxy that answers at --control, and its place with
    /// them; without one there, start as usual.
    ///
    /// Its sockets that listen at the addresses of --listen are taken; no client is lost. The other
    /// proxy goes on until this one is ready; then its open connections end as if it had been told to
    /// stop. With the same --requests, clients between two requests come over. Only with --listen and
    /// --control.
    #[arg(long, env = "DISNIX_TCP_PROXY_TAKE_OVER", value_parser = yes_or_no)]
    pub take_over: bool,

    /// The most connections open at a time; further clients wait in the queue.
    // As with getopt_long(3), the last one counts.
    #[arg(short = 'c', long, value_name = "N", env = "DISNIX_TCP_PROXY_CONNECTIONS_MAX",
          default_value_t = 16384, overrides_with = "connections_max",
          value_parser = crate::service::program::positive)]
    pub connections_max: usize,

    /// The most connections open at a time from one source: an IPv4 address, or a /64 of IPv6.
    ///
    /// Further clients from there are reset, so that other clients do not wait behind them. Without
    /// this option there is no such limit. Clients of AF_UNIX sockets do not count.
    #[arg(long, value_name = "N", env = "DISNIX_TCP_PROXY_CONNECTIONS_MAX_PER_SOURCE",
          value_parser = crate::service::program::positive)]
    pub connections_max_per_source: Option<usize>,

    /// The most threads that carry connections; as many as processors if it is not given, and a further
    /// one then gets new connections and bulk only while half a processor is idle.
    ///
    /// They are started as they are needed.
    #[arg(long, value_name = "N", env = "DISNIX_TCP_PROXY_THREADS",
          value_parser = crate::service::program::positive)]
    pub threads: Option<usize>,

    /// End when no connection was open for so long; systemd starts it again for the next client.
    ///
    /// Only with sockets from systemd.
    #[arg(
        long,
        value_name = "TIME",
        env = "DISNIX_TCP_PROXY_EXIT_IDLE_TIME",
        default_value = "infinity",
        overrides_with = "exit_idle_time"
    )]
    pub exit_idle_time: TimeSpan,

    /// How long to go on trying to reach the target while a client waits.
    #[arg(
        long,
        value_name = "TIME",
        env = "DISNIX_TCP_PROXY_CONNECT_TIMEOUT",
        default_value = "30s",
        value_parser = timespan::limit
    )]
    pub connect_timeout: TimeSpan,

    /// How long open connections may go on when the proxy is told to stop, if they are not kept.
    #[arg(
        long,
        value_name = "TIME",
        env = "DISNIX_TCP_PROXY_DRAIN_TIMEOUT",
        default_value = "30s"
    )]
    pub drain_timeout: TimeSpan,

    /// End a connection that carried nothing for so long.
    #[arg(
        long,
        value_name = "TIME",
        env = "DISNIX_TCP_PROXY_IDLE_TIMEOUT",
        default_value = "infinity",
        value_parser = timespan::limit
    )]
    pub idle_timeout: TimeSpan,

    /// Reset a connection whose bytes have waited for so long for a receiver that took none of them.
    #[arg(
        long,
        value_name = "TIME",
        env = "DISNIX_TCP_PROXY_STALL_TIMEOUT",
        default_value = "10min",
        value_parser = timespan::limit
    )]
    pub stall_timeout: TimeSpan,

    /// A peer that does not answer for so long is taken for gone; at least 2s, infinity is off.
    #[arg(long, value_name = "TIME", env = "DISNIX_TCP_PROXY_KEEPALIVE", default_value = "2min",
          value_parser = keepalive)]
    pub keepalive: TimeSpan,

    /// Tell the target who the client is by the PROXY protocol: v1 or v2.
    #[arg(long, value_name = "VERSION", env = "DISNIX_TCP_PROXY_PROXY_PROTOCOL")]
    pub proxy_protocol: Option<ProxyProtocol>,

    /// How a request and its reply are recognised, so that clients can stay while the service is
    /// replaced: none, lines or http.
    ///
    /// Between two requests the proxy can end the connection to the target and keep that of the client,
    /// which gets a new one when it speaks again. So a lock waits for replies, and not for clients to
    /// leave. With this option you promise that no request depends on an earlier one of its connection:
    /// no login, no transaction.
    ///
    /// lines: a request is a line, and so is its reply. Beware: a protocol with logins, SELECT, MULTI or
    /// greetings is corrupted by it, and one that does not reply to each line stands still. http: HTTP/1.0
    /// and 1.1; what is not exactly that (WebSocket, TLS, HTTP/2) is carried as with none.
    #[arg(long, value_name = "KIND", env = "DISNIX_TCP_PROXY_REQUESTS", default_value = "none",
          value_parser = PossibleValuesParser::new(["none", "lines", "http"]).try_map(requests))]
    pub requests: Requests,

    /// End the connection to the target when no request was under way for so long, and keep that of the
    /// client; only with --requests.
    ///
    /// So the service can end when it is idle while its clients stay connected.
    #[arg(
        long,
        value_name = "TIME",
        env = "DISNIX_TCP_PROXY_DETACH_IDLE",
        default_value = "infinity",
        value_parser = timespan::limit
    )]
    pub detach_idle: TimeSpan,

    /// Whether open connections go on in the next process when this one ends, however it ends: yes or no.
    ///
    /// systemd keeps them meanwhile, if the unit has `FileDescriptorStoreMax=` of 16 or more. Without this
    /// option they are kept where that is possible; with yes the proxy does not start where it is not.
    #[arg(long, value_name = "YES|NO", env = "DISNIX_TCP_PROXY_KEEP_CONNECTIONS",
          value_parser = yes_or_no)]
    pub keep_connections: Option<bool>,

    /// Whether the next process is started by what is left of one that was killed: yes or no.
    ///
    /// Open connections wait some milliseconds then, not for systemd to build the sandbox again. The unit
    /// needs `ExitType=cgroup` and `NotifyAccess=all`, and connections have to be kept.
    #[arg(long, value_name = "YES|NO", env = "DISNIX_TCP_PROXY_RESPAWN", default_value = "no",
          value_parser = yes_or_no, action = clap::ArgAction::Set)]
    pub respawn: bool,

    /// Where the lock is kept; systemd's RuntimeDirectory=, or else where the control socket is.
    #[arg(long, value_name = "DIR", env = "DISNIX_TCP_PROXY_RUNTIME_DIRECTORY")]
    pub runtime_directory: Option<PathBuf>,

    /// Where the target is kept; systemd's StateDirectory=, or else the runtime directory.
    #[arg(long, value_name = "DIR", env = "DISNIX_TCP_PROXY_STATE_DIRECTORY")]
    pub state_directory: Option<PathBuf>,

    /// What to log: error, warn, info, debug (every connection) or trace.
    #[arg(
        long,
        value_name = "LEVEL",
        env = "DISNIX_TCP_PROXY_LOG_LEVEL",
        default_value = "info"
    )]
    pub log_level: Level,

    /// Only check the options and the variables; name everything that is wrong with them, and open nothing.
    #[arg(long)]
    pub check: bool,

    /// Variables that belong to no option, in a process that continues what another one began.
    #[arg(skip)]
    pub(super) ignored: Vec<UnknownVariable>,
}

/// The variables of the proxy.
const VARIABLES: VariableNames = VariableNames {
    prefix: "DISNIX_TCP_PROXY_",
    // For disnix-tcp-proxyctl; from the last will.
    others: &["INSTANCE", "HEIR_OF"],
};

/// Why clients cannot be handed over to `target` with these options, if it is for handover and they cannot.
pub fn handover_contradiction(
    target: &Address,
    proxy_protocol: Option<ProxyProtocol>,
    requests: Option<RequestKind>,
) -> Option<&'static str> {
    if !matches!(target, Address::Handover(_)) {
        return None;
    }
    if proxy_protocol.is_some() {
        return Some(
            "clients that are handed over cannot be announced by --proxy-protocol: the service \
             has their own sockets, and sees who they are; leave one of the two out",
        );
    }
    requests.map(|_| {
        "the requests of clients that are handed over cannot be recognised as --requests says: their \
         bytes do not pass through the proxy; leave one of the two out"
    })
}

impl ProxyOptions {
    /// Reads the command line and the environment. Variables that belong to no option are an error unless the process
    /// `continues` what another one began.
    pub(super) fn read(continues: bool) -> Result<Self, clap::Error> {
        let (mut options, unknown) = command_line::parse_with::<Self>(&VARIABLES, continues)?;
        options.ignored = unknown;
        match options.contradiction() {
            None => Ok(options),
            Some(why) => Err(Self::command().error(ErrorKind::ArgumentConflict, why)),
        }
    }

    /// What clap cannot check, because a variable may be set to no.
    fn contradiction(&self) -> Option<&'static str> {
        let alone = self.listen.is_empty() || self.control.is_none();
        if self.take_over && alone {
            return Some(
                "--take-over needs --listen and --control: where to listen, and where the proxy answers \
                 whose place is taken",
            );
        }
        let is_detaching = self.detach_idle.finite().is_some();
        if is_detaching && self.requests.is_none() {
            return Some(
                "--detach-idle needs --requests: how the proxy knows that no request is under way",
            );
        }
        let target = self.target.as_ref()?;
        handover_contradiction(target, self.proxy_protocol, self.requests)
    }

    /// The directory for the lock, if there is any.
    pub fn runtime_directory(&self) -> Option<PathBuf> {
        self.runtime_directory
            .clone()
            .or_else(|| from_systemd("RUNTIME_DIRECTORY"))
            .or_else(|| self.control_directory())
    }

    /// The directory of the control socket, if there is any.
    pub fn control_directory(&self) -> Option<PathBuf> {
        let control = self.control.as_deref()?;
        Some(directory::parent(control).to_owned())
    }

    /// The directory for the target, if there is any.
    pub fn state_directory(&self) -> Option<PathBuf> {
        self.state_directory
            .clone()
            .or_else(|| from_systemd("STATE_DIRECTORY"))
            .or_else(|| self.runtime_directory())
    }
}

/// How requests are recognised, if they are.
type Requests = Option<RequestKind>;

fn requests(text: String) -> Result<Requests, UnknownKind> {
    match text.as_str() {
        "none" => Ok(None),
        kind => kind.parse().map(Some),
    }
}

/// The first directory of the unit; a colon separates them, systemd.exec(5).
fn from_systemd(variable: &str) -> Option<PathBuf> {
    let value = std::env::var(variable).ok()?;
    let first = value.split(':').next();
    first.filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// A boolean as in systemd.syntax(7).
fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err("yes or no is needed".to_owned()),
    }
}

/// The kernel counts in seconds, and needs one before the first probe and one after it.
fn keepalive(text: &str) -> Result<TimeSpan, String> {
    let span: TimeSpan = text.parse().map_err(|error| format!("{error}"))?;
    match span.finite() {
        Some(time) if time.as_secs() < 2 => Err("at least 2s are needed".to_owned()),
        _ => Ok(span),
    }
}

#[cfg(test)]
mod tests;
