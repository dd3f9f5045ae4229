//! The gate.

use serde::{Deserialize, Serialize};

/// What the gate does with a client that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GateState {
    /// It passes.
    Open,
    /// It waits; connections from before the lock are still open.
    Draining,
    /// It waits; no connection is open.
    Locked,
}
