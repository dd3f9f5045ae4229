//! Where messages go: to the journal when we are connected to it, to standard error otherwise.

mod journal_text;

use std::fmt;
use std::str::FromStr;

use tracing::field::Field;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use journal_text::JournalText;

use super::printable::{Printable, sentence};

/// How much is said: `error`, `warn`, `info`, `debug` (every connection) or `trace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(LevelFilter);

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "error" | "warn" | "info" | "debug" | "trace" => {
                text.parse().map(Self).map_err(|_| unknown_level(text))
            }
            _ => Err(unknown_level(text)),
        }
    }
}

impl Default for Level {
    fn default() -> Self {
        Self(LevelFilter::INFO)
    }
}

fn unknown_level(text: &str) -> String {
    let text = Printable(text);
    format!("“{text}” is not a level: error, warn, info, debug and trace are")
}

/// Starts logging for the program `name`; call it once.
///
/// In the journal each field is one of its own (`PEER=`, `CONNECTION_ID=`, …) and events have a
/// `MESSAGE_ID`. Without journald, or when standard error is not the journal (`JOURNAL_STREAM`,
/// systemd.exec(5)), the same goes to standard error as lines for people; unless that is a socket that
/// listens, as `StandardInput=socket` makes it, where nobody would read them.
pub fn start(name: &str, level: Level) {
    let nobody_reads = rustix::net::sockopt::socket_acceptconn(std::io::stderr()) == Ok(true);
    if (libsystemd::logging::connected_to_journal() || nobody_reads)
        && let Ok(journal) = tracing_journald::layer()
    {
        let journal = journal
            .with_field_prefix(None)
            .with_syslog_identifier(name.to_owned());
        // It fails only when logging has been started before.
        let _ = tracing_subscriber::registry()
            .with(level.0)
            .with(JournalText(journal))
            .try_init();
        return;
    }
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .fmt_fields(format::debug_fn(write_field));
    let _ = tracing_subscriber::registry()
        .with(level.0)
        .with(lines)
        .try_init();
}

/// The sentence says it all: the fields are for queries, so that lines for people leave them out. It is one
/// line, whatever words of others are in it.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => writer.write_str(&sentence(&format!("{value:?}"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_the_five_that_people_know() {
        assert!("debug".parse::<Level>().is_ok());
        assert!("verbose".parse::<Level>().unwrap_err().contains("info"));
    }
}
