//! Whether a client may enter, and its account until its end.
//!
//! ```text
//! proxy::admission::passing_on  detached clients that another process gets
//! proxy::admission::admitted_client  a client that counts until it is dropped
//! proxy::admission::unanswered_request  a request that goes to the next upstream
//! proxy::admission::detaching  clients that stay without an upstream
//! proxy::admission::entrance  the one entrance to the gate: its mutex, and what follows from its changes
//! proxy::admission::notices | proxy::admission::views  the gate in the journal; behind its mutex, as others see it
//! proxy::admission::state | proxy::admission::survived  lock and target as files; what connections have survived
//! proxy::admission::gate | proxy::admission::connections | proxy::admission::drains  the decision (pure); the open
//!     connections; how long drains took
//! proxy::admission::backlog | proxy::admission::doors | proxy::admission::wakers  the clients that wait; the
//!     listeners, watched while the gate is open; waking what waits for a change
//! ```

mod admitted_client;
mod backlog;
mod connections;
mod detaching;
mod doors;
mod drains;
mod entrance;
mod gate;
mod notices;
mod passing_on;
mod state;
pub mod survived;
mod unanswered_request;
mod views;
mod wakers;

pub use admitted_client::{AdmittedClient, RestOfRequest};
pub use backlog::Backlog;
pub use connections::{Abort, Connection, Connections, Cuts, Side, Sweep, log};
pub use doors::Doors;
pub use entrance::{Admission, AdmitOutcome};
pub use gate::{Attaching, CallerId, Gate, LockRequest, Mode, OpenReason, Outcome};
pub use state::{LockDirectory, TargetFile};
pub use unanswered_request::UnansweredRequest;
pub use views::GateProgress;
