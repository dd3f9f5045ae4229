//! Connecting to the target.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep_until};

use super::connect_attempt::{ConnectAttempt, ConnectedUpstream, Upstream};
use super::loops::LoopDetection;
use super::spare::{Spare, domain};
use crate::service::address::Address;
use crate::service::clock::{Repetition, Uptime};
use crate::service::congestion::{self, is_this_machine};
use crate::service::connecting::{self, by};
use crate::service::event;
use crate::service::exhausted::{LOG_EVERY, advice, is_exhausted, or_shortage};
use crate::service::happy_eyeballs::Race;
use crate::service::leads_to;
use crate::service::listener::{Listener, Peer};
use crate::service::stream::keep_alive;
use crate::service::timespan::TimeSpan;

/// The pause after the first failed attempt; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The pause before the next attempt, after `attempts` of them and the first one.
pub fn pause_after(attempts: u32) -> Duration {
    (FIRST_PAUSE * 2_u32.saturating_pow(attempts.min(10))).min(LONGEST_PAUSE)
}

/// How long one attempt may take for all addresses of a name together. The next one looks the target and its
/// name up again.
pub const ATTEMPT: Duration = Duration::from_secs(5);

/// How long the last attempt may take, which begins when the time is over.
const LAST_ATTEMPT: Duration = Duration::from_millis(100);

/// No limit in practice (95 years), and not too long for an [`Instant`].
const LONGEST_LIMIT: Duration = Duration::from_secs(3_000_000_000);

/// The upstream could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {target}{}: {source}", within(*limit))]
pub struct Unreachable {
    /// The last target that was tried.
    pub target: Arc<Address>,
    limit: Duration,
    source: io::Error,
}

/// The time that was spent, if there was more than one attempt.
fn within(limit: Duration) -> String {
    match limit {
        Duration::ZERO => String::new(),
        limit => format!(" within {}", TimeSpan::Finite(limit)),
    }
}

/// The time for attempts to reach an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    limit: Option<Duration>,
    deadline: Instant,
    failed: u32,
}

impl Attempts {
    /// Until `limit` has passed since `start`; `failed` attempts have been made.
    pub fn new(start: Instant, limit: Option<Duration>, failed: u32) -> Self {
        Self {
            limit,
            deadline: start + limit.unwrap_or(LONGEST_LIMIT).min(LONGEST_LIMIT),
            failed,
        }
    }

    /// The first attempt is made now.
    pub fn from_now(limit: Option<Duration>) -> Self {
        Self::new(Instant::now(), limit, 0)
    }

    /// When the last attempt begins.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether no further attempt is made.
    pub fn are_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// The time begins anew: that the last attempt failed was not the upstream's fault.
    fn begin_anew(&mut self) {
        *self = Self::new(Instant::now(), self.limit, self.failed);
    }

    async fn pause(&mut self) {
        sleep_until((Instant::now() + pause_after(self.failed)).min(self.deadline)).await;
        self.failed = self.failed.saturating_add(1);
    }
}

/// Logs an attempt to reach `target` that has failed. `client`: the number of the connection and its client, if the
/// attempt was made for one.
pub fn log_failure(target: &Address, error: &io::Error, client: Option<(u64, &Peer)>) {
    tracing::debug!(
        CONNECTION_ID = client.map(|(id, _)| id), PEER = client.map(|(_, peer)| display(peer)),
        UPSTREAM = %target, ERROR = %error, "{target} is not there yet: {error}"
    );
}

#[derive(Clone, Debug, Default)]
pub struct Connector {
    /// After which time an upstream that does not answer counts as gone.
    keepalive: Option<Duration>,
    pub loops: Arc<LoopDetection>,
    /// Of the log messages that descriptors or memory have run out.
    shortage_reports: Arc<Repetition>,
}

impl Connector {
    pub fn new(
        keepalive: Option<Duration>,
        target: Option<&Address>,
        listeners: &[Listener],
    ) -> Self {
        let loops = Arc::<LoopDetection>::default();
        loops.expect(target.is_some_and(|target| leads_to::may_lead_to_one(target, listeners)));
        Self {
            keepalive,
            loops,
            shortage_reports: Arc::default(),
        }
    }

    /// Connects to the target, again and again until it answers, so that a service that is just being started loses
    /// no client: the attempts after the first one, which is a worker's (`Route::first_attempt_limit`). The counterpart
    /// for handovers is `waiting_client::retry_handover`. Each attempt asks `target` anew, so that waiting clients
    /// follow a change. `failed` is told of each one that fails. Cancel safe. Fails with the last error when the time is
    /// over, which begins anew while there are no descriptors for it.
    pub async fn connect_with_retries(
        &self,
        target: impl Fn() -> Arc<Address>,
        mut attempts: Attempts,
        mut spare: Spare,
        failed: impl Fn(&Arc<Address>, &io::Error),
    ) -> Result<ConnectedUpstream, Unreachable> {
        loop {
            let target_now = target();
            let until = attempts.deadline.max(Instant::now() + LAST_ATTEMPT);
            let error = match self.attempt(&target_now, until, &mut spare).await {
                Ok(upstream) => return Ok(ConnectedUpstream::new(upstream, target_now)),
                Err(error) => error,
            };
            failed(&target_now, &error);
            if is_exhausted(&error) {
                self.report_shortage(&target_now, &error);
                attempts.begin_anew();
            }
            // If that fails, a later attempt makes one.
            let _ = spare.reserve(&target_now);
            if attempts.are_over() {
                return Err(Unreachable {
                    target: target_now,
                    limit: attempts.limit.unwrap_or_default(),
                    source: error,
                });
            }
            attempts.pause().await;
        }
    }

    /// Connects to the target once, for at most `limit`. Cancel safe.
    pub async fn connect_once(
        &self,
        target: &Arc<Address>,
        limit: Duration,
    ) -> io::Result<ConnectedUpstream> {
        let deadline = Instant::now() + limit;
        let upstream = self
            .attempt(target, deadline, &mut Spare::default())
            .await?;
        Ok(ConnectedUpstream::new(upstream, Arc::clone(target)))
    }

    fn report_shortage(&self, target: &Address, error: &io::Error) {
        if self.shortage_reports.is_due(LOG_EVERY, Uptime::now()).0 {
            tracing::warn!(
                MESSAGE_ID = event::NO_DESCRIPTORS, UPSTREAM = %target, ERROR = %error,
                "cannot connect to {target}: {error}; clients that were accepted wait until it succeeds{}",
                advice(error)
            );
        }
    }

    async fn attempt(
        &self,
        target: &Address,
        deadline: Instant,
        spare: &mut Spare,
    ) -> io::Result<Upstream> {
        match self.begin(target, spare) {
            Some(attempt) => by(deadline.min(Instant::now() + ATTEMPT), attempt?.complete()).await,
            None => self.connect_to_name(target, deadline, spare).await,
        }
    }

    /// Begins to connect; `None` if a name has to be looked up first. If that fails, the socket stays in `spare`
    /// for the next attempt.
    pub fn begin(&self, target: &Address, spare: &mut Spare) -> Option<io::Result<ConnectAttempt>> {
        let address = match target {
            Address::Tcp { .. } => return Some(self.begin_tcp(target.literal()?, spare)),
            Address::Unix(path) => SockAddr::unix(path),
            Address::Abstract(name) => SockAddr::unix(format!("\0{name}")),
            Address::Vsock { cid, port } => Ok(SockAddr::vsock(*cid, *port)),
            Address::Handover(path) => return Some(self.begin_handover(path, spare)),
        };
        Some(address.and_then(|address| {
            let socket = spare.take(domain(target))?;
            ConnectAttempt::new(socket, &address, spare, &self.loops)
        }))
    }

    /// Connects a datagram socket: that shows whether a process receives clients there.
    fn begin_handover(&self, path: &Path, spare: &mut Spare) -> io::Result<ConnectAttempt> {
        // Its descriptor is for the datagram socket.
        spare.give_up();
        let socket = Socket::new(Domain::UNIX, Type::DGRAM.nonblocking().cloexec(), None)?;
        let address = SockAddr::unix(path)?;
        ConnectAttempt::new(socket, &address, &mut Spare::default(), &self.loops)
    }

    fn begin_tcp(&self, address: SocketAddr, spare: &mut Spare) -> io::Result<ConnectAttempt> {
        let socket = spare.take(Domain::for_address(address))?;
        if is_this_machine(address.ip()) {
            // It needs no keepalive either: the kernel of a local peer always ends its sockets.
            congestion::never(&socket);
        } else if let Some(keepalive) = self.keepalive {
            keep_alive(&socket, keepalive)?;
        }
        ConnectAttempt::new(socket, &address.into(), spare, &self.loops)
    }

    /// Connects to the first address of a name that answers. The resolver may take all the time: its own servers
    /// may be silent.
    async fn connect_to_name(
        &self,
        target: &Address,
        deadline: Instant,
        spare: &mut Spare,
    ) -> io::Result<Upstream> {
        let Address::Tcp { host, port } = target else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let found = by(deadline, lookup_host((host.as_str(), *port))).await;
        let addresses = found.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => {
                io::Error::new(error.kind(), format!("the look-up of {host} timed out"))
            }
            _ => or_shortage(error),
        })?;
        let now = Instant::now();
        let until = deadline.min(now + ATTEMPT);
        let race = Race::new(addresses, now, Some(until));
        let connected = connecting::connect(race, |address| {
            let attempt = self.begin_tcp(address, spare);
            async move { attempt?.complete().await }
        });
        by(until, connected).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::sync::Mutex;

    async fn reach(
        target: impl Fn() -> Arc<Address>,
        limit: Option<Duration>,
    ) -> Result<ConnectedUpstream, Unreachable> {
        let connector = Connector::default();
        let attempts = Attempts::from_now(limit);
        connector
            .connect_with_retries(target, attempts, Spare::default(), |_, _| ())
            .await
    }

    fn local(listener: &TcpListener) -> Address {
        listener.local_addr().unwrap().to_string().parse().unwrap()
    }

    #[tokio::test]
    async fn an_upstream_that_comes_late_is_reached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("late");
        let target = Arc::new(Address::Unix(path.clone()));
        let connecting = tokio::spawn(reach(move || target.clone(), None));
        tokio::task::yield_now().await;
        let _listener = UnixListener::bind(&path).unwrap();
        connecting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn waiting_clients_follow_a_change_of_the_target() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = local(&listener);
        let targets = Mutex::new(vec![there.clone(), "unix:/nonexistent".parse().unwrap()]);
        let next = || Arc::new(targets.lock().unwrap().pop().unwrap());
        let connected = reach(next, None).await.unwrap();
        assert_eq!(*connected.target, there);
    }

    /// With any default of the machine.
    #[tokio::test]
    async fn what_goes_to_this_machine_is_not_paced() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = Arc::new(local(&listener));
        let socket = reach(|| here.clone(), None).await.unwrap().socket;
        let chosen = rustix::net::sockopt::tcp_congestion(&socket).unwrap();
        assert!(!chosen.starts_with("bbr"), "{chosen}");
    }

    #[tokio::test]
    async fn one_that_never_comes_is_given_up_with_its_name_and_the_reason() {
        let target: Arc<Address> = Arc::new("unix:/nonexistent/socket".parse().unwrap());
        for (limit, tried) in [(30, " within 30ms"), (0, "")] {
            let limit = Some(Duration::from_millis(limit));
            let error = reach(|| target.clone(), limit).await.unwrap_err();
            let error = error.to_string();
            let begin = format!("cannot reach unix:/nonexistent/socket{tried}: ");
            assert!(error.starts_with(&begin), "{error}");
            assert!(error.contains("No such file"), "{error}");
        }
    }

    #[test]
    fn a_look_up_that_takes_all_the_time_is_named() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        // The only thread for look-ups is busy until the sender is dropped.
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || receiver.recv());
        let target: Arc<Address> = Arc::new("localhost:1".parse().unwrap());
        let limit = Some(Duration::from_millis(1));
        let reached = runtime.block_on(reach(|| target.clone(), limit));
        drop(sender);
        let error = reached.unwrap_err().to_string();
        assert!(
            error.contains("the look-up of localhost timed out"),
            "{error}"
        );
    }
}
