//! What any socket-activated service needs; no word about proxies.

pub mod address;
pub mod timespan;
pub mod varlink;
