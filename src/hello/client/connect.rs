//! Getting to the server.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

use super::failure::{Failure, note};
use super::options::Options;
use crate::service::address::Address;
use crate::service::stream::Stream;

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Connects, again and again if the options say so.
///
/// # Errors
///
/// When the server cannot be reached in time.
pub async fn connect(
    address: &Address,
    options: &Options,
    interactive: bool,
) -> Result<Stream, Failure> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        let failure = match attempt(address, options.timeout.finite()).await {
            Ok(stream) => return Ok(stream),
            Err(failure @ Failure::UnknownHost { .. }) => return Err(failure),
            Err(failure) => failure,
        };
        let waited = started.elapsed();
        match options.wait {
            Some(wait) if wait.finite().is_none_or(|wait| waited < wait) => {
                if interactive && pause < PAUSE_MAX && pause * 2 >= PAUSE_MAX {
                    note(format_args!("waiting for {address} (Ctrl-C ends)"));
                }
                let left = wait.finite().map(|wait| wait - waited);
                sleep(left.map_or(pause, |left| left.min(pause))).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            _ => return Err(failure),
        }
    }
}

async fn attempt(address: &Address, limit: Option<Duration>) -> Result<Stream, Failure> {
    let Some(limit) = limit else {
        return try_all(address, None).await;
    };
    match timeout(limit, try_all(address, Some(Instant::now() + limit))).await {
        Ok(result) => result,
        Err(_) => Err(Failure::ConnectTimedOut {
            address: address.clone(),
            after: limit,
        }),
    }
}

/// Tries all addresses of the server until one answers. Each gets a fair share of the time, so that
/// one behind which nobody is does not use it up.
async fn try_all(address: &Address, deadline: Option<Instant>) -> Result<Stream, Failure> {
    let failed = |error| Failure::of_connection(address, error);
    let connected = match address {
        Address::Tcp { host, port } => {
            let found = lookup(host, *port).await?;
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            let mut left = found.len() as u32;
            for socket in found {
                let share = deadline
                    .map(|deadline| deadline.saturating_duration_since(Instant::now()) / left);
                left -= 1;
                match with_limit(share, TcpStream::connect(socket)).await {
                    Ok(stream) => return open(stream.into_std()).map_err(failed),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
        Address::Unix(path) => unix(path).await,
        // Such a name begins with a NUL byte, unix(7).
        Address::Abstract(name) => unix(&PathBuf::from(format!("\0{name}"))).await,
        Address::Vsock { .. } | Address::Handover(_) => Err(io::ErrorKind::Unsupported.into()),
    };
    connected.map_err(failed)
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let unknown = |error| Failure::UnknownHost {
        host: host.to_owned(),
        error,
    };
    let found: Vec<_> = lookup_host((host, port)).await.map_err(unknown)?.collect();
    match found.is_empty() {
        true => Err(unknown(io::ErrorKind::NotFound.into())),
        false => Ok(found),
    }
}

async fn with_limit<T>(
    limit: Option<Duration>,
    connect: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match limit {
        None => connect.await,
        Some(limit) => timeout(limit, connect)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
    }
}

/// Connects to an AF_UNIX socket. While its backlog is full a non-blocking connect fails with
/// EAGAIN, connect(2), where TCP would wait: so we wait.
async fn unix(path: &Path) -> io::Result<Stream> {
    let mut pause = Duration::from_millis(10);
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return open(stream.into_std()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn open(socket: io::Result<impl Into<OwnedFd>>) -> io::Result<Stream> {
    Stream::new(socket?.into())
}
