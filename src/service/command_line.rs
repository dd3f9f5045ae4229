//! Reading command lines and the environment, and printing what is wrong with them.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, Parser};

use super::printable::{Printable, is_hidden, printable, sentence};

/// Reads the options of a program. If they make no sense, ends it with status 2.
pub fn read<O: Parser>() -> O {
    parse().unwrap_or_else(|error| std::process::exit(print(&error)))
}

/// Reads the options of a program. An empty variable counts as not set, as in a line of an `EnvironmentFile=`.
/// The error is what to [`print()`]: the options make no sense, or help or the version is asked for.
pub fn parse<O: Parser>() -> Result<O, clap::Error> {
    parse_from(env::args_os().collect())
}

fn parse_from<O: Parser>(words: Vec<OsString>) -> Result<O, clap::Error> {
    let command = O::command().mut_args(|option| {
        match option.get_env().map(env::var_os) {
            Some(Some(value)) if value.is_empty() => option.env(None),
            // Help would show it.
            Some(Some(value)) if value.to_string_lossy().contains(is_hidden) => {
                option.hide_env_values(true)
            }
            _ => option,
        }
    });
    let matches = command.clone().try_get_matches_from(&words);
    matches
        .and_then(|matches| O::from_arg_matches(&matches))
        .map_err(|error| {
            let variable = variable(&error, command, &words);
            plain(error, variable)
        })
}

/// Prints the error, help or the version. Returns the exit status.
pub fn print(error: &clap::Error) -> i32 {
    let result = error.print().and_then(|()| io::stdout().flush());
    match result {
        // Nothing helps if an error cannot be printed; and a reader may have seen enough of the help.
        Err(why) if !error.use_stderr() && why.kind() != io::ErrorKind::BrokenPipe => {
            let text = format!("error: the output could not be written: {why}");
            let _ = writeln!(io::stderr(), "{}", sentence(&text));
            1
        }
        _ => error.exit_code(),
    }
}

/// The variable whose value is refused; `None` if the command line has it.
fn variable(error: &clap::Error, command: Command, words: &[OsString]) -> Option<String> {
    let refused = |error: &clap::Error| match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => Some(name.clone()),
        _ => None,
    };
    let name = refused(error)?;
    let is_it = |option: &&Arg| option.to_string() == name;
    let mut built = command.clone();
    built.build();
    let variable = built.get_arguments().find(is_it)?.get_env()?.to_owned();
    // Whether the command line alone is refused as well.
    let alone = command.mut_args(|option| match option.get_env() == Some(&variable) {
        true => option.env(None),
        false => option,
    });
    match alone.try_get_matches_from(words) {
        Err(error) if refused(&error).as_ref() == Some(&name) => None,
        _ => variable.into_string().ok(),
    }
}

/// The error without hidden characters. The parsers of values write none.
fn plain(mut error: clap::Error, variable: Option<String>) -> clap::Error {
    if let Some(variable) = variable {
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
    }
    let words = error.context().map(|(kind, value)| (kind, value.clone()));
    for (kind, value) in words.collect::<Vec<_>>() {
        let value = match value {
            ContextValue::String(text) if text.contains(is_hidden) => {
                // It repeats the text, with colours.
                error.remove(ContextKind::Suggested);
                ContextValue::String(Printable(&text).to_string())
            }
            ContextValue::Strings(texts) => {
                let texts = texts.iter().map(|text| printable(text).into_owned());
                ContextValue::Strings(texts.collect())
            }
            _ => continue,
        };
        error.insert(kind, value);
    }
    error
}

/// Checks a command line, and that each option has the variable that is named after it.
#[cfg(test)]
pub(crate) fn check(command: Command, prefix: &str) {
    command.clone().debug_assert();
    for option in command.get_arguments() {
        let name = option.get_id().as_str();
        if !["help", "version", "port"].contains(&name) {
            let variable = format!("{prefix}{}", name.to_uppercase());
            assert_eq!(option.get_env().unwrap().to_str(), Some(&*variable));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::log::Level;
    use crate::service::program::positive;
    use crate::service::timespan::TimeSpan;

    const EVIL: &str = "\x1b[31mx\nERROR forged\u{202e}";

    /// A daemon.
    #[derive(Debug, Parser)]
    #[command(name = "daemon")]
    struct DaemonOptions {
        #[arg(env = "D_PLACE", value_parser = crate::service::address::Address::parse_listen)]
        place: Option<crate::service::address::Address>,
        #[arg(long, env = "D_THREADS", value_parser = positive)]
        threads: Option<usize>,
        #[arg(long, env = "D_TIME")]
        time: Option<TimeSpan>,
        #[arg(long, env = "D_LEVEL")]
        level: Option<Level>,
        #[arg(long, env = "D_WHICH", value_parser = ["one", "two"])]
        which: Option<String>,
        #[command(subcommand)]
        verb: Option<DaemonVerb>,
    }

    #[derive(Debug, clap::Subcommand)]
    enum DaemonVerb {
        Go,
    }

    fn refused(words: &[&str]) -> String {
        let words = [&["daemon"], words].concat();
        let words = words.into_iter().map(OsString::from).collect();
        let error = parse_from::<DaemonOptions>(words).unwrap_err();
        error.render().to_string()
    }

    #[test]
    fn words_of_others_are_seen_and_nothing_else() {
        let option = format!("--{EVIL}");
        for (words, of) in [
            (&[EVIL][..], "value"),
            (&["--threads", EVIL], "value"),
            (&["--time", EVIL], "not a time"),
            (&["--level", EVIL], "not a level"),
            (&["--which", EVIL], "possible values"),
            (&[&option], "unexpected argument"),
            (&["go", EVIL], "unexpected argument"),
            (&["help", EVIL], "subcommand"),
        ] {
            let text = refused(words);
            assert!(text.contains(of), "{words:?}: {text}");
            assert!(text.contains(r"\nERROR forged"), "{words:?}: {text}");
            assert!(!text.contains("\nERROR"), "{words:?}: {text}");
            let hidden = |c: char| is_hidden(c) && c != '\n';
            assert!(!text.contains(hidden), "{words:?}: {text:?}");
        }
    }
}
