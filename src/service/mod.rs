//! What any socket-activated service needs; no word about proxies.
//!
//! - [`address`], `grammar`, [`timespan`]: what options say;
//! - [`activation`], [`listener`], [`arrival`], [`binding`], [`stream`], `socket`, `inspect`,
//!   [`kernel`]: sockets, inherited from systemd or our own;
//! - [`happy_eyeballs`], [`connecting`]: the first address of a name that answers; [`leads_to`]: whether that
//!   is a listener of ours;
//! - [`pacing`]: what does not leave this machine is not paced;
//! - [`directory`], [`hands`], [`socket_file`]: files and sockets in which nobody else has a hand;
//! - [`handed`]: those that another process hands over;
//! - [`rights`]: messages that carry descriptors;
//! - [`handover`]: clients that another process hands over;
//! - [`idle`], [`drain`]: when to end, as pure state machines;
//! - [`serve`]: the loop that accepts, watches and ends, for any [`serve::Service`]; [`exhausted`]: when
//!   no descriptors are left;
//! - [`poller`], [`inbox`]: for threads that wait by themselves; [`processors`]: whether one more would
//!   find a place;
//! - [`notify`], [`log`], `sentences`, [`event`]: what systemd and the journal hear from us; [`signals`]: what we
//!   hear;
//! - [`text`]: words of others, so that no terminal and no log acts upon them;
//! - [`varlink`]: how systemd's world calls a program;
//! - [`command_line`], [`program`], [`pace`], [`clock`], [`alarm`], [`words`]: what every main needs.

pub mod activation;
pub mod address;
pub mod alarm;
pub mod arrival;
pub mod binding;
pub mod clock;
pub mod command_line;
pub mod connecting;
pub mod directory;
pub mod drain;
pub mod ending;
pub mod event;
pub mod exhausted;
mod grammar;
pub mod handed;
pub mod handover;
pub mod hands;
pub mod happy_eyeballs;
pub mod idle;
pub mod inbox;
mod inspect;
pub mod kernel;
pub mod leads_to;
pub mod listener;
pub mod log;
pub mod notify;
pub mod pace;
pub mod pacing;
pub mod poller;
pub mod processors;
pub mod program;
pub mod rights;
mod sentences;
pub mod serve;
pub mod signals;
mod socket;
pub mod socket_file;
pub mod stream;
pub mod text;
pub mod timespan;
pub mod varlink;
pub mod words;
