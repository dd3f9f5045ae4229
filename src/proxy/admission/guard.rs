//! The gate behind its mutex.

use std::fmt::Debug;
use std::sync::MutexGuard;

use crate::proxy::gate::Gate;
use crate::proxy::state::LockDirectory;

/// The listeners, as they are watched for clients.
pub trait Doors: Debug + Send {
    /// The gate lets clients in, or does not.
    fn follow(&mut self, may_accept: bool);

    /// Pauses accepting, whatever the gate says, or ends the pause.
    fn set_paused(&mut self, paused: bool);

    /// The listeners are another process's.
    fn leave(&mut self);
}

/// What the mutex protects.
#[derive(Debug)]
pub(in crate::proxy) struct Guarded {
    gate: Gate,
    lock: LockDirectory,
    doors: Option<Box<dyn Doors>>,
}

impl Guarded {
    pub(in crate::proxy) fn new(gate: Gate, lock: LockDirectory) -> Self {
        Self {
            gate,
            lock,
            doors: None,
        }
    }
}

/// The gate while its mutex is locked. When this is dropped, the doors follow the gate: they are open
/// exactly while it is, whatever was done to it.
#[derive(Debug)]
pub(in crate::proxy) struct GateGuard<'a>(MutexGuard<'a, Guarded>);

impl<'a> GateGuard<'a> {
    pub(in crate::proxy) fn new(guard: MutexGuard<'a, Guarded>) -> Self {
        Self(guard)
    }

    pub(in crate::proxy) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(in crate::proxy) fn lock_directory(&self) -> &LockDirectory {
        &self.0.lock
    }

    /// The gate and where it writes.
    pub(in crate::proxy) fn parts(&mut self) -> (&mut Gate, &mut LockDirectory) {
        let Guarded { gate, lock, .. } = &mut *self.0;
        (gate, lock)
    }

    pub(in crate::proxy) fn set_doors(&mut self, doors: Box<dyn Doors>) {
        self.0.doors = Some(doors);
    }

    pub(in crate::proxy) fn doors(&mut self) -> Option<&mut dyn Doors> {
        match &mut self.0.doors {
            Some(doors) => Some(&mut **doors),
            None => None,
        }
    }
}

impl Drop for GateGuard<'_> {
    fn drop(&mut self) {
        let Guarded { gate, doors, .. } = &mut *self.0;
        if let Some(doors) = doors {
            doors.follow(gate.may_accept());
        }
    }
}
