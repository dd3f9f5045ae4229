//! `metrics --serve`: answers Prometheus on sockets that systemd has passed, with HTTP/1.0, one request for each
//! connection, and `systemd-report` on that with its name. All costs are bounded, so that a broken or hostile client
//! does not delay others for long.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::collection;
use super::open_metrics;
use super::report;
use super::reporter;
use crate::ctl::failure::CtlFailure;
use crate::ctl::find::Selection;
use crate::service::activation;
use crate::service::client_socket::ClientSocket;
use crate::service::exhausted::PAUSE;
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

/// Serves until nobody has come for [`IDLE_TIME`]. Fails without a socket, and when it breaks.
pub async fn serve(selection: Selection) -> Result<(), CtlFailure> {
    let sockets = ServedSockets::inherited()?;
    let selection = Arc::new(selection);
    let seats = Arc::new(Semaphore::new(CLIENTS_MAX as usize));
    let mut is_exhausted = false;
    loop {
        // It is never closed.
        let seat = Arc::clone(&seats).acquire_owned().await;
        let Ok(accepted) = timeout(IDLE_TIME, sockets.next_arrival()).await else {
            drop(seat);
            // The last ones are answered.
            let _ = seats.acquire_many(CLIENTS_MAX).await;
            return Ok(());
        };
        let (is_for_report, accepted) = accepted;
        match accepted {
            Ok(Accepted::Client(client)) => {
                is_exhausted = false;
                let selection = Arc::clone(&selection);
                tokio::spawn(async move {
                    // One that has gone or is too slow gets no answer.
                    let _ = match is_for_report {
                        true => report_to(client.socket, &selection).await,
                        false => converse(client.socket, &selection).await,
                    };
                    drop(seat);
                });
            }
            Ok(Accepted::Exhausted(error)) => {
                if !std::mem::replace(&mut is_exhausted, true) {
                    note(format_args!("cannot accept a client: {error}; it waits"));
                }
                sleep(PAUSE).await;
            }
            Ok(Accepted::Gone | Accepted::NoClient) => {}
            Err(error) => {
                return Err(CtlFailure::Refused(format!(
                    "the socket for clients is broken ({error}): restart disnix-tcp-proxy-metrics.socket"
                )));
            }
        }
    }
}

/// The listeners, for each protocol.
struct ServedSockets {
    http: Vec<Listener>,
    report: Vec<Listener>,
}

impl ServedSockets {
    fn inherited() -> Result<Self, CtlFailure> {
        let usage = |error: String| CtlFailure::Usage(error);
        let inherited = activation::inherited().map_err(|error| usage(error.to_string()))?;
        let listeners = Listener::inherit_all(inherited);
        let listeners = listeners.map_err(|error| usage(error.to_string()))?;
        if listeners.is_empty() {
            return Err(usage(
                "--serve needs a socket from systemd: start disnix-tcp-proxy-metrics.socket, or call \
                 `metrics` without it"
                    .to_owned(),
            ));
        }
        let is_for_report = |listener: &Listener| report::is_for_report(&listener.to_string());
        let (report, http) = listeners.into_iter().partition(is_for_report);
        Ok(Self { http, report })
    }

    /// The next client, and whether it is `systemd-report`. Cancel safe.
    async fn next_arrival(&self) -> (bool, io::Result<Accepted>) {
        tokio::select! {
            accepted = next_arrival(&self.http) => (false, accepted),
            accepted = next_arrival(&self.report) => (true, accepted),
        }
    }
}

async fn report_to(socket: ClientSocket, selection: &Selection) -> io::Result<()> {
    reporter::converse(socket.to_unix()?, selection, PATIENCE).await
}

async fn converse(socket: ClientSocket, selection: &Selection) -> io::Result<()> {
    exchange(&Stream::of(socket)?, PATIENCE, "GET, HEAD", |request| {
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
