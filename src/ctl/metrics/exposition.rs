//! `metrics --serve`: answers Prometheus on sockets that systemd has passed, with HTTP/1.0, one request for each
//! connection. All costs are bounded, so that a broken or hostile client does not delay others for long.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::collection;
use super::http_request::{HttpRequest, RequestRefusal};
use super::open_metrics;
use crate::ctl::failure::CtlFailure;
use crate::ctl::find::Selection;
use crate::service::activation;
use crate::service::client_socket::ClientSocket;
use crate::service::listener::{Accepted, Listener, next_arrival};
use crate::service::program::note;
use crate::service::stream::Stream;

/// The longest request.
const REQUEST_MAX: usize = 8 * 1024;

/// How long a client may take for its request, and again for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most clients at a time; further ones wait in the backlog.
const CLIENTS_MAX: u32 = 8;

/// The process ends when no client has come for so long; the next one starts it again.
const IDLE_TIME: Duration = Duration::from_secs(300);

/// The pause when a client could not be accepted.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What a failure is, as the type of a text.
const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves until nobody has come for [`IDLE_TIME`]. Fails without a socket, and when it breaks.
pub async fn serve(selection: Selection) -> Result<(), CtlFailure> {
    let listeners = listeners()?;
    let selection = Arc::new(selection);
    let seats = Arc::new(Semaphore::new(CLIENTS_MAX as usize));
    loop {
        // It is never closed.
        let seat = Arc::clone(&seats).acquire_owned().await;
        let Ok(accepted) = timeout(IDLE_TIME, next_arrival(&listeners)).await else {
            drop(seat);
            // The last ones are answered.
            let _ = seats.acquire_many(CLIENTS_MAX).await;
            return Ok(());
        };
        match accepted {
            Ok(Accepted::Client(client)) => {
                let selection = Arc::clone(&selection);
                tokio::spawn(async move {
                    // One that has gone or is too slow gets no answer.
                    let _ = converse(client.socket, &selection).await;
                    drop(seat);
                });
            }
            Ok(Accepted::Exhausted(error)) => {
                note(format_args!("cannot accept a client: {error}; it waits"));
                sleep(EXHAUSTED_PAUSE).await;
            }
            Ok(Accepted::Gone | Accepted::NoClient) => {}
            Err(error) => {
                let what = "the socket for clients is broken";
                return Err(CtlFailure::System { what, error });
            }
        }
    }
}

fn listeners() -> Result<Vec<Listener>, CtlFailure> {
    let sockets = activation::inherited().map_err(|error| CtlFailure::Usage(error.to_string()))?;
    let listeners = Listener::inherit_all(sockets);
    let listeners = listeners.map_err(|error| CtlFailure::Usage(error.to_string()))?;
    match listeners.is_empty() {
        false => Ok(listeners),
        true => Err(CtlFailure::Usage(
            "--serve needs a socket from systemd: start disnix-tcp-proxy-metrics.socket, or call \
             `metrics` without it"
                .to_owned(),
        )),
    }
}

async fn converse(socket: ClientSocket, selection: &Selection) -> io::Result<()> {
    let stream = Stream::of(socket)?;
    let request = timeout(PATIENCE, receive(&stream)).await??;
    let (status, kind, body) = match &request {
        Err(refusal) => (refusal.status(), PLAIN, format!("{refusal}\n")),
        Ok(_) => match collection::text(selection, false).await {
            Ok(text) => ("200 OK", open_metrics::CONTENT_TYPE, text),
            Err(failure) => ("500 Internal Server Error", PLAIN, format!("{failure}\n")),
        },
    };
    let mut answer = format!(
        "HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if !request.is_ok_and(|request| request.is_for_head) {
        answer.push_str(&body);
    }
    timeout(PATIENCE, stream.send_all(answer.as_bytes())).await?
}

async fn receive<F>(stream: &Stream<F>) -> io::Result<Result<HttpRequest, RequestRefusal>>
where
    F: std::os::fd::AsFd + std::os::fd::AsRawFd,
{
    let mut received = vec![0; REQUEST_MAX];
    let mut length = 0;
    loop {
        match HttpRequest::of(&received[..length]) {
            Ok(None) if length == REQUEST_MAX => return Ok(Err(RequestRefusal::TooLong)),
            Ok(None) => {}
            Ok(Some(request)) => return Ok(Ok(request)),
            Err(refusal) => return Ok(Err(refusal)),
        }
        match stream.receive(&mut received[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => length += count,
        }
    }
}
