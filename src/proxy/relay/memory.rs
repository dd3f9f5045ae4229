//! The buffers of a thread, and where they come from.

use std::cell::RefCell;
use std::io;
use std::sync::OnceLock;

use crate::proxy::keep::{Buffer, Buffers, Keep};

/// The number of buffers where none was set. It is address space, not memory.
const DEFAULT: u32 = 4096;

static KEEP: OnceLock<Keep> = OnceLock::new();
static BUFFERS: OnceLock<&'static Buffers> = OnceLock::new();

thread_local! {
    /// For the next receive of this thread.
    static SCRATCH: RefCell<Option<Buffer>> = const { RefCell::new(None) };
}

/// What is carried outlives the process from now on. To be called before anything is carried.
pub fn keep_with(keep: Keep) {
    let _ = KEEP.set(keep);
    let _ = BUFFERS.set(keep.buffers());
}

/// The address space is limited to less than buffers need.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no room for the buffers of connections, {} MiB of address space, of which little is ever used: {source} \
     (raise LimitAS= or lower --connections-max)",
    Buffers::length(*count).div_ceil(1 << 20)
)]
pub struct NoBuffers {
    count: u32,
    source: io::Error,
}

/// Allows `count` buffers, whose contents end with the process. To be called before anything is carried; after
/// [`keep_with`] it does nothing. Fails if the address space is limited to less.
pub fn allow_buffers(count: u32) -> Result<(), NoBuffers> {
    if BUFFERS.get().is_none() {
        let buffers = Buffers::private(count).map_err(|source| NoBuffers { count, source })?;
        let _ = BUFFERS.set(Box::leak(Box::new(buffers)));
    }
    Ok(())
}

/// What connections are kept with, if they are.
pub(super) fn keep() -> Option<Keep> {
    KEEP.get().copied()
}

/// Takes a buffer; `None` if all are in use.
pub(super) fn take() -> Option<Buffer> {
    let own = SCRATCH.with_borrow_mut(Option::take);
    own.or_else(|| {
        allow_buffers(DEFAULT).ok()?;
        BUFFERS.get()?.take()
    })
}

/// Gives back a buffer whose contents are not needed any more.
pub(super) fn give_back(buffer: Buffer) {
    SCRATCH.with_borrow_mut(|scratch| *scratch = Some(buffer));
}
