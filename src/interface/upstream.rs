//! What is known of the upstream.

use serde::{Deserialize, Serialize};

/// What attempts to reach the target have shown since the process began, or since the target was set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// When it was reached last, microseconds since 1970; absent: not yet.
    #[serde(rename = "reachedUSec", skip_serializing_if = "Option::is_none")]
    pub reached_usec: Option<u64>,
    /// When the first of the last attempts in a row has failed; absent: the last one has succeeded.
    #[serde(rename = "failingSinceUSec", skip_serializing_if = "Option::is_none")]
    pub failing_since_usec: Option<u64>,
    /// Why the last attempt has failed, for people; absent: it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
