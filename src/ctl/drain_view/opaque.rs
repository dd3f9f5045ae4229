//! Why connections cannot be detached, so that they hold up a drain although the proxy recognises requests.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::interface::ConnectionStatus;
use crate::service::plural::count;
use crate::service::printable::Printable;

/// `2 connections cannot be detached: upgraded to websocket`, for each reason; the most frequent one is first.
pub fn lines(connections: &[ConnectionStatus]) -> Vec<String> {
    let reasons = reasons(connections).into_iter();
    reasons.map(|(why, number)| line(why, number)).collect()
}

/// What a log has been told. It gets each reason once while the drain lasts, and how it is at the end.
#[derive(Default)]
pub struct OpaqueReport {
    told: BTreeMap<String, usize>,
}

impl OpaqueReport {
    /// The lines about reasons that are new.
    pub fn news(&mut self, connections: &[ConnectionStatus]) -> Vec<String> {
        self.tell(connections, |told, _| told.is_none())
    }

    /// The lines that were not told in this form.
    pub fn conclusion(&mut self, connections: &[ConnectionStatus]) -> Vec<String> {
        self.tell(connections, |told, number| told != Some(number))
    }

    fn tell(
        &mut self,
        connections: &[ConnectionStatus],
        is_news: impl Fn(Option<usize>, usize) -> bool,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        for (why, number) in reasons(connections) {
            if is_news(self.told.get(why).copied(), number) {
                self.told.insert(why.to_owned(), number);
                lines.push(line(why, number));
            }
        }
        lines
    }
}

/// Each reason and the number of its connections, the most frequent one first.
fn reasons(connections: &[ConnectionStatus]) -> Vec<(&str, usize)> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for why in connections.iter().filter_map(|one| one.opaque.as_deref()) {
        *counts.entry(why).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, number)| Reverse(*number));
    counts
}

fn line(why: &str, number: usize) -> String {
    let connections = count(number, "connection");
    format!("{connections} cannot be detached: {}", Printable(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(reasons: &[Option<&str>]) -> Vec<ConnectionStatus> {
        let all = reasons.iter().zip(1..);
        let all = all.map(|(opaque, id)| ConnectionStatus {
            id,
            peer: "192.0.2.1:4".to_owned(),
            upstream: None,
            age_usec: 0,
            idle_usec: 0,
            received_bytes: 0,
            sent_bytes: 0,
            detached: false,
            opaque: opaque.map(str::to_owned),
        });
        all.collect()
    }

    #[test]
    fn the_most_frequent_reason_is_first_and_reasons_cannot_control_a_terminal() {
        let all = connections(&[Some("TLS"), None, Some("a\x1b"), Some("a\x1b")]);
        let lines = lines(&all);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("2 connections cannot be detached: a"));
        assert!(!lines[0].contains('\x1b'));
        assert_eq!(lines[1], "1 connection cannot be detached: TLS");
    }

    #[test]
    fn a_log_gets_each_reason_once_and_at_the_end_what_has_changed() {
        let mut report = OpaqueReport::default();
        assert_eq!(report.news(&connections(&[None])), [""; 0]);
        let first = connections(&[Some("TLS"), Some("HTTP/2")]);
        assert_eq!(report.news(&first).len(), 2);
        assert_eq!(report.conclusion(&first), [""; 0]);
        let second = connections(&[Some("TLS"), Some("TLS"), Some("CONNECT")]);
        assert_eq!(
            report.news(&second),
            ["1 connection cannot be detached: CONNECT"]
        );
        assert_eq!(
            report.conclusion(&second),
            ["2 connections cannot be detached: TLS"]
        );
        assert_eq!(report.conclusion(&connections(&[])), [""; 0]);
    }
}
