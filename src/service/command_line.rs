//! Reading command lines and the environment, and printing what is wrong with them.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser, value_parser};

use super::printable::{Printable, is_hidden, printable, sentence};
use super::variable_values::{OF_VALUES, text_error, with_lists, without_text, wrong_words};
use super::variables::{UnknownVariable, VariableNames};

/// Reads the options of a program. If they make no sense, ends it with status 2.
pub fn read<O: Parser>() -> O {
    parse().unwrap_or_else(|error| std::process::exit(print(&error)))
}

/// Reads the options of a program. An empty variable counts as not set, as in a line of an `EnvironmentFile=`.
/// The error is what to [`print()`]: everything that makes no sense; or help, or the version, if that is asked for.
pub fn parse<O: Parser>() -> Result<O, clap::Error> {
    let words = env::args_os().collect();
    parse_from(words).map_err(|errors| joined::<O>(errors, &[]))
}

/// As [`parse`], for a program whose variables are named like that. Those of no option are an error, too, unless the
/// program `tolerates` them; then they come with the options.
pub fn parse_with<O: Parser>(
    names: &VariableNames,
    tolerates: bool,
) -> Result<(O, Vec<UnknownVariable>), clap::Error> {
    let environment = env::vars_os().filter(|(_, value)| !value.is_empty());
    let environment: Vec<OsString> = environment.map(|(name, _)| name).collect();
    let command = O::command();
    let options = command.get_arguments().filter_map(Arg::get_env);
    let options: Vec<&str> = options.filter_map(OsStr::to_str).collect();
    let unknown = names.unknown(environment.iter().map(OsString::as_os_str), &options);
    match parse_from(env::args_os().collect()) {
        Ok(options) if tolerates || unknown.is_empty() => Ok((options, unknown)),
        Ok(_) => Err(joined::<O>(Vec::new(), &unknown)),
        Err(errors) => Err(joined::<O>(errors, &unknown)),
    }
}

/// Fails with everything that is wrong, or with what is asked for instead of a run.
fn parse_from<O: Parser>(words: Vec<OsString>) -> Result<O, Vec<clap::Error>> {
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
    let command = with_lists(command);
    let matches = command.clone().try_get_matches_from(&words);
    let first = match matches.and_then(|matches| O::from_arg_matches(&matches)) {
        Ok(options) => return Ok(options),
        Err(error) => error,
    };
    Err(all_errors(first, command, &words))
}

/// The first error, and those that follow. clap ends with the first one, so the option that it is about may have any
/// value the next time.
fn all_errors(first: clap::Error, mut command: Command, words: &[OsString]) -> Vec<clap::Error> {
    let mut errors = Vec::new();
    let mut found = BTreeSet::new();
    let mut next = Some(first);
    while let Some(error) = next.take() {
        if !error.use_stderr() && !errors.is_empty() {
            break;
        }
        let option = if error.kind() == ErrorKind::InvalidUtf8 {
            let option = without_text(&command, words);
            errors.push(text_error(command.clone(), option.as_ref(), words));
            option
        } else {
            let of_value = OF_VALUES.contains(&error.kind());
            let option = refused(&error, &command).filter(|_| of_value);
            errors.extend(explained(error, &command, words));
            option
        };
        let Some(option) = option else {
            break;
        };
        found.insert(option.get_id().clone());
        let id = option.get_id().as_str();
        command = command.mut_arg(id, |option| option.value_parser(value_parser!(OsString)));
        let again = command.clone().try_get_matches_from(words).err();
        let is_new = |error: &clap::Error| {
            let option = refused(error, &command);
            option.is_none_or(|option| !found.contains(option.get_id()))
        };
        next = again.filter(is_new);
    }
    errors
}

/// The error without hidden characters, and with the variable that has the value. For a list in a variable: an error for
/// each value that is wrong.
fn explained(error: clap::Error, command: &Command, words: &[OsString]) -> Vec<clap::Error> {
    let Some(variable) = variable(&error, command.clone(), words) else {
        return vec![plain(error, None)];
    };
    let option = refused(&error, command);
    let wrong = option.map_or_else(Vec::new, |option| wrong_words(&option, command));
    let errors = match wrong.is_empty() {
        true => vec![error],
        false => wrong,
    };
    let explain = |error| plain(error, Some(variable.clone()));
    errors.into_iter().map(explain).collect()
}

/// All of it as one error; the only one as it is.
fn joined<O: Parser>(mut errors: Vec<clap::Error>, unknown: &[UnknownVariable]) -> clap::Error {
    let is_only = unknown.is_empty() || errors.iter().any(|error| !error.use_stderr());
    if errors.len() == 1 && is_only {
        return errors.remove(0);
    }
    let kind = errors.first().map(clap::Error::kind);
    let sentences = errors.iter().map(text_of);
    let sentences = sentences.chain(unknown.iter().map(ToString::to_string));
    let text = sentences.collect::<Vec<_>>().join(NEXT);
    O::command().error(kind.unwrap_or(ErrorKind::ValueValidation), text)
}

/// Between two errors of several.
const NEXT: &str = "\nerror: ";

/// What is wrong, without what clap says behind it.
fn text_of(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = ["\n\nUsage: ", "\n\nFor more information"].map(|rest| text.find(rest));
    let end = end.into_iter().flatten().min().unwrap_or(text.len());
    text[..end].trim_end().to_owned()
}

/// What is wrong, on one line.
pub fn in_brief(error: &clap::Error) -> String {
    let text = text_of(error).replace(NEXT, "; ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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

/// The option whose value is refused, as it is on the command line.
fn refused(error: &clap::Error, command: &Command) -> Option<Arg> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let mut built = command.clone();
    built.build();
    let mut options = built.get_arguments();
    options.find(|option| option.to_string() == *name).cloned()
}

/// The variable whose value is refused; `None` if the command line has it.
fn variable(error: &clap::Error, command: Command, words: &[OsString]) -> Option<String> {
    let option = refused(error, &command)?;
    let variable = option.get_env()?.to_owned();
    // Whether the command line alone is refused as well.
    let alone = command.mut_args(|option| match option.get_env() == Some(&variable) {
        true => option.env(None),
        false => option,
    });
    let same = ContextKind::InvalidArg;
    match alone.try_get_matches_from(words) {
        Err(other) if other.get(same) == error.get(same) => None,
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

/// Checks a command line, and that each option has the variable that is named after it. One that is no setting has none.
#[cfg(test)]
pub(crate) fn check(command: Command, prefix: &str) {
    command.clone().debug_assert();
    for option in command.get_arguments() {
        let name = option.get_id().as_str();
        if !["help", "version", "port", "check", "command"].contains(&name) {
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
        let errors = parse_from::<DaemonOptions>(words).unwrap_err();
        joined::<DaemonOptions>(errors, &[]).render().to_string()
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

    #[test]
    fn everything_that_is_wrong_is_named_once_and_the_rest_of_the_words_too() {
        // clap reads the word before one that it does not know last.
        let values = ["--threads=few", "--time=soon", "--which", "three"];
        let text = refused(&[&values[..], &["--level=info", "--no"]].concat());
        for words in [
            "error: invalid value 'few' for '--threads <THREADS>'",
            "\nerror: invalid value 'soon' for '--time <TIME>'",
            "\nerror: invalid value 'three' for '--which <WHICH>'\n  [possible values: one, two]",
            "\nerror: unexpected argument '--no' found",
        ] {
            assert_eq!(text.matches(words).count(), 1, "{words:?} in {text}");
        }
        assert_eq!(text.matches("error: ").count(), 4, "{text}");
        assert_eq!(text.matches("For more information").count(), 1, "{text}");
    }

    #[test]
    fn a_value_that_is_missing_ends_the_search() {
        let text = refused(&["--time=soon", "--threads"]);
        assert_eq!(text.matches("error: ").count(), 2, "{text}");
        assert!(
            text.contains("a value is required for '--threads"),
            "{text}"
        );
    }

    #[test]
    fn an_error_in_brief_is_one_line() {
        let words = ["daemon", "--threads=few", "--which=three"].map(OsString::from);
        let errors = parse_from::<DaemonOptions>(words.into()).unwrap_err();
        let text = in_brief(&joined::<DaemonOptions>(errors, &[]));
        let expected = "invalid value 'few' for '--threads <THREADS>': a number is needed, of 1 or more; \
                        invalid value 'three' for '--which <WHICH>' [possible values: one, two]";
        assert_eq!(text, expected);
    }

    #[test]
    fn help_is_help_whatever_else_is_wrong() {
        let words = ["daemon", "--help", "--threads=few"].map(OsString::from);
        let errors = parse_from::<DaemonOptions>(words.into()).unwrap_err();
        let names = VariableNames {
            prefix: "D_",
            others: &[],
        };
        let unknown = names.unknown([OsStr::new("D_X")].into_iter(), &[]);
        let error = joined::<DaemonOptions>(errors, &unknown);
        assert_eq!(error.kind(), ErrorKind::DisplayHelp);
    }
}
