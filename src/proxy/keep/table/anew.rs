//! A client that gets another upstream.
//!
//! What is written down of a direction begins anew with each upstream, but the kernel goes on counting the bytes of the
//! client's socket. So its counts at that moment are written down, and taken off those that are found later.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;

use super::account::Unclear;
use super::counters::{self, Opener};
use super::flow::Way;
use super::slot::Slot;
use crate::service::kernel::{TcpCounters, tcp_counters};

impl Slot {
    /// Both directions begin anew, for a client without an upstream that has had one. To be called after that one was
    /// shut down, and before anything is written down of the next one or it is parked.
    ///
    /// Bytes that were received and not given to the upstream are forgotten here: the caller gives them to the next one
    /// first ([`Flow::prefix`](super::Flow::prefix)).
    ///
    /// Killed at any moment of it, the client is still one without an upstream, for which it is done again. (If the
    /// kernel does not count its bytes, [`Slot::carried`] may then say too much; nothing else depends on that.)
    ///
    /// # Errors
    ///
    /// When the kernel does not know what was received and sent, or what is written down contradicts it. Nothing was
    /// changed, and the client cannot get another upstream.
    pub fn begin_anew(self, client: BorrowedFd<'_>) -> Result<(), Unclear> {
        let bases = match tcp_counters(client) {
            Ok(counters) => self.counted(&counters)?,
            // It is not counted, now or later.
            Err(error) if error.kind() == ErrorKind::Unsupported => self.carried().into(),
            Err(_) => return Err(Unclear::Uncounted),
        };
        // First, because `counted` compares them with what is cleared.
        self.set_bases(bases);
        for way in Way::BOTH {
            self.flow(way).clear();
        }
        self.set_repeated(0);
        Ok(())
    }

    /// Nothing has happened in this slot, and its client, which has no upstream, was served by another process.
    /// `carried`: what that has counted, which holds if the kernel does not know it. `is_held`: the client waits for an
    /// upstream, so that it also gets one from the next process if it says nothing.
    ///
    /// # Errors
    ///
    /// When the kernel cannot know it any more. The client cannot be kept.
    pub fn begin_passed(
        self,
        client: BorrowedFd<'_>,
        carried: (u64, u64),
        is_held: bool,
    ) -> Result<(), Unclear> {
        let bases = match tcp_counters(client) {
            Ok(counters) => Self::kernel_counts(&counters)?,
            Err(error) if error.kind() == ErrorKind::Unsupported => carried.into(),
            Err(_) => return Err(Unclear::Uncounted),
        };
        self.set_bases(bases);
        if !is_held {
            self.set_requests(Self::DETACHED);
        }
        Ok(())
    }

    /// The bytes that were received from the client and sent to it.
    fn kernel_counts(counters: &TcpCounters) -> Result<[u64; 2], Unclear> {
        if counters::is_over(counters) {
            return Err(Unclear::Uncounted);
        }
        let received = counters::received(counters, 0, false).ok_or(Unclear::Uncounted)?;
        let sent = counters::sent(counters, Opener::Peer).ok_or(Unclear::Uncounted)?;
        Ok([received, sent])
    }

    /// As [`Self::kernel_counts`], if that agrees with what is written down.
    fn counted(self, counters: &TcpCounters) -> Result<[u64; 2], Unclear> {
        let [up, down] = Way::BOTH.map(|way| self.flow(way));
        let [received_before, sent_before] = self.bases();
        let [received, sent] = Self::kernel_counts(counters)?;
        // If this was interrupted before, the new base is written down, and nothing has come since.
        let agrees =
            |count, base: u64, bytes| count == base || base.checked_add(bytes) == Some(count);
        let from_client = up.taken() - u64::from(up.prefix_length());
        if !up.is_inexact() && !agrees(received, received_before, from_client)
            || !agrees(sent, sent_before, down.given())
        {
            return Err(Unclear::Contradiction);
        }
        Ok([received, sent])
    }
}
