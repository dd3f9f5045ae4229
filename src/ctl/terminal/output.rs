//! Standard output for results; standard error is for progress and failures ([`note`]). Both contain text that
//! others have chosen (a reason, a target, an answer): nothing goes out that a terminal would act upon.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use tokio::io::Interest;

use super::colour;
use crate::ctl::failure::CtlFailure;
use crate::service::kernel;
use crate::service::printable::{printable, printable_json};
use crate::service::program::note;

/// Prints the text as one line, also if it has several.
pub fn line(text: impl std::fmt::Display) -> Result<(), CtlFailure> {
    write_line(&printable(&text.to_string()))
}

/// Prints a line; on a terminal the word that begins at this character is in colour, if it is a state.
pub fn state_line(text: impl std::fmt::Display, at: usize) -> Result<(), CtlFailure> {
    let text = text.to_string();
    let text = printable(&text);
    match colour::is_wanted(&io::stdout()) {
        true => write_line(&colour::paint(&text, at)),
        false => write_line(&text),
    }
}

fn write_line(text: &str) -> Result<(), CtlFailure> {
    let mut output = io::stdout().lock();
    let result = writeln!(output, "{text}").and_then(|()| output.flush());
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CtlFailure::ReaderGone,
        _ => CtlFailure::Output(error),
    })
}

/// Prints JSON: one line for programs, several for people.
pub fn json(value: &impl Serialize) -> Result<(), CtlFailure> {
    let text = match io::stdout().is_terminal() {
        true => serde_json::to_string_pretty(value),
        false => serde_json::to_string(value),
    };
    let text = text.map_err(|error| CtlFailure::Output(error.into()))?;
    // A line end in a string is escaped already.
    let lines: Vec<_> = text.lines().map(printable_json).collect();
    write_line(&lines.join("\n"))
}

/// Reports what was done: `value` as JSON, or `text` for people. A failure to print it is only a warning.
pub fn done(as_json: bool, value: &impl Serialize, text: impl std::fmt::Display) {
    let printed = match as_json {
        true => json(value),
        false => line(text),
    };
    if let Err(failure @ CtlFailure::Output(_)) = printed {
        note(format_args!("warning: it is done, but {failure}"));
    }
}

/// Waits until standard output has no reader any more: for ever if it is a file. Cancel safe.
pub async fn reader_gone() {
    // epoll(7) reports to the writing end of a pipe as an error that no reader is left.
    if let Ok(output) = kernel::watch(io::stdout(), Interest::ERROR) {
        if output.ready(Interest::ERROR).await.is_ok() {
            return;
        }
    }
    std::future::pending().await
}
