//! Memory that is an anonymous file: it outlives the process as a descriptor does.

use std::io;
use std::mem::{align_of, size_of};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous};

const RIGHTS: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// A part of the address space, shared with a memory file or private. It stays mapped as long as the
/// process lives, so that its content can be borrowed for ever.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
    is_shared: bool,
}

// SAFETY: it is an address and a length. What may be done at the address, and by how many threads at a
// time, is a matter of the types that are found there: `at` gives out only what is `Sync`, and `bytes` is
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

/// A new memory file of `length` bytes, all zero. They cost memory when they are written to.
pub fn memory_file(name: &str, length: usize) -> io::Result<OwnedFd> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC)?;
    grow(&file, length)?;
    Ok(file)
}

/// Makes a memory file at least `length` bytes long.
pub fn grow(file: &OwnedFd, length: usize) -> io::Result<()> {
    if file_length(file.as_fd())? < length {
        ftruncate(file, length as u64)?;
    }
    Ok(())
}

/// The length of a memory file.
pub(super) fn file_length(file: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(fstat(file)?.st_size.try_into().unwrap_or(0))
}

impl Mapping {
    /// Maps the first `length` bytes of a memory file. A shorter file is an error.
    pub(super) fn shared(file: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        if file_length(file)? < length {
            // Touching what is not there would end the process, mmap(2).
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: the kernel chooses where, so nothing that is there is replaced.
        let start = unsafe { mmap(std::ptr::null_mut(), length, RIGHTS, flags, file, 0)? };
        Self::new(start, length, true)
    }

    /// Private memory, all zero.
    pub(super) fn private(length: usize) -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: as in `shared`.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), length, RIGHTS, flags)? };
        Self::new(start, length, false)
    }

    fn new(start: *mut std::ffi::c_void, length: usize, is_shared: bool) -> io::Result<Self> {
        // Payload does not belong into a debugger's dump, and a dump would allocate every unused page.
        // SAFETY: it was mapped just now, and nothing that is in it changes.
        let _ = unsafe { madvise(start, length, Advice::LinuxDontDump) };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            start,
            length,
            is_shared,
        })
    }

    /// The value at `offset`; `None` if the mapping ends before it does.
    pub(super) fn at<T: Shared>(&self, offset: usize) -> Option<&'static T> {
        let address = self.address(offset, size_of::<T>())?;
        if offset % align_of::<T>() != 0 {
            return None;
        }
        // SAFETY: it is inside of what is mapped for as long as the process lives (there is no `Drop`),
        // and aligned, because the mapping begins at a page; any bytes are a valid `T`, which is
        // changed through atomics only.
        Some(unsafe { address.cast::<T>().as_ref() })
    }

    /// Bytes that only the caller uses. Panics outside of the mapping.
    ///
    /// # Safety
    ///
    /// Nothing else may use these bytes as long as the reference lives.
    #[allow(clippy::mut_from_ref, reason = "the caller ensures that there is one")]
    pub(super) unsafe fn bytes(&self, offset: usize, length: usize) -> &mut [u8] {
        let address = self.address(offset, length).expect("inside of the mapping");
        // SAFETY: it is inside of what is mapped, and nothing else uses it.
        unsafe { std::slice::from_raw_parts_mut(address.as_ptr(), length) }
    }

    /// Gives the memory of a range of whole pages back, which reads as zeros from then on. Panics outside
    /// of the mapping.
    ///
    /// # Safety
    ///
    /// As for [`Self::bytes`].
    pub(super) unsafe fn clear(&self, offset: usize, length: usize) {
        let address = self.address(offset, length).expect("inside of the mapping");
        let advice = match self.is_shared {
            true => Advice::LinuxRemove,
            false => Advice::LinuxDontNeed,
        };
        // SAFETY: it is inside of what is mapped, and nothing else uses it. If it fails the memory is
        // merely kept.
        let _ = unsafe { madvise(address.as_ptr().cast(), length, advice) };
    }

    /// The address of `length` bytes at `offset`, if they are inside of the mapping.
    fn address(&self, offset: usize, length: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(length)?;
        // SAFETY: it is at most the end of what is mapped.
        (end <= self.length).then(|| unsafe { self.start.add(offset) })
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
        // SAFETY: nothing else uses it.
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
