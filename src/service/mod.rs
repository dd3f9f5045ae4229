//! What any socket-activated service needs; nothing here knows of proxies.
//!
//! - options: [`address`], `grammar`, [`timespan`], [`command_line`];
//! - listeners: [`activation`] (from systemd), [`predecessor`] (from another process), [`binding`] (new ones),
//!   [`listener`], `socket`, `inspect`, [`exhausted`] (no descriptor is left);
//! - clients: [`arrival`], [`handover`] (their sockets come from another process), [`stream`], [`ending`];
//! - upstreams: [`happy_eyeballs`], [`connecting`], [`congestion`], [`leads_to`];
//! - files: [`directory`], [`path_check`], [`socket_file`];
//! - the life cycle: [`serve`], [`idle`], [`drain`], [`signals`], [`notify`];
//! - threads: [`poller`], [`inbox`], [`mutex`], [`processors`], [`alarm`];
//! - messages: [`log`], [`event`], [`plural`], [`printable`], [`varlink`], [`rights`];
//! - programs: [`program`], [`pace`], [`clock`], [`kernel`].

pub mod activation;
pub mod address;
pub mod alarm;
pub mod arrival;
pub mod binding;
pub mod clock;
pub mod command_line;
pub mod congestion;
pub mod connecting;
pub mod directory;
pub mod drain;
pub mod ending;
pub mod event;
pub mod exhausted;
mod grammar;
pub mod handover;
pub mod happy_eyeballs;
pub mod idle;
pub mod inbox;
mod inspect;
pub mod kernel;
pub mod leads_to;
pub mod listener;
pub mod log;
pub mod mutex;
pub mod notify;
pub mod pace;
pub mod path_check;
pub mod plural;
pub mod poller;
pub mod predecessor;
pub mod printable;
pub mod processors;
pub mod program;
pub mod rights;
pub mod serve;
pub mod signals;
mod socket;
pub mod socket_file;
pub mod stream;
pub mod timespan;
pub mod varlink;
