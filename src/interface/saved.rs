//! What a proxy leaves in files, for the next process and for who looks at a proxy that sleeps.

use std::fs;

use serde::{Deserialize, Serialize};

use super::gate::LeaseEnd;
use super::metrics::SurvivalCounts;
use crate::service::clock::Uptime;

/// The file with the lock, in the runtime directory.
pub const LOCK_FILE: &str = "lock";

/// The file with the target, in the state directory.
pub const TARGET_FILE: &str = "target";

/// The file with what connections have survived, in the runtime directory.
pub const SURVIVED_FILE: &str = "survived";

/// A lock as it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    /// For people.
    pub reason: Option<String>,
    /// When it was locked, in microseconds since 1970, for people.
    pub since_usec: u64,
    /// When the lease ends.
    #[serde(rename = "lease_until_uptime_usec")]
    pub lease_until: Option<Uptime>,
    /// What happens then.
    #[serde(default)]
    pub at_lease_end: LeaseEnd,
    /// Whether the lock stays without a caller. Otherwise it belongs to the callers that wait for its
    /// drain, and ends with the last of them.
    pub kept: bool,
}

/// The lock as a file. A lock of another boot is ignored: its lease is in the time of that boot, and none of
/// its callers is left.
#[derive(Debug, Serialize, Deserialize)]
pub struct LockFile {
    /// See [`boot_id`].
    pub boot_id: String,
    /// The lock.
    #[serde(flatten)]
    pub lock: LockRecord,
}

/// What connections have survived, as a file.
#[derive(Debug, Serialize, Deserialize)]
pub struct SurvivedFile {
    /// See [`boot_id`].
    pub boot_id: String,
    /// What was counted in that boot.
    #[serde(flatten)]
    pub counts: SurvivalCounts,
}

impl SurvivedFile {
    /// What was counted in this boot.
    pub fn counted_in(&self, boot_id: &str) -> SurvivalCounts {
        match self.boot_id == boot_id {
            true => self.counts,
            false => SurvivalCounts::default(),
        }
    }
}

/// What this boot of the machine is called; empty if the kernel does not say.
pub fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
