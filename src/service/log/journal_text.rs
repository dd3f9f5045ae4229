//! Events for the journal, without the numbers of the kernel's errors.

use std::fmt;

use tracing::field::{Field, Value, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::service::printable::sentence;

/// The most fields of an event: tracing's limit for an array of values.
const FIELDS_MAX: usize = 32;

/// Passes events on to another layer, with the message and the field `ERROR` as [`sentence`]s.
#[derive(Debug)]
pub(super) struct JournalText<L>(pub L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for JournalText<L> {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut texts = Texts::default();
        event.record(&mut texts);
        let mut texts = texts.0.iter();
        let metadata = event.metadata();
        let Some(any) = metadata.fields().iter().next() else {
            return self.0.on_event(event, context);
        };
        // A field without a value is left out.
        let values: [(&Field, Option<&dyn Value>); FIELDS_MAX] =
            std::array::from_fn(|_| match texts.next() {
                Some((field, text)) => (field, Some(text as &dyn Value)),
                None => (&any, None),
            });
        let values = metadata.fields().value_set(&values);
        self.0.on_event(&Event::new(metadata, &values), context);
    }
}

/// The fields of an event, as text.
#[derive(Debug, Default)]
struct Texts(Vec<(Field, String)>);

impl Texts {
    fn add(&mut self, field: &Field, text: &str) {
        let text = match field.name() {
            "message" | "ERROR" => sentence(text),
            _ => text.to_owned(),
        };
        self.0.push((field.clone(), text));
    }
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<(String, String)>>>);

    impl<S: Subscriber> Layer<S> for Recorder {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut texts = Texts::default();
            event.record(&mut texts);
            let named = |(field, text): (Field, String)| (field.name().to_owned(), text);
            let mut recorded = self.0.lock().unwrap();
            recorded.extend(texts.0.into_iter().map(named));
        }
    }

    #[test]
    fn errors_are_sentences_and_every_field_is_passed_on() {
        let recorder = Recorder::default();
        let subscriber = tracing_subscriber::registry().with(JournalText(recorder.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let error = io::Error::from_raw_os_error(libc::EADDRINUSE);
            let (id, absent) = (Some("id"), None::<&str>);
            tracing::error!(
                MESSAGE_ID = id, REASON = absent, OPEN = 3, ADDRESS = %"a:1", ERROR = %error,
                "cannot listen on {}: {error}", "a:1"
            );
        });
        let wanted = [
            ("message", "cannot listen on a:1: Address already in use"),
            ("MESSAGE_ID", "id"),
            ("OPEN", "3"),
            ("ADDRESS", "a:1"),
            ("ERROR", "Address already in use"),
        ];
        let mut fields = recorder.0.lock().unwrap().clone();
        fields.sort();
        let mut wanted = wanted.map(|(name, text)| (name.to_owned(), text.to_owned()));
        wanted.sort();
        assert_eq!(fields, wanted);
    }
}
