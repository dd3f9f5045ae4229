//! `watch`: every change of state as it happens.

use serde_json::json;

use super::client::{Patience, Proxy};
use super::display::time_of_day;
use super::failure::Failure;
use super::output::{self, note};
use super::status::gate_word;
use crate::interface::{Status, StatusReply};
use crate::service::clock::realtime_micros;

/// Prints the state and every change of it until the proxy ends. A connection that breaks is made
/// anew; after an orderly end it is not, because connecting would start a proxy that has just ended
/// for lack of use.
///
/// # Errors
///
/// When the proxy cannot be reached, or not again.
pub async fn run(proxy: &Proxy, as_json: bool) -> Result<(), Failure> {
    let mut lost: Option<Patience> = None;
    let mut printer = Printer {
        as_json,
        last: None,
    };
    loop {
        let failure = match follow(proxy, &mut printer, &mut lost).await {
            Ok(()) => {
                note("the proxy has exited");
                return Ok(());
            }
            Err(failure) => failure,
        };
        let broken = matches!(failure, Failure::Lost { .. });
        if broken && lost.is_none() {
            note("the connection to the proxy was lost; trying again for half a minute");
            lost = Some(Patience::default());
        }
        let again = match lost.as_mut().filter(|_| broken || failure.is_absence()) {
            Some(patience) => patience.pause().await,
            None => false,
        };
        if !again {
            return Err(failure);
        }
    }
}

/// Prints what comes on one connection, until it ends in good order.
async fn follow(
    proxy: &Proxy,
    printer: &mut Printer,
    lost: &mut Option<Patience>,
) -> Result<(), Failure> {
    let mut client = proxy.connect().await?;
    client.call("Monitor", json!({}), true).await?;
    let mut seen = false;
    loop {
        let answer = tokio::select! {
            answer = client.reply::<StatusReply>() => answer,
            () = output::reader_gone() => return Err(Failure::ReaderGone),
        };
        let answer = match answer {
            // An end before the first answer is a proxy that was just ending when we came.
            Err(Failure::Lost { error: None, .. }) if seen => return Ok(()),
            answer => answer?,
        };
        seen = true;
        *lost = None;
        printer.print(&answer.parameters.status)?;
        if !answer.continues {
            return Ok(());
        }
    }
}

struct Printer {
    as_json: bool,
    last: Option<String>,
}

impl Printer {
    fn print(&mut self, status: &Status) -> Result<(), Failure> {
        if self.as_json {
            return output::json(status);
        }
        let line = describe(status);
        if self.last.as_ref() != Some(&line) {
            let time = time_of_day(realtime_micros());
            output::line(format_args!("{time}  {line}"))?;
            self.last = Some(line);
        }
        Ok(())
    }
}

/// What one looks for while it changes, in one line.
fn describe(status: &Status) -> String {
    let reason = status.lock.as_ref().and_then(|lock| lock.reason.as_ref());
    format!(
        "{:<8}  {} open  {} queued  target {}{}",
        gate_word(status.gate),
        status.open,
        status.queued,
        status.target.as_deref().unwrap_or("none yet"),
        reason
            .map(|reason| format!("  reason {reason}"))
            .unwrap_or_default(),
    )
}
