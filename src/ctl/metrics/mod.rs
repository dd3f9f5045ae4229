//! `metrics`: what Prometheus and `systemd-report` read, printed or served.
//!
//! - `values`, `families`: the values of the proxies, and the families they make (pure); `open_metrics`: their text (pure);
//! - `report`: the same as `systemd-report` reads it (pure);
//! - `collection`: asks the proxies;
//! - `exposition`: serves the text over HTTP; `reporter`: answers Varlink.

mod collection;
mod exposition;
mod families;
mod open_metrics;
mod report;
mod reporter;
mod values;

pub use collection::run;
pub use exposition::serve;
