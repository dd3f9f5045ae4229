//! The threads that carry connections.
//!
//! Each waits in an epoll(7) descriptor of its own and carries what is ready: no task, no timer and no
//! buffer belongs to a connection. The first thread also accepts (`acceptor`): which clients are admitted is
//! one decision, taken in one place. It is the only thread as long as it is enough; when a thread is busy for
//! half of the time, connections go to another one (`balance`). A client that is handed over is not carried:
//! the first thread hands it over (`outbox`), and is notified of the end.
//!
//! Where requests are told apart, a thread ends the upstream of a client that stays (`attaching`), and gives it the
//! next one when it speaks (`another_upstream`), to a few clients at a time (`attach_queue`).
//!
//! After a take-over the successor gets the clients that are detached (`passing_on`).
//!
//! What has to wait for anything but a socket, for a name or for an upstream that is not there, is done
//! by the runtime of the process (`waiting_client`), and comes back with both sockets connected.

mod acceptor;
mod another_upstream;
mod attach_queue;
mod attaching;
mod balance;
mod broken_side;
mod carried_connection;
mod carried_connections;
mod carrier;
mod deadlines;
mod detaching_signal;
mod handle;
mod load;
mod outbox;
mod passing_on;
mod pool;
#[cfg(test)]
mod tests;
mod token;
mod waiting_client;
mod worker;

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::route::Route;
use handle::WorkerHandle;
use pool::Remains;
pub use pool::{Threads, WorkerPool};
use worker::Worker;

/// Makes the threads ready. The calling thread has to be in a runtime: what cannot be done at once is done
/// there. Fails without descriptors.
pub fn pool(route: Arc<Route>, allowed: Threads) -> io::Result<Arc<WorkerPool>> {
    WorkerPool::new(route, allowed, spawn)
}

/// Starts the thread of this number; the first one accepts.
fn spawn(
    pool: &Arc<WorkerPool>,
    handle: Arc<WorkerHandle>,
    number: usize,
) -> io::Result<JoinHandle<Remains>> {
    let mut worker = Worker::new(Arc::clone(pool), handle);
    if number == 0 {
        worker.become_acceptor()?;
    }
    let pool = Arc::clone(pool);
    thread::Builder::new()
        .name(format!("relay-{number}"))
        .spawn(move || {
            let run = AssertUnwindSafe(|| worker.run());
            // The others would continue, and the connections of this one would wait for ever.
            if std::panic::catch_unwind(run).is_err() {
                let sentence = format!("the thread relay-{number} has panicked");
                pool.route.admission.fail(sentence);
            }
            Box::new(worker) as Remains
        })
}
