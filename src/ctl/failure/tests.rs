//! Errors of a proxy, as sentences and exit statuses.

use super::*;
use crate::interface::qualified;
use serde_json::json;

fn answered(name: &str, parameters: Value) -> Failure {
    Failure::answered("/c".into(), &qualified(name), &parameters)
}

fn unreachable(kind: io::ErrorKind) -> Failure {
    Failure::Unreachable {
        path: "/c".into(),
        error: kind.into(),
    }
}

#[test]
fn each_error_of_the_interface_has_a_sentence_and_an_exit_status() {
    for (failure, status, word) in [
        (
            answered("DrainTimedOut", json!({"open": 3})),
            3,
            "3 connections still open",
        ),
        (
            answered("DrainStalled", json!({"open": 1})),
            3,
            "1 connection still open",
        ),
        (
            answered("Unlocked", json!({"reason": "unlock"})),
            1,
            "somebody else",
        ),
        (
            answered("Unlocked", json!({"reason": "lease"})),
            1,
            "--lease",
        ),
        (
            answered("InvalidTarget", json!({"target": "x", "reason": "bad"})),
            2,
            "“x”: bad",
        ),
        (answered("TargetFixed", json!({"target": "h:1"})), 1, "h:1"),
        (
            answered("StateNotSaved", json!({"reason": "full"})),
            1,
            "full",
        ),
        (
            answered("NoSuchConnection", json!({"id": 7})),
            1,
            "connection 7",
        ),
        (
            answered("CannotClose", json!({"id": 0, "reason": "not ours"})),
            1,
            "not ours",
        ),
        (
            answered("TooManyCallers", json!({"limit": 9})),
            1,
            "9 calls",
        ),
        (
            answered("CallTooLong", json!({"limit": 65536})),
            2,
            "at most 65536 bytes",
        ),
        (answered("Unheard", json!({})), 1, "Unheard"),
    ] {
        assert_eq!(failure.exit_status(), status, "{failure}");
        assert!(failure.to_string().contains(word), "{failure}");
    }
}

#[test]
fn every_error_of_the_interface_is_known() {
    for line in crate::interface::DESCRIPTION.lines() {
        if let Some(name) = line.strip_prefix("error ") {
            let name = name.split_whitespace().next().unwrap();
            let failure = answered(name, json!({}));
            assert!(!matches!(failure, Failure::Foreign { .. }), "{name}");
        }
    }
}

#[test]
fn absence_is_told_from_refusal() {
    use io::ErrorKind::*;
    for kind in [NotFound, NotADirectory, ConnectionRefused] {
        assert!(unreachable(kind).is_absence());
    }
    assert!(Failure::NoProxy("/run".into()).is_absence());
    let denied = unreachable(PermissionDenied);
    assert!(!denied.is_absence());
    assert_eq!(denied.exit_status(), 4);
    assert!(denied.to_string().contains("group disnix-tcp-proxy"));
}
