//! Calls and replies.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The interface that every Varlink service has.
pub const SERVICE_INTERFACE: &str = "org.varlink.service";

/// A method call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Interface and method: `org.example.Interface.Method`.
    pub method: String,
    /// The parameters, an object.
    #[serde(default)]
    pub parameters: Value,
    /// Whether the caller expects more than one reply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Whether the caller expects no reply.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oneway: bool,
}

/// A reply, or an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The name of the error, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The parameters, an object.
    #[serde(default)]
    pub parameters: Value,
    /// Whether more replies to the same call follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
}

impl Reply {
    /// The only or last reply.
    pub fn last(parameters: impl Serialize) -> Self {
        Self {
            // It cannot fail: our types have string keys and ordinary numbers.
            parameters: serde_json::to_value(parameters).unwrap_or(Value::Null),
            ..Self::default()
        }
    }

    /// A reply that is not the last one.
    pub fn continued(parameters: impl Serialize) -> Self {
        Self {
            continues: true,
            ..Self::last(parameters)
        }
    }

    /// An error; `name` includes the interface.
    pub fn error(name: impl Into<String>, parameters: impl Serialize) -> Self {
        Self {
            error: Some(name.into()),
            ..Self::last(parameters)
        }
    }

    /// An error of the interface that every Varlink service has.
    pub(super) fn service_error(name: &str, parameters: Value) -> Self {
        Self::error(format!("{SERVICE_INTERFACE}.{name}"), parameters)
    }

    /// The error for a parameter that is missing or of the wrong type.
    pub fn invalid_parameter(parameter: &str) -> Self {
        Self::service_error("InvalidParameter", json!({ "parameter": parameter }))
    }

    /// The error for a method that the interface does not have.
    pub fn method_not_found(method: &str) -> Self {
        Self::service_error("MethodNotFound", json!({ "method": method }))
    }

    /// The error for a call that makes sense only with `more`.
    pub fn expected_more() -> Self {
        Self::service_error("ExpectedMore", json!({}))
    }
}
