//! `watch`: every change of state as it happens.

use serde_json::json;

use super::call::client::NamedProxy;
use super::call::patience::{LOST, Reconnection};
use super::failure::CtlFailure;
use super::terminal::output;
use super::upstream;
use crate::interface::{Status, StatusReply};
use crate::service::calendar::time_of_day;
use crate::service::clock::realtime_micros;
use crate::service::program::note;

/// Prints the state and every change of it until the proxy ends. A connection that breaks is made anew; after
/// an orderly end it is not, because that would start a proxy that has just ended for lack of use.
pub async fn run(proxy: &NamedProxy, as_json: bool) -> Result<(), CtlFailure> {
    let mut reconnection = Reconnection::default();
    let mut last = String::new();
    let mut printer = |status: &Status| print(status, as_json, &mut last);
    while let Err(failure) = follow(proxy, &mut printer, &mut reconnection).await {
        if reconnection.begin(&failure) {
            note(LOST);
        }
        if !reconnection.pause(&failure).await {
            return Err(failure);
        }
    }
    note("the proxy has exited");
    Ok(())
}

/// Prints what comes on one connection, until its orderly end.
async fn follow(
    proxy: &NamedProxy,
    print: &mut impl FnMut(&Status) -> Result<(), CtlFailure>,
    reconnection: &mut Reconnection,
) -> Result<(), CtlFailure> {
    let mut client = proxy.connect().await?;
    client.call("Monitor", json!({}), true).await?;
    let mut is_answered = false;
    loop {
        let answer = tokio::select! {
            answer = client.reply::<StatusReply>() => answer,
            () = output::reader_gone() => return Err(CtlFailure::ReaderGone),
        };
        let answer = match answer {
            // Before the first answer it is the end of a proxy that was ending as we connected.
            Err(CtlFailure::Lost { error: None, .. }) if is_answered => return Ok(()),
            answer => answer?,
        };
        is_answered = true;
        reconnection.finish();
        print(&answer.parameters.status)?;
        if !answer.continues {
            return Ok(());
        }
    }
}

/// Prints the state; as a line only if that differs from `last`.
fn print(status: &Status, as_json: bool, last: &mut String) -> Result<(), CtlFailure> {
    if as_json {
        return output::json(status);
    }
    let line = describe(status);
    if *last != line {
        let time = time_of_day(realtime_micros());
        let at = time.len() + 2;
        output::state_line(format_args!("{time}  {line}"), at)?;
        *last = line;
    }
    Ok(())
}

/// The part of the status that changes, in one line.
fn describe(status: &Status) -> String {
    let reason = status.lock.as_ref().and_then(|lock| lock.reason.as_ref());
    let reason = reason.map(|reason| format!("  reason {reason}"));
    let detached = match status.detached {
        0 => String::new(),
        count => format!("{count} detached  "),
    };
    format!(
        "{:<8}  {} open  {detached}{} queued  target {}{}{}",
        status.gate.as_str(),
        status.open,
        status.queued,
        status.target.as_deref().unwrap_or("none yet"),
        upstream::mark(status),
        reason.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::description::tests::status;

    #[test]
    fn detached_clients_are_in_the_line_if_there_are_any() {
        let mut status = status();
        let line = "open      3 open  0 queued  target [::1]:5000";
        assert_eq!(describe(&status), line);
        status.detached = 5;
        let line = "open      3 open  5 detached  0 queued  target [::1]:5000";
        assert_eq!(describe(&status), line);
    }
}
