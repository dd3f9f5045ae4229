//! The gate, while somebody looks at it.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use crate::proxy::gate::Gate;
use crate::proxy::state::LockDirectory;
use crate::proxy::workers::Doors;

/// What the gate's mutex protects.
#[derive(Debug)]
pub(super) struct Guarded {
    gate: (Gate, LockDirectory),
    doors: Option<Doors>,
}

impl Guarded {
    pub(super) fn new(gate: Gate, lock: LockDirectory) -> Self {
        Self {
            gate: (gate, lock),
            doors: None,
        }
    }
}

/// The gate, held. When it is let go, the doors follow it: so they are open exactly while it is,
/// whatever was done to it.
#[derive(Debug)]
pub(in crate::proxy) struct Held<'a>(MutexGuard<'a, Guarded>);

impl<'a> Held<'a> {
    pub(super) fn new(guard: MutexGuard<'a, Guarded>) -> Self {
        Self(guard)
    }

    /// The gate and where it writes.
    pub(super) fn parts(&mut self) -> (&mut Gate, &mut LockDirectory) {
        let (gate, store) = &mut self.0.gate;
        (gate, store)
    }

    pub(super) fn set_doors(&mut self, doors: Doors) {
        self.0.doors = Some(doors);
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        if let Some(doors) = &mut self.0.doors {
            doors.set_paused(paused);
        }
    }

    /// The listeners are another process's.
    pub(super) fn leave_doors(&mut self) {
        if let Some(doors) = &mut self.0.doors {
            doors.leave();
        }
    }
}

impl Deref for Held<'_> {
    type Target = (Gate, LockDirectory);

    fn deref(&self) -> &Self::Target {
        &self.0.gate
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0.gate
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Guarded { gate, doors } = &mut *self.0;
        if let Some(doors) = doors {
            doors.follow(gate.0.may_accept());
        }
    }
}
