//! The gate in the journal.

use super::gate::{Gate, Notice, OpenReason};
use crate::proxy::event;
use crate::service::clock::{Uptime, micros};
use crate::service::plural::clause;
use crate::service::printable::Printable;

/// Logs `notice`. `gate` is as it was right after that, and `queued` clients wait.
pub(super) fn log(notice: &Notice, gate: &Gate, queued: u32) {
    let state = gate.state().as_str();
    match notice {
        Notice::Locked => log_locked(gate, queued),
        Notice::Drained => tracing::info!(
            MESSAGE_ID = event::DRAINED,
            GATE = state,
            OPEN = 0,
            DETACHED = detached(gate),
            QUEUED = queued,
            "drained: {}",
            match gate.detached_connections() {
                0 => "nobody is connected any more".to_owned(),
                count => format!(
                    "no upstream is connected any more, {}",
                    clause(count, "client", ("stays", "stay"))
                ),
            }
        ),
        Notice::Opened(why) => log_opened(*why, gate, queued),
        Notice::Ended => tracing::warn!(
            MESSAGE_ID = event::LEASE_EXIT,
            GATE = state,
            OPEN = gate.open_connections(),
            QUEUED = queued,
            "the lease of the lock is over: the proxy ends, as the lock said, and {} left to the \
                 process that listens next",
            clause(queued, "waiting client", ("is", "are"))
        ),
        Notice::Force => tracing::warn!(
            GATE = state,
            "the drain takes longer than --force-after: open connections are reset"
        ),
        Notice::RecordLeft(error) => tracing::error!(
            GATE = state,
            ERROR = error,
            "the record of the lock cannot be removed ({error}): remove it by hand, or unlock once more \
                 when that is mended; a restart locks again"
        ),
    }
}

/// The field of the journal; none without detached clients.
fn detached(gate: &Gate) -> Option<usize> {
    Some(gate.detached_connections()).filter(|count| *count > 0)
}

/// The end of a sentence, if there are detached clients.
fn and_detached(gate: &Gate, (is, are): (&str, &str)) -> String {
    let count = detached(gate);
    let clause = count.map(|count| clause(count, "detached client", (is, are)));
    clause.map_or_else(String::new, |clause| format!(", {clause}"))
}

fn log_locked(gate: &Gate, queued: u32) {
    let record = gate.lock_record();
    let reason = record.and_then(|record| record.reason.as_deref());
    let lease_until = record.and_then(|record| record.lease_until);
    let open = gate.open_connections();
    tracing::info!(
        MESSAGE_ID = event::LOCKED,
        GATE = gate.state().as_str(),
        OPEN = open,
        DETACHED = detached(gate),
        QUEUED = queued,
        REASON = reason,
        LEASE_USEC = lease_until.map(|until| micros(until.since(Uptime::now()))),
        "locked ({}): new clients wait, {} open{}",
        Printable(reason.unwrap_or("no reason given")),
        clause(open, "connection", ("is", "are")),
        and_detached(gate, ("stays", "stay"))
    );
}

fn log_opened(why: OpenReason, gate: &Gate, queued: u32) {
    let state = gate.state().as_str();
    let (message_id, sentence) = match why {
        OpenReason::Unlock => (event::UNLOCKED, "unlocked:"),
        OpenReason::Holder => (
            event::UNLOCKED,
            "unlocked with the end of the call that held the lock:",
        ),
        OpenReason::NoCaller => (
            event::TAKEN_BACK,
            "the lock was taken back because nobody waits for it any more:",
        ),
        OpenReason::Lease => (
            event::LEASE_OVER,
            "the lease of the lock is over: the gate opens by itself,",
        ),
    };
    let passing = clause(queued, "waiting client", ("passes", "pass"));
    let staying = and_detached(gate, ("goes on", "go on"));
    match why {
        OpenReason::Lease => tracing::warn!(
            MESSAGE_ID = message_id,
            GATE = state,
            DETACHED = detached(gate),
            QUEUED = queued,
            "{sentence} {passing}{staying}"
        ),
        OpenReason::Unlock | OpenReason::Holder | OpenReason::NoCaller => tracing::info!(
            MESSAGE_ID = message_id,
            GATE = state,
            DETACHED = detached(gate),
            QUEUED = queued,
            "{sentence} {passing}{staying}"
        ),
    }
}
