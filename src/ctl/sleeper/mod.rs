//! Proxies that sleep: what can be said of them without waking them.
//!
//! - `left_state`: what a proxy left in its files (pure but for reading them); `sleeping_proxy`: that, and systemd's view;
//! - `arguments`: what stands on its command line (pure); `description`: all of it in words (pure).

pub mod arguments;
pub mod description;
pub mod left_state;
pub mod sleeping_proxy;
