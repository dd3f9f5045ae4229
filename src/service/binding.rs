//! Listening where a predecessor may be listening still.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::address::Address;
use super::listener::{ListenError, Listener};
use super::timespan::TimeSpan;

/// How often to look whether an address has become free: no event tells.
const INTERVAL: Duration = Duration::from_millis(20);

/// Listens at all of these addresses. For one that is in use it waits for up to `patience`: a service
/// manager may start the next version while the previous one is on its way out.
///
/// # Errors
///
/// For the first that cannot be bound for another reason, or that is still in use then.
pub async fn bind_all(
    addresses: &[Address],
    patience: TimeSpan,
) -> Result<Vec<Listener>, ListenError> {
    let started = Instant::now();
    let mut told = false;
    loop {
        match Listener::bind_all(addresses) {
            Err(ListenError::Bind { address, source })
                if source.kind() == io::ErrorKind::AddrInUse
                    && patience
                        .finite()
                        .is_none_or(|time| started.elapsed() < time) =>
            {
                if !told {
                    tracing::info!(%address, "waiting for the address, which is in use");
                    told = true;
                }
                sleep(INTERVAL).await;
            }
            result => return result,
        }
    }
}
