//! What is counted for monitoring, beside the status.

use serde::{Deserialize, Serialize};

/// Drains that were completed since the process began, by how long they took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainLengths {
    /// The longest time of each class but the last, in microseconds, from the shortest.
    #[serde(rename = "boundsUSec")]
    pub bounds_usec: Vec<u64>,
    /// How many were in each class; the last class has those that were longer than all bounds.
    pub counts: Vec<u64>,
    /// The time of all together, in microseconds.
    #[serde(rename = "sumUSec")]
    pub sum_usec: u64,
}

/// What connections have survived since the boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SurvivalCounts {
    /// Processes that were killed or have crashed, and whose place another one has taken.
    pub kills: u64,
    /// Connections that went on in the next process.
    pub restored: u64,
    /// Connections that were reset because they could not.
    pub given_up: u64,
}
