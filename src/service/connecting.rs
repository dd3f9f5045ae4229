//! Connecting to the first of several addresses that answers.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::exhausted::is_exhausted;
use super::happy_eyeballs::Race;

/// Runs the race: `attempt` connects to one address. Returns the first connection. Cancel safe.
///
/// If an attempt fails for lack of descriptors, the oldest one is given up for it: one descriptor is enough to
/// get past a silent address. Fails with the last error when all attempts have failed.
pub async fn connect<T, A>(
    mut race: Race,
    mut attempt: impl FnMut(SocketAddr) -> A,
) -> io::Result<T>
where
    A: Future<Output = io::Result<T>>,
{
    let mut attempts: Vec<(SocketAddr, Pin<Box<A>>)> = Vec::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = race.begin(Instant::now()) {
            attempts.push((address, Box::pin(attempt(address))));
        }
        if race.is_lost() {
            return Err(error);
        }
        let due = race.due();
        let (address, failure) = tokio::select! {
            biased;
            (address, result) = finished(&mut attempts) => match result {
                Ok(connected) => return Ok(connected),
                Err(failure) => (address, failure),
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => continue,
        };
        let now = Instant::now();
        if is_exhausted(&failure) && !attempts.is_empty() {
            attempts.remove(0);
            race.retry_instead(address, now);
        } else {
            race.failed(now);
            error = failure;
        }
    }
}

/// Limits `work` to the time until `until`. Fails with `TimedOut` or the error of `work`.
pub async fn by<T>(until: Instant, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout_at(until, work)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Waits for the first attempt that ends, and removes it.
async fn finished<T, A>(
    attempts: &mut Vec<(SocketAddr, Pin<Box<A>>)>,
) -> (SocketAddr, io::Result<T>)
where
    A: Future<Output = io::Result<T>>,
{
    let (index, result) = poll_fn(|context| {
        for (index, (_, attempt)) in attempts.iter_mut().enumerate() {
            if let Poll::Ready(result) = attempt.as_mut().poll(context) {
                return Poll::Ready((index, result));
            }
        }
        Poll::Pending
    })
    .await;
    let (address, _) = attempts.remove(index);
    (address, result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::future::pending;
    use std::time::Duration;

    const fn local(port: u16) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
    }
    const SILENT: SocketAddr = local(1);
    const SERVING: SocketAddr = local(2);
    const REFUSING: SocketAddr = local(3);

    async fn attempt(address: SocketAddr) -> io::Result<SocketAddr> {
        match address {
            SILENT => pending().await,
            SERVING => Ok(SERVING),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn race(addresses: &[SocketAddr]) -> Race {
        Race::new(addresses.iter().copied(), Instant::now(), None)
    }

    #[tokio::test]
    async fn an_address_that_is_silent_has_a_quarter_of_a_second() {
        let start = Instant::now();
        let reached = connect(race(&[SILENT, SERVING]), attempt).await;
        assert_eq!(reached.unwrap(), SERVING);
        assert!(start.elapsed() >= Duration::from_millis(250));
    }

    #[tokio::test]
    async fn it_fails_when_all_refuse_and_waits_for_one_that_is_silent() {
        let error = connect(race(&[REFUSING]), attempt).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let until = Instant::now() + Duration::from_millis(20);
        let error = by(until, connect(race(&[REFUSING, SILENT]), attempt)).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(connect(race(&[]), attempt).await.is_err());
    }

    #[tokio::test]
    async fn one_descriptor_is_enough_to_get_behind_a_silent_address() {
        struct DescriptorGuard<'a>(&'a RefCell<usize>);
        impl Drop for DescriptorGuard<'_> {
            fn drop(&mut self) {
                *self.0.borrow_mut() += 1;
            }
        }
        let free = RefCell::new(1);
        let limited = |address| {
            let guard = (*free.borrow() > 0).then(|| DescriptorGuard(&free));
            if guard.is_some() {
                *free.borrow_mut() -= 1;
            }
            async move {
                let _guard = guard.ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))?;
                attempt(address).await
            }
        };
        let reached = connect(race(&[SILENT, SERVING]), limited).await;
        assert_eq!(reached.unwrap(), SERVING);
        assert_eq!(*free.borrow(), 1);
        assert!(connect(race(&[SILENT, REFUSING]), limited).await.is_err());
    }
}
