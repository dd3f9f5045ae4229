//! That the upstream is not reached, in the sentence for `systemctl status`. Pure.

use crate::interface::UpstreamStatus;
use crate::service::calendar::moment;
use crate::service::plural::clause;

/// Since when and why it is not reached, and how many clients wait for it; `None` if it is, or nothing is known.
pub fn sentence(upstream: &UpstreamStatus, connecting: usize) -> Option<String> {
    let since = moment(upstream.failing_since_usec?);
    let why = upstream.error.as_deref().unwrap_or("unknown");
    let waiting = match connecting {
        0 => String::new(),
        count => format!("; {} for it", clause(count, "client", ("waits", "wait"))),
    };
    Some(format!("Not reached since {since}: {why}{waiting}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_is_no_trouble_and_who_waits_is_counted() {
        let mut upstream = UpstreamStatus {
            reached_usec: Some(1),
            ..UpstreamStatus::default()
        };
        assert_eq!(sentence(&upstream, 1), None);
        upstream.failing_since_usec = Some(1_000_000);
        upstream.error = Some("it refuses connections".to_owned());
        let beginning = "Not reached since 1970-01-01 00:00:01 UTC: it refuses connections";
        for (connecting, end) in [
            (0, "."),
            (1, "; 1 client waits for it."),
            (2, "; 2 clients wait for it."),
        ] {
            let expected = format!("{beginning}{end}");
            assert_eq!(sentence(&upstream, connecting), Some(expected));
        }
    }
}
