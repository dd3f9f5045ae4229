//! The control interface: what a proxy and its callers say to each other, as `interface.varlink` describes it.

mod gate;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use gate::{GateState, LeaseEnd};

/// The name of the interface.
pub const INTERFACE: &str = "io.github.disnix-proxy-example.Proxy";

/// The interface in Varlink's own language.
pub const DESCRIPTION: &str = include_str!("interface.varlink");

/// The longest call that a proxy takes, in bytes with the NUL that ends it.
pub const CALL_MAX: usize = 64 * 1024;

/// A method or an error with its interface.
pub fn qualified(name: &str) -> String {
    format!("{INTERFACE}.{name}")
}

/// Why and since when the gate is not open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockStatus {
    /// What the first caller gave as its reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was locked, microseconds since 1970.
    #[serde(rename = "sinceUSec")]
    pub since_usec: u64,
    /// Microseconds until the lock is over; absent: it lasts until somebody unlocks.
    #[serde(rename = "leaseLeftUSec", skip_serializing_if = "Option::is_none")]
    pub lease_left_usec: Option<u64>,
    /// What happens then.
    #[serde(default)]
    pub at_lease_end: LeaseEnd,
    /// How many callers wait for the drain or hold the lock.
    pub callers: usize,
    /// Whether the lock stays when these callers have gone.
    pub kept: bool,
}

/// One listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Where it listens.
    pub address: String,
    /// Whether it is systemd's.
    pub inherited: bool,
    /// Clients in its accept backlog; absent where the kernel does not say (AF_UNIX).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u32>,
    /// The most clients that can wait there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u32>,
}

/// Everything that is to be known of a proxy at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The proxy's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Whether connections pass.
    pub gate: GateState,
    /// The lock, unless the gate is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockStatus>,
    /// Where new connections go; absent: nobody has said yet, and clients wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether the target is given on the command line and cannot be changed.
    pub target_fixed: bool,
    /// Open connections.
    pub open: usize,
    /// Those of them that are open in the process that this one has taken over; absent: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub open_in_predecessor: usize,
    /// The most connections that are open at a time.
    pub connections_max: usize,
    /// Clients waiting in the accept backlogs of all listeners.
    pub queued: u32,
    /// Connections accepted since the process began.
    pub accepted: u64,
    /// Connections given up since then because the upstream could not be reached.
    pub unreachable: u64,
    /// Clients reset since then because their source had as many connections as it may; absent: none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub refused: u64,
    /// Bytes received from clients since then.
    pub received_bytes: u64,
    /// Bytes sent to clients since then.
    pub sent_bytes: u64,
    /// The listening sockets.
    pub listeners: Vec<ListenerStatus>,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// One open connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStatus {
    /// Its number, unique in the process.
    pub id: u64,
    /// The client.
    pub peer: String,
    /// Where it leads; absent while the upstream is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Microseconds since it was accepted.
    #[serde(rename = "ageUSec")]
    pub age_usec: u64,
    /// Microseconds since the last byte in either direction.
    #[serde(rename = "idleUSec")]
    pub idle_usec: u64,
    /// Bytes received from the client.
    pub received_bytes: u64,
    /// Bytes sent to the client.
    pub sent_bytes: u64,
}

/// `GetStatus` and `Monitor` reply with this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// The state of the proxy.
    pub status: Status,
}

/// `ListConnections` replies with this, once for each connection; without one when there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionReply {
    /// A connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionStatus>,
}

/// The parameters of `Lock`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockParameters {
    /// Why, for people who look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Give up after so many microseconds.
    #[serde(
        default,
        rename = "timeoutUSec",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout_usec: Option<u64>,
    /// Give up when nobody has left for so many microseconds.
    #[serde(
        default,
        rename = "progressTimeoutUSec",
        skip_serializing_if = "Option::is_none"
    )]
    pub progress_timeout_usec: Option<u64>,
    /// The lock is over after so many microseconds.
    #[serde(default, rename = "leaseUSec", skip_serializing_if = "Option::is_none")]
    pub lease_usec: Option<u64>,
    /// What is to happen then; absent: what was said before, or else the gate opens.
    #[serde(
        default,
        rename = "atLeaseEnd",
        skip_serializing_if = "Option::is_none"
    )]
    pub at_lease_end: Option<LeaseEnd>,
    /// Reset what is still open after so many microseconds.
    #[serde(
        default,
        rename = "forceAfterUSec",
        skip_serializing_if = "Option::is_none"
    )]
    pub force_after_usec: Option<u64>,
    /// Whether the lock is to last only as long as the caller stays connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<bool>,
}

/// The parameters of `Switch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchParameters {
    /// Where new connections are to go.
    pub target: String,
    /// Try for so many microseconds to reach it, before anything is changed and again after the drain.
    #[serde(default, rename = "probeUSec", skip_serializing_if = "Option::is_none")]
    pub probe_usec: Option<u64>,
    /// Why, for people who look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Give up after so many microseconds.
    #[serde(
        default,
        rename = "timeoutUSec",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout_usec: Option<u64>,
    /// Give up when nobody has left for so many microseconds.
    #[serde(
        default,
        rename = "progressTimeoutUSec",
        skip_serializing_if = "Option::is_none"
    )]
    pub progress_timeout_usec: Option<u64>,
    /// Reset what is still open after so many microseconds.
    #[serde(
        default,
        rename = "forceAfterUSec",
        skip_serializing_if = "Option::is_none"
    )]
    pub force_after_usec: Option<u64>,
}

/// `Unlock` replies with this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnlockReply {
    /// The gate now.
    #[serde(flatten)]
    pub gate: GateReply,
    /// Why the record of the lock could not be removed: a restart would lock again. Absent: it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_left: Option<String>,
}

/// `Lock` and `Switch` reply with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateReply {
    /// The gate now.
    pub gate: GateState,
    /// Open connections.
    pub open: usize,
    /// Clients that wait.
    pub queued: u32,
}

/// The parameters of `SetTarget`, and its reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetParameters {
    /// Where new connections go.
    pub target: String,
    /// Try for so many microseconds to reach it, before anything is changed.
    #[serde(default, rename = "probeUSec", skip_serializing_if = "Option::is_none")]
    pub probe_usec: Option<u64>,
}

/// The most sockets that are handed over, that of control among them.
pub const HANDED_MAX: usize = 4096;

/// `HandOver` replies with this; the descriptors come with it, in this order, that of control last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOverReply {
    /// The process that hands over.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Where it listens for clients.
    pub listeners: Vec<String>,
    /// Where it listens for callers.
    pub control: String,
    /// Where it keeps its lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_directory: Option<PathBuf>,
    /// Where it keeps its target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_directory: Option<PathBuf>,
}

/// `Retire` replies with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetireReply {
    /// Connections that are still open in the process that was taken over.
    pub open: usize,
}

/// The parameters of `CloseConnection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionParameters {
    /// The connection's number.
    pub id: u64,
}
