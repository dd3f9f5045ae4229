//! The last will: a child that shares our descriptors, so that our death closes none of them, and that
//! then sends those which are not parked into a queue in the store.
//!
//! It covers the moment between accepting a client and parking it, when the process itself is killed.
//! It is made by clone(2) with `CLONE_FILES` and without exec(3), which would end the sharing. All it
//! does is make system calls on memory that is there already: a child of a process with threads may not
//! allocate, lock, or panic.
//!
//! - `testament`: making and ending it; `duties`: what it does;
//! - `parcel`, `descriptors`, `process`: what it does that with;
//! - `heir`: the process that it becomes; `left_open`: what that one finds open.

mod descriptors;
mod duties;
mod heir;
mod left_open;
mod parcel;
mod process;
mod testament;

pub use descriptors::is_connected_stream;
pub use heir::{Heir, heir_of};
pub use left_open::{left_open, open_numbers, reset_left_open};
pub use process::is_possible;
pub use testament::Testament;
