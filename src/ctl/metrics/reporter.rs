//! Answers `systemd-report` with Varlink, one call after the other.

use std::io;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::collection;
use super::families::families;
use super::report::{self, ReportMethod};
use crate::ctl::find::Selection;
use crate::service::program::note;
use crate::service::varlink::{Call, Reply, VarlinkConnection};

/// The longest call, in bytes.
const CALL_MAX: usize = 8 * 1024;

/// Answers until the caller hangs up. Fails if it breaks the protocol, or takes longer than `patience` for a call, or
/// for an answer.
pub async fn converse(
    stream: UnixStream,
    selection: &Selection,
    patience: Duration,
) -> io::Result<()> {
    let mut connection = VarlinkConnection::new(stream, CALL_MAX);
    loop {
        let call = timeout(patience, connection.receive::<Call>()).await?;
        let Some(call) = call.map_err(io::Error::other)? else {
            return Ok(());
        };
        let replies = answer(&call, selection).await;
        if !call.oneway {
            timeout(patience, send_all(&mut connection, &replies)).await??;
        }
    }
}

async fn answer(call: &Call, selection: &Selection) -> Vec<Reply> {
    match ReportMethod::of(call) {
        Err(answer) => vec![answer],
        Ok(ReportMethod::Describe) => report::descriptions(&families(&[])),
        Ok(ReportMethod::List) => match collection::observed(selection, false).await {
            Ok(observed) => report::values(&families(&observed)),
            Err(failure) => {
                // systemd-report shows only the name of the error.
                note(format_args!("no metrics for systemd-report: {failure}"));
                vec![report::unknown(&failure.to_string())]
            }
        },
    }
}

async fn send_all(connection: &mut VarlinkConnection, replies: &[Reply]) -> io::Result<()> {
    for reply in replies {
        connection.send(reply).await?;
    }
    Ok(())
}
