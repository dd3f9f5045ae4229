//! `metrics --serve`: answers Prometheus on sockets that systemd has passed, with HTTP/1.0, one request for each
//! connection. All costs are bounded, so that a broken or hostile client does not delay others for long.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::collection;
use super::open_metrics;
use crate::ctl::failure::CtlFailure;
use crate::ctl::find::Selection;
use crate::service::activation;
use crate::service::client_socket::ClientSocket;
use crate::service::http_exchange::{HttpAnswer, exchange};
use crate::service::http_request::{HttpMethod, HttpRequest, RequestRefusal};
use crate::service::listener::{Accepted, Listener, next_arrival};
use crate::service::program::note;
use crate::service::stream::Stream;

/// How long a client may take for its request, and again for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most clients at a time; further ones wait in the backlog.
const CLIENTS_MAX: u32 = 8;

/// The process ends when no client has come for so long; the next one starts it again.
const IDLE_TIME: Duration = Duration::from_secs(300);

/// The pause when a client could not be accepted.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

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
    exchange(&Stream::of(socket)?, PATIENCE, |request| {
        answer(request, selection)
    })
    .await
}

async fn answer(request: HttpRequest, selection: &Selection) -> HttpAnswer {
    if let Err(refusal) = check(&request) {
        return HttpAnswer::refusal(refusal);
    }
    match collection::text(selection, false).await {
        Ok(body) => HttpAnswer {
            status: "200 OK",
            kind: open_metrics::CONTENT_TYPE,
            body,
        },
        Err(failure) => HttpAnswer::line("500 Internal Server Error", failure),
    }
}

/// Whether the request is for the metrics.
fn check(request: &HttpRequest) -> Result<(), RequestRefusal> {
    match (request.method, request.path.as_str()) {
        (HttpMethod::Options, _) => Err(RequestRefusal::Method),
        (_, "/" | "/metrics") => Ok(()),
        _ => Err(RequestRefusal::Path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_are_asked_for_in_few_ways() {
        for (method, path, expected) in [
            (HttpMethod::Get, "/metrics", Ok(())),
            (HttpMethod::Get, "/", Ok(())),
            (HttpMethod::Head, "/metrics", Ok(())),
            (HttpMethod::Get, "/metrics/x", Err(RequestRefusal::Path)),
            (HttpMethod::Get, "/..%2fmetrics", Err(RequestRefusal::Path)),
            (HttpMethod::Options, "/", Err(RequestRefusal::Method)),
        ] {
            let path = path.to_owned();
            assert_eq!(check(&HttpRequest { method, path }), expected);
        }
    }
}
