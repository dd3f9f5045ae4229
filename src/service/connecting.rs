//! Connecting to the first address of several that answers.

use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::exhausted::is_exhausted;
use super::happy_eyeballs::Race;

/// Has the race run: `attempt` connects to one address. The first connection that is made is returned, the
/// other attempts are dropped. Cancel safe.
///
/// An attempt may fail because no descriptor is left. Then the oldest one is given up for it, so that two
/// descriptors are not needed to get behind an address that is silent.
///
/// # Errors
///
/// The last error, when every attempt has failed.
pub async fn connect<T, A>(
    mut race: Race,
    mut attempt: impl FnMut(SocketAddr) -> A,
) -> io::Result<T>
where
    A: Future<Output = io::Result<T>>,
{
    let mut under_way: Vec<(SocketAddr, Pin<Box<A>>)> = Vec::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = race.begin(Instant::now()) {
            under_way.push((address, Box::pin(attempt(address))));
        }
        if race.is_lost() {
            return Err(error);
        }
        let (address, failed) = tokio::select! {
            biased;
            (address, result) = decided(&mut under_way) => match result {
                Ok(connected) => return Ok(connected),
                Err(failed) => (address, failed),
            },
            () = reached(race.due()) => continue,
        };
        let now = Instant::now();
        if is_exhausted(&failed) && !under_way.is_empty() {
            under_way.remove(0);
            race.makes_room_for(address, now);
        } else {
            race.failed(now);
            error = failed;
        }
    }
}

/// As `work`, but an error when it is not done by then.
///
/// # Errors
///
/// `TimedOut`, or that of `work`.
pub async fn by<T>(until: Instant, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout_at(until, work)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Waits for the first attempt that is decided, and takes it out.
async fn decided<T, A>(attempts: &mut Vec<(SocketAddr, Pin<Box<A>>)>) -> (SocketAddr, io::Result<T>)
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

async fn reached(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::time::Duration;

    const SILENT: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
    const SERVING: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 2);
    const REFUSING: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3);

    /// What becomes of an attempt to reach one of them.
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
    async fn when_all_refuse_it_is_told_and_when_one_is_silent_it_is_waited_for() {
        let error = connect(race(&[REFUSING]), attempt).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let until = Instant::now() + Duration::from_millis(20);
        let error = by(until, connect(race(&[REFUSING, SILENT]), attempt)).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(connect(race(&[]), attempt).await.is_err());
    }

    /// With a single descriptor the second address has its turn too.
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
            let held = (*free.borrow() > 0).then(|| DescriptorGuard(&free));
            if held.is_some() {
                *free.borrow_mut() -= 1;
            }
            async move {
                let _held = held.ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))?;
                attempt(address).await
            }
        };
        let reached = connect(race(&[SILENT, SERVING]), limited).await;
        assert_eq!(reached.unwrap(), SERVING);
        assert_eq!(*free.borrow(), 1);
        assert!(connect(race(&[SILENT, REFUSING]), limited).await.is_err());
    }
}
