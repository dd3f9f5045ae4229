//! The copy of a request, to be sent again if its upstream is lost before the reply.

use std::mem::offset_of;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The bytes that all long copies may have together: clients that ask much and get no reply would fill the memory.
const ALL_MAX: usize = 32 * 1024 * 1024;

/// The number of bytes that they may still take.
static LEFT: AtomicUsize = AtomicUsize::new(ALL_MAX);

/// A request up to this length, in bytes, is copied to where the connection's requests are tracked.
const SHORT: usize = 256;

/// The request under way, and the copy of it, if it can be sent again.
///
/// Most requests are short. Their copy lies beside what is needed for each of them anyway: memory elsewhere is in no cache
/// of the processor if there are many connections, nor is its address translated, and each request would wait for both.
#[derive(Debug)]
#[repr(C)]
pub(super) struct RequestCopy {
    extent: Extent,
    short: [u8; SHORT],
}

/// What there is of a copy.
#[derive(Debug, Default)]
enum Extent {
    /// No request is under way, or its beginning is not known.
    #[default]
    None,
    /// The first bytes of a short one, as many as this: all of them until [`RequestCopy::reduce_to`].
    Short(u16),
    /// A longer one, or one of which the rest is still to come.
    Long(Box<LongRequest>),
}

impl RequestCopy {
    /// The bytes of it that are needed for each request.
    pub(super) const HOT: usize = offset_of!(Self, short);

    /// There is none.
    pub(super) const NONE: Self = Self {
        extent: Extent::None,
        short: [0; SHORT],
    };

    /// A request of this length has begun. `bytes` are all of it, or none if it cannot be sent again.
    pub(super) fn begin(&mut self, length: u64, bytes: &[u8]) {
        self.extent = match self.short.get_mut(..bytes.len()) {
            Some(copy) if bytes.len() as u64 == length => {
                copy.copy_from_slice(bytes);
                Extent::Short(bytes.len() as u16)
            }
            _ => Extent::Long(LongRequest::new(length, bytes, false)),
        };
    }

    /// A request of this length has begun, with these bytes, and its copy grows with what is received.
    pub(super) fn begin_growing(&mut self, length: u64, bytes: &[u8]) {
        self.extent = Extent::Long(LongRequest::new(length, bytes, true));
    }

    /// It is not needed any more.
    pub(super) fn forget(&mut self) {
        self.extent = Extent::None;
    }

    /// The number of bytes that the first look has let pass, if it is known where they began. To be asked before
    /// [`Self::reduce_to`].
    pub(super) fn length(&self) -> Option<u64> {
        match &self.extent {
            Extent::None => None,
            Extent::Short(length) => Some((*length).into()),
            Extent::Long(request) => Some(request.length),
        }
    }

    /// These bytes were received, `None` if they have not passed through memory.
    pub(super) fn received(&mut self, bytes: Option<&[u8]>) {
        if let Extent::Long(request) = &mut self.extent {
            request.received(bytes);
        }
    }

    /// Reduces it to the first `length` bytes. Returns whether it has them.
    pub(super) fn reduce_to(&mut self, length: u64) -> bool {
        match &mut self.extent {
            Extent::None => false,
            Extent::Short(all) => match u16::try_from(length) {
                Ok(length) if length <= *all => {
                    *all = length;
                    true
                }
                _ => false,
            },
            Extent::Long(request) => request.reduce_to(length),
        }
    }

    /// Takes the bytes out.
    pub(super) fn take(&mut self) -> Vec<u8> {
        match std::mem::take(&mut self.extent) {
            Extent::None => Vec::new(),
            Extent::Short(length) => self.short[..length.into()].to_vec(),
            Extent::Long(mut request) => request.bytes.take(),
        }
    }
}

/// A request that is longer than [`SHORT`], or of which the rest is still to come.
#[derive(Debug)]
struct LongRequest {
    length: u64,
    bytes: CopiedBytes,
    is_growing: bool,
}

impl LongRequest {
    fn new(length: u64, bytes: &[u8], is_growing: bool) -> Box<Self> {
        let mut copied = CopiedBytes::default();
        copied.extend(bytes);
        Box::new(Self {
            length,
            bytes: copied,
            is_growing,
        })
    }

    fn received(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            _ if !self.is_growing => {}
            Some(bytes) => self.bytes.extend(bytes),
            None => {
                self.bytes.take();
                self.is_growing = false;
            }
        }
    }

    fn reduce_to(&mut self, length: u64) -> bool {
        if (self.bytes.len() as u64) < length {
            return false;
        }
        self.bytes.truncate(length as usize);
        true
    }
}

/// Bytes that count among those of all long copies.
#[derive(Debug, Default)]
struct CopiedBytes(Vec<u8>);

impl CopiedBytes {
    fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds these bytes. Without room for them it is empty afterwards.
    fn extend(&mut self, bytes: &[u8]) {
        let less = |left: usize| left.checked_sub(bytes.len());
        if bytes.is_empty() || LEFT.fetch_update(Relaxed, Relaxed, less).is_ok() {
            self.0.extend_from_slice(bytes);
        } else {
            self.take();
        }
    }

    /// Keeps the first bytes.
    fn truncate(&mut self, length: usize) {
        let length = length.min(self.len());
        LEFT.fetch_add(self.len() - length, Relaxed);
        self.0.truncate(length);
    }

    /// Takes all bytes out.
    fn take(&mut self) -> Vec<u8> {
        LEFT.fetch_add(self.len(), Relaxed);
        std::mem::take(&mut self.0)
    }
}

impl Drop for CopiedBytes {
    fn drop(&mut self) {
        self.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The copy of a request that has begun with these bytes, which are all of it.
    fn copy_of(bytes: &[u8]) -> RequestCopy {
        let mut copy = RequestCopy::NONE;
        copy.begin(bytes.len() as u64, bytes);
        copy
    }

    #[test]
    fn all_long_copies_together_have_a_limit_and_what_is_over_makes_room() {
        let part = vec![b'x'; ALL_MAX / 4];
        let copies: Vec<_> = (0..4)
            .map(|_| {
                let mut copy = CopiedBytes::default();
                copy.extend(&part);
                copy
            })
            .collect();
        // Other tests may have some, too.
        let mut one = CopiedBytes::default();
        one.extend(&part);
        assert_eq!((one.len(), one.0.capacity()), (0, 0));
        drop(copies);
        one.extend(&part);
        one.truncate(7);
        assert_eq!(one.take().len(), 7);
        assert_eq!((one.len(), one.0.capacity()), (0, 0));
    }

    #[test]
    fn a_request_is_taken_out_as_it_was_however_long_it_is() {
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 60_000] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut copy = copy_of(&bytes);
            assert_eq!(copy.length(), Some(length as u64));
            copy.received(Some(b"it does not grow"));
            assert_eq!(matches!(copy.extent, Extent::Short(_)), length <= SHORT);
            assert_eq!(copy.take(), bytes);
            assert_eq!(copy.length(), None);
        }
    }

    #[test]
    fn a_request_that_was_sent_in_part_has_its_beginning() {
        for length in [10, 2000] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut copy = copy_of(&bytes);
            assert!(!copy.reduce_to(length + 1) && copy.reduce_to(length - 1) && copy.reduce_to(3));
            assert!(!copy.reduce_to(4));
            assert_eq!(copy.take(), [0, 1, 2]);
        }
    }

    #[test]
    fn a_copy_that_is_used_again_has_nothing_of_the_request_before() {
        let mut copy = copy_of(b"before");
        copy.begin(3, b"now");
        assert!(!copy.reduce_to(4));
        assert_eq!(copy.take(), b"now");
    }

    #[test]
    fn a_copy_grows_with_what_is_received_unless_some_of_it_was_not_seen() {
        let mut copy = RequestCopy::NONE;
        copy.begin_growing(9, b"wh");
        copy.received(Some(b"ole"));
        assert!(copy.reduce_to(5));
        assert_eq!((copy.length(), copy.take()), (Some(9), b"whole".to_vec()));
        copy.begin_growing(9, b"wh");
        copy.received(None);
        copy.received(Some(b"ole"));
        assert!(!copy.reduce_to(1) && copy.reduce_to(0));
    }

    #[test]
    fn of_what_is_too_long_only_the_length_is_known() {
        let mut copy = RequestCopy::NONE;
        copy.begin(100_000, b"");
        copy.received(Some(b"some"));
        assert_eq!(copy.length(), Some(100_000));
        assert!(copy.reduce_to(0) && !copy.reduce_to(1));
    }
}
