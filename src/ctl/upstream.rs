//! What is known of the upstream, as text.

use serde_json::json;

use super::call::client::{ANSWER_TIME, NamedProxy};
use super::terminal::display::age;
use crate::interface::{ConnectionStatus, Status, StatusReply};
use crate::service::calendar::moment;
use crate::service::clock::realtime_micros;
use crate::service::plural::clause;

/// What stands behind a target that is not reached, in one line with others.
pub const NOT_REACHED: &str = " (not reached)";

/// [`NOT_REACHED`], if the last attempt has failed.
pub fn mark(status: &Status) -> &'static str {
    match is_failing(status) {
        true => NOT_REACHED,
        false => "",
    }
}

fn is_failing(status: &Status) -> bool {
    let upstream = status.upstream.as_ref();
    upstream.is_some_and(|upstream| upstream.failing_since_usec.is_some())
}

/// Whether and when it was reached, and how many clients wait for it; `None` if nothing is known and nobody waits. `now`:
/// the time of day in microseconds since 1970.
pub fn describe(status: &Status, now: u64) -> Option<String> {
    let when = |usec: u64| format!("{} ({} ago)", moment(usec), age(now.saturating_sub(usec)));
    let upstream = status.upstream.as_ref();
    let reached = upstream.and_then(|upstream| upstream.reached_usec);
    let failing = upstream.and_then(|upstream| {
        let since = when(upstream.failing_since_usec?);
        let why = upstream.error.as_deref().unwrap_or("unknown");
        Some(format!("not reached since {since}: {why}"))
    });
    let waiting = match status.connecting {
        0 => None,
        count => {
            let clients = clause(count, "client", ("waits", "wait"));
            Some(format!("{clients} for it"))
        }
    };
    let last = match failing {
        Some(_) => "last reached",
        None => "reached",
    };
    let reached = reached.map(|usec| format!("{last} {}", when(usec)));
    let parts: Vec<String> = [failing, waiting, reached].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Why the connections that wait for their upstream do so, if there are any.
pub async fn why_they_wait(proxy: &NamedProxy, connections: &[ConnectionStatus]) -> Option<String> {
    let waits = |one: &ConnectionStatus| one.upstream.is_none() && !one.detached;
    if !connections.iter().any(waits) {
        return None;
    }
    let reply = proxy.ask::<StatusReply>(ANSWER_TIME, "GetStatus", json!({}));
    let status = reply.await.ok()?.status;
    let what = describe(&status, realtime_micros())?;
    Some(format!("upstream: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::description::tests::status;
    use crate::interface::UpstreamStatus;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn it_is_said_when_it_was_reached_since_when_not_and_who_waits() {
        let failing = UpstreamStatus {
            reached_usec: None,
            failing_since_usec: Some(30 * SECOND),
            error: Some("it refuses connections".to_owned()),
        };
        let reached = UpstreamStatus {
            reached_usec: Some(0),
            ..UpstreamStatus::default()
        };
        let both = UpstreamStatus {
            reached_usec: Some(0),
            ..failing.clone()
        };
        let since = "not reached since 1970-01-01 00:00:30 UTC (1min ago): it refuses connections";
        let last = "reached 1970-01-01 00:00:00 UTC (1min 30s ago)";
        for (upstream, connecting, expected) in [
            (None, 0, None),
            (None, 1, Some("1 client waits for it".to_owned())),
            (Some(reached.clone()), 0, Some(last.to_owned())),
            (
                Some(reached),
                2,
                Some(format!("2 clients wait for it; {last}")),
            ),
            (Some(failing), 0, Some(since.to_owned())),
            (
                Some(both),
                2,
                Some(format!("{since}; 2 clients wait for it; last {last}")),
            ),
        ] {
            let mut status = status();
            (status.upstream, status.connecting) = (upstream, connecting);
            assert_eq!(describe(&status, 90 * SECOND), expected);
            let is_failing = expected.is_some_and(|text| text.starts_with("not reached"));
            assert_eq!(mark(&status) == NOT_REACHED, is_failing);
        }
    }
}
