//! What any socket-activated service needs; nothing here knows of proxies.
//!
//! For a service of your own, [`server`] is the beginning.
//!
//! - options: `address`, `grammar`, `timespan`, `command_line`, `variables`, `variable_values`;
//! - listeners: `activation` (from systemd), `predecessor` (from another process), `binding` (new ones),
//!   `listener`, `socket`, `exhausted` (descriptors have run out);
//! - clients: `arrival`, `handover` (from another process), `client_socket`, `stream`, `ending`;
//! - upstreams: `happy_eyeballs`, `connecting`, `congestion`, `leads_to`, `port_name`;
//! - the unit: `descriptor_store` (whether it can have one);
//! - files: `directory`, `path_check`, `socket_file`;
//! - the life cycle: `server` (of one that serves each client in a task), `places`, `accepting_pause`, `serve`, `idle`,
//!   `drain`, `signals`, `notify`;
//! - threads: `poller`, `inbox`, `mutex`, `processors`, `alarm`;
//! - messages: `log`, `event`, `plural`, `printable`, `calendar`, `varlink`, `rights`, `http_request`,
//!   `http_exchange`;
//! - programs: `program`, `version`, `execution` (what they can execute), `child_process`, `clock`, `kernel`;
//! - unit tests: `loopback`.

pub(crate) mod accepting_pause;
pub mod activation;
pub mod address;
pub(crate) mod alarm;
pub mod arrival;
pub(crate) mod binding;
pub(crate) mod calendar;
pub(crate) mod child_process;
pub mod client_socket;
pub mod clock;
pub(crate) mod command_line;
pub(crate) mod congestion;
pub(crate) mod connecting;
pub(crate) mod descriptor_store;
pub(crate) mod directory;
pub(crate) mod drain;
pub mod ending;
pub(crate) mod event;
pub(crate) mod execution;
pub(crate) mod exhausted;
mod grammar;
pub mod handover;
pub(crate) mod happy_eyeballs;
pub(crate) mod http_exchange;
pub(crate) mod http_request;
pub(crate) mod idle;
pub(crate) mod inbox;
pub mod kernel;
pub(crate) mod leads_to;
pub(crate) mod listener;
pub mod log;
#[cfg(test)]
pub(crate) mod loopback;
pub(crate) mod mutex;
pub mod notify;
pub(crate) mod path_check;
pub(crate) mod places;
pub(crate) mod plural;
pub(crate) mod poller;
pub(crate) mod port_name;
pub(crate) mod predecessor;
pub(crate) mod printable;
pub(crate) mod processors;
pub mod program;
pub mod rights;
pub(crate) mod serve;
pub mod server;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod socket_file;
pub(crate) mod stream;
pub mod timespan;
pub(crate) mod variable_values;
pub(crate) mod variables;
pub mod varlink;
pub(crate) mod version;
