//! Where a connection is: what is written down, and what the kernel says where that is not all.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};

use super::sockets::Sockets;
use crate::proxy::keep::table::account::{
    self, Act, Balance, HeldBytes, Kernel, Place, Record, Unclear,
};
use crate::proxy::keep::table::counters::{self, Opener};
use crate::proxy::keep::table::{Flow, HeldRequest, Slot, Way};
use crate::service::kernel::{TcpCounters, tcp_counters};

/// A connection of which it is known where it is.
pub(super) struct SettledConnection {
    pub(super) sockets: Sockets,
    pub(super) flows: [SettledFlow; 2],
    /// What is in hand from the client is this, and waits for an upstream.
    pub(super) held: Option<HeldRequest>,
}

/// One direction of it.
pub struct SettledFlow {
    pub(super) in_hand: Option<HeldBytes>,
    pub(super) source_broken: bool,
}

/// Finds out where both directions are, and writes it down. A buffer's number has to be below `buffers`.
pub fn settle(
    buffers: u32,
    slot: Slot,
    sockets: &Sockets,
    pipes: &BTreeMap<u32, [OwnedFd; 2]>,
) -> Result<[SettledFlow; 2], Unclear> {
    let upstream = sockets.upstream.as_ref().ok_or(Unclear::Missing)?;
    let [up, down] = Way::BOTH.map(|way| slot.flow(way));
    let record = |flow: Flow| flow.record().ok_or(Unclear::Contradiction);
    let records = [record(up)?, record(down)?];
    // Where nothing was under way everything is written down, unless the end had begun.
    let is_quiet = [up, down].iter().all(|flow| !flow.is_inexact())
        && records.iter().all(|record| record.act == Act::Idle);
    let ask = |socket: &OwnedFd| match is_quiet {
        true => None,
        false => tcp_counters(socket.as_fd()).ok(),
    };
    let (client, upstream) = (ask(&sockets.client), ask(upstream));
    let [received_before, sent_before] = slot.bases();
    let up = CountedEnds {
        flow: up,
        back: down,
        record: records[0],
        source: client,
        source_base: received_before,
        sink: upstream,
        sink_base: 0,
        sink_opener: Opener::Us,
    };
    let down = CountedEnds {
        flow: down,
        back: up.flow,
        record: records[1],
        source: upstream,
        source_base: 0,
        sink: client,
        sink_base: sent_before,
        sink_opener: Opener::Peer,
    };
    let balances = [up.settle(buffers, pipes)?, down.settle(buffers, pipes)?];
    // Only now, because what is written down of one direction says something about the other.
    Ok([up.write_down(&balances[0]), down.write_down(&balances[1])])
}

/// A direction, and what the kernel says of both its ends, if it was asked and knows. The base of a socket is what had
/// gone through it before.
struct CountedEnds {
    flow: Flow,
    back: Flow,
    record: Record,
    source: Option<TcpCounters>,
    source_base: u64,
    sink: Option<TcpCounters>,
    sink_base: u64,
    sink_opener: Opener,
}

impl CountedEnds {
    fn settle(
        &self,
        buffers: u32,
        pipes: &BTreeMap<u32, [OwnedFd; 2]>,
    ) -> Result<Balance, Unclear> {
        let balance = account::settle(&self.record, &self.kernel(pipes)?)?;
        match balance.in_hand.map(|bytes| bytes.place) {
            Some(Place::Buffer(number)) if number >= buffers => Err(Unclear::Missing),
            _ => Ok(balance),
        }
    }

    fn kernel(&self, pipes: &BTreeMap<u32, [OwnedFd; 2]>) -> Result<Kernel, Unclear> {
        let recorded = self.received_ever(self.record.taken)?;
        let source = self.source.as_ref().filter(|_| !self.flow.is_inexact());
        let sink = self.sink.as_ref();
        let received =
            source.and_then(|source| counters::received(source, recorded, self.back.is_finished()));
        let sent = sink.and_then(|sink| counters::sent(sink, self.sink_opener));
        Ok(Kernel {
            received: counters::since(self.source_base, received)?,
            sent: counters::since(self.sink_base, sent)?,
            sink_is_over: sink.is_some_and(counters::is_over),
            piped: match self.record.place {
                Place::Pipe(number) => pipes
                    .get(&number)
                    .and_then(|[read, _]| rustix::io::ioctl_fionread(read).ok()),
                _ => None,
            },
        })
    }

    /// What was received from the source since it was opened, when `taken` bytes came in.
    fn received_ever(&self, taken: u64) -> Result<u64, Unclear> {
        let received = taken.checked_sub(self.record.prefix.into());
        let ever = received.and_then(|received| received.checked_add(self.source_base));
        ever.ok_or(Unclear::Contradiction)
    }

    /// Writes down what was found out.
    fn write_down(&self, balance: &Balance) -> SettledFlow {
        let flow = self.flow;
        // Behind an end that was passed on nothing is counted: a socket that is closed before its own end
        // was sent is broken.
        let received = match flow.is_inexact() || flow.is_finished() {
            true => None,
            false => self.received_ever(balance.taken).ok(),
        };
        let source = self.source.as_ref();
        let was_reset = source.is_some_and(|source| counters::reset_was_reported(source, received));
        if was_reset && !flow.is_broken() {
            flow.source_broken();
        }
        if self.sink.as_ref().is_some_and(counters::has_ended) {
            flow.finish();
        }
        flow.settle(balance);
        SettledFlow {
            in_hand: balance.in_hand,
            source_broken: flow.is_broken(),
        }
    }
}

impl SettledConnection {
    /// A client without an upstream, with a request for the next one. A buffer's number has to be below `buffers`.
    pub(super) fn held(
        buffers: u32,
        sockets: Sockets,
        held: HeldRequest,
    ) -> Result<Self, (Sockets, Unclear)> {
        if held.buffer >= buffers || held.length == 0 {
            return Err((sockets, Unclear::Missing));
        }
        let flow = |in_hand| SettledFlow {
            in_hand,
            source_broken: false,
        };
        let request = HeldBytes {
            place: Place::Buffer(held.buffer),
            from: 0,
            length: held.length.into(),
        };
        Ok(Self {
            sockets,
            flows: [flow(Some(request)), flow(None)],
            held: Some(held),
        })
    }

    /// The buffers and pipes that it has bytes in.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let flows = self.flows.iter();
        flows.filter_map(|flow| flow.in_hand.map(|bytes| bytes.place))
    }
}

/// Connections that claim a buffer or a pipe that another direction claims too.
pub(super) fn claimed_twice(connected: &BTreeMap<u32, SettledConnection>) -> BTreeSet<u32> {
    let mut claims: BTreeMap<Place, Vec<u32>> = BTreeMap::new();
    for (index, connection) in connected {
        for place in connection.places() {
            claims.entry(place).or_default().push(*index);
        }
    }
    let twice = claims.into_values().filter(|claimants| claimants.len() > 1);
    twice.flatten().collect()
}
