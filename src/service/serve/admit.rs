//! Letting clients in.

use std::io;
use std::task::{Context, Poll};

use super::service::{Admission, Service};
use crate::service::listener::Listener;

/// So many clients are let in before the loop looks at everything else.
const AT_A_TIME: usize = 32;

/// Lets in who waits, and has them served. Pending while nobody waits, or while the service lets
/// nobody in: then [`Service::changed`] wakes the loop. An error when no descriptors are left.
pub(super) fn admit_waiting<S: Service>(
    service: &S,
    listeners: &[Listener],
    turn: &mut usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<Option<io::Error>>> {
    for admitted in 0..AT_A_TIME {
        match admit(service, listeners, turn, context) {
            Poll::Pending if admitted == 0 => return Poll::Pending,
            Poll::Pending => break,
            Poll::Ready(admission) => match admission? {
                Admission::Client(connection) => start::<S>(connection),
                Admission::Gone => {}
                Admission::Closed | Admission::Nobody => break,
                Admission::Exhausted(error) => return Poll::Ready(Ok(Some(error))),
            },
        }
    }
    Poll::Ready(Ok(None))
}

/// Serves a client on this thread.
fn start<S: Service>(connection: S::Connection) {
    // Called in there, so that its memory is there once: what comes from outside is kept as well.
    tokio::spawn(async move { S::handle(connection).await });
}

/// Lets the next client in, from each listener in turn.
fn admit<S: Service>(
    service: &S,
    listeners: &[Listener],
    turn: &mut usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<Admission<S::Connection>>> {
    if service.accepts_elsewhere() || !service.may_accept() {
        return Poll::Pending;
    }
    for _ in 0..listeners.len() {
        *turn = (*turn + 1) % listeners.len();
        let listener = &listeners[*turn];
        match listener.poll_ready(context) {
            Poll::Pending => continue,
            Poll::Ready(ready) => ready?,
        }
        match service.admit(&mut || listener.accept(context))? {
            Admission::Nobody => {}
            admission => return Poll::Ready(Ok(admission)),
        }
    }
    Poll::Pending
}
