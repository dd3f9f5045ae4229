//! The threads that carry connections.
//!
//! Each waits in an epoll(7) descriptor of its own and carries what is ready: no task, no timer and no
//! buffer belongs to a connection. The first thread also accepts (`acceptor`): who may pass is one
//! decision, taken in one place. It is the only one as long as it is enough; when a thread is busy for half of
//! the time, connections go to another one (`balance`). Who is handed over is not carried: the first
//! thread hands over (`handing`), and hears of the end.
//!
//! What has to wait for anything but a socket, for a name or for an upstream that is not there, is done
//! by the runtime of the process ([`super::client`]), and comes back with both sockets connected.

mod acceptor;
mod balance;
mod doors;
mod giving;
mod handing;
mod load;
mod open;
#[cfg(test)]
mod tests;
mod token;
mod worker;

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::runtime::Handle;

use super::keep::{RestoredFlow, Slot};
use super::passed::Passed;
use super::shell::Proxy;
use crate::service::clock::Uptime;
use crate::service::inbox::Inbox;
use crate::service::listener::Listener;
use crate::service::poller::{Flags, Poller};
use crate::service::processors::Processors;
use crate::service::program;
use crate::service::words::count;
pub(super) use doors::Doors;
use load::Load;
use open::Open;
use worker::Worker;

/// What a thread is told.
#[derive(Debug)]
enum Message {
    /// Carry this connection.
    Carry(Box<Open>),
    /// End the connections that are to be ended.
    Cut,
    /// Say that you are there.
    Echo,
    /// Another process accepts now.
    Retire,
    /// End.
    Stop,
}

/// One more thread is started if so much of a processor was idle lately, in thousandths. Where there is
/// less, whoever the connections come from or lead to would have to wait for the new one.
const IDLE: u32 = 500;

/// The token of the inbox.
const INBOX: u64 = u64::MAX;
/// The token of those who were handed over, which tells of their ends.
const ENDS: u64 = INBOX - 1;
/// The token of the way to whoever they are handed over to.
const ROOM: u64 = INBOX - 2;

/// What is known of a thread by the others.
#[derive(Debug)]
struct Post {
    poller: Poller,
    inbox: Inbox<Message>,
    load: Load,
}

impl Post {
    fn new() -> io::Result<Arc<Self>> {
        let post = Self {
            poller: Poller::new()?,
            inbox: Inbox::new()?,
            load: Load::default(),
        };
        post.poller.add(&post.inbox, INBOX, Flags::IN)?;
        Ok(Arc::new(post))
    }
}

/// How many threads there may be.
#[derive(Clone, Copy, Debug)]
pub struct Threads {
    /// So many at most.
    pub most: usize,
    /// Whether a further one is started only where it finds a processor.
    pub if_idle: bool,
}

impl Threads {
    /// As `--threads` says; without it as many as there are processors to be had.
    pub fn of_option(given: Option<usize>) -> Self {
        Self {
            most: given.unwrap_or_else(program::cpus),
            if_idle: given.is_none(),
        }
    }
}

/// All threads. They end with [`Self::stop`].
#[derive(Debug)]
pub struct Workers {
    first: Arc<Post>,
    runtime: Handle,
    crew: Mutex<Crew>,
}

#[derive(Debug)]
struct Crew {
    allowed: Threads,
    processors: Processors,
    posts: Vec<Arc<Post>>,
    threads: Vec<JoinHandle<Worker>>,
}

impl Crew {
    /// Whether one more thread may be started now.
    fn may_grow(&mut self) -> bool {
        let more = self.posts.len() < self.allowed.most;
        let is_idle = |processors: &mut Processors| {
            let idle = processors.idle(Uptime::now());
            idle.is_some_and(|idle| idle >= IDLE)
        };
        more && (!self.allowed.if_idle || is_idle(&mut self.processors))
    }
}

/// Threads that have ended, with what they carried.
#[derive(Debug)]
pub struct Stopped {
    _workers: Vec<Worker>,
}

impl Workers {
    /// Makes the first one ready; it begins with [`Self::start`]. The calling thread has to be in a
    /// runtime: what cannot be done at once is done there.
    ///
    /// # Errors
    ///
    /// When no descriptors are left.
    pub fn new(allowed: Threads) -> io::Result<Self> {
        let first = Post::new()?;
        Ok(Self {
            runtime: Handle::current(),
            crew: Mutex::new(Crew {
                allowed,
                processors: Processors::default(),
                posts: vec![Arc::clone(&first)],
                threads: Vec::new(),
            }),
            first,
        })
    }

    /// The doors to these listeners: the first thread accepts while they are open.
    pub(super) fn doors(&self, listeners: Arc<[Listener]>) -> Doors {
        Doors::new(Arc::clone(&self.first), listeners)
    }

    /// Begins to accept and to carry.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(&self, proxy: &Arc<Proxy>) -> io::Result<()> {
        let post = Arc::clone(&self.first);
        let mut worker = Worker::new(Arc::clone(proxy), post, self.runtime.clone());
        worker.accepts(proxy.listeners());
        worker.attends()?;
        let thread = spawn(0, worker)?;
        self.crew().threads.push(thread);
        Ok(())
    }

    fn crew(&self) -> MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a connection carried whose upstream is connected.
    pub(super) fn carry(&self, proxy: &Arc<Proxy>, passed: Passed) {
        let post = self.choose(proxy, &self.first);
        let open = Box::new(Open::relaying(passed));
        post.inbox.post(Message::Carry(open));
    }

    /// Carries a connection on that another process has left.
    pub(super) fn carry_on(&self, passed: Passed, slot: Slot, flows: [RestoredFlow; 2]) {
        let open = Box::new(Open::restored(passed, slot, flows));
        self.first.inbox.post(Message::Carry(open));
    }

    /// Has the runtime wait for something.
    pub(super) fn wait_with(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// The thread that is to carry a new connection: `own`, unless that has no time.
    fn choose(&self, proxy: &Arc<Proxy>, own: &Arc<Post>) -> Arc<Post> {
        if !own.load.is_full() {
            return Arc::clone(own);
        }
        self.another(proxy, own).unwrap_or_else(|| Arc::clone(own))
    }

    /// A thread that has time while `own` has none; it is started if there may be one more.
    fn another(&self, proxy: &Arc<Proxy>, own: &Arc<Post>) -> Option<Arc<Post>> {
        let mut crew = self.crew();
        let parts: Vec<u32> = crew.posts.iter().map(|post| post.load.part()).collect();
        let own_index = crew.posts.iter().position(|post| Arc::ptr_eq(post, own))?;
        let others = balance::Crew {
            parts: &parts,
            may_grow: crew.may_grow(),
        };
        match others.relief(own_index)? {
            balance::Relief::Thread(index) => crew.posts.get(index).cloned(),
            balance::Relief::New => match self.grow(proxy, &mut crew) {
                Ok(post) => Some(post),
                Err(error) => {
                    crew.allowed.most = crew.posts.len();
                    tracing::warn!(
                        ERROR = %error,
                        "no more than {} can be started, and they go on alone: {error} (raise TasksMax=)",
                        count(crew.allowed.most, "thread")
                    );
                    None
                }
            },
        }
    }

    fn grow(&self, proxy: &Arc<Proxy>, crew: &mut Crew) -> io::Result<Arc<Post>> {
        let post = Post::new()?;
        let worker = Worker::new(Arc::clone(proxy), Arc::clone(&post), self.runtime.clone());
        let thread = spawn(crew.posts.len(), worker)?;
        crew.threads.push(thread);
        crew.posts.push(Arc::clone(&post));
        Ok(post)
    }

    fn tell_all(&self, message: impl Fn() -> Message) {
        for post in &self.crew().posts {
            post.inbox.post(message());
        }
    }

    /// Ends the connections that are to be ended.
    pub fn cut(&self) {
        self.tell_all(|| Message::Cut);
    }

    /// The listeners are another process's.
    pub fn retire(&self) {
        self.first.inbox.post(Message::Retire);
    }

    /// Whether the thread that accepts has answered since the last call, so that its loop turns. It is
    /// asked again.
    pub fn is_turning(&self) -> bool {
        let answered = self.first.load.answered();
        if answered {
            self.first.inbox.post(Message::Echo);
        }
        answered
    }

    /// Has all threads end, and waits for that. What they carried ends when what is returned is dropped.
    pub fn stop(&self) -> Stopped {
        self.tell_all(|| Message::Stop);
        let threads = std::mem::take(&mut self.crew().threads);
        // One that panicked has told so.
        Stopped {
            _workers: threads.into_iter().flat_map(JoinHandle::join).collect(),
        }
    }
}

fn spawn(number: usize, mut worker: Worker) -> io::Result<JoinHandle<Worker>> {
    thread::Builder::new()
        .name(format!("relay-{number}"))
        .spawn(move || {
            let proxy = Arc::clone(&worker.proxy);
            let run = AssertUnwindSafe(|| worker.run());
            // The others would go on, and whoever is carried here would wait for ever.
            if std::panic::catch_unwind(run).is_err() {
                proxy.fail(format!("the thread relay-{number} has panicked"));
            }
            worker
        })
}
