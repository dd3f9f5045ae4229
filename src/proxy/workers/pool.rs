//! All threads, as each of them sees them: which of them carries a connection, and what the runtime does
//! for them.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;

use super::balance::{self, Burden, Relief};
use super::carried_connection::CarriedConnection;
use super::detaching_signal::DetachingSignal;
use super::handle::{Message, WorkerHandle};
use super::passing_on::PassingOn;
use super::token::DOORS;
use super::waiting_client;
use crate::proxy::admission::{AdmittedClient, Attaching, Doors};
use crate::proxy::keep::{RestoredFlow, Slot};
use crate::proxy::route::Route;
use crate::proxy::upstream::pause_after;
use crate::service::clock::Uptime;
use crate::service::exhausted::is_of_descriptors;
use crate::service::mutex;
use crate::service::plural::count;
use crate::service::processors::Processors;

/// If this part of a processor was idle lately, in thousandths, another thread takes no time from the clients and the
/// upstream.
const IDLE: u32 = 500;

/// How many threads there may be.
#[derive(Clone, Copy, Debug)]
pub struct Threads {
    pub most: usize,
    /// Whether another one gets new connections, and bulk, only if a processor is idle.
    pub if_idle: bool,
}

impl Threads {
    /// As `--threads` says; without it as many as there are processors, by affinity and `CPUQuota=`.
    pub fn of_option(given: Option<usize>) -> Self {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            most: given.unwrap_or_else(processors),
            if_idle: given.is_none(),
        }
    }

    /// At most one thread for each connection: others would never be started.
    pub fn for_connections(self, connections: usize) -> Self {
        Self {
            most: self.most.min(connections),
            ..self
        }
    }
}

/// What a thread carried: its connections end when this is dropped.
pub type Remains = Box<dyn Send>;

/// Starts the thread of this number.
pub(super) type ThreadStarter =
    fn(&Arc<WorkerPool>, Arc<WorkerHandle>, usize) -> io::Result<JoinHandle<Remains>>;

/// All threads. They end with [`Self::stop`].
#[derive(Debug)]
pub struct WorkerPool {
    pub(super) route: Arc<Route>,
    /// The thread that accepts.
    pub(super) first: Arc<WorkerHandle>,
    runtime: Handle,
    start: ThreadStarter,
    members: Mutex<Members>,
    pub(super) detaching: DetachingSignal,
    pub passing_on: PassingOn,
}

#[derive(Debug)]
pub(super) struct Members {
    pub(super) allowed: Threads,
    pub(super) processors: Processors,
    pub(super) handles: Vec<Arc<WorkerHandle>>,
    pub(super) threads: Vec<JoinHandle<Remains>>,
}

impl Members {
    /// Whether a processor is idle, or need not be.
    fn have_processor(&mut self) -> bool {
        if !self.allowed.if_idle {
            return true;
        }
        let idle = self.processors.idle(Uptime::now());
        idle.is_some_and(|idle| idle >= IDLE)
    }

    /// Which thread relieves this one.
    fn relief(&self, own: &Arc<WorkerHandle>) -> Option<Relief> {
        let handles = self.handles.iter();
        let parts: Vec<u32> = handles.map(|handle| handle.load.part()).collect();
        let own_index = self.handles.iter().position(|it| Arc::ptr_eq(it, own))?;
        balance::relief(&parts, own_index, self.handles.len() < self.allowed.most)
    }
}

impl WorkerPool {
    /// A pool of which no thread is started yet. The calling thread has to be in a runtime.
    pub(super) fn new(
        route: Arc<Route>,
        allowed: Threads,
        start: ThreadStarter,
    ) -> io::Result<Arc<Self>> {
        let first = WorkerHandle::new()?;
        Ok(Arc::new(Self {
            route,
            runtime: Handle::current(),
            start,
            members: Mutex::new(Members {
                allowed,
                processors: Processors::default(),
                handles: vec![Arc::clone(&first)],
                threads: Vec::new(),
            }),
            first,
            detaching: DetachingSignal::default(),
            passing_on: PassingOn::default(),
        }))
    }

    pub(super) fn members(&self) -> MutexGuard<'_, Members> {
        mutex::lock(&self.members)
    }

    /// Starts the first thread. No client is accepted before [`Self::open_doors`].
    pub fn start(self: &Arc<Self>) -> io::Result<()> {
        let thread = (self.start)(self, Arc::clone(&self.first), 0)?;
        self.members().threads.push(thread);
        Ok(())
    }

    /// Begins to accept, whenever the gate is open.
    pub fn open_doors(&self) {
        let admission = &self.route.admission;
        let poller = Arc::clone(&self.first.poller);
        let listeners = admission.backlog.listeners();
        admission.set_doors(Doors::new(poller, DOORS, listeners));
    }

    /// Leaves the listeners to another process.
    pub fn retire(&self) {
        self.first.inbox.post(Message::Retire);
    }

    /// Continues a connection of the process before.
    pub fn resume(&self, client: AdmittedClient, slot: Slot, flows: [RestoredFlow; 2]) {
        let connection = CarriedConnection::restored(client, slot, flows, &self.route);
        self.first.inbox.post(Message::Carry(Box::new(connection)));
    }

    /// Ends the connections that are to be ended.
    pub fn cut(&self) {
        self.post_to_all(|| Message::Cut);
    }

    /// Ends the connections that have carried nothing for `limit`, in order.
    pub fn close_idle(&self, limit: Duration) {
        self.post_to_all(|| Message::CloseIdle(limit));
    }

    /// Detaches the connections that are between two requests and have carried nothing for `limit`.
    pub fn detach_idle(&self, limit: Duration) {
        self.post_to_all(|| Message::Detach(limit));
    }

    /// Has detached clients follow the gate.
    pub fn attach(&self, when: Attaching) {
        self.detaching.turn(when);
        let threads = self.members().handles.len();
        self.post_to_all(|| match when {
            Attaching::Now => Message::Attach(threads),
            Attaching::Later => Message::Detach(Duration::ZERO),
            Attaching::Never => Message::EndDetached,
        });
    }

    /// Has detached clients leave by way of [`Self::passing_on`].
    pub fn begin_passing_on(&self) {
        self.passing_on.begin();
        self.post_to_all(|| Message::PassOn);
    }

    /// Continues with the detached clients that were to leave, and with these. From now on none leaves.
    pub fn stop_passing_on(&self, clients: Vec<AdmittedClient>) {
        for client in clients.into_iter().chain(self.passing_on.end()) {
            self.resume_detached(client);
        }
    }

    pub(super) fn pass_on(&self, client: AdmittedClient) {
        if let Some(client) = self.passing_on.add(client) {
            self.resume_detached(client);
        }
    }

    /// Whether the accepting thread has answered since the last call, so that its loop turns. It is asked
    /// again.
    pub fn is_turning(&self) -> bool {
        let has_answered = self.first.load.ask();
        if has_answered {
            self.first.inbox.post(Message::Echo);
        }
        has_answered
    }

    /// Ends all threads. The connections that they carried end when what is returned is dropped.
    pub fn stop(&self) -> Vec<Remains> {
        self.post_to_all(|| Message::Stop);
        let threads = std::mem::take(&mut self.members().threads);
        // A thread that panicked has logged it.
        threads.into_iter().flat_map(JoinHandle::join).collect()
    }

    /// The thread that is to carry a new connection: `own`, unless that has no time and a processor is idle.
    pub(super) fn choose(self: &Arc<Self>, own: &Arc<WorkerHandle>) -> Arc<WorkerHandle> {
        let is_passed = own.load.is_full() && self.members().have_processor();
        let other = is_passed.then(|| self.another(own)).flatten();
        other.unwrap_or_else(|| Arc::clone(own))
    }

    /// What `own` may give away, if another thread has time or can be started.
    pub(super) fn burden(&self, own: &Arc<WorkerHandle>) -> Option<Burden> {
        let mut members = self.members();
        let burden = balance::burden(own.load.part(), members.have_processor())?;
        members.relief(own).map(|_| burden)
    }

    /// A thread that has time while `own` has none; it is started if there may be another one.
    pub(super) fn another(self: &Arc<Self>, own: &Arc<WorkerHandle>) -> Option<Arc<WorkerHandle>> {
        let mut members = self.members();
        match members.relief(own)? {
            Relief::Thread(index) => members.handles.get(index).cloned(),
            Relief::New => match self.grow(&mut members) {
                Ok(handle) => Some(handle),
                Err(error) => {
                    members.allowed.most = members.handles.len();
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

    fn grow(self: &Arc<Self>, members: &mut Members) -> io::Result<Arc<WorkerHandle>> {
        let handle = WorkerHandle::new()?;
        let thread = (self.start)(self, Arc::clone(&handle), members.handles.len())?;
        members.threads.push(thread);
        members.handles.push(Arc::clone(&handle));
        Ok(handle)
    }

    fn post_to_all(&self, message: impl Fn() -> Message) {
        for handle in &self.members().handles {
            handle.inbox.post(message());
        }
    }

    /// Leaves the client to the runtime until its upstream is connected; then a thread carries the connection.
    pub fn wait(self: &Arc<Self>, client: AdmittedClient) {
        self.wait_after(Duration::ZERO, 0, client, None);
    }

    /// The same, for a client whose first attempt to reach its upstream has failed.
    /// If the client is of the queue of a thread, that thread carries it then or is told that it has left.
    pub(super) fn wait_after_failure(
        self: &Arc<Self>,
        client: AdmittedClient,
        queue: Option<Arc<WorkerHandle>>,
    ) {
        self.wait_after(pause_after(0), 1, client, queue);
    }

    /// The same, for a client that gets another upstream after this pause.
    pub(super) fn wait_for_another(
        self: &Arc<Self>,
        pause: Duration,
        client: AdmittedClient,
        queue: Option<Arc<WorkerHandle>>,
    ) {
        self.wait_after(pause, 0, client, queue);
    }

    /// Continues with a client that the process before has detached.
    pub fn resume_detached(&self, client: AdmittedClient) {
        let connection = CarriedConnection::detached(client, &self.route);
        self.first.inbox.post(Message::Carry(Box::new(connection)));
    }

    /// Handles the end of a connection that was handed over.
    pub fn end_handover(self: &Arc<Self>, client: AdmittedClient) {
        if let Some((pause, client)) = waiting_client::retry_handover(client, &self.route) {
            self.wait_after(pause, 0, client, None);
        }
    }

    fn wait_after(
        self: &Arc<Self>,
        pause: Duration,
        failed: u32,
        client: AdmittedClient,
        queue: Option<Arc<WorkerHandle>>,
    ) {
        let pool = Arc::clone(self);
        self.spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let waited = waiting_client::wait(client, failed, &pool.route, &pool.detaching).await;
            let mut connection = match waited {
                Some(client) if client.is_held => CarriedConnection::detached(client, &pool.route),
                Some(client) => CarriedConnection::relaying(client, &pool.route),
                None => {
                    if let Some(queue) = queue {
                        queue.inbox.post(Message::Returned);
                    }
                    return;
                }
            };
            connection.is_of_queue = queue.is_some();
            let handle = queue.unwrap_or_else(|| pool.choose(&pool.first));
            handle.inbox.post(Message::Carry(Box::new(connection)));
        });
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }
}
