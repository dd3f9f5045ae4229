//! Requests that wait for another upstream, in processes that are killed at every moment.

use std::mem::offset_of;

use super::detached::{carry, detach, slot_bytes, stores, why_lost, word};
use super::upstream_change::bury;
use super::*;
use crate::proxy::keep::table::layout::{RawFlow, RawSlot};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const HEADER: &[u8] = b"PROXY ";

/// Where the connection is in its requests with the first upstream, and with the second.
const BEFORE: [u64; 3] = [1 << 32 | 7, 8, 9];
const AFTER: [u64; 3] = [1 << 32, 3, 4];

/// A buffer that begins with these bytes.
fn buffer_of(keep: Keep, bytes: &[u8]) -> Buffer {
    let mut buffer = keep.buffers().take().unwrap();
    buffer[..bytes.len()].copy_from_slice(bytes);
    buffer
}

fn held(buffer: u32) -> HeldRequest {
    HeldRequest {
        buffer,
        length: REQUEST.len() as u16,
        attempts: 2,
        kind: 1,
    }
}

fn request_word(index: usize) -> (usize, usize) {
    (offset_of!(RawSlot, requests) + 8 * index, 8)
}

/// A client whose request was not answered, and goes to a second upstream.
struct Story {
    keep: Keep,
    through: Through,
    /// Stores until the process is killed.
    left: usize,
    is_held: bool,
    has_second: bool,
    is_under_way: bool,
    /// They belong to the next process.
    buffers: Vec<Buffer>,
}

impl Story {
    fn new(moment: usize) -> Self {
        let keep = first();
        let mut through = Through::new(keep);
        carry(keep, &mut through, Way::Up, REQUEST);
        through.slot.set_requests(BEFORE);
        Self {
            keep,
            through,
            left: moment,
            is_held: false,
            has_second: false,
            is_under_way: false,
            buffers: Vec::new(),
        }
    }

    /// Does what makes these stores. `None` if the process is killed before the last of them.
    fn store(&mut self, stores: &[(usize, usize)], act: impl FnOnce(&mut Self)) -> Option<()> {
        let before = slot_bytes(self.keep);
        act(self);
        let after = slot_bytes(self.keep);
        let done = self.left.min(stores.len());
        word(self.keep, 0, &before);
        for (offset, length) in &stores[..done] {
            word(self.keep, *offset, &after[*offset..offset + length]);
        }
        self.left -= done;
        if done < stores.len() {
            return None;
        }
        assert_eq!(slot_bytes(self.keep), after, "there are no other stores");
        Some(())
    }

    fn live(&mut self) -> Option<()> {
        let (keep, slot) = (self.keep, self.through.slot);
        let request = buffer_of(keep, REQUEST);
        let number = request.number();
        self.buffers.push(request);
        detach(keep, &mut self.through);
        let repeated = (offset_of!(RawSlot, repeated), 8);
        self.store(&[stores(), vec![repeated]].concat(), |story| {
            slot.begin_anew(story.through.sockets[0].as_fd()).unwrap();
        })?;
        self.store(&[request_word(0)], |_| slot.hold_request(held(number)))?;
        self.is_held = true;
        let (connected, upstream) = pair();
        self.through.sockets[1] = connected.into();
        self.through.upstream = upstream;
        let [client, upstream] = self.through.sockets.each_ref().map(AsFd::as_fd);
        assert!(keep.park(slot, client, upstream));
        self.has_second = true;
        let both = buffer_of(keep, &[HEADER, REQUEST].concat());
        let place = Place::Buffer(both.number());
        self.buffers.push(both);
        let up = offset_of!(RawSlot, flows) + Way::Up as usize * size_of::<RawFlow>();
        let prefix = [
            (up + offset_of!(RawFlow, place), 8),
            (up + offset_of!(RawFlow, base), 8),
            (up + offset_of!(RawFlow, prefix), 4),
            (up + offset_of!(RawFlow, taken), 8),
        ];
        self.store(&prefix, |_| {
            let length = HEADER.len() + REQUEST.len();
            slot.flow(Way::Up).prefix(place, length as u32);
        })?;
        let words = [repeated, request_word(1), request_word(2), request_word(0)];
        self.store(&words, |_| {
            slot.begin_repeated(REQUEST.len() as u64, AFTER);
        })?;
        self.is_under_way = true;
        Some(())
    }

    /// The process is dead: checks what the next one finds, and the one after that.
    fn check(mut self, moment: usize) {
        let mut keep = self.keep;
        for _ in 0..2 {
            let (after, mut found) = next(keep);
            bury(std::mem::replace(&mut keep, after));
            assert_eq!((found.connections.len(), found.lost.len()), (1, 0));
            let restored = found.connections.remove(0);
            let slot = restored.slot;
            match restored.stage {
                Stage::Held {
                    ref request,
                    length,
                    attempts,
                    kind,
                } => {
                    assert!(self.is_held && !self.is_under_way, "{moment}");
                    let found = (&request[..length], attempts, kind);
                    assert_eq!(found, (REQUEST, 2, 1), "{moment}");
                    assert_eq!(slot.bases()[0], REQUEST.len() as u64);
                }
                // The caller sees that a request was under way.
                Stage::Accepted => {
                    assert!(!self.is_held, "{moment}");
                    assert_eq!(slot.requests(), BEFORE);
                }
                Stage::Connected { .. } => {
                    assert!(self.is_under_way, "{moment}");
                    assert_eq!(in_hand(&restored), [HEADER, REQUEST].concat());
                    let repeated = REQUEST.len() as u64;
                    assert_eq!((slot.requests(), slot.repeated()), (AFTER, repeated));
                }
                _ => panic!("{moment}"),
            }
            keep.buffers().leave();
        }
        if self.has_second && !self.is_under_way {
            let end = self.through.upstream.read(&mut [0]).unwrap();
            assert_eq!(end, 0, "{moment}: the second one gets nothing");
        }
        bury(keep);
        self.buffers.into_iter().for_each(std::mem::forget);
    }
}

#[test]
fn whenever_the_process_is_killed_a_request_is_held_whole_or_under_way_or_its_client_known_as_lost()
{
    for moment in 0.. {
        let mut story = Story::new(moment);
        let is_over = story.live().is_some();
        story.check(moment);
        if is_over {
            assert!(moment > 20, "{moment}");
            break;
        }
    }
}

#[test]
fn a_held_request_without_its_buffer_is_lost_and_its_client_reset() {
    for buffer in [HeldRequest::NO_BUFFER, options().buffers] {
        let keep = first();
        let mut through = Through::new(keep);
        detach(keep, &mut through);
        through.slot.hold_request(held(buffer));
        assert_eq!(why_lost(keep), Unclear::Missing);
        assert!(through.client.read(&mut [0]).is_err(), "it is reset");
    }
}

#[test]
fn of_two_held_requests_in_one_buffer_neither_is_believed() {
    let keep = first();
    let mut both = [Through::new(keep), Through::new(keep)];
    let buffer = buffer_of(keep, REQUEST);
    for through in &mut both {
        detach(keep, through);
        through.slot.hold_request(held(buffer.number()));
    }
    let (_, found) = next(keep);
    assert_eq!((found.connections.len(), found.lost.len()), (0, 2));
    std::mem::forget(buffer);
}
