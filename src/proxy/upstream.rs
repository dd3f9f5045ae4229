//! Connecting to where the proxy leads.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connections::Connected;
use crate::service::address::Address;
use crate::service::pacing::{self, is_this_machine};
use crate::service::stream::{Stream, keep_alive};

/// The pause after the first attempt that failed; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long one attempt may take. The next one begins afresh, with what the name and the target
/// are by then.
pub(super) const ATTEMPT: Duration = Duration::from_secs(5);

/// The last attempt, when the time is over, may take so long.
const LAST_ATTEMPT: Duration = Duration::from_millis(100);

/// The upstream could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {target} within {limit:?}: {source}")]
pub struct Unreachable {
    /// The last target that was tried.
    pub target: Arc<Address>,
    limit: Duration,
    source: io::Error,
}

/// A socket that is kept for an upstream.
///
/// Whoever is accepted needs two descriptors. If all of them could go to accepted clients, these
/// would wait for a second one that never comes; so the socket is made before a client is accepted.
#[derive(Debug, Default)]
pub struct Spare(Option<(Domain, Socket)>);

impl Spare {
    /// Has one for this target, made now unless there is one already.
    ///
    /// # Errors
    ///
    /// When no descriptor or memory is left.
    pub fn reserve(&mut self, target: &Address) -> io::Result<()> {
        match self.0 {
            Some(_) => Ok(()),
            None => self.make(domain(target)),
        }
    }

    /// The socket that [`begin`] will connect to this target; `None` if a name has to be looked up first,
    /// or if there is none for it.
    pub(super) fn for_target(&self, target: &Address) -> Option<BorrowedFd<'_>> {
        let wanted = match target {
            Address::Tcp { .. } => Domain::for_address(target.literal()?),
            _ => domain(target),
        };
        let (is, socket) = self.0.as_ref()?;
        (*is == wanted).then(|| socket.as_fd())
    }

    fn make(&mut self, domain: Domain) -> io::Result<()> {
        let kind = Type::STREAM.nonblocking().cloexec();
        self.0 = Some((domain, Socket::new(domain, kind, None)?));
        Ok(())
    }

    /// The socket, of this domain; its descriptor is given up for another one if it was not.
    fn take(&mut self, domain: Domain) -> io::Result<Socket> {
        if !matches!(&self.0, Some((is, _)) if *is == domain) {
            self.0 = None;
            self.make(domain)?;
        }
        let spare = self.0.take();
        spare
            .map(|(_, socket)| socket)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// The domain of the socket for a target; a guess if a name has to be looked up first.
fn domain(target: &Address) -> Domain {
    match target {
        Address::Tcp { .. } => target.literal().map_or(Domain::IPV4, Domain::for_address),
        Address::Unix(_) | Address::Abstract(_) | Address::Handover(_) => Domain::UNIX,
        Address::Vsock { .. } => Domain::VSOCK,
    }
}

/// Connects to the target, again and again until it answers or `limit` is over: a service that is
/// just being started loses nobody. The target is asked for anew each time, so that those who wait
/// follow when it changes. Cancel safe.
///
/// # Errors
///
/// The last error, when the time is over.
pub async fn connect(
    target: impl Fn() -> Arc<Address>,
    limit: Option<Duration>,
    keepalive: Option<Duration>,
    mut spare: Spare,
) -> Result<Connected, Unreachable> {
    // Without a limit, a time that is as good as never.
    let deadline = Instant::now() + limit.unwrap_or(Duration::from_secs(3_000_000_000));
    let mut pause = FIRST_PAUSE;
    loop {
        let target_now = target();
        let begun = begin(&target_now, keepalive, &mut spare);
        let attempt = (Instant::now() + ATTEMPT).min(deadline.max(Instant::now() + LAST_ATTEMPT));
        let attempted = match begun {
            Some(Ok(begun)) => timeout_at(attempt, begun.decided()).await,
            Some(Err(error)) => Ok(Err(error)),
            None => timeout_at(attempt, connect_to_name(&target_now, keepalive, &mut spare)).await,
        };
        let error = match attempted {
            Ok(Ok(socket)) => {
                let target = target_now;
                return Ok(Connected { socket, target });
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        // Without one the next attempt may fail, and the one after it.
        let _ = spare.reserve(&target_now);
        if Instant::now() >= deadline {
            return Err(Unreachable {
                target: target_now,
                limit: limit.unwrap_or_default(),
                source: error,
            });
        }
        tracing::debug!(
            UPSTREAM = %target_now, ERROR = %error, "{target_now} is not there yet: {error}"
        );
        // The last attempt is made when the time is over, not before.
        sleep_until((Instant::now() + pause).min(deadline)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Begins to connect; `None` if a name has to be looked up first. A socket that could not be connected is
/// kept for the next attempt.
pub(super) fn begin(
    target: &Address,
    keepalive: Option<Duration>,
    spare: &mut Spare,
) -> Option<io::Result<Begun>> {
    let address = match target {
        Address::Tcp { .. } => return Some(begin_tcp(target.literal()?, keepalive, spare)),
        Address::Unix(path) => SockAddr::unix(path),
        Address::Abstract(name) => SockAddr::unix(format!("\0{name}")),
        Address::Vsock { cid, port } => Ok(SockAddr::vsock(*cid, *port)),
        Address::Handover(path) => return Some(begin_handover(path, spare)),
    };
    Some(address.and_then(|address| {
        let socket = spare.take(domain(target))?;
        Begun::new(socket, &address, spare)
    }))
}

/// Of a place where clients are handed over it can be said that somebody receives there.
fn begin_handover(path: &Path, spare: &mut Spare) -> io::Result<Begun> {
    // Its descriptor is for the datagram socket, which is of no use otherwise.
    spare.0 = None;
    let socket = Socket::new(Domain::UNIX, Type::DGRAM.nonblocking().cloexec(), None)?;
    Begun::new(socket, &SockAddr::unix(path)?, &mut Spare::default())
}

fn begin_tcp(
    address: SocketAddr,
    keepalive: Option<Duration>,
    spare: &mut Spare,
) -> io::Result<Begun> {
    let socket = spare.take(Domain::for_address(address))?;
    if is_this_machine(address.ip()) {
        // And it does not vanish without telling its own sockets.
        pacing::never(&socket);
    } else if let Some(keepalive) = keepalive {
        keep_alive(&socket, keepalive)?;
    }
    Begun::new(socket, &address.into(), spare)
}

/// Tries every address of a name once; the last error counts.
async fn connect_to_name(
    target: &Address,
    keepalive: Option<Duration>,
    spare: &mut Spare,
) -> io::Result<OwnedFd> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let Address::Tcp { host, port } = target else {
        return Err(error);
    };
    for address in tokio::net::lookup_host((host.as_str(), *port)).await? {
        let connected = match begin_tcp(address, keepalive, spare) {
            Ok(begun) => begun.decided().await,
            Err(failed) => Err(failed),
        };
        match connected {
            Ok(socket) => return Ok(socket),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// A connection in the making.
pub(super) enum Begun {
    /// It is made.
    Decided(Socket),
    /// The peer has not answered yet.
    Pending(Socket),
}

impl Begun {
    fn new(socket: Socket, address: &SockAddr, spare: &mut Spare) -> io::Result<Self> {
        match socket.connect(address) {
            Ok(()) => Ok(Self::Decided(socket)),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                Ok(Self::Pending(socket))
            }
            // An AF_UNIX socket is decided at once; EAGAIN means that the listener's backlog is full.
            Err(error) => {
                if let Ok(domain) = socket.domain() {
                    spare.0 = Some((domain, socket));
                }
                Err(error)
            }
        }
    }

    async fn decided(self) -> io::Result<OwnedFd> {
        match self {
            Self::Decided(socket) => Ok(socket.into()),
            Self::Pending(socket) => Waiting(Some(Stream::new(socket.into())?)).decided().await,
        }
    }
}

/// A connection in the making that is waited for. If it is given up because the client has gone, an
/// upstream that has accepted it by then sees a reset: the client has not said that it has nothing to
/// say.
struct Waiting(Option<Stream>);

impl Waiting {
    async fn decided(mut self) -> io::Result<OwnedFd> {
        if let Some(stream) = &self.0 {
            // It becomes writable when it is decided, connect(2).
            stream.writable().await?;
            if let Some(error) = stream.take_error() {
                return Err(error);
            }
        }
        self.0
            .take()
            .map(Stream::into_fd)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            stream.reset_on_close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::sync::Mutex;

    #[tokio::test]
    async fn an_upstream_that_comes_late_is_reached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("late");
        let target = Arc::new(Address::Unix(path.clone()));
        let connecting = tokio::spawn(connect(
            move || target.clone(),
            None,
            None,
            Spare::default(),
        ));
        tokio::task::yield_now().await;
        let _listener = UnixListener::bind(&path).unwrap();
        connecting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn those_who_wait_follow_when_the_target_changes() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let targets = Mutex::new(vec![there.clone(), "unix:/nonexistent".parse().unwrap()]);
        let next = || {
            let mut targets = targets.lock().unwrap();
            Arc::new(targets.pop().unwrap())
        };
        let connected = connect(next, None, None, Spare::default()).await.unwrap();
        assert_eq!(*connected.target, there);
    }

    /// Whatever the machine's default is.
    #[tokio::test]
    async fn what_goes_to_this_machine_is_not_paced() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let here: Address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let here = Arc::new(here);
        let connected = connect(|| here.clone(), None, None, Spare::default());
        let socket = connected.await.unwrap().socket;
        let chosen = rustix::net::sockopt::tcp_congestion(&socket).unwrap();
        assert!(!chosen.starts_with("bbr"), "{chosen}");
    }

    #[tokio::test]
    async fn one_that_never_comes_is_given_up_with_its_name_and_the_reason() {
        let target: Arc<Address> = Arc::new("unix:/nonexistent/socket".parse().unwrap());
        let limit = Some(Duration::from_millis(30));
        let error = connect(|| target.clone(), limit, None, Spare::default())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("unix:/nonexistent/socket"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }
}
