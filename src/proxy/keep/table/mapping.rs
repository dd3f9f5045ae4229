//! Memory that is a file without a name: it outlives the process as a descriptor does.

use std::io;
use std::mem::{align_of, size_of};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous};

/// A part of the address space, shared with a memory file or ours alone. It stays mapped as long as the
/// process lives, so that what is in there can be borrowed for ever.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
    shared: bool,
}

// SAFETY: it is an address and a length. What may be done at the address, and by how many at a time,
// is a matter of the types that are found there: `at` gives out only what is `Sync`, and `bytes` is
// unsafe.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Integers that can be changed through a shared reference, for which any bytes are a valid value.
///
/// # Safety
///
/// That is what the type must be: atomics, arrays and `repr(C)` structs of them.
pub unsafe trait Shared: Sync {}

// SAFETY: an atomic.
unsafe impl Shared for AtomicU64 {}

/// A new memory file of so many bytes, all zero. They cost memory when they are written to.
pub fn memory_file(name: &str, length: usize) -> io::Result<OwnedFd> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC)?;
    grow(&file, length)?;
    Ok(file)
}

/// Has a memory file be at least so long.
pub fn grow(file: &OwnedFd, length: usize) -> io::Result<()> {
    if file_length(file.as_fd())? < length {
        ftruncate(file, length as u64)?;
    }
    Ok(())
}

/// Has a memory file that would be larger than this process may write (`RLIMIT_FSIZE`, setrlimit(2)) be an
/// error, and not the end of the process by a signal.
pub fn fail_beyond_the_size_limit() {
    // SAFETY: nobody here handles the signal.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// How long a memory file is.
pub(super) fn file_length(file: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(fstat(file)?.st_size.try_into().unwrap_or(0))
}

impl Mapping {
    /// Maps the first bytes of a memory file, which must be so long.
    pub(super) fn shared(file: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        if file_length(file)? < length {
            // Touching what is not there would end the process, mmap(2).
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses where, so nothing that is there is replaced.
        let start = unsafe { mmap(std::ptr::null_mut(), length, rights, flags, file, 0)? };
        Self::new(start, length, true)
    }

    /// Memory of our own, all zero.
    pub(super) fn private(length: usize) -> io::Result<Self> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: as in `shared`.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), length, rights, flags)? };
        Self::new(start, length, false)
    }

    fn new(start: *mut std::ffi::c_void, length: usize, shared: bool) -> io::Result<Self> {
        // Payload belongs into no dump of a debugger either, and a dump would make pages of all that is room.
        // SAFETY: it was mapped just now, and nothing that is in it changes.
        let _ = unsafe { madvise(start, length, Advice::LinuxDontDump) };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            start,
            length,
            shared,
        })
    }

    /// What is so many bytes from the start; `None` if the mapping ends before it does.
    pub(super) fn at<T: Shared>(&self, offset: usize) -> Option<&'static T> {
        let fits = offset
            .checked_add(size_of::<T>())
            .is_some_and(|end| end <= self.length);
        if !fits || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: it is inside of what is mapped for as long as the process lives (there is no `Drop`),
        // and aligned, because the mapping begins at a page; any bytes are a valid `T`, which is
        // changed through atomics only.
        Some(unsafe { self.start.add(offset).cast::<T>().as_ref() })
    }

    /// Bytes that only the caller uses.
    ///
    /// # Safety
    ///
    /// As long as the reference lives nobody else may use these bytes.
    #[allow(clippy::mut_from_ref, reason = "the caller sees to it")]
    pub(super) unsafe fn bytes(&self, offset: usize, length: usize) -> &mut [u8] {
        assert!(
            offset
                .checked_add(length)
                .is_some_and(|end| end <= self.length)
        );
        // SAFETY: it is inside of what is mapped, and nobody else uses it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset).as_ptr(), length) }
    }

    /// Gives the memory of a range of whole pages back; it is zero from now on.
    ///
    /// # Safety
    ///
    /// As for [`Self::bytes`].
    pub(super) unsafe fn clear(&self, offset: usize, length: usize) {
        assert!(
            offset
                .checked_add(length)
                .is_some_and(|end| end <= self.length)
        );
        let advice = match self.shared {
            true => Advice::LinuxRemove,
            false => Advice::LinuxDontNeed,
        };
        // SAFETY: it is inside of what is mapped, and nobody else uses it. If it fails the memory is
        // merely kept.
        let _ = unsafe { madvise(self.start.add(offset).as_ptr().cast(), length, advice) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn two_mappings_of_a_file_are_the_same_memory() {
        let file = memory_file("test", 8192).unwrap();
        let one = Mapping::shared(file.as_fd(), 8192).unwrap();
        let other = Mapping::shared(file.as_fd(), 8192).unwrap();
        one.at::<AtomicU64>(8).unwrap().store(5, Relaxed);
        assert_eq!(other.at::<AtomicU64>(8).unwrap().load(Relaxed), 5);
        // SAFETY: nobody else uses it.
        unsafe {
            other.clear(0, 4096);
            assert_eq!(one.bytes(8, 1), [0]);
        }
    }

    #[test]
    fn nothing_is_found_outside_of_it() {
        let file = memory_file("test", 100).unwrap();
        assert!(Mapping::shared(file.as_fd(), 101).is_err());
        let mapping = Mapping::shared(file.as_fd(), 100).unwrap();
        for offset in [93, 96, 100, usize::MAX - 3, 4] {
            assert!(mapping.at::<AtomicU64>(offset).is_none(), "{offset}");
        }
        grow(&file, 200).unwrap();
        assert_eq!(file_length(file.as_fd()).unwrap(), 200);
    }
}
