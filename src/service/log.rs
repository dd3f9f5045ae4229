//! Logging: to the journal if the process is connected to it, to standard error otherwise.

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

/// How much is logged: `error`, `warn`, `info`, `debug` (every connection) or `trace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(LevelFilter);

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_known = ["error", "warn", "info", "debug", "trace"].contains(&text);
        let level = text.parse().ok().filter(|_| is_known).map(Self);
        level.ok_or_else(|| {
            let text = Printable(text);
            format!("“{text}” is not a level: error, warn, info, debug and trace are")
        })
    }
}

impl Default for Level {
    fn default() -> Self {
        Self(LevelFilter::INFO)
    }
}

/// Starts logging for the program `name`; call it once.
///
/// The journal gets each field (`PEER=`, `CONNECTION_ID=`, …), and a `MESSAGE_ID`. Without journald, or if standard
/// error is neither the journal (`JOURNAL_STREAM`, systemd.exec(5)) nor a listener, as `StandardInput=socket` makes
/// it, standard error gets lines for people.
pub fn start(name: &str, level: Level) {
    let is_listener = rustix::net::sockopt::socket_acceptconn(std::io::stderr()) == Ok(true);
    let is_journal = is_listener || libsystemd::logging::connected_to_journal();
    let registry = tracing_subscriber::registry().with(level.0);
    // It fails only if logging was started before.
    let _ = if let Some(Ok(journal)) = is_journal.then(tracing_journald::layer) {
        let journal = journal
            .with_field_prefix(None)
            .with_syslog_identifier(name.to_owned());
        registry.with(JournalText(journal)).try_init()
    } else {
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_target(false)
            .fmt_fields(format::debug_fn(write_field));
        registry.with(lines).try_init()
    };
}

/// Writes the message, as one line. The other fields are for queries of the journal.
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
