//! The threads that carry connections.
//!
//! Each waits in an epoll(7) descriptor of its own and carries what is ready: no task, no timer and no
//! buffer belongs to a connection. The first thread also accepts (`acceptor`): which clients are admitted is
//! one decision, taken in one place. It is the only thread as long as it is enough; when a thread is busy for
//! half of the time, connections go to another one (`balance`). A client that is handed over is not carried:
//! the first thread hands it over (`outbox`), and hears of the end.
//!
//! What has to wait for anything but a socket, for a name or for an upstream that is not there, is done
//! by the runtime of the process ([`super::waiting`]), and comes back with both sockets connected.

mod acceptor;
mod balance;
mod carried;
mod crew;
mod doors;
mod load;
mod open;
mod outbox;
mod post;
#[cfg(test)]
mod tests;
mod token;
mod worker;

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::admitted_client::AdmittedClient;
use super::keep::{RestoredFlow, Slot};
use super::route::Route;
pub use crew::Threads;
use crew::{Crew, Remains};
use doors::WatchedDoors;
use open::Open;
use post::{Message, Post};
use worker::Worker;

/// All threads. They end with [`Self::stop`].
#[derive(Debug)]
pub struct Workers {
    crew: Arc<Crew>,
}

/// Threads that have ended, with what they carried.
pub struct Stopped {
    _remains: Vec<Remains>,
}

impl Workers {
    /// Makes the first one ready; it begins with [`Self::start`]. The calling thread has to be in a
    /// runtime: what cannot be done at once is done there.
    ///
    /// # Errors
    ///
    /// When no descriptors are left.
    pub fn new(route: Arc<Route>, allowed: Threads) -> io::Result<Self> {
        let crew = Crew::new(route, allowed, spawn)?;
        Ok(Self { crew })
    }

    /// Begins to carry. No client is accepted before [`Self::open_doors`].
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(&self) -> io::Result<()> {
        self.crew.start()
    }

    /// Begins to accept, whenever the gate lets clients in.
    pub fn open_doors(&self) {
        let admission = &self.crew.route.admission;
        let first = Arc::clone(&self.crew.first);
        let doors = WatchedDoors::new(first, admission.backlog.listeners());
        admission.set_doors(Box::new(doors));
    }

    /// Carries a connection on that another process has left.
    pub(super) fn carry_on(&self, client: AdmittedClient, slot: Slot, flows: [RestoredFlow; 2]) {
        let open = Open::restored(client, slot, flows, &self.crew.route);
        self.crew.first.inbox.post(Message::Carry(Box::new(open)));
    }

    /// Has the client's upstream waited for, and the connection carried then.
    pub(super) fn wait(&self, client: AdmittedClient) {
        self.crew.wait(client);
    }

    /// The same after a pause.
    pub(super) fn wait_after(&self, pause: std::time::Duration, client: AdmittedClient) {
        self.crew.wait_after(pause, client);
    }

    /// Ends the connections that are to be ended.
    pub fn cut(&self) {
        self.crew.post_to_all(|| Message::Cut);
    }

    /// The listeners are another process's.
    pub fn retire(&self) {
        self.crew.first.inbox.post(Message::Retire);
    }

    /// Whether the thread that accepts has answered since the last call, so that its loop turns. It is
    /// asked again.
    pub fn is_turning(&self) -> bool {
        let answered = self.crew.first.load.answered();
        if answered {
            self.crew.first.inbox.post(Message::Echo);
        }
        answered
    }

    /// Has all threads end, and waits for that. What they carried ends when what is returned is dropped.
    pub fn stop(&self) -> Stopped {
        self.crew.post_to_all(|| Message::Stop);
        let threads = std::mem::take(&mut self.crew.members().threads);
        // One that panicked has logged it.
        Stopped {
            _remains: threads.into_iter().flat_map(JoinHandle::join).collect(),
        }
    }
}

/// Starts the thread of this number; the first one accepts.
fn spawn(crew: &Arc<Crew>, post: Arc<Post>, number: usize) -> io::Result<JoinHandle<Remains>> {
    let mut worker = Worker::new(Arc::clone(crew), post);
    if number == 0 {
        worker.accepts()?;
    }
    let crew = Arc::clone(crew);
    thread::Builder::new()
        .name(format!("relay-{number}"))
        .spawn(move || {
            let run = AssertUnwindSafe(|| worker.run());
            // The others would go on, and the connections that are carried here would wait for ever.
            if std::panic::catch_unwind(run).is_err() {
                let sentence = format!("the thread relay-{number} has panicked");
                crew.route.admission.fail(sentence);
            }
            Box::new(worker) as Remains
        })
}
