//! Loads of programs that users have, before services that are not ours either.
//!
//! - [`tool`] is a load: the program, its service, and how both are started;
//! - [`outputs`] reads what the programs print;
//! - [`postgres`] is the service of one of them.

pub mod outputs;
pub mod postgres;
pub mod tool;
