//! Calls to a proxy, and calls that wait across restarts of it.
//!
//! - `client`: one call and its answer; `error_reply`: an error of the proxy, as a failure (pure);
//! - `patience`: how long a proxy may be away (pure); `wait`: a call that drains, followed until its end.

pub mod client;
pub mod error_reply;
pub mod patience;
pub mod wait;
