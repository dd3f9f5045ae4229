//! `disnix-tcp-proxy-inetd`: runs a program for each client that is handed over.
//!
//! - `options`: the command line; `command`: which program, and what it gets;
//! - `run`: the start;
//! - `receiver`: receiving clients, and starting a program for each;
//! - `process`: a client and its program; `process_end`: how that has ended, in words (pure).
//!
//! What they share with the life cycle is in `service::places`.

mod command;
pub mod options;
mod process;
mod process_end;
mod receiver;
mod run;

pub use run::main;
