//! The control interface of a proxy, see `interface/interface.varlink`.

mod gate;
pub mod metrics;
pub mod saved;
mod upstream;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use gate::{GateState, LeaseEnd};
use metrics::{DrainLengths, SurvivalCounts};
pub use upstream::UpstreamStatus;

/// The name of the interface.
pub const INTERFACE: &str = "io.github.disnix-proxy-example.Proxy";

/// The definition of the interface in Varlink.
pub const DESCRIPTION: &str = include_str!("interface/interface.varlink");

/// The longest call that a proxy accepts, in bytes, with its NUL.
pub const CALL_MAX: usize = 64 * 1024;

/// A method or an error with its interface.
pub fn qualified(name: &str) -> String {
    format!("{INTERFACE}.{name}")
}

/// Why and since when the gate is not open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockStatus {
    /// The reason of the first caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was locked, microseconds since 1970. A proxy always says it; zero, or absent: it is not known, because
    /// a proxy that sleeps has left a lock that cannot be read.
    #[serde(rename = "sinceUSec", default, skip_serializing_if = "is_default")]
    pub since_usec: u64,
    /// Microseconds until the lease expires; absent: there is none.
    #[serde(rename = "leaseLeftUSec", skip_serializing_if = "Option::is_none")]
    pub lease_left_usec: Option<u64>,
    /// What happens then.
    #[serde(default)]
    pub at_lease_end: LeaseEnd,
    /// The number of callers that wait for the drain or hold the lock.
    pub callers: usize,
    /// Whether the lock stays without these callers.
    pub kept: bool,
}

/// One listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Where it listens.
    pub address: String,
    /// Whether it was inherited from systemd.
    pub inherited: bool,
    /// Clients in its accept backlog; absent where the kernel does not say (AF_UNIX).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u32>,
    /// The size of the backlog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u32>,
}

/// The state of a proxy at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The proxy's version.
    pub version: String,
    /// Its process number.
    pub pid: u32,
    /// Whether connections pass.
    pub gate: GateState,
    /// The lock, unless the gate is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockStatus>,
    /// Where new connections go; absent: it is not set yet, and clients wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether the target is given on the command line and cannot be changed.
    pub target_fixed: bool,
    /// What is known of the target; absent: nothing, because nobody has tried to reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamStatus>,
    /// How requests are recognised; absent: they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<String>,
    /// Open connections.
    pub open: usize,
    /// Those of them that are still open in the predecessor; absent: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub open_in_predecessor: usize,
    /// Those of them that wait for the upstream; absent: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub connecting: usize,
    /// Clients that stay connected while their upstream was ended, beside the open connections; absent: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub detached: usize,
    /// The limit of open connections.
    pub connections_max: usize,
    /// Clients waiting in the accept backlogs of all listeners.
    pub queued: u32,
    /// Connections accepted since the start of the process.
    pub accepted: u64,
    /// Connections given up since then because the upstream was not reached.
    pub unreachable: u64,
    /// Clients reset since then because of the limit for each source; absent: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub refused: u64,
    /// Requests repeated since then because their upstream ended before the first byte of the reply; absent: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub repeated: u64,
    /// Bytes received from clients since then, and before on connections that an earlier process has left.
    pub received_bytes: u64,
    /// Bytes sent to clients, likewise.
    pub sent_bytes: u64,
    /// What connections have survived since the boot; absent: nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub survived: SurvivalCounts,
    /// The listening sockets.
    pub listeners: Vec<ListenerStatus>,
    /// Variables that belong to no option, each as a sentence. They were not refused because connections were kept;
    /// absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_variables: Vec<String>,
}

/// For values that are left out where they say nothing.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One open connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStatus {
    /// Its number, unique in the process.
    pub id: u64,
    /// The client.
    pub peer: String,
    /// Its target; absent while the upstream is not connected.
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
    /// Whether the client stays while its upstream was ended; absent: no.
    #[serde(default, skip_serializing_if = "is_default")]
    pub detached: bool,
    /// Why its requests cannot be recognised, so that it is never detached; absent: they can, or nobody looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opaque: Option<String>,
}

/// `GetStatus` and `Monitor` reply with this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// The state of the proxy.
    pub status: Status,
}

/// `GetMetrics` replies with this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsReply {
    /// The state of the proxy.
    pub status: Status,
    /// Its drains.
    pub drains: DrainLengths,
    /// As in the status, and also if it is nothing.
    pub survived: SurvivalCounts,
}

/// `ListConnections` replies with this for each connection; once without one if there is none.
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
    /// The reason, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Give up after this time, in microseconds.
    #[serde(rename = "timeoutUSec", skip_serializing_if = "Option::is_none")]
    pub timeout_usec: Option<u64>,
    /// Give up when no connection has ended for this time, in microseconds.
    #[serde(
        rename = "progressTimeoutUSec",
        skip_serializing_if = "Option::is_none"
    )]
    pub progress_timeout_usec: Option<u64>,
    /// The lease, in microseconds.
    #[serde(rename = "leaseUSec", skip_serializing_if = "Option::is_none")]
    pub lease_usec: Option<u64>,
    /// What happens when it expires; absent: as in the call before, or else the gate opens.
    #[serde(rename = "atLeaseEnd", skip_serializing_if = "Option::is_none")]
    pub at_lease_end: Option<LeaseEnd>,
    /// Reset the connections that are still open after this time, in microseconds.
    #[serde(rename = "forceAfterUSec", skip_serializing_if = "Option::is_none")]
    pub force_after_usec: Option<u64>,
    /// End the connections that carry nothing for this time, in microseconds.
    #[serde(rename = "closeIdleUSec", skip_serializing_if = "Option::is_none")]
    pub close_idle_usec: Option<u64>,
    /// Whether the lock lasts only as long as the caller stays connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<bool>,
}

/// The parameters of `Switch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchParameters {
    /// The new target.
    pub target: String,
    /// For how long to try to reach it, before anything changes and again after the drain, in microseconds.
    #[serde(rename = "probeUSec", skip_serializing_if = "Option::is_none")]
    pub probe_usec: Option<u64>,
    /// The reason, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Give up after this time, in microseconds.
    #[serde(rename = "timeoutUSec", skip_serializing_if = "Option::is_none")]
    pub timeout_usec: Option<u64>,
    /// Give up when no connection has ended for this time, in microseconds.
    #[serde(
        rename = "progressTimeoutUSec",
        skip_serializing_if = "Option::is_none"
    )]
    pub progress_timeout_usec: Option<u64>,
    /// Reset the connections that are still open after this time, in microseconds.
    #[serde(rename = "forceAfterUSec", skip_serializing_if = "Option::is_none")]
    pub force_after_usec: Option<u64>,
    /// End the connections that carry nothing for this time, in microseconds.
    #[serde(rename = "closeIdleUSec", skip_serializing_if = "Option::is_none")]
    pub close_idle_usec: Option<u64>,
}

/// `Unlock` replies with this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnlockReply {
    /// The gate now.
    #[serde(flatten)]
    pub gate: GateReply,
    /// Why the record of the lock could not be removed, so that a restart would lock again; absent: it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_left: Option<String>,
}

/// `Lock` and `Switch` reply with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateReply {
    /// The gate now.
    pub gate: GateState,
    /// Open connections.
    pub open: usize,
    /// Clients that wait.
    pub queued: u32,
    /// Connections that this drain has ended because they were idle; absent: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub closed_idle: u64,
    /// Clients that stay connected while their upstream was ended; absent: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub detached: usize,
}

/// The parameters of `SetTarget`, and its reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetParameters {
    /// Where new connections go.
    pub target: String,
    /// For how long to try to reach it, before anything changes, in microseconds.
    #[serde(rename = "probeUSec", skip_serializing_if = "Option::is_none")]
    pub probe_usec: Option<u64>,
    /// Whether it is only tried, and not set; absent: no.
    #[serde(rename = "tryOnly", skip_serializing_if = "Option::is_none")]
    pub try_only: Option<bool>,
}

/// The most sockets that are handed over, the control socket included.
pub const HANDED_MAX: usize = 4096;

/// `HandOver` replies with this and the descriptors, in this order, the control socket last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOverReply {
    /// The process that hands over its sockets.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Where it listens for clients.
    pub listeners: Vec<String>,
    /// Its control socket.
    pub control: String,
    /// The directory of its lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_directory: Option<PathBuf>,
    /// The directory of its target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_directory: Option<PathBuf>,
}

/// The parameters of `Retire`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetireParameters {
    /// How the successor recognises requests, if it takes detached clients; absent: it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<String>,
}

/// `Retire` replies with this, and with the descriptors of `clients` in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetireReply {
    /// Clients that are still connected to the predecessor.
    pub open: usize,
    /// Detached clients that are passed on, [`PASSED_MAX`] at most; absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<PassedClient>,
}

/// The most clients that are passed on at once: a process has that many descriptors left when all places are taken.
pub const PASSED_MAX: usize = 32;

/// A detached client that a process passes on to its successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedClient {
    /// What is known of it. Its number is that of the predecessor.
    pub connection: ConnectionStatus,
    /// Whether it gets an upstream also if it says nothing; absent: no.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held: bool,
    /// What was received of a request that its upstream did not answer: each character is a byte; absent: nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request: String,
    /// How many upstreams in a row have ended without an answer; absent: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unanswered: u8,
}

/// The parameters of `ConfirmClients`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmParameters {
    /// How many of the last clients the caller has taken, the first ones.
    pub taken: usize,
    /// Why not all, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The parameters of `CloseConnection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionParameters {
    /// The connection's number.
    pub id: u64,
}

#[cfg(test)]
mod tests;
