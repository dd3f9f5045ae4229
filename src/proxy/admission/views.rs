//! The gate behind its mutex, and what the rest of the process sees of it.

use std::time::Duration;

use super::doors::Doors;
use super::gate::{Attaching, Gate};
use super::state::LockDirectory;
use crate::interface::GateState;
use crate::service::clock::Uptime;

#[derive(Debug)]
pub(super) struct GateAndDoors {
    pub gate: Gate,
    /// Where the gate writes its lock.
    pub lock: LockDirectory,
    pub doors: Option<Doors>,
    /// When detached clients get an upstream, as the threads were told.
    pub attaching: Attaching,
}

impl GateAndDoors {
    /// Has the doors follow the gate. Returns whether [`Gate::attaching`] has changed.
    pub fn follow(&mut self) -> bool {
        if let Some(doors) = &mut self.doors {
            doors.follow(self.gate.may_accept());
        }
        let attaching = self.gate.attaching();
        std::mem::replace(&mut self.attaching, attaching) != attaching
    }
}

/// The clients at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateProgress {
    pub state: GateState,
    /// Open connections, including those of the predecessor.
    pub open: usize,
    /// Connected clients whose upstream was ended.
    pub detached: usize,
}

impl GateProgress {
    pub(super) fn of(gate: &Gate) -> Self {
        Self {
            state: gate.state(),
            open: gate.open_connections(),
            detached: gate.detached_connections(),
        }
    }
}

/// What the life cycle's loop decides by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct LifeCycleView {
    accepts: bool,
    is_without_upstream: bool,
    is_without_client: bool,
    next_deadline: Option<Uptime>,
    close_idle: Option<Duration>,
}

/// What the rest of the process sees of the gate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct GateViews {
    pub life_cycle: LifeCycleView,
    pub progress: GateProgress,
    callers: usize,
}

impl GateViews {
    pub fn of(gate: &Gate) -> Self {
        let progress = GateProgress::of(gate);
        Self {
            life_cycle: LifeCycleView {
                accepts: gate.may_accept(),
                is_without_upstream: progress.open == 0,
                is_without_client: gate.connected() == 0,
                next_deadline: gate.next_deadline(),
                close_idle: gate.close_idle(),
            },
            progress,
            callers: gate.callers(),
        }
    }
}
