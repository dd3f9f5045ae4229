//! Error replies of a proxy, as failures.

use std::path::Path;

use serde_json::Value;

use crate::ctl::failure::{CtlFailure, LeftOpen};
use crate::interface::qualified;
use crate::service::plural::clause;

/// The error of a proxy that does not have the method.
const NO_METHOD: &str = "org.varlink.service.MethodNotFound";

/// From the error `name` that the proxy behind `path` replied with; `shown_by`: the command that shows its connections.
pub fn failure_of(path: &Path, shown_by: &str, name: &str, parameters: &Value) -> CtlFailure {
    let left_open = || LeftOpen {
        open: number(parameters, "open"),
        shown_by: shown_by.to_owned(),
    };
    let error = name.strip_prefix(&qualified("")).unwrap_or_default();
    match error {
        "DrainTimedOut" => CtlFailure::DrainTimedOut(left_open()),
        "DrainStalled" => CtlFailure::DrainStalled(left_open()),
        "Unlocked" => CtlFailure::Unlocked(text(parameters, "reason").to_owned()),
        "InvalidTarget" => CtlFailure::Usage(format!(
            "the proxy cannot lead to “{}”: {}; nothing has changed",
            text(parameters, "target"),
            text(parameters, "reason")
        )),
        _ if name == NO_METHOD => CtlFailure::Outdated {
            path: path.to_owned(),
            method: text(parameters, "method").to_owned(),
        },
        "CallTooLong" => CtlFailure::too_long(number(parameters, "limit")),
        _ => match refusal(shown_by, error, parameters) {
            Some(sentence) => CtlFailure::Refused(sentence),
            None => CtlFailure::Foreign {
                path: path.to_owned(),
                reason: format!("it answers {name} {parameters}"),
            },
        },
    }
}

fn text<'a>(parameters: &'a Value, key: &str) -> &'a str {
    parameters[key].as_str().unwrap_or("?")
}

fn number(parameters: &Value, key: &str) -> u64 {
    parameters[key].as_u64().unwrap_or(0)
}

/// The sentence for an error that needs no variant of its own; `None` for an unknown one.
fn refusal(shown_by: &str, error: &str, parameters: &Value) -> Option<String> {
    let (reason, target) = (text(parameters, "reason"), text(parameters, "target"));
    let id = number(parameters, "id");
    Some(match error {
        "TargetSilent" if parameters["set"] == true => {
            format!("{reason}; it is set all the same, for there was no target before: start it")
        }
        "TargetSilent" => format!(
            "{reason}; nothing has changed: start it, try longer with --wait, or set the target without \
             trying it"
        ),
        "TargetFixed" => format!(
            "the target is fixed to {target} by the proxy's command line or DISNIX_TCP_PROXY_TARGET: \
             change it there and restart the proxy, or remove it there to use set-target"
        ),
        "StateNotSaved" => format!(
            "the proxy could not save its state ({reason}), nothing has changed: look after its \
             runtime and state directories and try again"
        ),
        "NoSuchConnection" => {
            format!("there is no connection {id} (any more): see `{shown_by}`")
        }
        "CannotClose" => format!("connection {id} cannot be closed: {reason}"),
        "BeingTakenOver" => {
            let pid = parameters["pid"].as_i64();
            let pid = pid.map(|pid| format!(" ({pid})")).unwrap_or_default();
            format!("another process{pid} is just taking over from the proxy: wait until it has")
        }
        "CannotHandOver" => format!("the proxy cannot hand over its sockets: {reason}"),
        "NotHandedOver" => {
            "the proxy has not handed over its sockets to this caller: that comes first".to_owned()
        }
        "TooManyCallers" => {
            let verbs = ("that waits", "that wait");
            let calls = clause(number(parameters, "limit"), "call", verbs);
            format!(
                "the proxy has {calls} (lock, switch, watch) already, and no more may: end some of them \
                 and try again"
            )
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::DESCRIPTION;
    use serde_json::json;

    const SHOWN_BY: &str = "disnix-tcp-proxyctl --instance web connections";

    fn failure(name: &str, parameters: Value) -> CtlFailure {
        failure_of(Path::new("/c"), SHOWN_BY, &qualified(name), &parameters)
    }

    #[test]
    fn each_error_of_the_interface_has_a_sentence_and_an_exit_status() {
        let invalid = json!({"target": "x", "reason": "bad"});
        let not_ours = json!({"id": 0, "reason": "not ours"});
        let (three, one) = (json!({"open": 3}), json!({"open": 1}));
        let limit = json!({"limit": 65536});
        for (name, parameters, status, words) in [
            ("DrainTimedOut", three, 3, "3 connections still open"),
            ("DrainStalled", one, 3, "1 connection still open"),
            ("Unlocked", json!({"reason": "unlock"}), 1, "somebody else"),
            ("Unlocked", json!({"reason": "lease"}), 1, "--lease"),
            ("InvalidTarget", invalid, 2, "“x”: bad"),
            ("TargetFixed", json!({"target": "h:1"}), 1, "h:1"),
            ("StateNotSaved", json!({"reason": "full"}), 1, "full"),
            ("NoSuchConnection", json!({"id": 7}), 1, "connection 7"),
            ("CannotClose", not_ours, 1, "not ours"),
            ("TooManyCallers", json!({"limit": 9}), 1, "9 calls"),
            ("CallTooLong", limit, 2, "at most 65536 bytes"),
            ("Unheard", json!({}), 1, "Unheard"),
        ] {
            let failure = failure(name, parameters);
            assert_eq!(failure.exit_status(), status, "{failure}");
            assert!(failure.to_string().contains(words), "{failure}");
        }
    }

    #[test]
    fn advice_names_the_proxy_that_the_call_was_for() {
        for (name, parameters) in [
            ("DrainTimedOut", json!({"open": 3})),
            ("DrainStalled", json!({"open": 3})),
            ("NoSuchConnection", json!({"id": 7})),
        ] {
            let failure = failure(name, parameters).to_string();
            assert!(failure.contains(SHOWN_BY), "{failure}");
        }
        let CtlFailure::DrainTimedOut(left) = failure("DrainTimedOut", json!({"open": 3})) else {
            panic!("another failure");
        };
        let unseen = CtlFailure::DrainUnseen(left).to_string();
        assert!(unseen.contains(SHOWN_BY), "{unseen}");
    }

    #[test]
    fn a_proxy_without_the_method_is_an_older_one() {
        let parameters = json!({ "method": "a.GetMetrics" });
        let failure = failure_of(Path::new("/c"), SHOWN_BY, NO_METHOD, &parameters);
        assert!(matches!(failure, CtlFailure::Outdated { .. }), "{failure}");
        assert!(
            failure.to_string().contains("no method a.GetMetrics"),
            "{failure}"
        );
        assert_eq!(failure.exit_status(), 1);
    }

    #[test]
    fn every_error_of_the_interface_is_known() {
        for line in DESCRIPTION.lines() {
            if let Some(name) = line.strip_prefix("error ") {
                let name = name.split_whitespace().next().unwrap();
                let failure = failure(name, json!({}));
                assert!(!matches!(failure, CtlFailure::Foreign { .. }), "{name}");
            }
        }
    }
}
