//! All threads, as each of them sees them: which of them carries a connection, and what the runtime does
//! for them.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;

use super::balance;
use super::open::Open;
use super::post::{Message, Post};
use crate::proxy::admitted_client::AdmittedClient;
use crate::proxy::route::Route;
use crate::proxy::waiting;
use crate::service::clock::Uptime;
use crate::service::exhausted::is_of_descriptors;
use crate::service::plural::count;
use crate::service::processors::Processors;
use crate::service::program;

/// One more thread is started if that much of a processor was idle lately, in thousandths. Where there is
/// less, the clients or the upstream would have to wait for the new one.
const IDLE: u32 = 500;

/// How many threads there may be.
#[derive(Clone, Copy, Debug)]
pub struct Threads {
    /// The most.
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

/// What a thread carried: its connections end when this is dropped.
pub(super) type Remains = Box<dyn Send>;

/// Starts the thread of this number.
pub(super) type Start = fn(&Arc<Crew>, Arc<Post>, usize) -> io::Result<JoinHandle<Remains>>;

/// All threads.
#[derive(Debug)]
pub(super) struct Crew {
    /// Where clients go.
    pub(super) route: Arc<Route>,
    /// The thread that accepts.
    pub(super) first: Arc<Post>,
    runtime: Handle,
    start: Start,
    members: Mutex<Members>,
}

#[derive(Debug)]
pub(super) struct Members {
    pub(super) allowed: Threads,
    pub(super) processors: Processors,
    pub(super) posts: Vec<Arc<Post>>,
    pub(super) threads: Vec<JoinHandle<Remains>>,
}

impl Members {
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

impl Crew {
    /// None is started yet. The calling thread has to be in a runtime.
    ///
    /// # Errors
    ///
    /// When no descriptors are left.
    pub(super) fn new(route: Arc<Route>, allowed: Threads, start: Start) -> io::Result<Arc<Self>> {
        let first = Post::new()?;
        Ok(Arc::new(Self {
            route,
            runtime: Handle::current(),
            start,
            members: Mutex::new(Members {
                allowed,
                processors: Processors::default(),
                posts: vec![Arc::clone(&first)],
                threads: Vec::new(),
            }),
            first,
        }))
    }

    pub(super) fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the first thread.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let thread = (self.start)(self, Arc::clone(&self.first), 0)?;
        self.members().threads.push(thread);
        Ok(())
    }

    /// The thread that is to carry a new connection: `own`, unless that has no time.
    pub(super) fn choose(self: &Arc<Self>, own: &Arc<Post>) -> Arc<Post> {
        if !own.load.is_full() {
            return Arc::clone(own);
        }
        self.another(own).unwrap_or_else(|| Arc::clone(own))
    }

    /// A thread that has time while `own` has none; it is started if there may be one more.
    pub(super) fn another(self: &Arc<Self>, own: &Arc<Post>) -> Option<Arc<Post>> {
        let mut members = self.members();
        let parts: Vec<u32> = members.posts.iter().map(|post| post.load.part()).collect();
        let own_index = members
            .posts
            .iter()
            .position(|post| Arc::ptr_eq(post, own))?;
        let others = balance::Shares {
            parts: &parts,
            may_grow: members.may_grow(),
        };
        match others.relief(own_index)? {
            balance::Relief::Thread(index) => members.posts.get(index).cloned(),
            balance::Relief::New => match self.grow(&mut members) {
                Ok(post) => Some(post),
                Err(error) => {
                    members.allowed.most = members.posts.len();
                    tracing::warn!(
                        ERROR = %error,
                        "no more than {} can be started, and they go on alone: {error} (raise {})",
                        count(members.allowed.most, "thread"),
                        match is_of_descriptors(&error) {
                            true => "LimitNOFILE=",
                            false => "TasksMax=",
                        }
                    );
                    None
                }
            },
        }
    }

    fn grow(self: &Arc<Self>, members: &mut Members) -> io::Result<Arc<Post>> {
        let post = Post::new()?;
        let thread = (self.start)(self, Arc::clone(&post), members.posts.len())?;
        members.threads.push(thread);
        members.posts.push(Arc::clone(&post));
        Ok(post)
    }

    /// Sends a message to all threads.
    pub(super) fn post_to_all(&self, message: impl Fn() -> Message) {
        for post in &self.members().posts {
            post.inbox.post(message());
        }
    }

    /// Has the runtime wait for the client's upstream, and a thread carry it then.
    pub(super) fn wait(self: &Arc<Self>, client: AdmittedClient) {
        self.wait_after(Duration::ZERO, client);
    }

    /// The same after a pause.
    pub(super) fn wait_after(self: &Arc<Self>, pause: Duration, client: AdmittedClient) {
        let crew = Arc::clone(self);
        self.spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            if let Some(client) = waiting::wait(client, &crew.route).await {
                crew.carry(client);
            }
        });
    }

    /// Has a thread carry a connection whose upstream is connected.
    fn carry(self: &Arc<Self>, client: AdmittedClient) {
        let post = self.choose(&self.first);
        let open = Box::new(Open::relaying(client, &self.route));
        post.inbox.post(Message::Carry(open));
    }

    /// Has the runtime do something.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }
}
