//! The gate: may this client pass, is the drain complete, who is told what?
//!
//! A pure state machine. Events and the time go in, [`Notice`]s come out; the only thing it asks of
//! the world is that a [`LockStore`] writes the lock down, because that has to happen before the
//! lock takes effect. What must hold is in `tests`, over random sequences of events too.

mod caller;
mod events;
mod lifting;
mod machine;
#[cfg(test)]
mod tests;
mod words;

pub use machine::Gate;
pub use words::{CallerId, LockRecord, LockRequest, LockStore, Mode, Notice, Opened, Outcome};
