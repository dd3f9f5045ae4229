//! Letting clients in.

use std::io;
use std::task::{Context, Poll};

use super::service::{Admission, Service};
use crate::service::listener::Listener;
use crate::service::workers::Workers;

/// So many clients are let in before the loop looks at everything else.
const AT_A_TIME: usize = 32;

/// Lets in who waits, and has them served. Pending while nobody waits, or while the service lets
/// nobody in: then [`Service::changed`] wakes the loop. An error when no descriptors are left.
pub(super) fn admit_waiting<S: Service>(
    service: &S,
    listeners: &[Listener],
    turn: &mut usize,
    workers: &mut Workers<S::Connection>,
    context: &mut Context<'_>,
) -> Poll<io::Result<Option<io::Error>>> {
    for admitted in 0..AT_A_TIME {
        match admit(service, listeners, turn, context) {
            Poll::Pending if admitted == 0 => return Poll::Pending,
            Poll::Pending => break,
            Poll::Ready(admission) => match admission? {
                Admission::Client(connection) => workers.serve(connection, S::handle),
                Admission::Elsewhere | Admission::Gone => {}
                Admission::Closed | Admission::Nobody => break,
                Admission::Exhausted(error) => return Poll::Ready(Ok(Some(error))),
            },
        }
    }
    Poll::Ready(Ok(None))
}

/// Lets the next client in, from each listener in turn.
fn admit<S: Service>(
    service: &S,
    listeners: &[Listener],
    turn: &mut usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<Admission<S::Connection>>> {
    if !service.may_accept() {
        return Poll::Pending;
    }
    for _ in 0..listeners.len() {
        *turn = (*turn + 1) % listeners.len();
        let listener = &listeners[*turn];
        if listener.poll_ready(context).is_pending() {
            continue;
        }
        match service.admit(&mut || listener.accept(context))? {
            Admission::Nobody => {}
            admission => return Poll::Ready(Ok(admission)),
        }
    }
    Poll::Pending
}
