//! Where a connection is: what is written down, and what the kernel says where that is not all.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};

use super::super::Keep;
use super::super::account::{self, Act, Kernel, Place, Total, Unclear};
use super::super::counters::{self, Opened};
use super::super::slot::{Slot, Way};
use super::found::Sockets;
use crate::service::kernel::{TcpCounters, tcp_counters};

/// What a slot was found to be.
pub(super) struct Settled {
    pub(super) sockets: Sockets,
    pub(super) flows: [(account::Settled, bool); 2],
}

/// Finds out where both directions are, and whether their sources are broken.
pub(super) fn settle(
    keep: Keep,
    slot: Slot,
    sockets: &Sockets,
    pipes: &BTreeMap<u32, [OwnedFd; 2]>,
) -> Result<[(account::Settled, bool); 2], Unclear> {
    let upstream = sockets.upstream.as_ref().ok_or(Unclear::Missing)?;
    let mut records = Vec::new();
    for way in Way::BOTH {
        records.push(slot.flow(way).record().ok_or(Unclear::Contradiction)?);
    }
    // Where nothing was under way everything is written down.
    let quiet = records.iter().all(|record| record.act == Act::Nothing);
    let ask = |socket: &OwnedFd| match quiet {
        true => None,
        false => tcp_counters(socket.as_fd()).ok(),
    };
    let (client, upstream) = (ask(&sockets.client), ask(upstream));
    let directions = [
        (Way::Up, client, upstream, Opened::ByUs),
        (Way::Down, upstream, client, Opened::ByPeer),
    ];
    let mut settled = Vec::new();
    for ((way, source, sink, opened), record) in directions.into_iter().zip(records) {
        let flow = slot.flow(way);
        let received = record.taken - u64::from(record.prefix);
        let back = slot.flow(way.back());
        let kernel = Kernel {
            received: match source {
                Some(source) if !flow.is_inexact() => {
                    counters::received(&source, received, back.is_finished())
                }
                _ => Total::Unknown,
            },
            sent: sink.map_or(Total::Unknown, |sink| counters::sent(&sink, opened)),
            sink_is_over: sink.is_some_and(|sink| counters::is_over(&sink)),
            piped: match record.place {
                Place::Pipe(number) => pipes
                    .get(&number)
                    .and_then(|[read, _]| rustix::io::ioctl_fionread(read).ok()),
                _ => None,
            },
        };
        let is = account::settle(&record, &kernel)?;
        if let Some(account::Held::Buffer { number, .. }) = is.held
            && number >= keep.core.table.buffers()
        {
            return Err(Unclear::Missing);
        }
        settled.push((way, is, source, sink));
    }
    // Only now, for what is written down of one direction tells something about the other.
    let mut result = Vec::new();
    for (way, settled, source, sink) in settled {
        let flow = slot.flow(way);
        let received = settled.taken - u64::from(flow.prefix_length());
        let found = source.is_some_and(|source| counters::was_told_of_reset(&source, received));
        if found && !flow.is_broken() {
            flow.source_broken();
        }
        if sink.is_some_and(|sink: TcpCounters| counters::has_ended(&sink)) {
            flow.finish();
        }
        flow.settle(&settled);
        result.push((settled, flow.is_broken()));
    }
    result.try_into().map_err(|_| Unclear::Contradiction)
}

/// Those that claim a buffer or a pipe that another direction claims too.
pub(super) fn claimed_twice(connected: &BTreeMap<u32, Settled>) -> BTreeSet<u32> {
    let mut claims: BTreeMap<(bool, u32), Vec<u32>> = BTreeMap::new();
    for (index, settled) in connected {
        for held in settled.flows.iter().filter_map(|(flow, _)| flow.held) {
            let what = match held {
                account::Held::Buffer { number, .. } => (false, number),
                account::Held::Pipe { number, .. } => (true, number),
            };
            claims.entry(what).or_default().push(*index);
        }
    }
    let twice = claims.into_values().filter(|claimants| claimants.len() > 1);
    twice.flatten().collect()
}

pub(super) fn buffers_of(settled: &Settled) -> impl Iterator<Item = u32> {
    settled
        .flows
        .iter()
        .filter_map(|(flow, _)| match flow.held {
            Some(account::Held::Buffer { number, .. }) => Some(number),
            _ => None,
        })
}

#[cfg(fuzzing)]
mod fuzzing;
