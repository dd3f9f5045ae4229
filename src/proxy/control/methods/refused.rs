//! Calls that come to nothing, and why.

use std::io;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::interface::qualified;
use crate::service::varlink::{Call, Reply};

/// Why a call came to nothing.
pub enum Refused {
    /// The caller is told so.
    Reply(Reply),
    /// It has gone.
    Gone(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// The error `name` of the interface.
pub fn refuse<T>(name: &str, parameters: Value) -> Result<T, Refused> {
    Err(Refused::Reply(Reply::error(qualified(name), parameters)))
}

/// The error for what the disk did not take.
pub fn not_saved<T>(reason: &str) -> Result<T, Refused> {
    refuse("StateNotSaved", json!({ "reason": reason }))
}

/// The caller has gone while its call waited.
pub fn gone() -> Refused {
    Refused::Gone(io::ErrorKind::ConnectionAborted.into())
}

/// The parameters of a call, or the name of the one that is wrong.
pub fn parameters<T: DeserializeOwned>(call: &Call) -> Result<T, Refused> {
    let refused = |name: &str| Refused::Reply(Reply::invalid_parameter(name));
    let value = match &call.parameters {
        Value::Null => json!({}),
        Value::Object(_) => call.parameters.clone(),
        // serde would read a struct from an array too.
        _ => return Err(refused("parameters")),
    };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        // One that is missing has no path; serde puts its name between backquotes.
        let text = error.inner().to_string();
        match path.as_str() {
            "." => refused(text.split('`').nth(1).unwrap_or("parameters")),
            name => refused(name),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::{LockParameters, TargetParameters};

    fn refused(parameters_given: Value) -> String {
        let call = Call {
            parameters: parameters_given,
            ..Call::default()
        };
        match parameters::<LockParameters>(&call) {
            Err(Refused::Reply(reply)) => {
                reply.parameters["parameter"].as_str().unwrap().to_owned()
            }
            _ => panic!("{call:?} was taken"),
        }
    }

    #[test]
    fn a_parameter_that_is_wrong_is_named() {
        assert_eq!(refused(json!([])), "parameters");
        assert_eq!(refused(json!("lock")), "parameters");
        assert_eq!(refused(json!({ "leaseUSec": -1 })), "leaseUSec");
        assert_eq!(refused(json!({ "reason": 7 })), "reason");
        assert_eq!(refused(json!({ "leeseUSec": 1 })), "leeseUSec");
        let none = Call::default();
        assert!(parameters::<LockParameters>(&none).is_ok());
        match parameters::<TargetParameters>(&none) {
            Err(Refused::Reply(reply)) => assert_eq!(reply.parameters["parameter"], "target"),
            _ => panic!("a target is needed"),
        }
    }
}
