//! Values of variables in the environment that need care: lists, and what is no text.

use std::env;
use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{Arg, Command};

use super::printable::printable;

/// The kinds of errors about a value.
pub(super) const OF_VALUES: [ErrorKind; 2] = [ErrorKind::InvalidValue, ErrorKind::ValueValidation];

/// The words of a list in a variable, without the blanks, tabs and line ends around them.
fn words_of(list: &str) -> Vec<&str> {
    list.split_ascii_whitespace().collect()
}

/// The list that an option has in its variable.
fn list(option: &Arg) -> Option<String> {
    option.get_value_delimiter()?;
    env::var_os(option.get_env()?)?.into_string().ok()
}

/// An error for each wrong word of the list that an option has in its variable.
pub(super) fn wrong_words(option: &Arg, command: &Command) -> Vec<clap::Error> {
    let (Some(list), Some(name)) = (list(option), option.get_long()) else {
        return Vec::new();
    };
    let alone = command.clone().mut_args(|option| option.env(None));
    let error = |word| {
        let words = [command.get_name(), &format!("--{name}={word}")].map(str::to_owned);
        let error = alone.clone().try_get_matches_from(words).err();
        // Another option may be missing, which is not the fault of this one.
        error.filter(|error| OF_VALUES.contains(&error.kind()))
    };
    words_of(&list).into_iter().filter_map(error).collect()
}

/// Has clap read a list in a variable as its words. clap itself takes what is between two blanks for an empty one. If a
/// word is wrong, the list stays with its variable, which the error is to name.
pub(super) fn with_lists(command: Command) -> Command {
    let options: Vec<Arg> = command.get_arguments().cloned().collect();
    options.into_iter().fold(command, |command, option| {
        let Some(list) = list(&option) else {
            return command;
        };
        let words = words_of(&list);
        if words.join(" ") == list || !wrong_words(&option, &command).is_empty() {
            return command;
        }
        let words: Vec<_> = words.into_iter().map(kept).collect();
        command.mut_arg(option.get_id().as_str(), |option| {
            option.env(None).default_values(words)
        })
    })
}

/// clap keeps only what lasts as long as the program.
fn kept(word: &str) -> &'static str {
    Box::leak(word.to_owned().into_boxed_str())
}

/// The option that is refused because its variable is no text; `None` if that is a word of the command line.
pub(super) fn without_text(command: &Command, words: &[OsString]) -> Option<Arg> {
    let is_text = |option: &Arg| {
        let value = option.get_env().and_then(env::var_os);
        value.is_none_or(|value| value.to_str().is_some())
    };
    // Whether it is refused with the variable of this option alone, or of none.
    let is_refused = |wanted: Option<&Arg>| {
        let is_wanted = |option: &Arg| wanted.is_some_and(|it| it.get_id() == option.get_id());
        let command =
            command
                .clone()
                .mut_args(|option| match is_text(&option) || is_wanted(&option) {
                    true => option,
                    false => option.env(None),
                });
        let error = command.try_get_matches_from(words).err();
        error.is_some_and(|error| error.kind() == ErrorKind::InvalidUtf8)
    };
    if is_refused(None) {
        return None;
    }
    let mut options = command.get_arguments().filter(|option| !is_text(option));
    options.find(|option| is_refused(Some(option))).cloned()
}

/// What is wrong with what is no text: in the variable of this option, or else on the command line.
pub(super) fn text_error(
    mut command: Command,
    option: Option<&Arg>,
    words: &[OsString],
) -> clap::Error {
    let variable = option.and_then(Arg::get_env);
    let value = match variable {
        Some(variable) => env::var_os(variable),
        None => words.iter().find(|word| word.to_str().is_none()).cloned(),
    };
    let value = value.unwrap_or_default();
    let place = match variable {
        Some(variable) => format!(" for '{}'", variable.to_string_lossy()),
        None => String::new(),
    };
    let value = shown(&value);
    command.error(
        ErrorKind::ValueValidation,
        format!("invalid value '{value}'{place}: it is not UTF-8"),
    )
}

/// With a `\x` for each byte that is of no character.
fn shown(value: &OsStr) -> String {
    let escaped = value.as_encoded_bytes().utf8_chunks().map(|chunk| {
        let bytes = chunk.invalid().iter();
        let bytes: String = bytes.map(|byte| format!("\\x{byte:02x}")).collect();
        format!("{}{bytes}", printable(chunk.valid()))
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_list_has_words_and_nothing_between_them() {
        for (list, words) in [
            ("a", &["a"][..]),
            ("a b", &["a", "b"]),
            ("  a \t b\n", &["a", "b"]),
            ("", &[]),
            (" \t", &[]),
        ] {
            assert_eq!(words_of(list), words, "{list:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_shown_byte_by_byte() {
        for (bytes, text) in [
            (&b"few"[..], "few"),
            (b"a\xffb\xc3", "a\\xffb\\xc3"),
            ("ü\x1b".as_bytes(), "ü\\u{1b}"),
        ] {
            assert_eq!(shown(OsStr::from_bytes(bytes)), text);
        }
    }
}
