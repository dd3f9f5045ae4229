//! The command lines of `add` and `remove`.
#![allow(rustdoc::broken_intra_doc_links, reason = "the help says [V6]:PORT")]

use std::path::PathBuf;

use clap::Args;

use super::listen::ListenAddress;
use super::text::{group_name, unit_name};
use crate::service::address::Address;
use crate::service::program::positive;
use crate::service::timespan::{TimeSpan, limit};

/// The options of `add`.
#[derive(Args, Clone, Debug)]
pub struct AddOptions {
    /// The name of the new proxy: letters, digits, - and _, at most 27 characters
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Where clients connect: PORT, ADDRESS:PORT, [V6]:PORT, /PATH or @NAME; repeatable
    #[arg(
        long,
        value_name = "ADDR",
        required_unless_present = "from_socket_proxyd"
    )]
    pub listen: Vec<ListenAddress>,

    /// Where connections go: HOST:PORT, [V6]:PORT, unix:/PATH, vsock:CID:PORT or handover:/PATH
    #[arg(
        long,
        value_name = "TARGET",
        required_unless_present = "from_socket_proxyd",
        value_parser = Address::parse_target
    )]
    pub target: Option<Address>,

    /// Write TARGET into the environment file of the proxy: `set-target` and `switch` are refused then
    #[arg(long)]
    pub fixed: bool,

    /// Other units.
    #[command(flatten)]
    pub relations: Relations,

    /// The options of the proxy.
    #[command(flatten)]
    pub settings: ProxySettings,

    /// Make it from UNIT, a service of systemd-socket-proxyd, and its socket. UNIT goes on, and what
    /// is printed says how to switch over
    #[arg(long, value_name = "UNIT", value_parser = unit_name, conflicts_with_all = ["listen", "target", "root"])]
    pub from_socket_proxyd: Option<String>,

    /// Stop and disable UNIT, and start the new proxy in its place
    #[arg(long, requires = "from_socket_proxyd", conflicts_with_all = ["listen", "target"])]
    pub replace: bool,

    /// Where files are.
    #[command(flatten)]
    pub place: PlaceOptions,
}

/// The options of `remove`.
#[derive(Args, Clone, Debug)]
pub struct RemoveOptions {
    /// The name of the proxy, as it was given to `add`
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Reset the clients that are connected, and do not ask the proxy whether there are any
    #[arg(long)]
    pub force: bool,

    /// Where files are.
    #[command(flatten)]
    pub place: PlaceOptions,
}

/// Where files are written.
#[derive(Args, Clone, Debug)]
pub struct PlaceOptions {
    /// Only show the files and the commands
    #[arg(long)]
    pub dry_run: bool,

    /// Work on the system below DIR, which does not run: nothing is started or stopped
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// For tests: where the root of the running system is.
    #[arg(long, value_name = "DIR", hide = true, conflicts_with = "root")]
    pub pretend_root: Option<PathBuf>,
}

/// Other units that the proxy has to do with.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Relations {
    /// Start UNIT with the proxy, and the proxy after it; repeatable
    #[arg(long, value_name = "UNIT", value_parser = unit_name)]
    pub wants: Vec<String>,

    /// As --wants, and start UNIT again if it ends while the proxy runs (scale to zero); repeatable
    #[arg(long, value_name = "UNIT", value_parser = unit_name)]
    pub upholds: Vec<String>,

    /// Add the proxy to GROUP, which may connect to the target's socket; repeatable
    #[arg(long = "group", value_name = "GROUP", value_parser = group_name)]
    pub groups: Vec<String>,
}

impl Relations {
    /// These and others, each once.
    pub fn and(mut self, others: &Self) -> Self {
        for (ours, others) in [
            (&mut self.wants, &others.wants),
            (&mut self.upholds, &others.upholds),
            (&mut self.groups, &others.groups),
        ] {
            let new: Vec<_> = others
                .iter()
                .filter(|name| !ours.contains(name))
                .cloned()
                .collect();
            ours.extend(new);
        }
        self
    }
}

/// Options of the proxy, which are the same as its own.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of the proxy, see disnix-tcp-proxy(8)")]
pub struct ProxySettings {
    /// How a request and its reply are recognised, so that clients can stay: none, lines or http
    #[arg(long, value_name = "KIND", value_parser = ["none", "lines", "http"], hide_possible_values = true)]
    pub requests: Option<String>,

    /// End the connection to the target when no request was under way for so long
    #[arg(long, value_name = "TIME", value_parser = limit, requires = "requests")]
    pub detach_idle: Option<TimeSpan>,

    /// End when no connection was open for so long (10min)
    #[arg(long, value_name = "TIME")]
    pub exit_idle_time: Option<TimeSpan>,

    /// How long to go on trying to reach the target while a client waits (30s)
    #[arg(long, value_name = "TIME", value_parser = limit)]
    pub connect_timeout: Option<TimeSpan>,

    /// End a connection that carried nothing for so long
    #[arg(long, value_name = "TIME", value_parser = limit)]
    pub idle_timeout: Option<TimeSpan>,

    /// The most connections open at a time (16384)
    #[arg(long, value_name = "N", value_parser = positive)]
    pub connections_max: Option<usize>,

    /// The most connections open at a time from one source
    #[arg(long, value_name = "N", value_parser = positive)]
    pub connections_max_per_source: Option<usize>,

    /// The most threads that carry connections
    #[arg(long, value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,

    /// Tell the target who the client is by the PROXY protocol: v1 or v2
    #[arg(long, value_name = "VERSION", value_parser = ["v1", "v2"], hide_possible_values = true)]
    pub proxy_protocol: Option<String>,

    /// Any other option of the proxy, such as --set stall-timeout=1min; repeatable
    #[arg(long, value_name = "OPTION=VALUE", value_parser = setting)]
    pub set: Vec<ProxyVariable>,
}

/// A variable of the proxy's environment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyVariable {
    /// With its prefix.
    pub name: String,
    /// Not quoted.
    pub value: String,
}

const PREFIX: &str = "DISNIX_TCP_PROXY_";

impl ProxyVariable {
    /// The variable of an option.
    pub fn new(option: &str, value: impl ToString) -> Self {
        let name = option.to_uppercase().replace('-', "_");
        Self {
            name: format!("{PREFIX}{name}"),
            value: value.to_string(),
        }
    }
}

impl ProxySettings {
    /// The variables that say the same.
    pub fn variables(&self) -> Vec<ProxyVariable> {
        fn named<T: ToString>(name: &str, value: Option<&T>) -> Option<ProxyVariable> {
            value.map(|value| ProxyVariable::new(name, value.to_string()))
        }
        let named = [
            named("requests", self.requests.as_ref()),
            named("detach-idle", self.detach_idle.as_ref()),
            named("exit-idle-time", self.exit_idle_time.as_ref()),
            named("connect-timeout", self.connect_timeout.as_ref()),
            named("idle-timeout", self.idle_timeout.as_ref()),
            named("connections-max", self.connections_max.as_ref()),
            named(
                "connections-max-per-source",
                self.connections_max_per_source.as_ref(),
            ),
            named("threads", self.threads.as_ref()),
            named("proxy-protocol", self.proxy_protocol.as_ref()),
        ];
        let named = named.into_iter().flatten();
        named.chain(self.set.iter().cloned()).collect()
    }
}

/// Options that the units have, or that make no sense for a socket of systemd.
const OF_UNITS: [&str; 8] = [
    "LISTEN",
    "CONTROL",
    "BIND_TIMEOUT",
    "TAKE_OVER",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    // No options: of disnix-tcp-proxyctl, and of the last will.
    "INSTANCE",
    "HEIR_OF",
];

/// Reads `OPTION=VALUE`. The error is a sentence.
fn setting(text: &str) -> Result<ProxyVariable, String> {
    let (option, value) = text
        .split_once('=')
        .ok_or("OPTION=VALUE is needed, such as stall-timeout=1min")?;
    let option = option.trim_start_matches("--");
    let option = option.strip_prefix(PREFIX).unwrap_or(option);
    let variable = ProxyVariable::new(option, value);
    let name = &variable.name[PREFIX.len()..];
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err("before the = is the name of an option, such as stall-timeout".to_owned());
    }
    if name == "TARGET" {
        return Err("write --target TARGET --fixed instead".to_owned());
    }
    if OF_UNITS.contains(&name) {
        return Err("that is a matter of the units".to_owned());
    }
    match value {
        "" => Err("the value behind the = is missing".to_owned()),
        _ => Ok(variable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct AddLine {
        #[command(flatten)]
        add: AddOptions,
    }

    fn parse(words: &[&str]) -> Result<AddOptions, clap::Error> {
        let words = [&["add", "web"], words].concat();
        AddLine::try_parse_from(words).map(|line| line.add)
    }

    const MINIMUM: [&str; 4] = ["--listen", "80", "--target", "a:1"];

    #[test]
    fn an_option_of_the_proxy_becomes_its_variable() {
        let words = [
            "--requests=http",
            "--exit-idle-time=90",
            "--connections-max=7",
            "--set=stall-timeout=1min",
            "--set=--log-level=debug",
            "--set=DISNIX_TCP_PROXY_KEEPALIVE=3s",
        ];
        let options = parse(&[&MINIMUM[..], &words].concat()).unwrap();
        let variables = options.settings.variables();
        let variables: Vec<_> = variables
            .iter()
            .map(|ProxyVariable { name, value }| format!("{name}={value}"))
            .collect();
        let expected = [
            "REQUESTS=http",
            "EXIT_IDLE_TIME=1min 30s",
            "CONNECTIONS_MAX=7",
            "STALL_TIMEOUT=1min",
            "LOG_LEVEL=debug",
            "KEEPALIVE=3s",
        ];
        assert_eq!(variables, expected.map(|line| format!("{PREFIX}{line}")));
    }

    #[test]
    fn several_addresses_and_units_may_be_given() {
        let words = ["--listen=/run/w", "--wants=nginx", "--wants=b.target"];
        let options = parse(&[&MINIMUM[..], &words].concat()).unwrap();
        assert_eq!(options.listen.len(), 2);
        assert_eq!(options.relations.wants, ["nginx.service", "b.target"]);
    }

    #[test]
    fn wrong_usage_is_refused() {
        let more: [&[&str]; 18] = [
            &["--requests=ftp"],
            &["--detach-idle=5s"],
            &["--connect-timeout=0"],
            &["--connections-max=0"],
            &["--proxy-protocol=v3"],
            &["--listen=localhost:80"],
            &["--target=b:2"],
            &["--wants=a b"],
            &["--group=a b"],
            &["--set=x"],
            &["--set==x"],
            &["--set=target=a:1"],
            &["--set=LISTEN=80"],
            &["--set=instance=web"],
            &["--set=heir-of=1"],
            &["--set=threads="],
            &["--from-socket-proxyd=old"],
            &["--replace"],
        ];
        for words in more {
            let all = [&MINIMUM[..], words].concat();
            assert_eq!(parse(&all).unwrap_err().exit_code(), 2, "{words:?}");
        }
        for words in [&["--listen=80"][..], &["--target=a:1"], &[]] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
        parse(&["--from-socket-proxyd=old", "--replace"]).unwrap();
        parse(&MINIMUM).unwrap();
    }
}
