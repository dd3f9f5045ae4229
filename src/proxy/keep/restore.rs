//! Finding everything again that an earlier process has left.
//!
//! Nothing is taken out of the lot: it is looked at, and the descriptors that come of it are copies. So
//! this may be interrupted at any point, and done again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering::Release;

use rustix::io::Errno;

use super::account::{self, Act, Kernel, Place, Total, Unclear};
use super::buffers::Buffer;
use super::counters::{self, Opened};
use super::layout::{Phase, State};
use super::lots::{self, Message};
use super::message::{Entry, Kind};
use super::pipes::Pipe;
use super::slot::{Slot, Way};
use super::table::NONE;
use super::{Keep, KeepError, Options, ends, strays};
use crate::service::kernel::{TcpCounters, tcp_counters};

/// A connection that goes on.
#[derive(Debug)]
pub struct Restored {
    /// Its slot, which has its number, its age and its text.
    pub slot: Slot,
    /// The client.
    pub client: OwnedFd,
    /// How far it has come.
    pub stage: Stage,
}

/// How far a connection has come.
#[derive(Debug)]
pub enum Stage {
    /// It was accepted. Nothing was received or sent.
    Accepted,
    /// It was about to be handed over: the slot's note tells whether it was.
    Handing,
    /// It was handed over.
    Handed,
    /// It has an upstream.
    Connected {
        /// The upstream.
        upstream: OwnedFd,
        /// From the client to the upstream, and back.
        flows: [RestoredFlow; 2],
    },
}

/// One direction of a connection that goes on. How much has gone through is in the slot.
#[derive(Debug)]
pub struct RestoredFlow {
    /// Bytes that came in and were not given to the sink yet.
    pub in_hand: InHand,
    /// The source's end was passed on to the sink.
    pub finished: bool,
    /// The source was reset, and will not say so again.
    pub source_broken: bool,
}

/// Where bytes in hand are.
#[derive(Debug)]
pub enum InHand {
    /// There are none.
    Nothing,
    /// In this part of the buffer.
    Buffer(Buffer, std::ops::Range<usize>),
    /// All that is in the pipe: so many.
    Pipe(Pipe, usize),
}

/// A connection that could not go on, and was reset.
#[derive(Debug)]
pub struct GivenUp {
    /// Its number.
    pub id: u64,
    /// Its text.
    pub text: String,
    /// Why; `None` if its sockets were closed, because everything was killed before they were parked.
    pub why: Option<Unclear>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Restoration {
    pub(super) restored: Vec<Restored>,
    pub(super) given_up: Vec<GivenUp>,
}

/// Everything that came of the lot.
#[derive(Default)]
struct Found {
    sockets: BTreeMap<u32, Sockets>,
    pipes: BTreeMap<u32, [OwnedFd; 2]>,
    strays: Vec<OwnedFd>,
}

struct Sockets {
    client: OwnedFd,
    upstream: Option<OwnedFd>,
    parked: bool,
}

/// What a slot was found to be.
struct Settled {
    sockets: Sockets,
    flows: [(account::Settled, bool); 2],
}

impl Restoration {
    pub(super) fn of(keep: Keep, options: &Options<'_>) -> Result<Self, KeepError> {
        keep.lots().empty(1 - keep.active());
        make_room(keep);
        let mut found = Found::default();
        let seen = keep
            .lots()
            .look(keep.active(), |message| found.add(keep, message, true));
        seen.map_err(explain)?;
        let queue = keep.core.will_queue[1].as_fd();
        lots::look(queue, &mut |message| found.add(keep, message, false)).map_err(explain)?;

        let mut restoration = Self::default();
        let mut connected = BTreeMap::new();
        for index in 0..keep.core.table.top() {
            if let Some(slot) = keep.slot(index) {
                let sockets = found.sockets.remove(&index);
                if let Some(settled) = restoration.sort(keep, slot, sockets, &found.pipes) {
                    connected.insert(index, settled);
                }
            }
        }
        restoration.connect(keep, connected, found.pipes)?;
        keep.core.table.find_free();
        restoration.park(keep);
        restoration.strays(keep, found.strays, options)?;
        // Whatever was in there is parked by now.
        lots::empty(queue);
        Ok(restoration)
    }

    /// Parks those that only the will has saved. Not before all numbers are written down: it may lead to
    /// parking everything.
    fn park(&self, keep: Keep) {
        for restored in &self.restored {
            let (slot, client) = (restored.slot, restored.client.as_fd());
            match &restored.stage {
                _ if slot.state().parked => {}
                Stage::Connected { upstream, .. } => {
                    keep.park(slot, client, upstream.as_fd());
                }
                _ => {
                    keep.park_again(slot, client);
                }
            }
        }
    }

    /// Decides what becomes of a slot. One that has an upstream is decided upon later.
    fn sort(
        &mut self,
        keep: Keep,
        slot: Slot,
        sockets: Option<Sockets>,
        pipes: &BTreeMap<u32, [OwnedFd; 2]>,
    ) -> Option<Settled> {
        let state = slot.state();
        let Some(mut sockets) = sockets else {
            if state.phase.is_live() {
                self.given_up.push(GivenUp::new(slot, None));
            }
            keep.core.table.free(slot.index());
            return None;
        };
        let stage = match state.phase {
            Phase::Free => return None,
            Phase::Claimed | Phase::Accepted => Stage::Accepted,
            Phase::Handing => Stage::Handing,
            Phase::Handed => Stage::Handed,
            Phase::Ending => {
                end(keep, slot, &sockets);
                return None;
            }
            Phase::Connected => match settle(slot, &sockets, pipes) {
                Ok(flows) => return Some(Settled { sockets, flows }),
                Err(why) => {
                    self.given_up.push(GivenUp::new(slot, Some(why)));
                    end(keep, slot, &sockets);
                    return None;
                }
            },
        };
        // If there is one, nothing has gone through it.
        sockets.upstream = None;
        if let Phase::Claimed = state.phase {
            slot.set_state(State {
                phase: Phase::Accepted,
                ..state
            });
        }
        keep.settle_in(slot, &sockets);
        self.restored.push(Restored {
            slot,
            client: sockets.client,
            stage,
        });
        None
    }

    /// Gives every connection its buffers and pipes.
    fn connect(
        &mut self,
        keep: Keep,
        mut connected: BTreeMap<u32, Settled>,
        mut pipes: BTreeMap<u32, [OwnedFd; 2]>,
    ) -> Result<(), KeepError> {
        for index in claimed_twice(&connected) {
            if let (Some(slot), Some(settled)) = (keep.slot(index), connected.remove(&index)) {
                let why = Some(Unclear::Contradiction);
                self.given_up.push(GivenUp::new(slot, why));
                end(keep, slot, &settled.sockets);
            }
        }
        let used = connected.values().flat_map(buffers_of).collect();
        let adopted = keep
            .buffers()
            .adopt(used)
            .ok_or(Errno::INVAL)
            .map_err(explain)?;
        let mut buffers: BTreeMap<u32, Buffer> = adopted
            .into_iter()
            .map(|buffer| (buffer.number(), buffer))
            .collect();
        for (index, Settled { sockets, flows }) in connected {
            let Some(slot) = keep.slot(index) else {
                continue;
            };
            keep.settle_in(slot, &sockets);
            let [up, down] = flows.map(|(settled, source_broken)| {
                let in_hand = match settled.held {
                    Some(account::Held::Buffer {
                        number,
                        from,
                        length,
                    }) => buffers
                        .remove(&number)
                        .map(|buffer| InHand::Buffer(buffer, from..from + length)),
                    Some(account::Held::Pipe { number, length }) => pipes
                        .remove(&number)
                        .map(|ends| InHand::Pipe(keep.settle_pipe(number, ends), length)),
                    None => None,
                };
                (in_hand.unwrap_or(InHand::Nothing), source_broken)
            });
            let flows =
                [(Way::Up, up), (Way::Down, down)].map(|(way, (in_hand, source_broken))| {
                    RestoredFlow {
                        in_hand,
                        finished: slot.flow(way).is_finished(),
                        source_broken,
                    }
                });
            let Sockets {
                client,
                upstream: Some(upstream),
                ..
            } = sockets
            else {
                continue;
            };
            if flows.iter().all(|flow| flow.finished) {
                // Both sides have been told already. Closing is all that was left to be done.
                keep.core.table.free(index);
                continue;
            }
            self.restored.push(Restored {
                slot,
                client,
                stage: Stage::Connected { upstream, flows },
            });
        }
        // The others are empty, or nobody's.
        for number in pipes.into_keys() {
            keep.core.table.free_pipe(number);
        }
        Ok(())
    }

    /// Takes clients that were accepted and not parked.
    fn strays(
        &mut self,
        keep: Keep,
        strays: Vec<OwnedFd>,
        options: &Options<'_>,
    ) -> Result<(), KeepError> {
        if strays.is_empty() {
            return Ok(());
        }
        let known: BTreeSet<u64> = self
            .restored
            .iter()
            .filter_map(|restored| strays::cookie(restored.client.as_fd()))
            .collect();
        for client in strays::clients(strays, &options.listeners, known) {
            let Some(slot) = keep.claim() else {
                ends::end_by_reset(&client);
                continue;
            };
            slot.describe(0, crate::service::clock::Uptime::now());
            keep.park_client(slot, client.as_fd());
            self.restored.push(Restored {
                slot,
                client,
                stage: Stage::Accepted,
            });
        }
        Ok(())
    }
}

impl Found {
    /// Takes what belongs to somebody. What came twice, or is of a connection that has ended, is closed.
    fn add(&mut self, keep: Keep, message: Message, parked: bool) {
        let mut descriptors = message.descriptors;
        for entry in message.entries {
            let (one, other) = match entry.descriptors() {
                1 => (descriptors.next(), None),
                _ => (descriptors.next(), descriptors.next()),
            };
            match (entry.kind, one, other) {
                (Kind::Stray, Some(socket), _) => self.strays.push(socket),
                (Kind::Pipe, Some(read), Some(write)) if keep.has_pipe(entry) => {
                    self.pipes.entry(entry.index).or_insert([read, write]);
                }
                (Kind::Client | Kind::Pair, Some(client), upstream) if keep.has_slot(entry) => {
                    let known = self.sockets.get(&entry.index);
                    if known.is_none_or(|known| known.upstream.is_none() && upstream.is_some()) {
                        self.sockets.insert(
                            entry.index,
                            Sockets {
                                client,
                                upstream,
                                parked,
                            },
                        );
                    }
                }
                _ => {}
            }
        }
    }
}

impl GivenUp {
    fn new(slot: Slot, why: Option<Unclear>) -> Self {
        Self {
            id: slot.id(),
            text: slot.text(),
            why,
        }
    }
}

impl Keep {
    fn slot(self, index: u32) -> Option<Slot> {
        Some(Slot::new(self.core.table.slot(index)?, index))
    }

    fn has_slot(self, entry: Entry) -> bool {
        self.slot(entry.index).is_some_and(|slot| {
            let state = slot.state();
            state.generation == entry.generation && state.phase != Phase::Free
        })
    }

    fn has_pipe(self, entry: Entry) -> bool {
        self.core.table.pipe(entry.index).is_some_and(|pipe| {
            let state = State::of(pipe.state.load(std::sync::atomic::Ordering::Relaxed));
            state.generation == entry.generation && state.phase != Phase::Free
        })
    }

    /// Writes down the numbers that a connection's descriptors have now, and whether they are parked.
    fn settle_in(self, slot: Slot, sockets: &Sockets) {
        let upstream = sockets.upstream.as_ref();
        let upstream = upstream.map_or(NONE, |socket| socket.as_raw_fd() as u32);
        let client = sockets.client.as_raw_fd() as u32;
        slot.raw().client.store(client, Release);
        slot.raw().upstream.store(upstream, Release);
        slot.set_state(State {
            parked: sockets.parked,
            ..slot.state()
        });
    }

    fn settle_pipe(self, number: u32, [read, write]: [OwnedFd; 2]) -> Pipe {
        if let Some(raw) = self.core.table.pipe(number) {
            raw.read.store(read.as_raw_fd() as u32, Release);
            raw.write.store(write.as_raw_fd() as u32, Release);
        }
        self.adopt_pipe(number, read, write)
    }
}

/// Ends a connection that cannot go on, or whose end has begun.
fn end(keep: Keep, slot: Slot, sockets: &Sockets) {
    slot.ending();
    ends::end_by_reset(&sockets.client);
    if let Some(upstream) = &sockets.upstream {
        ends::end_by_reset(upstream);
    }
    keep.core.table.free(slot.index());
}

/// Finds out where both directions are, and whether their sources are broken.
fn settle(
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
        settled.push((way, account::settle(&record, &kernel)?, source, sink));
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
            flow.finished();
        }
        flow.settle(&settled);
        result.push((settled, flow.is_broken()));
    }
    result.try_into().map_err(|_| Unclear::Contradiction)
}

/// Those that claim a buffer or a pipe that another direction claims too.
fn claimed_twice(connected: &BTreeMap<u32, Settled>) -> BTreeSet<u32> {
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

fn buffers_of(settled: &Settled) -> impl Iterator<Item = u32> {
    settled
        .flows
        .iter()
        .filter_map(|(flow, _)| match flow.held {
            Some(account::Held::Buffer { number, .. }) => Some(number),
            _ => None,
        })
}

/// Has the kernel make the table of descriptors as large as it will have to be: once, not step by step.
fn make_room(keep: Keep) {
    let wanted = 2 * keep.core.table.top() + 64;
    let highest = i32::try_from(wanted).unwrap_or(i32::MAX);
    // If there may not be so many, it is found out later.
    let _ = rustix::io::fcntl_dupfd_cloexec(keep.core.table.file(), highest);
}

fn explain(errno: Errno) -> KeepError {
    match errno {
        Errno::MFILE => KeepError::Descriptors,
        errno => KeepError::System(errno.into()),
    }
}
