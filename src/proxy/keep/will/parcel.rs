//! What the will sends with one message, without allocating anything.

use std::os::fd::RawFd;

use crate::proxy::keep::parking::message::{DESCRIPTORS_MAX, LotEntry};

/// What is sent together.
pub(super) struct Parcel {
    queue: RawFd,
    entries: [u64; DESCRIPTORS_MAX],
    pub(super) descriptors: [RawFd; DESCRIPTORS_MAX],
    entry_count: usize,
    pub(super) count: usize,
    /// The table has their numbers.
    pub(super) is_written_down: bool,
}

/// Room for `SCM_RIGHTS` with as many descriptors as a message may have, aligned as its header.
#[repr(C)]
struct Ancillary {
    header: libc::cmsghdr,
    descriptors: [RawFd; DESCRIPTORS_MAX + 1],
}

impl Parcel {
    /// Of those that are written down, for this queue; empty.
    pub(super) fn new(queue: RawFd) -> Self {
        Self {
            queue,
            entries: [0; DESCRIPTORS_MAX],
            descriptors: [0; DESCRIPTORS_MAX],
            entry_count: 0,
            count: 0,
            is_written_down: true,
        }
    }

    /// Adds what an entry is about: one descriptor, or both.
    pub(super) fn add(&mut self, entry: LotEntry, one: u32, other: u32) {
        if self.count + entry.descriptors() > DESCRIPTORS_MAX {
            self.send();
        }
        if let Some(place) = self.entries.get_mut(self.entry_count) {
            *place = u64::from_ne_bytes(entry.bytes());
            self.entry_count += 1;
        }
        for number in [one, other].into_iter().take(entry.descriptors()) {
            if let Some(place) = self.descriptors.get_mut(self.count) {
                *place = number as RawFd;
                self.count += 1;
            }
        }
    }

    /// Sends what was added; what cannot be sent is left open for an heir.
    pub(super) fn send(&mut self) {
        if self.count == 0 {
            return;
        }
        let bytes = self.count * size_of::<RawFd>();
        // SAFETY: everything that is pointed to is here until the call has returned, and the lengths
        // are those of what is there.
        unsafe {
            let mut control = Ancillary {
                header: std::mem::zeroed(),
                descriptors: [0; DESCRIPTORS_MAX + 1],
            };
            control.header.cmsg_level = libc::SOL_SOCKET;
            control.header.cmsg_type = libc::SCM_RIGHTS;
            control.header.cmsg_len = libc::CMSG_LEN(bytes as u32) as _;
            std::ptr::copy_nonoverlapping(
                self.descriptors.as_ptr(),
                control.descriptors.as_mut_ptr(),
                self.count,
            );
            let mut part = libc::iovec {
                iov_base: self.entries.as_mut_ptr().cast(),
                iov_len: self.entry_count * size_of::<u64>(),
            };
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &mut part;
            message.msg_iovlen = 1;
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = libc::CMSG_SPACE(bytes as u32) as _;
            let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
            if libc::sendmsg(self.queue, &message, flags) < 0 {
                // An heir finds those that are written down where they are.
                for number in self.descriptors.iter().take(self.count) {
                    if self.is_written_down {
                        libc::fcntl(*number, libc::F_SETFD, 0);
                    }
                }
            }
        }
        (self.entry_count, self.count) = (0, 0);
    }
}
