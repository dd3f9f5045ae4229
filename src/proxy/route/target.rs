//! Where admitted clients go, and how they get there.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::handover::Handover;
use super::upstream_watch::UpstreamWatch;
use crate::proxy::admission::{Admission, Connection, TargetFile};
use crate::proxy::event;
use crate::proxy::options::handover_contradiction;
use crate::proxy::requests::RequestKind;
use crate::proxy::upstream::{ATTEMPT, Connector, ProxyProtocol, log_failure};
use crate::service::address::Address;
use crate::service::clock::Uptime;
use crate::service::ending;
use crate::service::exhausted::is_exhausted;
use crate::service::leads_to;
use crate::service::listener::{Arrival, Listener};
use crate::service::mutex;

#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Whether the target is given on the command line, so that it cannot be changed.
    pub target_fixed: bool,
    /// How long a client waits for an upstream that does not answer; `None` is for ever.
    pub connect_timeout: Option<Duration>,
    /// After what time without an answer a peer is gone.
    pub keepalive: Option<Duration>,
    /// How the upstream gets the address of the client.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How requests are recognised, if they are.
    pub requests: Option<RequestKind>,
    /// After what time between two requests a client is detached; `None` is never.
    pub detach_idle: Option<Duration>,
}

impl RouteSettings {
    /// Why the proxy cannot lead to `target`, if it cannot.
    pub fn contradiction(&self, target: &Address) -> Option<&'static str> {
        handover_contradiction(target, self.proxy_protocol, self.requests)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SetTargetError {
    #[error("the target {0} is given on the command line or by the environment")]
    Fixed(Address),
    #[error("{0}")]
    Contradiction(&'static str),
    #[error("it leads back to this proxy, which listens on {0} itself")]
    LeadsBack(String),
    #[error("the target could not be saved: {0}")]
    NotSaved(#[from] io::Error),
}

/// The target, and the two ways to it: an upstream connection, and handover to a service that accepts itself.
#[derive(Debug)]
pub struct Route {
    pub admission: Arc<Admission>,
    pub settings: RouteSettings,
    pub connector: Connector,
    pub handover: Handover,
    /// The control sockets, which no client may reach; none once another process has them.
    control: Weak<[Listener]>,
    target: Mutex<Option<Arc<Address>>>,
    /// Where the target is saved.
    pub target_file: TargetFile,
    unreachable: AtomicU64,
    /// What is known of the target.
    pub upstream: UpstreamWatch,
}

impl Route {
    pub fn new(
        admission: Arc<Admission>,
        settings: RouteSettings,
        target: Option<Address>,
        target_file: TargetFile,
        handover: Handover,
        control: &Arc<[Listener]>,
    ) -> Self {
        admission.with_gate_silently(|gate| gate.set_has_target(target.is_some()));
        let listeners = admission.backlog.listeners();
        let connector = Connector::new(settings.keepalive, target.as_ref(), &listeners);
        let (target, upstream) = (target.map(Arc::new), UpstreamWatch::default());
        target.iter().for_each(|target| upstream.begin(target));
        Self {
            admission,
            settings,
            connector,
            handover,
            control: Arc::downgrade(control),
            target: Mutex::new(target),
            target_file,
            unreachable: AtomicU64::new(0),
            upstream,
        }
    }

    pub fn target(&self) -> Option<Arc<Address>> {
        mutex::lock(&self.target).clone()
    }

    /// Leads new connections to this target, and saves it.
    pub fn set_target(&self, target: Address) -> Result<(), SetTargetError> {
        if let (true, Some(fixed)) = (self.settings.target_fixed, self.target()) {
            // Deployment tools set the same target at every run.
            return match *fixed == target {
                true => Ok(()),
                false => Err(SetTargetError::Fixed((*fixed).clone())),
            };
        }
        self.check_target(&target)?;
        self.target_file.save(&target)?;
        self.use_target(target);
        Ok(())
    }

    /// Reads the target again. If that fails, the target stays as it is.
    pub fn reload_target(&self) -> io::Result<()> {
        if self.settings.target_fixed {
            return Ok(());
        }
        if let Some(target) = self.target_file.load()? {
            self.check_target(&target).map_err(io::Error::other)?;
            self.use_target(target);
        }
        Ok(())
    }

    /// Checks whether the proxy can lead to this target, without looking up a name.
    fn check_target(&self, target: &Address) -> Result<(), SetTargetError> {
        if let Some(why) = self.settings.contradiction(target) {
            return Err(SetTargetError::Contradiction(why));
        }
        match leads_to::listener_at(target, &self.listeners()) {
            Some(listener) => Err(SetTargetError::LeadsBack(listener.to_string())),
            None => Ok(()),
        }
    }

    /// Checks whether the proxy can lead to this target. Looks up a name if it may lead back.
    pub async fn check_target_name(&self, target: &Address) -> Result<(), SetTargetError> {
        self.check_target(target)?;
        match leads_to::listener_at_name(target, &self.listeners()).await {
            Some(listener) => Err(SetTargetError::LeadsBack(listener.to_string())),
            None => Ok(()),
        }
    }

    /// The listeners of clients and those of control calls.
    fn listeners(&self) -> Vec<Arc<[Listener]>> {
        let control = self.control.upgrade();
        let clients = self.admission.backlog.listeners();
        [Some(clients), control].into_iter().flatten().collect()
    }

    fn use_target(&self, target: Address) {
        let mut current = mutex::lock(&self.target);
        if current.as_deref() == Some(&target) {
            return;
        }
        tracing::info!(
            MESSAGE_ID = event::TARGET_CHANGED, UPSTREAM = %target,
            "new connections go to {target} from now on"
        );
        let listeners = self.admission.backlog.listeners();
        let may_lead_back = leads_to::may_lead_to_one(&target, &listeners);
        self.connector.loops.expect(may_lead_back);
        let target = Arc::new(target);
        self.upstream.begin(&target);
        *current = Some(target);
        drop(current);
        self.make_room();
        self.admission
            .with_gate_silently(|gate| gate.set_has_target(true));
        self.admission.wakers.wake_life_cycle();
        self.admission.wakers.wake_calls();
    }

    /// If no more connections may be open, ends those to earlier targets that were never answered. Such are the
    /// connections of a target that leads back by way of another proxy.
    fn make_room(&self) {
        let (connected, most) = self
            .admission
            .read_gate(|gate| (gate.connected(), gate.connections_max()));
        if let (true, Some(target)) = (connected >= most, self.target()) {
            self.admission.connections.abort_unanswered(&target, most);
        }
    }

    /// Resets a client that is this proxy itself. The reset passes through all connections by which it came.
    pub fn refuse_own(&self, client: &Arrival) {
        ending::reset_on_close(&client.socket);
        if self.connector.loops.is_report_due() {
            let target = self.target().map(|target| target.to_string());
            let target = target.unwrap_or_default();
            tracing::error!(
                MESSAGE_ID = event::LEADS_BACK, PEER = %client.peer, UPSTREAM = target,
                "the target {target} leads back to this proxy: clients are reset until another one is set"
            );
        }
    }

    /// A client has got its upstream.
    pub fn reached(&self, target: &Arc<Address>, now: Uptime) {
        if self.upstream.reached(target, now) {
            self.upstream_turned();
        }
    }

    /// An attempt to reach the upstream of this client has failed.
    pub fn not_reached(&self, target: &Arc<Address>, error: &io::Error, client: &Connection) {
        log_failure(target, error, Some((client.id, &client.peer)));
        self.attempt_failed(target, error);
    }

    /// An attempt to reach the upstream that was made for no client has failed.
    pub fn probe_failed(&self, target: &Arc<Address>, error: &io::Error) {
        log_failure(target, error, None);
        self.attempt_failed(target, error);
    }

    fn attempt_failed(&self, target: &Arc<Address>, error: &io::Error) {
        // That would not be the upstream's fault.
        if !is_exhausted(error) && self.upstream.failed(target, error) {
            self.upstream_turned();
        }
    }

    /// Has the change told to systemd and to callers.
    fn upstream_turned(&self) {
        self.admission.wakers.wake_life_cycle();
        self.admission.wakers.wake_calls();
    }

    /// Gives a client up: counts it, logs why, and has it see a reset when it is closed.
    pub fn give_up(&self, connection: &Connection, why: &dyn std::fmt::Display) {
        connection.reset_on_close();
        self.unreachable.fetch_add(1, Relaxed);
        let target = self.target().map(|target| target.to_string());
        let target = target.unwrap_or_default();
        tracing::warn!(
            MESSAGE_ID = event::UNREACHABLE, CONNECTION_ID = connection.id,
            PEER = %connection.peer, UPSTREAM = target, ERROR = %why,
            "client {} was given up: {why}", connection.peer
        );
    }

    /// The number of clients given up since the process began.
    pub fn unreachable(&self) -> u64 {
        self.unreachable.load(Relaxed)
    }

    /// The limit on the first attempt to connect, which a worker makes; `Connector::connect_with_retries` makes the
    /// others, and `waiting_client::retry_handover` repeats a handover.
    pub fn first_attempt_limit(&self) -> Duration {
        let limit = self.settings.connect_timeout.unwrap_or(ATTEMPT);
        limit.min(ATTEMPT)
    }

    /// No descriptors are left: gives up those that are only useful, and pauses accepting.
    pub fn has_no_descriptors(&self) {
        self.handover.shrink();
        self.admission.set_accepting_paused(true);
        // It looks after the queue, which grows now.
        self.admission.wakers.wake_life_cycle();
    }
}
