//! Deciding what becomes of every connection that is found.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Relaxed, Release};

use rustix::io::Errno;

use super::contents::{Contents, make_room};
use super::restored_connection::{InHand, LostConnection, RestoredConnection, RestoredFlow, Stage};
use super::settle::{SettledConnection, claimed_twice, settle};
use super::sockets::Sockets;
use super::strays;
use super::supply::Supply;
use crate::proxy::keep::error::KeepError;
use crate::proxy::keep::options::KeepOptions;
use crate::proxy::keep::parking::{Parking, queue};
use crate::proxy::keep::table::account::Unclear;
use crate::proxy::keep::table::layout::{Phase, State};
use crate::proxy::keep::table::{Buffers, HeldRequest, Slot, Way};
use crate::service::clock::Uptime;
use crate::service::ending;

#[derive(Debug, Default)]
pub struct Restoration {
    pub connections: Vec<RestoredConnection>,
    pub lost: Vec<LostConnection>,
}

impl Restoration {
    /// What is found in the table and in the lots, and in the will's `queue`.
    /// Fails if they cannot be read.
    pub fn of(
        parking: &'static Parking,
        buffers: &'static Buffers,
        queue: BorrowedFd<'_>,
        options: &KeepOptions<'_>,
    ) -> Result<Self, KeepError> {
        make_room(parking);
        let mut contents = Contents::default();
        for side in [1 - parking.active(), parking.active()] {
            let lots = parking.lots();
            let result = lots.look(side, |message| contents.add(parking, message, Some(side)));
            result.map_err(explain)?;
        }
        queue::look(queue, &mut |message| contents.add(parking, message, None)).map_err(explain)?;
        if options.is_heir {
            contents.take_left_open(parking);
        }

        let mut restoration = Self::default();
        let mut connected = BTreeMap::new();
        for index in 0..parking.table.top() {
            if let Some(slot) = parking.slot(index) {
                let sockets = contents.sockets.remove(&index);
                if let Some(settled) = restoration.sort(parking, slot, sockets, &contents.pipes) {
                    connected.insert(index, settled);
                }
            }
        }
        restoration.connect(parking, buffers, connected, contents.pipes)?;
        parking.table.find_free();
        restoration.park(parking);
        restoration.strays(parking, contents.strays, options);
        // Its content is parked by now, or had no room before this makes some.
        queue::empty(queue);
        parking.table.header().crowded.store(0, Release);
        restoration.park(parking);
        Ok(restoration)
    }

    /// Parks those that only the will has saved. Not before all numbers are written down: it may lead to
    /// parking everything.
    fn park(&self, parking: &Parking) {
        for RestoredConnection { slot, client, .. } in &self.connections {
            if !slot.is_parked() {
                parking.park_again(*slot, client.as_fd());
            }
        }
    }

    /// Decides about a slot; later if it has an upstream, with what is returned.
    fn sort(
        &mut self,
        parking: &Parking,
        slot: Slot,
        sockets: Option<Sockets>,
        pipes: &BTreeMap<u32, [OwnedFd; 2]>,
    ) -> Option<SettledConnection> {
        let state = slot.state();
        // What a lot has of a connection that could not be parked dates from before its upstream.
        let is_current = |sockets: &Sockets| {
            state.phase != Phase::Connected
                || state.parked
                || sockets.lot.is_none()
                || slot.held_request().is_some()
        };
        let Some(mut sockets) = sockets.filter(is_current) else {
            if state.phase.is_live() {
                self.lost.push(LostConnection::new(slot, None));
            }
            parking.free_slot(slot.index());
            return None;
        };
        if let (Phase::Accepted | Phase::Connected, Some(held)) = (state.phase, slot.held_request())
        {
            return self.hold(parking, slot, sockets, held);
        }
        let stage = match state.phase {
            Phase::Free => return None,
            Phase::Claimed | Phase::Accepted => self.without_upstream(parking, slot, &sockets)?,
            Phase::InHandover => Stage::InHandover,
            Phase::HandedOver => Stage::HandedOver,
            Phase::Ending => {
                sockets.end(parking, slot);
                return None;
            }
            Phase::Connected => return self.with_upstream(parking, slot, sockets, pipes),
        };
        if let Some(upstream) = sockets.upstream.take() {
            // The client gets another one. If it has used this one, that is to end in order.
            match slot.is_used() {
                true => ending::end_both_ways(upstream),
                false => ending::end_by_reset(upstream),
            }
        }
        if let Phase::Claimed = state.phase {
            slot.set_state(State {
                phase: Phase::Accepted,
                ..state
            });
        }
        sockets.settle_in(parking, slot);
        self.connections.push(RestoredConnection {
            slot,
            client: sockets.client,
            stage,
        });
        None
    }

    /// Finds out where a connection is. `None` if that is not certain.
    fn with_upstream(
        &mut self,
        parking: &Parking,
        slot: Slot,
        sockets: Sockets,
        pipes: &BTreeMap<u32, [OwnedFd; 2]>,
    ) -> Option<SettledConnection> {
        match settle(parking.table.buffers(), slot, &sockets, pipes) {
            Ok(flows) => Some(SettledConnection {
                sockets,
                flows,
                held: None,
            }),
            Err(why) => {
                self.give_up(parking, slot, &sockets, why);
                None
            }
        }
    }

    /// Prepares a client for the upstream that gets its request. One that it has was sent nothing of that yet, or is left.
    fn hold(
        &mut self,
        parking: &Parking,
        slot: Slot,
        mut sockets: Sockets,
        held: HeldRequest,
    ) -> Option<SettledConnection> {
        slot.leave_upstream();
        if let Some(upstream) = sockets.upstream.take() {
            ending::end_both_ways(upstream);
        }
        self.without_upstream(parking, slot, &sockets)?;
        match SettledConnection::held(parking.table.buffers(), sockets, held) {
            Ok(settled) => Some(settled),
            Err((sockets, why)) => {
                self.give_up(parking, slot, &sockets, why);
                None
            }
        }
    }

    /// Prepares a client without an upstream for the next one. `None` if it has left, or cannot get one.
    fn without_upstream(
        &mut self,
        parking: &Parking,
        slot: Slot,
        sockets: &Sockets,
    ) -> Option<Stage> {
        let result = match slot.is_used() {
            false => Ok(()),
            true if sockets.is_client_over() => {
                sockets.upstream.iter().for_each(ending::end_both_ways);
                parking.free_slot(slot.index());
                return None;
            }
            // What the client has said has no receiver, unless it is in the held request. What the upstream has said is
            // dropped with it: it belonged to no request.
            true if slot.held_request().is_none() && slot.flow(Way::Up).has_in_hand() => {
                Err(Unclear::Missing)
            }
            true => slot.begin_anew(sockets.client.as_fd()),
        };
        match result {
            Ok(()) => Some(Stage::Accepted),
            Err(why) => {
                self.give_up(parking, slot, sockets, why);
                None
            }
        }
    }

    fn give_up(&mut self, parking: &Parking, slot: Slot, sockets: &Sockets, why: Unclear) {
        self.lost.push(LostConnection::new(slot, Some(why)));
        sockets.end(parking, slot);
    }

    /// Gives every connection its buffers and pipes.
    fn connect(
        &mut self,
        parking: &'static Parking,
        buffers: &'static Buffers,
        mut connected: BTreeMap<u32, SettledConnection>,
        pipes: BTreeMap<u32, [OwnedFd; 2]>,
    ) -> Result<(), KeepError> {
        for index in claimed_twice(&connected) {
            if let (Some(slot), Some(settled)) = (parking.slot(index), connected.remove(&index)) {
                self.give_up(parking, slot, &settled.sockets, Unclear::Contradiction);
            }
        }
        let supply = Supply::new(parking, buffers, &connected, pipes);
        let mut supply = supply.ok_or(Errno::INVAL).map_err(explain)?;
        for (index, settled) in connected {
            if let Some(slot) = parking.slot(index) {
                self.connections
                    .extend(resume(parking, slot, settled, &mut supply));
            }
        }
        supply.give_back();
        Ok(())
    }

    /// Takes clients that were accepted and not parked.
    fn strays(&mut self, parking: &Parking, strays: Vec<OwnedFd>, options: &KeepOptions<'_>) {
        if strays.is_empty() {
            return;
        }
        let clients = self.connections.iter().map(|restored| &restored.client);
        let known = clients.filter_map(strays::cookie);
        let known: BTreeSet<u64> = known.collect();
        let crowded = parking.table.header().crowded.load(Relaxed) != 0;
        for client in strays::clients(strays, &options.listeners, known, crowded) {
            let Some(slot) = parking.claim() else {
                ending::end_by_reset(&client);
                continue;
            };
            slot.describe(0, Uptime::now());
            parking.park_client(slot, client.as_fd());
            self.connections.push(RestoredConnection {
                slot,
                client,
                stage: Stage::Accepted,
            });
        }
    }
}

/// Continues a connection with an upstream; `None` if it only has to be closed.
fn resume(
    parking: &Parking,
    slot: Slot,
    settled: SettledConnection,
    supply: &mut Supply,
) -> Option<RestoredConnection> {
    let SettledConnection {
        sockets,
        flows: [up, down],
        held,
    } = settled;
    sockets.settle_in(parking, slot);
    if let Some(held) = held {
        let Some(InHand::Buffer(request, part)) = supply.take(up.in_hand) else {
            sockets.end(parking, slot);
            return None;
        };
        return Some(RestoredConnection {
            slot,
            client: sockets.client,
            stage: Stage::Held {
                request,
                length: part.len(),
                attempts: held.attempts,
                kind: held.kind,
            },
        });
    }
    sockets.shut_down(slot);
    let flows = [(Way::Up, up), (Way::Down, down)].map(|(way, flow)| RestoredFlow {
        in_hand: supply.take(flow.in_hand).unwrap_or(InHand::None),
        finished: slot.flow(way).is_finished(),
        source_broken: flow.source_broken,
    });
    let upstream = sockets.upstream?;
    if flows.iter().all(|flow| flow.finished) {
        // Both ends have been passed on already.
        parking.free_slot(slot.index());
        return None;
    }
    Some(RestoredConnection {
        slot,
        client: sockets.client,
        stage: Stage::Connected { upstream, flows },
    })
}

fn explain(errno: Errno) -> KeepError {
    match errno {
        Errno::MFILE => KeepError::Descriptors,
        errno => KeepError::System(errno.into()),
    }
}
