//! `close`: reset one connection.

use serde_json::{Value, json};

use super::call::client::{ANSWER_TIME, NamedProxy};
use super::failure::CtlFailure;
use super::terminal::output;
use crate::interface::ConnectionParameters;

/// Resets the connection `id`. The call is never repeated: a restarted proxy may have given the number to another.
pub async fn run(proxy: &NamedProxy, id: u64, as_json: bool) -> Result<(), CtlFailure> {
    let parameters = ConnectionParameters { id };
    let reply = proxy.ask_once(ANSWER_TIME, "CloseConnection", parameters);
    let _: Value = reply.await?;
    let text = format!("connection {id} was reset");
    output::done(as_json, &json!({ "id": id }), text);
    Ok(())
}
