//! The gate in the journal.

use crate::proxy::event;
use crate::proxy::gate::{Gate, Notice, Opened};
use crate::service::clock::{Uptime, micros};
use crate::service::plural::clause;
use crate::service::printable::Printable;

/// Logs `notice`; `gate` is as it is right behind it.
pub(in crate::proxy) fn log(notice: &Notice, gate: &Gate, queued: u32) {
    let state = gate.state().as_str();
    let open = gate.open();
    match notice {
        Notice::Locked => {
            let record = gate.lock_record();
            let reason = record.and_then(|record| record.reason.as_deref());
            let lease_until = record.and_then(|record| record.lease_until);
            let lease_usec = lease_until.map(|until| micros(until.since(Uptime::now())));
            let why = Printable(reason.unwrap_or("no reason given"));
            tracing::info!(
                MESSAGE_ID = event::LOCKED,
                GATE = state,
                OPEN = open,
                QUEUED = queued,
                REASON = reason,
                LEASE_USEC = lease_usec,
                "locked ({why}): new clients wait, {} open",
                clause(open, "connection", ("is", "are"))
            );
        }
        Notice::Drained => tracing::info!(
            MESSAGE_ID = event::DRAINED,
            GATE = state,
            OPEN = 0,
            QUEUED = queued,
            "drained: nobody is connected any more"
        ),
        Notice::Opened(Opened::Asked) => tracing::info!(
            MESSAGE_ID = event::UNLOCKED,
            GATE = state,
            QUEUED = queued,
            "unlocked: {}",
            passing(queued)
        ),
        Notice::Opened(Opened::Holder) => tracing::info!(
            MESSAGE_ID = event::UNLOCKED,
            GATE = state,
            QUEUED = queued,
            "unlocked with the end of the call that held the lock: {}",
            passing(queued)
        ),
        Notice::Opened(Opened::Lease) => tracing::warn!(
            MESSAGE_ID = event::LEASE_OVER,
            GATE = state,
            QUEUED = queued,
            "the lease of the lock is over: the gate opens by itself, {}",
            passing(queued)
        ),
        Notice::Opened(Opened::NoCaller) => tracing::info!(
            MESSAGE_ID = event::TAKEN_BACK,
            GATE = state,
            QUEUED = queued,
            "the lock was taken back because nobody waits for it any more: {}",
            passing(queued)
        ),
        Notice::Ended => tracing::warn!(
            MESSAGE_ID = event::LEASE_EXIT,
            GATE = state,
            OPEN = open,
            QUEUED = queued,
            "the lease of the lock is over: the proxy ends, as the lock said, and {} left to whoever \
                 listens next",
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

/// How many clients get what they have waited for.
fn passing(queued: u32) -> String {
    clause(queued, "waiting client", ("passes", "pass"))
}
