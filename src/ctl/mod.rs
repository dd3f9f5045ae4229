//! The verbs of `disnix-tcp-proxyctl`, each in a file of its own.
//!
//! - [`options`], `find`, `sockets`: the command line, and which proxy it means;
//! - `status`, `connections`, `all_connections`, `live_connections`, `lock`, `command`, `unlock`, `target`, `switch`,
//!   `checked_switch`, `watch`, `close`, `metrics`, `instances` (`add`, `remove`): the verbs;
//! - `call`: calls to a proxy; `hold`, `shell`, `when_closed`: the end of a lock that lasts as long as its call, and
//!   commands of the command line;
//! - `sleeper`, `systemd`: proxies that sleep, which nobody wakes;
//! - `description`, `upstream`, `drain_view`, `terminal`: what the verbs print;
//! - `failure`: failures, as sentences and exit statuses.
//!
//! Nothing here decides about the gate: the proxy does.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use call::client::check_length;
use failure::CtlFailure;
use find::Selection;
use options::{ConnectionOrder, ConnectionsOptions, CtlOptions, Verb};

use crate::service::{command_line, program};

mod all_connections;
mod call;
mod checked_switch;
mod close;
mod command;
mod connections;
mod description;
mod drain_view;
mod failure;
mod find;
mod hold;
mod instances;
mod live_connections;
mod lock;
mod metrics;
pub mod options;
mod shell;
mod sleeper;
mod sockets;
mod status;
mod switch;
mod systemd;
mod target;
mod terminal;
mod unlock;
mod upstream;
mod watch;
mod when_closed;

/// The exit status for a command line that makes no sense, clap's too.
const WRONG_USAGE: u8 = 2;

/// The program.
pub fn main() -> ExitCode {
    let options = read();
    if options.json {
        program::note_in_json();
    }
    let what = "the program could not begin";
    let no_runtime = |error| CtlFailure::System { what, error };
    let (name, status) = ("disnix-tcp-proxyctl", CtlFailure::exit_status);
    program::run_command(name, run(options), no_runtime, status)
}

/// Reads the command line. If it makes no sense, ends the program with status 2.
fn read() -> CtlOptions {
    command_line::parse().unwrap_or_else(|error: clap::Error| {
        if error.use_stderr() && asks_for_json(env::args_os()) {
            program::note_in_json();
            program::note_failure(command_line::in_brief(&error), WRONG_USAGE);
            std::process::exit(WRONG_USAGE.into());
        }
        std::process::exit(command_line::print(&error))
    })
}

/// Whether --json is among the words, of which the others need not make sense.
fn asks_for_json(words: impl Iterator<Item = OsString>) -> bool {
    let mut before_command = words.take_while(|word| word != "--");
    before_command.any(|word| word == "--json")
}

/// Runs the verb; returns the exit status.
async fn run(mut options: CtlOptions) -> Result<u8, CtlFailure> {
    let is_seen = !options.json && io::stderr().is_terminal();
    let drain = options.verb.as_mut().and_then(Verb::drain);
    let is_limited = drain.is_some_and(|drain| !is_seen && drain.limit_unseen());
    match perform(options).await {
        Err(CtlFailure::DrainTimedOut(left)) if is_limited => Err(CtlFailure::DrainUnseen(left)),
        result => result,
    }
}

async fn perform(options: CtlOptions) -> Result<u8, CtlFailure> {
    check_call(options.verb.as_ref())?;
    check_name(&options)?;
    let selection = Selection::of(&options);
    let directory = Path::new(sockets::DIRECTORY);
    let one = || selection.one(directory);
    let json = options.json;
    // No option takes it as its value.
    let ends_in_dashes = env::args_os().next_back().is_some_and(|word| word == "--");
    match options.verb.unwrap_or(Verb::Status { wake: false }) {
        Verb::Status { wake } => status::run(&selection.all(directory)?, wake, json).await?,
        Verb::Metrics(_) if json => {
            return Err(CtlFailure::Usage(
                "metrics are printed for Prometheus, and not as JSON: leave --json away".to_owned(),
            ));
        }
        Verb::Metrics(metrics) if metrics.serve => metrics::serve(selection).await?,
        Verb::Metrics(metrics) => metrics::run(&selection, metrics.wake).await?,
        Verb::Connections(ConnectionsOptions { watch: true, sort }) => {
            let order = sort.unwrap_or(ConnectionOrder::Idle);
            live_connections::run(&one()?, order, json).await?;
        }
        Verb::Connections(ConnectionsOptions { sort, .. }) => {
            match &selection.all(directory)?[..] {
                [proxy] => connections::run(proxy, sort, json).await?,
                several => all_connections::run(several, sort, json).await?,
            }
        }
        Verb::Lock(lock) if lock.command.is_empty() && ends_in_dashes => {
            return Err(CtlFailure::Usage(
                "no COMMAND stands behind `--`, and without one the lock would stay: say which, or \
                 leave `--` away to lock until `unlock`; nothing was locked"
                    .to_owned(),
            ));
        }
        Verb::Lock(lock) if lock.command.is_empty() => lock::run(one(), &lock, json).await?,
        Verb::Lock(_) if json => {
            return Err(CtlFailure::Usage(
                "standard output belongs to the COMMAND of `lock`: leave --json away".to_owned(),
            ));
        }
        Verb::Lock(lock) => return command::run(&one()?, &lock).await,
        Verb::Unlock => unlock::run(one(), json).await?,
        Verb::SetTarget { target, wait } => target::run(&one()?, &target, wait, json).await?,
        Verb::Switch(switch) => switch::run(&one()?, &switch, json).await?,
        Verb::Watch => watch::run(&one()?, json).await?,
        Verb::Add(add) => instances::add(&add, json).await?,
        Verb::Remove(remove) => instances::remove(&remove, json).await?,
        Verb::Close { id } => close::run(&one()?, id, json).await?,
    }
    Ok(0)
}

/// Fails if a proxy is named twice: `add` and `remove` have its name behind them.
fn check_name(options: &CtlOptions) -> Result<(), CtlFailure> {
    let has_own = matches!(options.verb, Some(Verb::Add(_) | Verb::Remove(_)));
    match has_own && (options.instance.is_some() || options.control.is_some()) {
        true => Err(CtlFailure::Usage(
            "`add` and `remove` have the NAME of the proxy behind them: leave --instance and --control away"
                .to_owned(),
        )),
        false => Ok(()),
    }
}

/// Fails before anything is asked if the proxy would refuse the call for its length.
fn check_call(verb: Option<&Verb>) -> Result<(), CtlFailure> {
    match verb {
        Some(Verb::Lock(options)) => {
            let hold = !options.command.is_empty();
            check_length("Lock", lock::parameters(options, hold))
        }
        Some(Verb::Switch(options)) => check_length("Switch", switch::parameters(options)),
        Some(Verb::SetTarget { target, wait }) => {
            check_length("SetTarget", target::parameters(target, *wait))
        }
        _ => Ok(()),
    }
}
