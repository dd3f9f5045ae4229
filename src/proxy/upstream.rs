//! Connecting to where the proxy leads.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::service::address::Address;
use crate::service::stream::{Stream, keep_alive};

/// The pause after the first attempt that failed; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long one attempt may take. The next one begins afresh, with what the name and the target
/// are by then.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The last attempt, when the time is over, may take so long.
const LAST_ATTEMPT: Duration = Duration::from_millis(100);

/// The upstream could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {target} within {limit:?}: {source}")]
pub struct Unreachable {
    /// The last target that was tried.
    pub target: Address,
    limit: Duration,
    source: io::Error,
}

/// A descriptor that is kept for the socket of an upstream.
///
/// Whoever is accepted needs two descriptors. If all of them could go to accepted clients, these
/// would wait for a second one that never comes; so it is taken before a client is accepted.
#[derive(Debug, Default)]
pub struct Spare(Option<OwnedFd>);

impl Spare {
    /// Has one, taken now unless there is one already.
    ///
    /// # Errors
    ///
    /// When none is left.
    pub fn reserve(&mut self) -> io::Result<()> {
        if self.0.is_none() {
            self.0 = Some(eventfd(0, EventfdFlags::CLOEXEC)?);
        }
        Ok(())
    }

    /// Gives it up for the socket that is about to be made.
    fn release(&mut self) {
        self.0 = None;
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
    target: impl Fn() -> Address,
    limit: Option<Duration>,
    keepalive: Option<Duration>,
    mut spare: Spare,
) -> Result<(Stream, Address), Unreachable> {
    // Without a limit, a time that is as good as never.
    let deadline = Instant::now() + limit.unwrap_or(Duration::from_secs(3_000_000_000));
    let mut pause = FIRST_PAUSE;
    loop {
        let target = target();
        let attempt = (Instant::now() + ATTEMPT).min(deadline.max(Instant::now() + LAST_ATTEMPT));
        spare.release();
        let attempted = timeout_at(attempt, attempt_once(&target, keepalive)).await;
        let error = match attempted {
            Ok(Ok(stream)) => return Ok((stream, target)),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        // Without one the next attempt may fail, and the one after it.
        let _ = spare.reserve();
        if Instant::now() >= deadline {
            let limit = limit.unwrap_or_default();
            return Err(Unreachable {
                target,
                limit,
                source: error,
            });
        }
        tracing::debug!(UPSTREAM = %target, ERROR = %error, "{target} is not there yet: {error}");
        // The last attempt is made when the time is over, not before.
        sleep_until((Instant::now() + pause).min(deadline)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Tries every address of the target once; the last error counts.
async fn attempt_once(target: &Address, keepalive: Option<Duration>) -> io::Result<Stream> {
    match target {
        Address::Tcp { host, port } => {
            if let Some(address) = target.literal() {
                return connect_tcp(address, keepalive).await;
            }
            let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in tokio::net::lookup_host((host.as_str(), *port)).await? {
                match connect_tcp(address, keepalive).await {
                    Ok(stream) => return Ok(stream),
                    Err(failed) => error = failed,
                }
            }
            Err(error)
        }
        Address::Unix(path) => connect_to(Domain::UNIX, &SockAddr::unix(path)?).await,
        Address::Abstract(name) => {
            connect_to(Domain::UNIX, &SockAddr::unix(format!("\0{name}"))?).await
        }
        Address::Vsock { cid, port } => {
            connect_to(Domain::VSOCK, &SockAddr::vsock(*cid, *port)).await
        }
    }
}

async fn connect_tcp(address: SocketAddr, keepalive: Option<Duration>) -> io::Result<Stream> {
    let stream = connect_to(Domain::for_address(address), &address.into()).await?;
    stream.send_at_once();
    // This machine does not vanish without telling its own sockets.
    if let (Some(keepalive), false) = (keepalive, is_this_machine(address.ip())) {
        keep_alive(&stream, keepalive)?;
    }
    Ok(stream)
}

fn is_this_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

async fn connect_to(domain: Domain, address: &SockAddr) -> io::Result<Stream> {
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)?;
    // EINPROGRESS: the socket becomes writable when it is decided, connect(2). An AF_UNIX socket is
    // decided at once; EAGAIN means that the listener's backlog is full.
    match socket.connect(address) {
        Ok(()) => Stream::new(socket.into()),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            let attempt = Attempt(Some(Stream::new(socket.into())?));
            attempt.decided().await
        }
        Err(error) => Err(error),
    }
}

/// A connection in the making. If it is given up because the client has gone, an upstream that has
/// accepted it by then sees a reset: the client has not said that it has nothing to say.
struct Attempt(Option<Stream>);

impl Attempt {
    async fn decided(mut self) -> io::Result<Stream> {
        if let Some(stream) = &self.0 {
            stream.writable().await?;
            if let Some(error) = stream.take_error() {
                return Err(error);
            }
        }
        self.0
            .take()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Attempt {
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
        let target = Address::Unix(path.clone());
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
            targets.pop().unwrap()
        };
        let (_stream, target) = connect(next, None, None, Spare::default()).await.unwrap();
        assert_eq!(target, there);
    }

    #[tokio::test]
    async fn one_that_never_comes_is_given_up_with_its_name_and_the_reason() {
        let target: Address = "unix:/nonexistent/socket".parse().unwrap();
        let limit = Some(Duration::from_millis(30));
        let error = connect(|| target.clone(), limit, None, Spare::default())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("unix:/nonexistent/socket"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }
}
