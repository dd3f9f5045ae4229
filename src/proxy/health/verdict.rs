//! Whether a client that came now would pass. Pure.

use crate::interface::GateState;
use crate::proxy::admission::Gate;

/// What is known of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GateView {
    pub state: GateState,
    /// Whether another process accepts the clients.
    pub is_retired: bool,
    pub is_stopping: bool,
    pub accepts: bool,
}

impl GateView {
    pub(super) fn of(gate: &Gate) -> Self {
        Self {
            state: gate.state(),
            is_retired: gate.is_retired(),
            is_stopping: gate.is_stopping(),
            accepts: gate.may_accept(),
        }
    }

    /// Whether connections to the upstream are made.
    pub(super) fn is_open(self) -> bool {
        self.state == GateState::Open && !self.is_stopping
    }

    /// Why a client would wait, or be lost with the process; `None` if it would be accepted. That is up to the next
    /// process if this one has retired.
    pub(super) fn objection(self, has_target: bool) -> Option<&'static str> {
        match self.state {
            _ if self.is_retired => None,
            _ if self.is_stopping => Some("the proxy is stopping"),
            GateState::Locked => Some("the proxy is locked"),
            GateState::Draining => Some("the proxy is locked, and draining"),
            GateState::Open if !has_target => Some("the proxy has no target"),
            GateState::Open if !self.accepts => Some("the proxy is full"),
            GateState::Open => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_passes_only_through_an_open_gate_with_a_target_and_room_unless_another_process_has_it()
     {
        for state in [GateState::Open, GateState::Draining, GateState::Locked] {
            for bits in 0..16 {
                let [is_retired, is_stopping, accepts, has_target] =
                    [1, 2, 4, 8].map(|bit| bits & bit != 0);
                let view = GateView {
                    state,
                    is_retired,
                    is_stopping,
                    accepts,
                };
                let is_open = state == GateState::Open && !is_stopping && accepts && has_target;
                let passes = view.objection(has_target).is_none();
                assert_eq!(passes, is_open || is_retired, "{view:?} {has_target}");
            }
        }
    }

    #[test]
    fn the_reason_is_the_one_that_matters_most() {
        let open = GateView {
            state: GateState::Open,
            is_retired: false,
            is_stopping: false,
            accepts: false,
        };
        assert_eq!(open.objection(true), Some("the proxy is full"));
        assert_eq!(open.objection(false), Some("the proxy has no target"));
        for (state, reason) in [
            (GateState::Locked, "the proxy is locked"),
            (GateState::Draining, "the proxy is locked, and draining"),
        ] {
            assert_eq!(GateView { state, ..open }.objection(false), Some(reason));
        }
        let stopping = GateView {
            is_stopping: true,
            ..open
        };
        assert_eq!(stopping.objection(false), Some("the proxy is stopping"));
    }
}
