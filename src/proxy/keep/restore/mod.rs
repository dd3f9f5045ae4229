//! Finding everything again that an earlier process has left.
//!
//! Nothing is taken out of the lot: it is looked at, and the descriptors that come of it are copies. So
//! this may be interrupted at any point, and done again.

mod found;
mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, Release};

use rustix::io::Errno;

use super::account::{self, Unclear};
use super::buffers::Buffer;
use super::layout::{Phase, State};
use super::lots;
use super::park::entry;
use super::pipes::Pipe;
use super::slot::{Slot, Way};
use super::table::NONE;
use super::{Keep, KeepError, Options, strays};
use crate::service::ending;

use found::{Found, Sockets, make_room};
use settle::{Settled, buffers_of, claimed_twice, settle};

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
    /// Why; `None` if its sockets were not found: they had not been parked (yet).
    pub why: Option<Unclear>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Restoration {
    pub(super) restored: Vec<Restored>,
    pub(super) given_up: Vec<GivenUp>,
}

impl Restoration {
    pub(super) fn of(keep: Keep, options: &Options<'_>) -> Result<Self, KeepError> {
        make_room(keep);
        let mut found = Found::default();
        for side in [1 - keep.active(), keep.active()] {
            let lots = keep.lots();
            let seen = lots.look(side, |message| found.add(keep, message, Some(side)));
            seen.map_err(explain)?;
        }
        let queue = keep.core.will_queue[1].as_fd();
        lots::look(queue, &mut |message| found.add(keep, message, None)).map_err(explain)?;
        if options.is_heir {
            found.take_left_open(keep);
        }

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
        // Whatever was in there is parked by now, or there was no room before this makes some.
        lots::empty(queue);
        keep.core.table.header().crowded.store(0, Release);
        restoration.park(keep);
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
        // What is in a lot of a connection that could not be parked is of before it had its upstream.
        let is_current = |sockets: &Sockets| {
            state.phase != Phase::Connected || state.parked || sockets.lot.is_none()
        };
        let Some(mut sockets) = sockets.filter(is_current) else {
            if state.phase.is_live() {
                self.given_up.push(GivenUp::new(slot, None));
            }
            keep.free_slot(slot.index());
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
            Phase::Connected => match settle(keep, slot, &sockets, pipes) {
                Ok(flows) => return Some(Settled { sockets, flows }),
                Err(why) => {
                    self.given_up.push(GivenUp::new(slot, Some(why)));
                    end(keep, slot, &sockets);
                    return None;
                }
            },
        };
        if let Some(upstream) = sockets.upstream.take() {
            // Nothing has gone through it. The client gets another one.
            ending::end_by_reset(upstream);
        }
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
        let mut used_pipes = BTreeSet::new();
        for (index, Settled { sockets, flows }) in connected {
            let Some(slot) = keep.slot(index) else {
                continue;
            };
            keep.settle_in(slot, &sockets);
            shut_down(slot, &sockets);
            let [up, down] = flows.map(|(settled, source_broken)| {
                let in_hand = match settled.held {
                    Some(account::Held::Buffer {
                        number,
                        from,
                        length,
                    }) => buffers
                        .remove(&number)
                        .map(|buffer| InHand::Buffer(buffer, from..from + length)),
                    Some(account::Held::Pipe { number, length }) => {
                        used_pipes.insert(number);
                        pipes
                            .remove(&number)
                            .map(|ends| InHand::Pipe(keep.settle_pipe(number, ends), length))
                    }
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
                keep.free_slot(index);
                continue;
            }
            self.restored.push(Restored {
                slot,
                client,
                stage: Stage::Connected { upstream, flows },
            });
        }
        // The others are empty, or nobody's.
        for number in (0..keep.core.table.pipes_top()).filter(|number| !used_pipes.contains(number))
        {
            keep.free_pipe(number);
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
        let crowded = keep.core.table.header().crowded.load(Relaxed) != 0;
        for client in strays::clients(strays, &options.listeners, known, crowded) {
            let Some(slot) = keep.claim() else {
                ending::end_by_reset(&client);
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
    pub(super) fn slot(self, index: u32) -> Option<Slot> {
        Some(Slot::new(self.core.table.slot(index)?, index))
    }

    /// Writes down the numbers that a connection's descriptors have now, and whether they are parked.
    fn settle_in(self, slot: Slot, sockets: &Sockets) {
        let upstream = sockets.upstream.as_ref();
        let upstream = upstream.map_or(NONE, |socket| socket.as_raw_fd() as u32);
        let client = sockets.client.as_raw_fd() as u32;
        slot.raw().client.store(client, Release);
        slot.raw().upstream.store(upstream, Release);
        let state = State {
            parked: sockets.lot.is_some(),
            ..slot.state()
        };
        slot.set_state(state);
        if let Some(side) = sockets.lot {
            self.core.places.put(entry(slot.index(), state), side);
        }
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
    ending::end_by_reset(&sockets.client);
    if let Some(upstream) = &sockets.upstream {
        ending::end_by_reset(upstream);
    }
    keep.free_slot(slot.index());
}

/// Does what was written down and perhaps not done: an end that has come is passed on.
fn shut_down(slot: Slot, sockets: &Sockets) {
    if let (Some(upstream), true) = (&sockets.upstream, slot.flow(Way::Up).is_finished()) {
        // It fails only on a connection that is broken, which is found out.
        let _ = ending::end_orderly(upstream);
    }
    if slot.flow(Way::Down).is_finished() {
        let _ = ending::end_orderly(&sockets.client);
    }
}

fn explain(errno: Errno) -> KeepError {
    match errno {
        Errno::MFILE => KeepError::Descriptors,
        errno => KeepError::System(errno.into()),
    }
}
