//! What speed could break: bytes, ends, memory and fairness, checked with the real proxy.

#[path = "../support/mod.rs"]
mod support;

mod bytes;
mod counters;
mod endings;
mod front;
mod judge;
mod peer;
mod plan;
mod process;
mod run;
mod sandbox;
mod socket;
mod taken;
mod urgent;
mod verified;
