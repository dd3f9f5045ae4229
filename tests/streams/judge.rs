//! What must be true of two ends that have come to their end.

use crate::peer::{End, Report};
use crate::plan::{Ending, Plan, Side};

/// One end: its plan and its report.
#[derive(Clone, Copy)]
struct Told<'a> {
    name: &'static str,
    side: &'a Side,
    report: Report,
}

impl Told<'_> {
    fn breaks(&self) -> bool {
        matches!(
            self.side.ending,
            Ending::Reset(_) | Ending::HalfCloseThenReset(_)
        )
    }
}

/// Checks what became of a connection. `is_tcp`: on both sides, so that a reset is one.
pub fn judge(plan: &Plan, client: Report, upstream: Report, is_tcp: bool) -> Result<(), String> {
    let client = Told {
        name: "client",
        side: &plan.client,
        report: client,
    };
    let upstream = Told {
        name: "upstream",
        side: &plan.upstream,
        report: upstream,
    };
    direction(client, upstream, is_tcp)?;
    direction(upstream, client, is_tcp)
}

fn direction(from: Told<'_>, to: Told<'_>, is_tcp: bool) -> Result<(), String> {
    let (sent, received) = (from.report.sent, to.report.received);
    let wrong = |what: &str| {
        let (from, to) = (from.name, to.name);
        Err(format!(
            "of {sent} bytes of the {from} {received} came to the {to}: {what}"
        ))
    };
    if received > sent {
        return wrong("that is too much");
    }
    if to.breaks() {
        return Ok(());
    }
    if from.breaks() && received < from.report.delivered {
        return wrong("more had been taken before the reset");
    }
    match from.side.ending {
        Ending::HalfClose | Ending::CloseTogether if sent < from.side.amount => {
            wrong("it could not write everything")
        }
        Ending::HalfClose | Ending::CloseTogether if received < sent => wrong("some are lost"),
        Ending::HalfClose if to.report.end != End::Finished => wrong("and the end did not"),
        Ending::Reset(_) if is_tcp && !matches!(to.report.end, End::Broken(_)) => {
            wrong("and then an end that looks orderly instead of a reset")
        }
        _ => Ok(()),
    }
}
