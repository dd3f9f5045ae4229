//! `add` and `remove`: the files and units of a proxy with a name, as an administrator would make them by hand.
//!
//! - `options`: the command lines;
//! - `instance`, `listen`, `text`: names of units and files, addresses to listen on, how both kinds of file write
//!   a value (pure);
//! - `plan`: from what is asked for to files and commands (pure); `report`: what is printed (pure);
//! - `socket_proxyd`, `unit_text`: what a unit of `systemd-socket-proxyd` says (pure); `old_units` reads it;
//! - `files`, `unit_links`, `systemctl`, `ports`, `system`: what is read, written and run;
//! - `add`, `existing`, `former_state` (what a failed attempt leaves as it was), `remove`: the verbs.

mod add;
mod existing;
mod files;
mod former_state;
mod instance;
mod listen;
mod old_units;
pub mod options;
mod plan;
mod ports;
mod remove;
mod report;
mod socket_proxyd;
mod system;
mod systemctl;
mod text;
mod unit_links;
mod unit_text;

pub use add::run as add;
pub use remove::run as remove;
