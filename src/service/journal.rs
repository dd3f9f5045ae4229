//! Events on their way to the journal: each field is one of its own, and what people read is written for them.

use std::fmt;

use libsystemd::logging::{Priority, journal_send};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::text::sentence;

/// Sends events to the journal, by its native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
#[derive(Debug)]
pub(super) struct Journal {
    /// The program, `SYSLOG_IDENTIFIER=`.
    name: String,
}

impl Journal {
    /// For the program `name`.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let entry = Entry::of(event, &self.name);
        let priority = priority(*event.metadata().level());
        let fields = entry.fields.iter().map(|(name, value)| (name, value));
        // Nobody could be told.
        let _ = journal_send(priority, &entry.message, fields);
    }
}

/// The priority, syslog(3), as `tracing-journald` has it: each level is one of its own.
fn priority(level: Level) -> Priority {
    match level {
        Level::ERROR => Priority::Error,
        Level::WARN => Priority::Warning,
        Level::INFO => Priority::Notice,
        Level::DEBUG => Priority::Info,
        Level::TRACE => Priority::Debug,
    }
}

/// An entry of the journal.
#[derive(Debug, Default)]
struct Entry {
    message: String,
    fields: Vec<(String, String)>,
}

impl Entry {
    fn of(event: &Event<'_>, program: &str) -> Self {
        let mut entry = Self::default();
        let mut add = |name: &str, value: String| entry.fields.push((name.to_owned(), value));
        add("SYSLOG_IDENTIFIER", program.to_owned());
        let metadata = event.metadata();
        add("TARGET", metadata.target().to_owned());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            add("CODE_FILE", file.to_owned());
            add("CODE_LINE", line.to_string());
        }
        event.record(&mut entry);
        entry
    }

    fn add(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = sentence(&value).into_owned(),
            "ERROR" => self
                .fields
                .push(("ERROR".to_owned(), sentence(&value).into_owned())),
            name => self.fields.push((name.to_ascii_uppercase(), value)),
        }
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;

    /// Keeps what would be sent.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Entry>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(Entry::of(event, "program"));
        }
    }

    #[test]
    fn each_field_is_one_of_its_own_and_the_sentence_is_for_people() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::registry().with(kept.clone());
        tracing::subscriber::with_default(subscriber, || {
            let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
            let (id, absent) = (Some("id"), None::<&str>);
            tracing::error!(
                MESSAGE_ID = id, REASON = absent, OPEN = 3, address = %"a:1", ERROR = %error,
                "cannot listen on {}: {error}", "a:1"
            );
        });
        let entries = kept.0.lock().unwrap();
        let [entry] = &entries[..] else {
            panic!("{entries:?}");
        };
        assert_eq!(
            entry.message,
            "cannot listen on a:1: Address already in use"
        );
        for wanted in [
            ("SYSLOG_IDENTIFIER", "program"),
            ("MESSAGE_ID", "id"),
            ("OPEN", "3"),
            ("ADDRESS", "a:1"),
            ("ERROR", "Address already in use"),
        ] {
            let wanted = (wanted.0.to_owned(), wanted.1.to_owned());
            assert!(entry.fields.contains(&wanted), "{wanted:?} {entry:?}");
        }
        assert!(!entry.fields.iter().any(|(name, _)| name == "REASON"));
    }
}
