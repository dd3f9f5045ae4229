//! `disnix-tcp-proxy-inetd`: runs a program for each client that is handed over.
//!
//! - `options`: the command line; `command`: which program, and what it gets;
//! - `run`: the start;
//! - `receiver`: receiving clients, and starting a program for each;
//! - `process`: a client and its program; `process_end`: how that has ended, in words (pure);
//! - `state`: what they share with the life cycle.

mod command;
pub mod options;
mod process;
mod process_end;
mod receiver;
mod run;
mod state;

pub use run::main;
