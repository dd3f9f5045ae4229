//! What is asked of a proxy over its control interface.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use disnix_proxy_example::interface::{StatusReply, qualified};
use disnix_proxy_example::service::varlink::{Call, Reply};

use crate::load::{PATIENCE, when};

/// The name of its socket, in the directory of the proxy.
pub const SOCKET: &str = "control";

/// Waits until so many clients are detached.
pub fn wait_until_detached(directory: &Path, count: usize) -> Result<(), String> {
    let control =
        UnixStream::connect(directory.join(SOCKET)).map_err(when("the control socket"))?;
    control
        .set_read_timeout(Some(PATIENCE))
        .map_err(when("the control socket"))?;
    let call = Call {
        method: qualified("Monitor"),
        parameters: serde_json::json!({}),
        more: true,
        oneway: false,
    };
    let mut call = serde_json::to_vec(&call).map_err(when("a call"))?;
    call.push(0);
    (&control).write_all(&call).map_err(when("a call"))?;
    let mut detached = 0;
    for reply in BufReader::new(control).split(0) {
        let reply = reply.map_err(|error| {
            format!("{detached} of {count} clients were detached, then nothing changed: {error}")
        })?;
        let reply: Reply = serde_json::from_slice(&reply).map_err(when("a status"))?;
        let reply: StatusReply =
            serde_json::from_value(reply.parameters).map_err(when("a status"))?;
        detached = reply.status.detached;
        if detached == count {
            return Ok(());
        }
    }
    Err("the proxy has ended".to_owned())
}
