//! `metrics`: what Prometheus reads, printed or served.
//!
//! - `values`, `families`: the values of the proxies, and the families they make (pure); `open_metrics`: their text (pure);
//! - `collection`: asks the proxies; `exposition`: serves the text over HTTP.

mod collection;
mod exposition;
mod families;
mod open_metrics;
mod values;

pub use collection::run;
pub use exposition::serve;
