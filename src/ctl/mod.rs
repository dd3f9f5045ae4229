//! The verbs of `disnix-tcp-proxyctl`, each in a file of its own.
//!
//! - [`options`], [`find`], [`sockets`]: what is to be done, to which proxy;
//! - [`client`], [`wait`]: calling it, and calls that wait across its restarts;
//! - [`status`], [`connections`], [`lock`], [`command`], [`unlock`], [`target`], [`switch`],
//!   [`watch`], [`close`]: the verbs;
//! - [`view`], [`display`], [`output`]: what is seen of it; [`blockers`], [`queued`]: who holds up a drain;
//! - [`failure`]: what can go wrong, as a sentence and as an exit status;
//! - [`signals`]: what else can come.
//!
//! Nothing here decides about the gate: the proxy does.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use failure::Failure;
use find::Named;
use options::{Options, Verb};

use crate::service::command_line;

pub mod blockers;
pub mod client;
pub mod close;
pub mod command;
pub mod connections;
pub mod display;
pub mod failure;
pub mod find;
pub mod lock;
pub mod options;
pub mod output;
pub mod queued;
pub mod signals;
pub mod sockets;
pub mod status;
pub mod switch;
pub mod target;
pub mod unlock;
pub mod view;
pub mod wait;
pub mod watch;

/// The program.
pub fn main() -> ExitCode {
    let options: Options = command_line::read();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let what = "the program could not begin";
    let result = runtime
        .map_err(|error| Failure::System { what, error })
        .and_then(|runtime| runtime.block_on(run(options)));
    match result {
        Ok(status) => status.into(),
        Err(failure) => {
            if !matches!(failure, Failure::ReaderGone) {
                output::note(&failure);
            }
            failure.exit_status().into()
        }
    }
}

/// Does what the options say; the result is the exit status.
async fn run(options: Options) -> Result<u8, Failure> {
    check_length(options.verb.as_ref())?;
    let named = Named::by(&options);
    let directory = Path::new(sockets::DIRECTORY);
    let one = || named.one(directory);
    let json = options.json;
    match options.verb.unwrap_or(Verb::Status) {
        Verb::Status => status::run(&named.all(directory)?, json).await?,
        Verb::Connections => connections::run(&one()?, json).await?,
        Verb::Lock(lock) if lock.command.is_empty() && ends_in_dashes(std::env::args_os()) => {
            return Err(Failure::Usage(
                "no COMMAND stands behind `--`, and without one the lock would stay: say which, or \
                 leave `--` away to lock until `unlock`; nothing was locked"
                    .to_owned(),
            ));
        }
        Verb::Lock(lock) if lock.command.is_empty() => lock::run(one(), &lock, json).await?,
        Verb::Lock(_) if json => {
            return Err(Failure::Usage(
                "standard output belongs to the COMMAND of `lock`: leave --json away".to_owned(),
            ));
        }
        Verb::Lock(lock) => return command::run(&one()?, &lock).await,
        Verb::Unlock => unlock::run(one(), json).await?,
        Verb::SetTarget { target, wait } => target::run(&one()?, &target, wait, json).await?,
        Verb::Switch(switch) => switch::run(&one()?, &switch, json).await?,
        Verb::Watch => watch::run(&one()?, json).await?,
        Verb::Close { id } => close::run(&one()?, id, json).await?,
    }
    Ok(0)
}

/// Whether a proxy takes a call with these words: not even asked is better than interrupted.
fn check_length(verb: Option<&Verb>) -> Result<(), Failure> {
    match verb {
        Some(Verb::Lock(options)) => {
            let hold = !options.command.is_empty();
            client::check_length("Lock", lock::parameters(options, hold))
        }
        Some(Verb::Switch(options)) => client::check_length("Switch", switch::parameters(options)),
        Some(Verb::SetTarget { target, wait }) => {
            client::check_length("SetTarget", target::parameters(target, *wait))
        }
        _ => Ok(()),
    }
}

/// Whether the last word is `--`. An option never has it as its value, so nothing stands behind it.
fn ends_in_dashes(words: impl Iterator<Item = OsString>) -> bool {
    words.last().is_some_and(|word| word == "--")
}
