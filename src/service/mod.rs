//! What any socket-activated service needs; nothing here knows of proxies.
//!
//! - options: [`address`], `grammar`, [`timespan`], [`command_line`];
//! - listeners: [`activation`] (from systemd), [`predecessor`] (from another process), [`binding`] (new ones),
//!   [`listener`], `socket`, [`exhausted`] (descriptors have run out);
//! - clients: [`arrival`], [`handover`] (their sockets come from another process), [`client_socket`], [`stream`],
//!   [`ending`];
//! - upstreams: [`happy_eyeballs`], [`connecting`], [`congestion`], [`leads_to`];
//! - files: [`directory`], [`path_check`], [`socket_file`];
//! - the life cycle: [`serve`], [`idle`], [`drain`], [`signals`], [`notify`];
//! - threads: [`poller`], [`inbox`], [`mutex`], [`processors`], [`alarm`];
//! - messages: [`log`], [`event`], [`plural`], [`printable`], [`varlink`], [`rights`];
//! - programs: [`program`], [`clock`], [`kernel`].

pub mod activation;
pub mod address;
pub mod alarm;
pub mod arrival;
pub mod binding;
pub mod client_socket;
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
pub mod kernel;
pub mod leads_to;
pub mod listener;
pub mod log;
pub mod mutex;
pub mod notify;
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
