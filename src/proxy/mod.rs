//! The proxy between clients and a service.

pub mod control;
pub mod gate;
