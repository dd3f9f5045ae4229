//! The successor of this process, which has retired, and what is still connected here.
//!
//! The successor is sent the number of connections that are left, and counts them as its own: they end when it ends.
//! It is passed the detached clients as well, some at a time. From the moment at which it is sent a client's
//! descriptor, this process leaves that socket alone, and closes its own descriptor when the successor has confirmed
//! that it has the client. So one of the two has it, whatever happens, and never both.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::callers::{PATIENCE, send};
use crate::interface::{ConfirmParameters, PassedClient, RetireReply, qualified};
use crate::proxy::admission::{Abort, AdmittedClient, Gate};
use crate::proxy::assembly::Proxy;
use crate::service::plural::clause;
use crate::service::varlink::{Call, Reply, VarlinkConnection};

/// The connection to the successor.
pub(super) struct Attendance {
    connection: VarlinkConnection,
    proxy: Arc<Proxy>,
    /// The number of connections that it was told.
    left: usize,
    /// Clients that it was sent, and that it has not confirmed yet.
    unconfirmed: Vec<AdmittedClient>,
    /// When it must have confirmed them.
    due: Instant,
    /// How long it may take for that.
    patience: Duration,
    /// The number of clients that it has confirmed.
    passed: usize,
}

impl Attendance {
    /// The successor was told that `left` connections are left.
    pub(super) fn new(connection: VarlinkConnection, proxy: &Arc<Proxy>, left: usize) -> Self {
        Self {
            connection,
            proxy: Arc::clone(proxy),
            left,
            unconfirmed: Vec::new(),
            due: Instant::now(),
            patience: PATIENCE,
            passed: 0,
        }
    }

    /// Tells the successor how many connections are left, until none is, and passes detached clients on. If it hangs up,
    /// shuts down its side or does not confirm in time, what is left is cut: the successor counts it as its own, and must
    /// not be wrong.
    pub(super) async fn run(mut self) {
        if self.attend().await.is_err() {
            // What it has confirmed before is its own.
            self.connection.shutdown_read();
            while let Ok(Some(call)) = self.connection.receive().await {
                self.confirmed(call);
            }
            self.cut();
        }
        if self.passed > 0 {
            tracing::info!(
                PASSED = self.passed,
                "{} passed on to the process that has taken over",
                clause(self.passed, "detached client", ("was", "were"))
            );
        }
    }

    /// Fails if the successor has hung up, or does not confirm in time.
    async fn attend(&mut self) -> io::Result<()> {
        let mut changes = self.proxy.admission.wakers.subscribe();
        let mut is_cut = false;
        while self.left > 0 {
            changes.mark_unchanged();
            // Detached clients too: as long as they are here they may get their upstreams here.
            let open = self.open();
            if open != self.left {
                self.left = open;
                send(&mut self.connection, &retire_reply(open, Vec::new())).await?;
                continue;
            }
            let may_pass = !is_cut && self.unconfirmed.is_empty();
            tokio::select! {
                _ = changes.changed() => {}
                call = self.connection.receive(), if !is_cut => match call {
                    Ok(Some(call)) => self.confirmed(call),
                    Ok(None) | Err(_) => {
                        is_cut = true;
                        self.cut();
                    }
                },
                clients = self.proxy.workers.passing_on.next(), if may_pass => {
                    self.pass_on(clients).await?;
                }
                () = sleep_until(self.due), if !self.unconfirmed.is_empty() => {
                    tracing::warn!(
                        "the process that has taken over does not say whether it has the clients that it was sent"
                    );
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
        Ok(())
    }

    fn open(&self) -> usize {
        self.proxy.admission.read_gate(Gate::connected)
    }

    /// Fails if the successor has hung up.
    async fn pass_on(&mut self, clients: Vec<AdmittedClient>) -> io::Result<()> {
        let passed = clients.iter().map(AdmittedClient::passed).collect();
        let reply = retire_reply(self.open(), passed);
        self.unconfirmed = clients;
        self.due = Instant::now() + self.patience;
        let sockets: Vec<_> = self
            .unconfirmed
            .iter()
            .map(AdmittedClient::socket)
            .collect();
        match timeout(PATIENCE, self.connection.send_with(&reply, &sockets)).await? {
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                // Nothing was sent.
                self.stop(
                    "too many descriptors of this user are on their way (raise LimitNOFILE=)",
                );
                Ok(())
            }
            result => result,
        }
    }

    /// The successor has confirmed that it has clients. Those that it has not stay here.
    fn confirmed(&mut self, call: Call) {
        if call.method != qualified("ConfirmClients") {
            return;
        }
        let Ok(ConfirmParameters { taken, reason }) = serde_json::from_value(call.parameters)
        else {
            return;
        };
        let taken = taken.min(self.unconfirmed.len());
        self.passed += taken;
        // This closes their sockets here, which the successor has, too.
        self.unconfirmed.drain(..taken);
        if !self.unconfirmed.is_empty() {
            self.stop(reason.as_deref().unwrap_or("it gave no reason"));
        }
    }

    /// What is here stays here, for this reason.
    fn stop(&mut self, why: &str) {
        tracing::warn!(
            REASON = why,
            "the process that has taken over takes no more detached clients, and they go on here: {why}"
        );
        let clients = std::mem::take(&mut self.unconfirmed);
        self.proxy.stop_passing_on(clients);
    }

    fn cut(&mut self) {
        self.proxy.admission.connections.abort_all(Abort::Successor);
        let clients = std::mem::take(&mut self.unconfirmed);
        self.proxy.stop_passing_on(clients);
    }
}

pub(super) fn retire_reply(open: usize, clients: Vec<PassedClient>) -> Reply {
    let reply = RetireReply { open, clients };
    match open {
        0 => Reply::last(reply),
        _ => Reply::continued(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::ConnectionStatus;
    use crate::proxy::admission::{Admission, LockDirectory, Sweep, TargetFile};
    use crate::proxy::requests::RequestKind;
    use crate::proxy::route::{Handover, Route, RouteSettings};
    use crate::proxy::workers::Threads;
    use crate::service::loopback::pair;
    use std::io::Read;
    use std::net::TcpStream;
    use std::os::fd::OwnedFd;
    use tokio::net::UnixStream;

    fn proxy() -> Arc<Proxy> {
        let lock = LockDirectory::new(None);
        let admission = Admission::new(Arc::default(), 100, None, lock, None);
        let settings = RouteSettings {
            target_fixed: true,
            connect_timeout: None,
            keepalive: None,
            proxy_protocol: None,
            requests: Some(RequestKind::Lines),
            detach_idle: None,
        };
        let route = Route::new(
            Arc::new(admission),
            settings,
            None,
            TargetFile::new(None),
            Handover::new(None).unwrap(),
            &Arc::default(),
        );
        let threads = Threads::of_option(Some(1));
        let proxy = Proxy::new(Arc::new(route), threads, Sweep::default(), Vec::new()).unwrap();
        proxy.workers.start().unwrap();
        Arc::new(proxy)
    }

    fn detached_client(proxy: &Proxy) -> TcpStream {
        let (client, accepted) = pair();
        accepted.set_nonblocking(true).unwrap();
        let connection = ConnectionStatus {
            id: 1,
            peer: client.local_addr().unwrap().to_string(),
            upstream: None,
            age_usec: 0,
            idle_usec: 0,
            received_bytes: 0,
            sent_bytes: 0,
            detached: true,
            opaque: None,
        };
        let passed = PassedClient {
            connection,
            held: false,
            request: String::new(),
            unanswered: 0,
        };
        proxy.adopt_passed(std::iter::once((OwnedFd::from(accepted), passed)));
        client
    }

    #[tokio::test]
    async fn a_successor_that_does_not_confirm_in_time_is_waited_for_no_longer() {
        let proxy = proxy();
        let mut client = detached_client(&proxy);
        proxy.retire(true, |_| Ok(())).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let connection = VarlinkConnection::new(ours, 1 << 16);
        let mut attendance = Attendance::new(connection, &proxy, 1);
        attendance.patience = Duration::from_millis(10);
        let attended = timeout(PATIENCE, attendance.run()).await;
        attended.expect("it waits for the successor");
        // Its descriptor of the client is the last one.
        drop(theirs);
        let end = client.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
        proxy.workers.stop();
    }
}
