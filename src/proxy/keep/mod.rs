//! Connections that outlive the process.
//!
//! systemd holds all that a connection is: its sockets wait in the lot, bytes in hand in a pipe or a
//! memory file, and beside them a table says what belongs together. The next process finds all of that
//! in its store and continues.
//!
//! From the lowest to the highest; nothing imports what is above it:
//!
//! - `table`: what is written down of every connection, and [`account`]: what was under way when the
//!   process died (pure);
//! - `parking`: where descriptors are parked;
//! - `store`: what systemd keeps;
//! - `will`: the child that saves what was not parked yet, and the heir, the process that it becomes;
//! - `restoring`: finding everything again, or ending it;
//! - `keeper`: the object that connections are kept with; `start`: making it.
//!
//! # The order of things
//!
//! Nothing is lost if the caller keeps to this:
//!
//! 1. A client is parked ([`Parking::park_client`]) before anything is received from it or sent to it.
//! 2. A client and its upstream are parked ([`Parking::park`]) before anything is received from either; at
//!    best before the upstream is connected ([`Parking::park_ahead`]).
//! 3. A pipe is parked ([`Keep::pipe`]) before it is filled.
//! 4. A receive and a send are written down before and after, one at a time ([`Flow`]). If one of the
//!    sockets is not of TCP, both are through a pipe: nothing else counts what was done.
//! 5. That a source's end is passed on is written down before the sink is shut down ([`Flow::finish`]).
//! 6. A connection that has come to its end is released ([`Parking::release`]) before its sockets are
//!    closed and before its buffer or pipe is given to another one; and both its sockets have been
//!    shut down before, or reset between [`Slot::set_ending`] and the release ([`crate::service::ending`]):
//!    closing one sends nothing while the lot has a copy.
//! 7. A client that stays is detached ([`Parking::detach`]) when nothing is in hand and its socket has been sent
//!    everything. Only then its upstream is shut down ([`crate::service::ending::end_both_ways`]), then closed.
//! 8. For its next upstream it begins anew ([`Slot::begin_anew`]), before it is parked with that one.
//! 9. What the client has said and no upstream has answered is held ([`Slot::hold_request`]) before its upstream is
//!    detached, until the client is parked with the next one and it is in front ([`Flow::prefix`],
//!    [`Slot::begin_repeated`]); only then it is sent.

mod error;
mod keeper;
mod options;
mod parking;
mod restoring;
mod start;
mod store;
mod table;
mod will;

pub use error::KeepError;
pub use keeper::Keep;
pub use options::KeepOptions;
pub use parking::{ParkedPipe, Parking, SlotSockets};
pub use restoring::{InHand, LostConnection, RestoredConnection, RestoredFlow, Stage, discard};
pub use start::{Started, start};
pub use store::{NAME, separate};
pub use table::account;
pub use table::layout::{BUFFER, Phase};
pub use table::{Buffer, Buffers, Flow, HeldRequest, RequestWords, Slot, Way};
pub use will::heir_of;

#[cfg(fuzzing)]
mod fuzzing;
#[cfg(test)]
pub(in crate::proxy) mod tests;
