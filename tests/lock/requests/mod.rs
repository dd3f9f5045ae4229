//! Clients that stay: where requests are told apart, they outlast their upstreams.

mod detaching;
mod ends;
mod held;
mod limits;
mod losses;
mod opaque;
mod peers;
mod pieces;
mod queue;
mod scarce;
mod slow;
