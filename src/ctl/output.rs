//! Standard output for results, standard error for what happens on the way. What others have chosen (a
//! reason, a target, what a proxy answers) is in both: nothing goes out that a terminal would act upon.

use std::io::{self, Write};

use serde::Serialize;
use tokio::io::Interest;

use super::failure::Failure;
use crate::service::kernel;
use crate::service::printable::{printable, printable_json, sentence};

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

/// Tells of what was done: `value` for those who read JSON, `text` for people. It is done, whether that
/// can be told or not, so that a failure is no more than a warning.
pub fn done(as_json: bool, value: &impl Serialize, text: impl std::fmt::Display) {
    let told = match as_json {
        true => json(value),
        false => line(text),
    };
    if let Err(Failure::Output(error)) = told {
        note(format_args!(
            "warning: it is done, but {}",
            Failure::Output(error)
        ));
    }
}

/// Waits until nobody reads standard output any more. Where that cannot be seen, because it is a file, for
/// ever. Cancel safe.
pub async fn reader_gone() {
    // epoll(7) tells the writing end of a pipe of the end of its readers as an error.
    let output = kernel::watch(io::stdout(), Interest::ERROR);
    let gone = match &output {
        Ok(output) => output.ready(Interest::ERROR).await.is_ok(),
        Err(_) => false,
    };
    if !gone {
        std::future::pending().await
    }
}

/// Says what happens. Nothing can be done if it cannot be said.
pub fn note(text: impl std::fmt::Display) {
    let text = text.to_string();
    let _ = writeln!(
        io::stderr().lock(),
        "disnix-tcp-proxyctl: {}",
        sentence(&text)
    );
}
