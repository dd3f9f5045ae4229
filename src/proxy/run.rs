//! From the command line to a running proxy; and what happens to one client.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::connections::{Abort, Connection};
use super::control::server::ControlServer;
use super::descriptors;
use super::event;
use super::handover::{Handover, NotNow, Sender, Turn, handed};
use super::options::Options;
use super::passed::Passed;
use super::relay::{self, Ending};
use super::shell::{Proxy, Settings};
use super::state::{LockDirectory, TargetFile};
use super::take_over::{self, Predecessor, TakeOverError};
use super::upstream::{self, Spare};
use crate::service::activation::{self, Inherited};
use crate::service::address::Address;
use crate::service::binding;
use crate::service::clock::{Uptime, micros};
use crate::service::listener::{Accepted, Listener, Peer};
use crate::service::program::{self, Failure};
use crate::service::serve::{Admission, Lifetime, Service, serve};
use crate::service::stream::Stream;

/// What `FileDescriptorName=` calls control sockets.
const CONTROL_NAME: &str = "varlink";

/// How long a client that finds no room keeps others from being accepted.
const BURST: Duration = Duration::from_millis(100);

/// The pause when a client could not be handed over for lack of memory or descriptors.
const HANDOVER_PAUSE: Duration = Duration::from_millis(20);

/// What was made for many connections handed over at a time is given up when it was not needed for
/// so long.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// Those who wait to be handed over look again after so long whether the target is still the same.
const HANDOVER_ATTEMPT: Duration = Duration::from_secs(5);

/// The exit status when the proxy that runs could not be taken over from.
const NOT_TAKEN_OVER: u8 = 3;

/// The program `disnix-tcp-proxy`.
pub fn main() -> ExitCode {
    let options = Options::read();
    program::run("disnix-tcp-proxy", options.log_level, run(options))
}

async fn run(options: Options) -> Result<(), Failure> {
    let (control_sockets, client_sockets): (Vec<Inherited>, Vec<Inherited>) =
        activation::inherited()?
            .into_iter()
            .partition(|socket| socket.name == CONTROL_NAME);
    let inherited = client_sockets.len() + control_sockets.len();
    let mut predecessor = predecessor(&options, inherited).await?;
    let (mut listeners, control) = match &mut predecessor {
        Some(predecessor) => predecessor
            .sockets(&options.listen)
            .map_err(not_taken_over)?,
        None => (
            listeners(client_sockets, &options).await?,
            control_listeners(control_sockets, &options).await?,
        ),
    };
    let threads = options.threads.unwrap_or_else(program::cpus);
    let lock = LockDirectory::new(options.runtime_directory().as_deref());
    let target_file = TargetFile::new(options.state_directory().as_deref());
    let target = match &options.target {
        Some(target) => Some(target.clone()),
        None => target_file.load()?,
    };
    let settings = Settings {
        target_fixed: options.target.is_some(),
        connect_timeout: options.connect_timeout.finite(),
        idle_timeout: options.idle_timeout.finite(),
        keepalive: options.keepalive.finite(),
        proxy_protocol: options.proxy_protocol,
    };
    if let Some(why) = target
        .as_ref()
        .and_then(|target| settings.contradiction(target))
    {
        return Err(why.into());
    }
    // What can fail comes before this; behind it the place is ours.
    let open_before = match &mut predecessor {
        Some(predecessor) => {
            let target_file = (!settings.target_fixed).then_some(&target_file);
            predecessor
                .keeps_its_state_in(&lock, target_file)
                .map_err(not_taken_over)?;
            predecessor.retire().await.map_err(not_taken_over)?
        }
        None => 0,
    };
    for listener in &mut listeners {
        if let Err(error) = listener.set_options(settings.keepalive) {
            tracing::error!(
                ERROR = %error, LISTENER = %listener,
                "clients of {listener} are not probed as --keepalive says: {error}"
            );
        }
    }
    listeners.iter().chain(&control).for_each(Listener::keep);
    let listeners: Arc<[Listener]> = listeners.into();
    let proxy = Arc::new(Proxy::new(
        settings,
        Arc::clone(&listeners),
        descriptors::share(options.connections_max, threads),
        lock,
        target,
        target_file,
        Handover::new(options.runtime_directory().as_deref())?,
    ));
    match predecessor {
        Some(predecessor) => succeed(predecessor, open_before, &proxy),
        None => proxy.adopt_orphans(),
    }
    tokio::spawn(attend(Arc::clone(&proxy)));
    let control = ControlServer::new(control);
    control.start(&proxy);
    let running = Running {
        proxy,
        control,
        spare: Mutex::default(),
        next: Mutex::default(),
    };
    let lifetime = Lifetime {
        exit_idle_time: options.exit_idle_time.finite(),
        drain_timeout: options.drain_timeout.finite(),
        threads,
    };
    serve(Arc::new(running), listeners, lifetime).await
}

/// Goes on with what the process before has left: its open connections, and a target that was set
/// while we made ourselves ready.
fn succeed(predecessor: Predecessor, open: usize, proxy: &Arc<Proxy>) {
    proxy.took_over(open);
    if let Err(error) = proxy.reload_target() {
        tracing::error!(ERROR = %error, "the target cannot be read again: {error}");
    }
    tracing::info!(
        MESSAGE_ID = event::TOOK_OVER,
        OPEN = open,
        "took over from {}: {open} connections are still open there",
        predecessor.name()
    );
    tokio::spawn(predecessor.follow(Arc::clone(proxy)));
}

/// The process whose place is to be taken, if there is one.
async fn predecessor(options: &Options, inherited: usize) -> Result<Option<Predecessor>, Failure> {
    match (options.take_over, &options.control) {
        (true, Some(_)) if inherited > 0 => Err(
            "--take-over is for a proxy that listens by itself, and systemd gives sockets: leave \
             one of them away"
                .into(),
        ),
        (true, Some(control)) => take_over::ask(control).await.map_err(not_taken_over),
        _ => Ok(None),
    }
}

/// The failure of a process that has changed nothing for the one that runs.
fn not_taken_over(error: TakeOverError) -> Failure {
    let failure = error.into();
    program::WithStatus {
        status: NOT_TAKEN_OVER,
        failure,
    }
    .into()
}

/// The client listeners: systemd's, or those of `--listen`.
async fn listeners(inherited: Vec<Inherited>, options: &Options) -> Result<Vec<Listener>, Failure> {
    match (inherited.is_empty(), options.listen.is_empty()) {
        (true, true) => {
            Err("nowhere to listen: start it by a .socket unit, or give --listen".into())
        }
        (false, false) => Err("both systemd and --listen give sockets: use one of them".into()),
        (false, true) => Ok(Listener::inherit_all(inherited)?),
        (true, false) => Ok(binding::bind_all(&options.listen, options.bind_timeout).await?),
    }
}

async fn control_listeners(
    inherited: Vec<Inherited>,
    options: &Options,
) -> Result<Vec<Listener>, Failure> {
    match (&options.control, inherited.is_empty()) {
        (Some(path), true) => {
            let address = Address::Unix(path.clone());
            Ok(binding::bind_all(&[address], options.bind_timeout).await?)
        }
        _ => Ok(Listener::inherit_all(inherited)?),
    }
}

/// A proxy with its control socket, as a service.
struct Running {
    proxy: Arc<Proxy>,
    control: ControlServer,
    /// For the next client.
    spare: Mutex<Spare>,
    /// A client that found no room when it was to be handed over, since when. Nobody is accepted
    /// meanwhile: so a burst of clients waits where it waits at no cost, and in order.
    next: Mutex<Option<(Passed, Arc<Sender>, Instant)>>,
}

impl Running {
    fn next(&self) -> MutexGuard<'_, Option<(Passed, Arc<Sender>, Instant)>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there may be room for the client that found none.
    async fn room(&self) {
        let sender = self
            .next()
            .as_ref()
            .map(|(_, sender, _)| Arc::clone(sender));
        match sender {
            // It fails only when the runtime shuts down.
            Some(sender) => drop(sender.room().await),
            None => std::future::pending().await,
        }
    }

    /// Hands the client over that found no room, if there is some now. After a short time it waits by
    /// itself, and others are accepted to wait with it; tells when that will be.
    fn hand_next(&self, now: Uptime) -> Option<Uptime> {
        let mut next = self.next();
        let (passed, sender, since) = next.take()?;
        let Some(turn) = sender.at_once() else {
            tokio::spawn(serve_client(passed));
            return None;
        };
        let left = BURST.saturating_sub(since.elapsed());
        match self.proxy.handover.hand(&turn, passed) {
            Ok(()) => None,
            Err((passed, error))
                if error.kind() == io::ErrorKind::WouldBlock && !left.is_zero() =>
            {
                *next = Some((passed, sender, since));
                Some(now + left)
            }
            Err((passed, _)) => {
                tokio::spawn(serve_client(passed));
                None
            }
        }
    }
}

impl Service for Running {
    type Connection = Passed;

    fn may_accept(&self) -> bool {
        self.proxy.gate().0.may_accept() && self.next().is_none()
    }

    fn admit(
        &self,
        accept: &mut dyn FnMut() -> io::Result<Accepted>,
    ) -> io::Result<Admission<Passed>> {
        let mut gate = self.proxy.gate();
        let Some(target) = self.proxy.target().filter(|_| gate.0.may_accept()) else {
            return Ok(Admission::Closed);
        };
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let reserved = match &*target {
            Address::Handover(_) => self.proxy.handover.reserve(),
            _ => spare.reserve(&target),
        };
        if let Err(error) = reserved {
            self.proxy.handover.shrink();
            return Ok(Admission::Exhausted(error));
        }
        Ok(match accept()? {
            Accepted::Client(client) => {
                gate.0.accepted();
                let connection = self.proxy.connections.add(client);
                let proxy = Arc::clone(&self.proxy);
                let Address::Handover(path) = &*target else {
                    let spare = std::mem::take(&mut *spare);
                    return Ok(Admission::Client(Passed::new(connection, spare, proxy)));
                };
                let passed = Passed::new(connection, Spare::default(), proxy);
                match self.proxy.handover.hand_at_once(path, passed) {
                    Ok(()) => Admission::Elsewhere,
                    Err(NotNow::Full(passed, sender)) => {
                        *self.next() = Some((passed, sender, Instant::now()));
                        Admission::Elsewhere
                    }
                    Err(NotNow::Waits(passed)) => Admission::Client(passed),
                }
            }
            Accepted::Gone => Admission::Gone,
            Accepted::Nobody => Admission::Nobody,
            Accepted::Exhausted(error) => {
                self.proxy.handover.shrink();
                Admission::Exhausted(error)
            }
        })
    }

    async fn handle(passed: Passed) {
        serve_client(passed).await;
    }

    fn open(&self) -> usize {
        let (open, stopping) = {
            let gate = self.proxy.gate();
            (gate.0.open(), gate.0.is_stopping())
        };
        match stopping {
            // Others do not need this process any more.
            true => open.saturating_sub(self.proxy.handover.lasting()),
            false => open,
        }
    }

    fn in_use(&self) -> bool {
        self.open() > 0 || self.control.callers() > 0
    }

    fn may_exit(&self) -> bool {
        !self.control.has_waiting()
    }

    async fn changed(&self) {
        tokio::select! {
            () = self.proxy.woken.notified() => {}
            () = self.control.changed() => {}
            () = self.room() => {}
        }
    }

    fn tick(&self, now: Uptime) -> Option<Uptime> {
        let next = self.hand_next(now);
        let sweep = self.proxy.sweep(now);
        if !self.proxy.gate().0.may_accept() {
            self.proxy.watch_queue();
        }
        [self.proxy.gate_tick(now), sweep, next]
            .into_iter()
            .flatten()
            .min()
    }

    fn status(&self, _: &[Listener]) -> String {
        let (state, open) = self.proxy.progress();
        let gate = state.as_str();
        let queued = self.proxy.queued();
        match self.proxy.target() {
            Some(target) => {
                format!("Gate {gate}: {open} open, {queued} waiting; leads to {target}.")
            }
            None => format!(
                "Gate {gate}: {queued} waiting until disnix-tcp-proxyctl set-target says where to."
            ),
        }
    }

    fn reload(&self) -> Option<Result<(), Failure>> {
        Some(self.proxy.reload_target().map_err(Failure::from))
    }

    fn wants_to_end(&self) -> bool {
        self.proxy.gate().0.is_stopping()
    }

    fn has_handed_over(&self) -> bool {
        self.proxy.gate().0.is_retired()
    }

    fn stopping(&self) {
        self.proxy.stop_accepting();
        self.proxy.handover.stop();
    }
}

/// What comes next for a client.
enum Next {
    /// Nothing: it was served, or given up.
    Over,
    /// It can be handed over.
    HandOver(Turn),
    /// It has to wait on.
    Again,
}

/// Serves one client from the gate to the end, or until it is handed over.
async fn serve_client(mut passed: Passed) {
    let limit = passed.proxy.settings.connect_timeout;
    let until = limit.map(|limit| Instant::now() + limit);
    loop {
        let spare = std::mem::take(&mut passed.spare);
        let Some(connection) = passed.connection() else {
            return;
        };
        match carry(&passed.proxy, connection, spare, until).await {
            Next::Over => return,
            Next::Again => {}
            Next::HandOver(turn) => {
                let proxy = Arc::clone(&passed.proxy);
                match proxy.handover.hand(&turn, passed) {
                    Ok(()) => return,
                    Err((back, error)) => {
                        tracing::debug!(ERROR = %error, "a client waits on: {error}");
                        passed = back;
                    }
                }
            }
        }
        tokio::time::sleep(HANDOVER_PAUSE).await;
    }
}

/// Sees to the clients that were handed over, until the runtime ends.
async fn attend(proxy: Arc<Proxy>) {
    let mut every = tokio::time::interval(TRIM_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick(), if proxy.handover.has_surplus() => proxy.handover.trim(),
            ended = proxy.handover.ended() => {
                ended.connections.into_iter().for_each(come_back);
                proxy.orphans_closed(ended.orphans);
            }
            slots = proxy.connections.to_cut() => for slot in slots {
                if let Some(passed) = proxy.handover.cut(slot)
                    && let Some(connection) = passed.connection()
                {
                    connection.taken_back();
                    handed::cut(&connection.client);
                    tell_aborted(connection);
                    tell_ended(connection);
                }
            },
        }
    }
}

/// Whoever served a client is done with it, or was killed: then it goes to the next one, unless it
/// was being served.
fn come_back(mut passed: Passed) {
    let Some(connection) = passed.connection() else {
        return;
    };
    if !connection.taken_back() {
        return tell_ended(connection);
    }
    let id = connection.id;
    let peer = connection.peer.clone();
    match passed.comes_back(passed.proxy.settings.connect_timeout) {
        Some(pause) => {
            tracing::debug!(
                CONNECTION_ID = id, PEER = %peer,
                "connection {id} of {peer} came back unserved: it is handed over again"
            );
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                serve_client(passed).await;
            });
        }
        None => {
            if let Some(connection) = passed.connection() {
                let why = "whoever it is handed over to closes it unserved, again and again";
                passed.proxy.count_unreachable(connection, &why);
                connection.reset_on_close();
            }
        }
    }
}

fn tell_aborted(connection: &Connection) {
    let Some(why) = connection.why_aborted() else {
        return;
    };
    let message_id = (why == Abort::PeerGone).then_some(event::PEER_GONE);
    tracing::info!(
        MESSAGE_ID = message_id, CONNECTION_ID = connection.id, PEER = %connection.peer,
        REASON = why.as_str(),
        "connection {} of {} was ended: {}", connection.id, connection.peer, why.as_str()
    );
}

/// Carries one client to the end, or until it may be handed over: then it is its turn.
async fn carry(
    proxy: &Proxy,
    connection: &Connection,
    spare: Spare,
    until: Option<Instant>,
) -> Next {
    tokio::select! {
        biased;
        carried = connect_and_relay(proxy, connection, spare, until) => match carried {
            Ok(Next::Over) => {}
            Ok(next) => return next,
            Err(error) => {
                tracing::error!(
                    CONNECTION_ID = connection.id, PEER = %connection.peer, ERROR = %error,
                    "client {} was given up: its sockets cannot be watched: {error}", connection.peer
                );
                connection.reset_on_close();
            }
        },
        _ = connection.aborted() => {
            connection.reset_on_close();
            tell_aborted(connection);
        }
    }
    tell_ended(connection);
    Next::Over
}

fn tell_ended(connection: &Connection) {
    let (received, sent) = connection.carried();
    tracing::debug!(
        CONNECTION_ID = connection.id, PEER = %connection.peer,
        RECEIVED_BYTES = received, SENT_BYTES = sent,
        DURATION_USEC = micros(connection.age(Uptime::now())),
        "connection {} of {} has ended: {received} bytes received, {sent} sent",
        connection.id, connection.peer
    );
}

/// Fails only when the runtime cannot watch a socket.
async fn connect_and_relay(
    proxy: &Proxy,
    connection: &Connection,
    spare: Spare,
    until: Option<Instant>,
) -> io::Result<Next> {
    let client = Stream::of(connection.client.as_fd(), connection.peer.family())?;
    let settings = &proxy.settings;
    let Some(first_target) = proxy.target() else {
        client.reset_on_close();
        return Ok(Next::Over);
    };
    let target = || proxy.target().unwrap_or_else(|| first_target.clone());
    // Whoever has had no room waits for it at once.
    if let Address::Handover(path) = &*first_target
        && let Ok(sender) = proxy.handover.sender(path)
    {
        return wait_in_turn(proxy, connection, &client, sender, until).await;
    }
    let limit = until.map(|until| until.saturating_duration_since(Instant::now()));
    let connected = tokio::select! {
        biased; // what a client said before it left is still delivered if the upstream is there
        result = upstream::connect(target, limit, settings.keepalive, spare) => result,
        // Nobody is left to be served.
        () = client.broken() => return Ok(Next::Over),
    };
    let connected = match connected {
        Ok(connected) => connected,
        Err(error) => {
            proxy.count_unreachable(connection, &error);
            client.reset_on_close();
            return Ok(Next::Over);
        }
    };
    if let Address::Handover(path) = &*connected.target {
        return Ok(again(proxy, connection, path, until));
    }
    let connected = connection.upstream.get_or_init(|| connected);
    let address = &connected.target;
    let upstream = Stream::of(connected.socket.as_fd(), address.family())?;
    tracing::debug!(
        CONNECTION_ID = connection.id, PEER = %connection.peer, UPSTREAM = %address,
        "connection {}: {} leads to {address}", connection.id, connection.peer
    );
    if let Some(protocol) = settings.proxy_protocol {
        let header = protocol.header(addresses(connection));
        if let Err(error) = upstream.send_all(&header).await {
            proxy.count_unreachable(connection, &error);
            client.reset_on_close();
            return Ok(Next::Over);
        }
    }
    match relay::relay(&client, &upstream, connection).await {
        Ending::ClientBroken(kind) if is_gone(kind) => tell_gone(connection, "the client"),
        Ending::UpstreamBroken(kind) if is_gone(kind) => tell_gone(connection, "the upstream"),
        Ending::Orderly | Ending::ClientBroken(_) | Ending::UpstreamBroken(_) => {}
    }
    Ok(Next::Over)
}

/// Waits for the right to hand a client over, and from time to time looks whether the target is
/// still the same.
async fn wait_in_turn(
    proxy: &Proxy,
    connection: &Connection,
    client: &Stream<BorrowedFd<'_>>,
    sender: Arc<Sender>,
    until: Option<Instant>,
) -> io::Result<Next> {
    let attempt = Instant::now() + HANDOVER_ATTEMPT;
    let attempt = until.map_or(attempt, |until| until.min(attempt));
    let turn = tokio::select! {
        biased;
        turn = Box::pin(tokio::time::timeout_at(attempt, sender.in_turn())) => turn,
        // Nobody is left to be served.
        () = client.broken() => return Ok(Next::Over),
    };
    if let Ok(turn) = turn {
        return Ok(Next::HandOver(turn?));
    }
    Ok(again(proxy, connection, sender.path(), until))
}

/// A client waits on, unless its time is over.
fn again(proxy: &Proxy, connection: &Connection, path: &Path, until: Option<Instant>) -> Next {
    if until.is_none_or(|until| Instant::now() < until) {
        return Next::Again;
    }
    let why = format!("nobody takes clients at handover:{}", path.display());
    proxy.count_unreachable(connection, &why);
    connection.reset_on_close();
    Next::Over
}

/// Whether the kernel's own probes found that nobody is there.
fn is_gone(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(kind, TimedOut | HostUnreachable | NetworkUnreachable)
}

fn tell_gone(connection: &Connection, who: &str) {
    tracing::info!(
        MESSAGE_ID = event::PEER_GONE, CONNECTION_ID = connection.id, PEER = %connection.peer,
        "connection {} of {} was ended: {who} did not answer for the keepalive time",
        connection.id, connection.peer
    );
}

/// The client's address and the one it connected to, if they are of TCP.
fn addresses(connection: &Connection) -> Option<(SocketAddr, SocketAddr)> {
    let Peer::Tcp(client) = connection.peer else {
        return None;
    };
    let local = rustix::net::getsockname(&connection.client).ok()?;
    Some((client, SocketAddr::try_from(local).ok()?))
}
