//! Connecting to the server.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

use super::failure::ClientFailure;
use super::options::ClientOptions;
use crate::service::address::Address;
use crate::service::connecting;
use crate::service::happy_eyeballs::Race;
use crate::service::program::note;
use crate::service::stream::Stream;

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Connects, again and again if the options say so.
pub async fn connect(
    address: &Address,
    options: &ClientOptions,
    interactive: bool,
) -> Result<Stream, ClientFailure> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        let failure = match attempt(address, options.timeout.finite()).await {
            Ok(stream) => return Ok(stream),
            Err(failure @ ClientFailure::UnknownHost(..)) => return Err(failure),
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

async fn attempt(address: &Address, limit: Option<Duration>) -> Result<Stream, ClientFailure> {
    let Some(limit) = limit else {
        return try_all(address, None).await;
    };
    let result = timeout(limit, try_all(address, Some(Instant::now() + limit))).await;
    result.unwrap_or_else(|_| {
        Err(ClientFailure::ConnectTimedOut {
            address: address.clone(),
            after: limit,
        })
    })
}

/// Connects to the first address of the server that answers.
async fn try_all(address: &Address, deadline: Option<Instant>) -> Result<Stream, ClientFailure> {
    let stream = match address {
        Address::Tcp { host, port } => {
            let addresses = lookup(host, *port).await?;
            let race = Race::new(addresses, Instant::now(), deadline);
            let stream = connecting::connect(race, TcpStream::connect).await;
            stream.and_then(|stream| open(stream.into_std()))
        }
        Address::Unix(path) => unix(path).await,
        // Such a name begins with a NUL byte, unix(7).
        Address::Abstract(name) => unix(&PathBuf::from(format!("\0{name}"))).await,
        Address::Vsock { .. } | Address::Handover(_) => Err(io::ErrorKind::Unsupported.into()),
    };
    stream.map_err(|error| ClientFailure::of_connection(address, error))
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, ClientFailure> {
    let unknown = |error| ClientFailure::UnknownHost(host.to_owned(), error);
    let addresses: Vec<_> = lookup_host((host, port)).await.map_err(unknown)?.collect();
    match addresses.is_empty() {
        true => Err(unknown(io::ErrorKind::NotFound.into())),
        false => Ok(addresses),
    }
}

/// Connects to an AF_UNIX socket. A non-blocking connect fails with EAGAIN while its backlog is full, connect(2).
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
    Stream::of(socket?.into())
}
