//! Where a connection is: what is written down, and what the kernel says where that is not all.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};

use super::counters::{self, Opener};
use super::sockets::Sockets;
use crate::proxy::keep::table::account::{self, Act, Kernel, Place, Record, Total, Unclear};
use crate::proxy::keep::table::{Slot, Way};
use crate::service::kernel::{TcpCounters, tcp_counters};

/// What a slot was found to be.
pub(super) struct SettledConnection {
    pub(super) sockets: Sockets,
    pub(super) flows: [(account::Settled, bool); 2],
}

/// Finds out where both directions are, and whether their sources are broken. There are so many `buffers`.
pub fn settle(
    buffers: u32,
    slot: Slot,
    sockets: &Sockets,
    pipes: &BTreeMap<u32, [OwnedFd; 2]>,
) -> Result<[(account::Settled, bool); 2], Unclear> {
    let upstream = sockets.upstream.as_ref().ok_or(Unclear::Missing)?;
    let mut records = Vec::new();
    for way in Way::BOTH {
        records.push(slot.flow(way).record().ok_or(Unclear::Contradiction)?);
    }
    // Where nothing was under way everything is written down, unless the end had begun.
    let inexact = Way::BOTH.iter().any(|way| slot.flow(*way).is_inexact());
    let quiet = !inexact && records.iter().all(|record| record.act == Act::Nothing);
    let ask = |socket: &OwnedFd| match quiet {
        true => None,
        false => tcp_counters(socket.as_fd()).ok(),
    };
    let (client, upstream) = (ask(&sockets.client), ask(upstream));
    let directions = [
        CountedEnds {
            way: Way::Up,
            source: client,
            sink: upstream,
            opener: Opener::Us,
        },
        CountedEnds {
            way: Way::Down,
            source: upstream,
            sink: client,
            opener: Opener::Peer,
        },
    ];
    let mut settled = Vec::new();
    for (ends, record) in directions.into_iter().zip(records) {
        let is = account::settle(&record, &ends.kernel(slot, &record, pipes))?;
        if let Some(account::HeldBytes::Buffer { number, .. }) = is.held
            && number >= buffers
        {
            return Err(Unclear::Missing);
        }
        settled.push((ends, is));
    }
    // Only now, for what is written down of one direction tells something about the other.
    let settled = settled.into_iter();
    let result: Vec<_> = settled
        .map(|(ends, settled)| (settled, ends.write_down(slot, &settled)))
        .collect();
    result.try_into().map_err(|_| Unclear::Contradiction)
}

/// What the kernel says of both ends of a direction, if it was asked and knows.
struct CountedEnds {
    way: Way,
    source: Option<TcpCounters>,
    sink: Option<TcpCounters>,
    /// Who has opened the sink.
    opener: Opener,
}

impl CountedEnds {
    /// What the kernel says of what is written down.
    fn kernel(&self, slot: Slot, record: &Record, pipes: &BTreeMap<u32, [OwnedFd; 2]>) -> Kernel {
        let received = record.taken - u64::from(record.prefix);
        let back = slot.flow(self.way.back());
        let sink = self.sink.as_ref();
        Kernel {
            received: match &self.source {
                Some(source) if !slot.flow(self.way).is_inexact() => {
                    counters::received(source, received, back.is_finished())
                }
                _ => Total::Unknown,
            },
            sent: sink.map_or(Total::Unknown, |sink| counters::sent(sink, self.opener)),
            sink_is_over: sink.is_some_and(counters::is_over),
            piped: match record.place {
                Place::Pipe(number) => pipes
                    .get(&number)
                    .and_then(|[read, _]| rustix::io::ioctl_fionread(read).ok()),
                _ => None,
            },
        }
    }

    /// Writes down what was found out; whether the source is broken.
    fn write_down(&self, slot: Slot, settled: &account::Settled) -> bool {
        let flow = slot.flow(self.way);
        // Behind an end that was passed on nothing is counted: a socket that is closed before its own end
        // was sent is broken.
        let received = match flow.is_inexact() || flow.is_finished() {
            true => Total::Unknown,
            false => Total::Exactly(settled.taken - u64::from(flow.prefix_length())),
        };
        let source = self.source.as_ref();
        let found = source.is_some_and(|source| counters::was_told_of_reset(source, received));
        if found && !flow.is_broken() {
            flow.source_broken();
        }
        if self.sink.as_ref().is_some_and(counters::has_ended) {
            flow.finish();
        }
        flow.settle(settled);
        flow.is_broken()
    }
}

/// Those that claim a buffer or a pipe that another direction claims too.
pub(super) fn claimed_twice(connected: &BTreeMap<u32, SettledConnection>) -> BTreeSet<u32> {
    let mut claims: BTreeMap<(bool, u32), Vec<u32>> = BTreeMap::new();
    for (index, settled) in connected {
        for held in settled.flows.iter().filter_map(|(flow, _)| flow.held) {
            let what = match held {
                account::HeldBytes::Buffer { number, .. } => (false, number),
                account::HeldBytes::Pipe { number, .. } => (true, number),
            };
            claims.entry(what).or_default().push(*index);
        }
    }
    let twice = claims.into_values().filter(|claimants| claimants.len() > 1);
    twice.flatten().collect()
}

pub(super) fn buffers_of(settled: &SettledConnection) -> impl Iterator<Item = u32> {
    settled
        .flows
        .iter()
        .filter_map(|(flow, _)| match flow.held {
            Some(account::HeldBytes::Buffer { number, .. }) => Some(number),
            _ => None,
        })
}
