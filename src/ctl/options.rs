//! The command line.
#![allow(rustdoc::broken_intra_doc_links, reason = "the help says [V6]:PORT")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::instances::options::{AddOptions, RemoveOptions};
use crate::interface::LeaseEnd;
use crate::service::clock::{USEC_MAX, micros};
use crate::service::timespan::{TimeSpan, limit};
use crate::service::version::version;

const EXIT_STATUSES: &str = "\
Exit status:
  0  done
  1  error, or interrupted
  2  usage: a wrong option, or several proxies and none named
  3  the drain was not complete in time, or nobody left any more; the gate is open again
  4  the proxy is not running or cannot be reached
  5  the check of `switch --check` has failed; the target is unchanged, and the gate is open
`lock -- COMMAND` gives COMMAND's own status: 128+N if signal N ended it, 127 if it was not found,
126 if it could not be started.

Times are systemd's: 5s, 1min 30s, 500ms, infinity; a bare number is seconds.";

/// Lock, drain and steer a disnix-tcp-proxy
///
/// Which proxy: --control or --instance; else the environment's DISNIX_TCP_PROXY_CONTROL or
/// DISNIX_TCP_PROXY_INSTANCE; else the only one that has a control socket under
/// /run/disnix-tcp-proxy.
#[derive(Debug, Parser)]
#[command(name = "disnix-tcp-proxyctl", version = version(), after_help = EXIT_STATUSES)]
pub struct CtlOptions {
    /// The proxy whose control socket is PATH [env: DISNIX_TCP_PROXY_CONTROL]
    // The environment is read in `find`, not by clap: an option overrides the *other* variable too, which
    // COMMAND under `lock` has in its environment.
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "instance")]
    pub control: Option<PathBuf>,

    /// The proxy whose control socket is /run/disnix-tcp-proxy/NAME/control [env:
    /// DISNIX_TCP_PROXY_INSTANCE]
    #[arg(long, value_name = "NAME", global = true)]
    pub instance: Option<String>,

    /// Print JSON, also why something fails; on a terminal in several lines
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do; `status` when it is not said.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the gate, the queue and the target of the proxy, or of all proxies (the default)
    Status {
        /// Ask also a proxy that sleeps, which starts it; without this, systemd and its files say what they know
        #[arg(long)]
        wake: bool,
    },
    /// Print metrics of the proxy, or of all proxies, as Prometheus reads them
    Metrics(MetricsOptions),
    /// List the open connections of the proxy, or of all proxies
    Connections(ConnectionsOptions),
    /// Close the gate and wait until no connection is open
    Lock(LockOptions),
    /// Open the gate
    Unlock,
    /// Lead new connections to TARGET from now on
    SetTarget {
        /// HOST:PORT, [V6]:PORT, unix:/PATH, vsock:CID:PORT or handover:/PATH
        target: String,

        /// Have the proxy try for so long to reach it first; if it does not answer nothing is changed
        #[arg(long, value_name = "TIME")]
        wait: Option<TimeSpan>,
    },
    /// Lock, lead new connections to TARGET, unlock
    Switch(SwitchOptions),
    /// Show every change of state as it happens
    Watch,
    /// Make a proxy with the name NAME: write its files, start it, and show what was done
    Add(Box<AddOptions>),
    /// Stop a proxy that `add` has made, and remove its files
    Remove(RemoveOptions),
    /// Reset one connection
    Close {
        /// Its number, as `connections` shows it
        #[arg(value_parser = crate::service::program::number)]
        id: u64,
    },
}

/// The options of `connections`.
#[derive(Args, Clone, Copy, Debug)]
pub struct ConnectionsOptions {
    /// Show those of one proxy again every second, on a terminal in place, until interrupted
    #[arg(long)]
    pub watch: bool,

    /// Show those first that have been idle or connected for longest, or have carried the most bytes; with
    /// --watch idle is the default
    #[arg(long, value_name = "WHAT", value_enum)]
    pub sort: Option<ConnectionOrder>,
}

/// Which connections come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConnectionOrder {
    /// Those that have carried nothing for longest.
    Idle,
    /// The oldest.
    Age,
    /// Those that have carried most.
    Bytes,
}

/// The options of `metrics`.
#[derive(Args, Clone, Copy, Debug)]
pub struct MetricsOptions {
    /// Answer Prometheus and systemd-report on the sockets that systemd has passed, until nobody has asked for five
    /// minutes
    #[arg(long, conflicts_with = "wake")]
    pub serve: bool,

    /// Ask also proxies that sleep, which starts them
    #[arg(long)]
    pub wake: bool,
}

/// How to wait for a drain.
#[derive(Args, Clone, Debug)]
pub struct DrainOptions {
    /// Give up, and open the gate again, if the drain is not complete by then [default: infinity; 5min with --json, and
    /// where standard error is no terminal]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<TimeSpan>,

    /// Give up, and open the gate again, when nobody has left for so long
    #[arg(long, value_name = "TIME", default_value = "infinity", value_parser = limit)]
    pub progress_timeout: TimeSpan,

    /// Why; `status` shows it and the journal keeps it
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Reset the connections that are still open by then
    #[arg(long, value_name = "TIME", default_value = "infinity")]
    pub force_after: TimeSpan,

    /// Close a connection in order when it has been idle for so long; not one whose client waits for a reply
    #[arg(long, value_name = "TIME", default_value = "infinity", value_parser = limit)]
    pub close_idle: TimeSpan,
}

/// The limit of a drain that nobody sees and that has no other one: a script that hangs is an outage for all who wait.
pub const UNSEEN_LIMIT: TimeSpan = TimeSpan::Finite(Duration::from_secs(5 * 60));

impl DrainOptions {
    /// Gives a drain that nobody sees a limit, unless the command line has one. Returns whether it did.
    pub fn limit_unseen(&mut self) -> bool {
        let others = [self.progress_timeout, self.force_after];
        let is_limited = others.iter().any(|time| time.finite().is_some());
        let is_unlimited = self.timeout.is_none() && !is_limited;
        if is_unlimited {
            self.timeout = Some(UNSEEN_LIMIT);
        }
        is_unlimited
    }

    /// After what time to give up, in microseconds.
    pub fn timeout_usec(&self) -> Option<u64> {
        self.timeout.and_then(usec)
    }
}

impl Verb {
    /// How to wait for a drain, if it does.
    pub fn drain(&mut self) -> Option<&mut DrainOptions> {
        match self {
            Self::Lock(options) => Some(&mut options.drain),
            Self::Switch(options) => Some(&mut options.drain),
            _ => None,
        }
    }
}

/// The options of `lock`.
#[derive(Args, Clone, Debug)]
pub struct LockOptions {
    /// How to wait.
    #[command(flatten)]
    pub drain: DrainOptions,

    /// The longest time the lock may last: after it the gate opens by itself
    #[arg(long, value_name = "TIME", default_value = "infinity", value_parser = limit)]
    pub lease: TimeSpan,

    /// What happens when the lease is over: `open` the gate (the default), or `exit`: the proxy ends
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        requires = "lease",
        hide_possible_values = true
    )]
    pub at_lease_end: Option<LeaseEnd>,

    /// Run COMMAND in a shell as soon as the gate is closed, before waiting for the drain: it asks the service
    /// to end idle connections
    #[arg(long, value_name = "COMMAND")]
    pub when_closed: Option<OsString>,

    /// Succeed also when the proxy is not running at all: nobody is connected through it then
    #[arg(long, conflicts_with = "command")]
    pub if_running: bool,

    /// Run COMMAND while the gate is locked and open it afterwards, like flock(1)
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// The options of `switch`.
#[derive(Args, Clone, Debug)]
pub struct SwitchOptions {
    /// HOST:PORT, [V6]:PORT, unix:/PATH, vsock:CID:PORT or handover:/PATH
    pub target: String,

    /// Have the proxy try for so long to reach it, before it locks and after the drain; if it does not
    /// answer nothing is changed
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub wait: TimeSpan,

    /// Do not try whether TARGET answers: a connection would start its service, perhaps
    #[arg(long, conflicts_with = "wait")]
    pub untested: bool,

    /// Have COMMAND check $DISNIX_TCP_PROXY_TARGET in a shell, after the drain and before anybody is let through:
    /// if it fails nothing is changed
    #[arg(long, value_name = "COMMAND")]
    pub check: Option<OsString>,

    /// How long COMMAND may take: then it is ended, and has failed
    #[arg(long, value_name = "TIME", default_value = "1min", requires = "check", value_parser = limit)]
    pub check_timeout: TimeSpan,

    /// How to wait.
    #[command(flatten)]
    pub drain: DrainOptions,
}

/// A time as the control interface has it: in microseconds, absent if infinite.
pub fn usec(time: TimeSpan) -> Option<u64> {
    time.finite().map(micros)
}

/// How long to try a target, as the control interface has it: in microseconds.
pub fn probe_usec(time: TimeSpan) -> u64 {
    usec(time).unwrap_or(USEC_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<CtlOptions, clap::Error> {
        CtlOptions::try_parse_from([&["disnix-tcp-proxyctl"], words].concat())
    }

    #[test]
    fn the_command_line_is_consistent() {
        CtlOptions::command().debug_assert();
    }

    #[test]
    fn without_a_verb_there_is_none_and_options_stand_before_or_behind_it() {
        assert!(parse(&[]).unwrap().verb.is_none());
        for words in [["--json", "status"], ["status", "--json"]] {
            let options = parse(&words).unwrap();
            assert!(options.json && matches!(options.verb, Some(Verb::Status { wake: false })));
        }
    }

    #[test]
    fn words_behind_two_dashes_are_the_command_even_if_they_look_like_options() {
        let options = parse(&["lock", "--lease", "1min 30s", "--", "sh", "-c", "--json"]).unwrap();
        let Some(Verb::Lock(lock)) = options.verb else {
            panic!("{options:?}");
        };
        assert_eq!(lock.command, ["sh", "-c", "--json"]);
        assert_eq!(usec(lock.lease), Some(90_000_000));
        assert_eq!(lock.drain.timeout_usec(), None);
        assert!(!options.json);
    }

    #[test]
    fn a_drain_that_nobody_sees_is_limited_unless_somebody_has_said_how_long_to_wait() {
        const LIMIT: u64 = 300_000_000;
        for (words, timeout) in [
            (&[][..], Some(LIMIT)),
            (&["--lease=1h"], Some(LIMIT)),
            (&["--close-idle=1s"], Some(LIMIT)),
            (&["--force-after=infinity"], Some(LIMIT)),
            (&["--timeout=1h"], Some(3_600_000_000)),
            (&["--timeout=infinity"], None),
            (&["--progress-timeout=1min"], None),
            (&["--force-after=10min"], None),
        ] {
            let options = parse(&[&["lock"], words].concat()).unwrap();
            let mut verb = options.verb.unwrap();
            let drain = verb.drain().unwrap();
            assert_eq!(drain.limit_unseen(), timeout == Some(LIMIT), "{words:?}");
            assert_eq!(drain.timeout_usec(), timeout, "{words:?}");
        }
        let mut switch = parse(&["switch", "a:1"]).unwrap().verb.unwrap();
        assert!(switch.drain().unwrap().limit_unseen());
        assert!(Verb::Watch.drain().is_none());
    }

    #[test]
    fn wrong_usage_is_refused() {
        for words in [
            &["open"][..],
            &["lock", "sh"],
            &["lock", "--timeout", "soon"],
            &["close", "first"],
            &["switch"],
            &["switch", "a:1", "--check-timeout", "5s"],
            &["switch", "a:1", "--check", "true", "--check-timeout", "0"],
            &["lock", "--lease", "0"],
            &["lock", "--progress-timeout", "0"],
            &["switch", "a:1", "--progress-timeout", "0"],
            &["lock", "--close-idle", "0"],
            &["lock", "--at-lease-end", "exit"],
            &["lock", "--lease", "5s", "--at-lease-end", "stop"],
            &["--control", "/c", "--instance", "i"],
            &["metrics", "--serve", "--wake"],
            &["connections", "--sort", "peer"],
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
