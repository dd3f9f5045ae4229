//! `close`: reset one connection.

use serde_json::{Value, json};

use super::client::Proxy;
use super::failure::Failure;
use super::output;
use crate::interface::ConnectionParameters;

/// Resets the connection `id`. Asked once only: after a restart of the proxy the number may be
/// somebody else's.
///
/// # Errors
///
/// When the proxy cannot be reached or has no such connection.
pub async fn run(proxy: &Proxy, id: u64, as_json: bool) -> Result<(), Failure> {
    let _: Value = proxy
        .ask_once("CloseConnection", ConnectionParameters { id })
        .await?;
    let text = format_args!("connection {id} was reset");
    output::done(as_json, &json!({ "id": id }), text);
    Ok(())
}
