//! Standard output for results, standard error for what happens on the way. What others have chosen (a
//! reason, a target, what a proxy answers) is in both: nothing goes out that a terminal would act upon.

use std::io::{self, Write};

use serde::Serialize;

use super::failure::Failure;
use crate::service::text::{printable, printable_json};

/// Prints a line of the result, which is one line whatever is in it.
///
/// # Errors
///
/// When nobody reads it, or it cannot be written.
pub fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    write_line(&printable(&text.to_string()))
}

fn write_line(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let written = writeln!(output, "{text}").and_then(|()| output.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::Output(error),
    })
}

/// Prints a value as one line of JSON.
///
/// # Errors
///
/// As [`line()`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::Output(error.into()))?;
    write_line(&printable_json(&text))
}

/// Says what happens. Nothing can be done if it cannot be said.
pub fn note(text: impl std::fmt::Display) {
    let text = text.to_string();
    let _ = writeln!(
        io::stderr().lock(),
        "disnix-tcp-proxyctl: {}",
        printable(&text)
    );
}
