//! Why a call fails.

use std::io;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::interface::qualified;
use crate::service::varlink::{Call, Reply};

/// The last reply to a call.
pub type CallResult = Result<Reply, CallError>;

pub enum CallError {
    /// For a reason that the caller is sent.
    Reply(Reply),
    /// The caller has hung up.
    Gone(io::Error),
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// The error `name` of the interface.
pub fn refuse<T>(name: &str, parameters: Value) -> Result<T, CallError> {
    Err(CallError::Reply(Reply::error(qualified(name), parameters)))
}

/// The error for a state that could not be saved.
pub fn not_saved<T>(reason: &str) -> Result<T, CallError> {
    refuse("StateNotSaved", json!({ "reason": reason }))
}

/// The caller has hung up while its call waited.
pub fn gone() -> CallError {
    CallError::Gone(io::ErrorKind::ConnectionAborted.into())
}

/// The parameters of a call, or an error that names the wrong one.
pub fn parameters<T: DeserializeOwned>(call: &Call) -> Result<T, CallError> {
    let refused = |name: &str| CallError::Reply(Reply::invalid_parameter(name));
    let value = match &call.parameters {
        Value::Null => json!({}),
        Value::Object(_) => call.parameters.clone(),
        // serde would also read a struct from an array.
        _ => return Err(refused("parameters")),
    };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        // A missing parameter has no path; serde puts its name between backquotes.
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

    fn refused<T: DeserializeOwned>(parameters: Value) -> String {
        let call = Call {
            parameters,
            ..Call::default()
        };
        match super::parameters::<T>(&call) {
            Err(CallError::Reply(reply)) => reply.parameters["parameter"].as_str().unwrap().into(),
            _ => panic!("{call:?} was not refused"),
        }
    }

    #[test]
    fn a_parameter_that_is_wrong_is_named() {
        for (parameters, name) in [
            (json!([]), "parameters"),
            (json!("lock"), "parameters"),
            (json!({ "leaseUSec": -1 }), "leaseUSec"),
            (json!({ "reason": 7 }), "reason"),
            (json!({ "leeseUSec": 1 }), "leeseUSec"),
        ] {
            assert_eq!(refused::<LockParameters>(parameters), name);
        }
        assert!(parameters::<LockParameters>(&Call::default()).is_ok());
        assert_eq!(refused::<TargetParameters>(Value::Null), "target");
    }
}
