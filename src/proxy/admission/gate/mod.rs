//! The gate: whether a client may pass, whether the drain is complete, and what each caller is answered.
//!
//! A pure state machine. Events and the time go in, [`Notice`]s come out. It only asks that a
//! [`LockStore`] saves the lock, because that has to happen before the lock takes effect. `tests`
//! states what must hold, also over random sequences of events.

mod caller;
mod events;
mod lifting;
mod machine;
#[cfg(test)]
mod tests;
mod words;

pub use machine::Gate;
pub use words::{
    Attaching, CallerId, LockRecord, LockRequest, LockStore, Mode, Notice, OpenReason, Outcome,
};
