//! HTTP/1.0 and HTTP/1.1 (RFC 9112).

mod body;
mod fields;
mod head;
mod plain_head;
mod reply;
mod request;

pub use reply::look_at_reply;
pub use request::{look_at_body, look_at_request};
