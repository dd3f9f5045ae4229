//! A connection's slot: what its thread writes down of it.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::Ordering::{Relaxed, Release};

use super::file::NONE;
use super::flow::{Flow, Way};
use super::layout::{Phase, RawSlot, State, TEXT};
use super::request_words::RequestWords;
use crate::service::clock::Uptime;

/// A slot of the table, from when it is claimed until it is released. A copy that is used after that
/// writes into the slot of another connection.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    raw: &'static RawSlot,
    index: u32,
}

impl Slot {
    pub(in crate::proxy::keep) fn new(raw: &'static RawSlot, index: u32) -> Self {
        Self { raw, index }
    }

    pub(in crate::proxy::keep) fn raw(self) -> &'static RawSlot {
        self.raw
    }

    /// Its index in the table.
    pub fn index(self) -> u32 {
        self.index
    }

    pub(in crate::proxy::keep) fn state(self) -> State {
        self.raw.state.load()
    }

    pub(in crate::proxy::keep) fn set_state(self, state: State) {
        self.raw.state.store(state);
    }

    /// What has become of it.
    pub fn phase(self) -> Phase {
        self.state().phase
    }

    /// Whether its sockets are in the lot.
    pub fn is_parked(self) -> bool {
        self.state().parked
    }

    /// Whether client and upstream are in the lot. (A client that is there without an upstream may have
    /// got one since.)
    pub fn is_parked_with_upstream(self) -> bool {
        self.is_parked() && self.phase() == Phase::Connected
    }

    fn set_phase(self, phase: Phase) {
        self.set_state(State {
            phase,
            ..self.state()
        });
    }

    /// Makes it one in which nothing has happened.
    pub(in crate::proxy::keep) fn clear(self) {
        for way in Way::BOTH {
            self.flow(way).clear();
        }
        self.set_bases([0; 2]);
        self.set_requests([0; 3]);
        self.set_repeated(0);
    }

    /// Writes down the connection's number, and when it was accepted.
    pub fn describe(self, id: u64, accepted: Uptime) {
        self.raw.id.store(id, Release);
        self.raw.accepted.store(accepted.as_micros(), Release);
        self.set_awaits_reply(false);
    }

    /// A client was accepted, and nothing was done with it yet. Until it is parked, the last will saves it.
    /// The descriptor has to stay open until the slot is released.
    pub fn set_client(self, client: BorrowedFd<'_>) {
        self.raw.client.store(client.as_raw_fd() as u32, Release);
        self.set_phase(Phase::Accepted);
    }

    /// The connection's number ([`Self::describe`]).
    pub fn id(self) -> u64 {
        self.raw.id.load(Relaxed)
    }

    /// Writes down whether the client was the last to send.
    #[inline]
    pub fn set_awaits_reply(self, awaits_reply: bool) {
        self.raw.awaits_reply.store(awaits_reply.into(), Release);
    }

    /// Whether the client was the last to send, as far as that is written down.
    pub fn awaits_reply(self) -> bool {
        self.raw.awaits_reply.load(Relaxed) != 0
    }

    /// When it was accepted ([`Self::describe`]).
    pub fn accepted_at(self) -> Uptime {
        Uptime::from_micros(self.raw.accepted.load(Relaxed))
    }

    /// Writes down a text: where the connection leads. One that is too long loses its end.
    pub fn set_text(self, text: &str) {
        let length = (0..=TEXT.min(text.len()))
            .rev()
            .find(|length| text.is_char_boundary(*length))
            .unwrap_or(0);
        let mut bytes = [0; TEXT];
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        let words = bytes.chunks_exact(8);
        self.raw.text_length.store(0, Release);
        for (place, word) in self.raw.text.iter().zip(words) {
            let word = word.try_into().unwrap_or_default();
            place.store(u64::from_ne_bytes(word), Release);
        }
        self.raw.text_length.store(length as u64, Release);
    }

    /// The text.
    pub fn text(self) -> String {
        let words = self.raw.text.iter();
        let mut bytes: Vec<u8> = words
            .flat_map(|word| word.load(Relaxed).to_ne_bytes())
            .collect();
        let length = self.raw.text_length.load(Relaxed) as usize;
        bytes.truncate(length.min(TEXT));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The handover of the client begins; by `note`, the next process finds out whether it was completed.
    pub fn begin_handover(self, note: u64) {
        self.raw.note.store(note, Release);
        self.set_phase(Phase::InHandover);
    }

    /// The handover of the client is complete.
    pub fn complete_handover(self) {
        self.set_phase(Phase::HandedOver);
    }

    /// The client has no upstream from now on.
    pub(in crate::proxy::keep) fn leave_upstream(self) {
        self.set_phase(Phase::Accepted);
        self.raw.upstream.store(NONE, Release);
    }

    /// The client was not handed over, and nothing was done with it.
    pub fn cancel_handover(self) {
        self.set_phase(Phase::Accepted);
    }

    /// The number of [`Self::begin_handover`].
    pub fn note(self) -> u64 {
        self.raw.note.load(Relaxed)
    }

    /// The sockets are about to be reset. From now on no process continues the connection.
    pub fn set_ending(self) {
        self.set_phase(Phase::Ending);
    }

    /// What [`Self::requests`] is of a client that stays without an upstream, between two requests.
    pub const DETACHED: [u64; 3] = [u64::MAX, 0, 0];

    /// Writes down where the connection is in its requests ([`RequestWords::set`]).
    pub fn set_requests(self, requests: [u64; 3]) {
        self.request_words().set(requests);
    }

    /// Where that is written down.
    pub fn request_words(self) -> RequestWords {
        RequestWords::new(&self.raw.requests)
    }

    /// The numbers of [`Self::set_requests`]; 0 if there were none.
    pub fn requests(self) -> [u64; 3] {
        self.raw
            .requests
            .each_ref()
            .map(|place| place.load(Relaxed))
    }

    /// Writes down how many bytes of a request will be among our own in front ([`Flow::prefix`]), because it is sent
    /// again.
    pub fn set_repeated(self, bytes: u64) {
        self.raw.repeated.store(bytes, Release);
    }

    /// The number of [`Self::set_repeated`].
    pub fn repeated(self) -> u64 {
        self.raw.repeated.load(Relaxed)
    }

    pub(super) fn set_bases(self, bases: [u64; 2]) {
        for (place, base) in self.raw.bases.iter().zip(bases) {
            place.store(base, Release);
        }
    }

    /// Bytes that had been received from the client, and sent to it, when the present upstream began.
    pub(in crate::proxy::keep) fn bases(self) -> [u64; 2] {
        self.raw.bases.each_ref().map(|base| base.load(Relaxed))
    }

    /// Bytes of the client that its upstreams got, and bytes that it got from them.
    pub fn carried(self) -> (u64, u64) {
        let [received, sent] = self.bases();
        let [up, down] = Way::BOTH.map(|way| self.flow(way));
        let given = up.given().saturating_sub(up.prefix_length().into());
        (
            received.saturating_add(given),
            sent.saturating_add(down.given()),
        )
    }

    /// Whether something was carried. A client without an upstream has had one then, and [`Self::begin_anew`] comes
    /// before the next one.
    pub fn is_used(self) -> bool {
        self.bases() != [0; 2] || Way::BOTH.iter().any(|way| self.flow(*way).is_used())
    }

    /// One direction of the connection.
    pub fn flow(self, way: Way) -> Flow {
        Flow::new(&self.raw.flows[way as usize])
    }
}
