//! The gate in the interface.

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

impl GateState {
    /// Its word in the interface, in messages and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Draining => "draining",
            Self::Locked => "locked",
        }
    }
}

/// What happens when the lease of a lock expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LeaseEnd {
    /// The gate opens by itself.
    #[default]
    Open,
    /// The proxy ends, and the gate never opens.
    Exit,
}
