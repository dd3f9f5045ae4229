//! `hello-world-server`: answers `hello`, and costs nothing while nobody asks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::options::Options;
use super::protocol::{Lines, Request, Response};
use crate::service::activation::{self, Inherited};
use crate::service::address::Address;
use crate::service::binding;
use crate::service::ending;
use crate::service::handover::ClientSocket;
use crate::service::listener::{Accepted, Arrival, Listener};
use crate::service::program::{self, Failure};
use crate::service::serve::{Admission, Lifetime, Service, serve};
use crate::service::stream::Stream;

/// Answers of one client are sent together, up to about so many bytes.
const ANSWERS: usize = 4096;

/// How much, and for how long, is still read from a client that was refused, so that it can read
/// why: closing a socket with unread bytes resets the connection (RFC 2525, section 2.17).
const FAREWELL_BYTES: usize = 1024 * 1024;
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// A client that does not answer for so long is taken for gone.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// What `FileDescriptorName=` calls sockets to which clients are handed over.
const HANDOVER_NAME: &str = "handover";

/// Descriptors that are not for connections.
const DESCRIPTORS_RESERVED: usize = 32;

/// The program `hello-world-server`.
pub fn main() -> ExitCode {
    let options: Options = program::options();
    program::run("hello-world-server", options.log_level, run(options))
}

async fn run(options: Options) -> Result<(), Failure> {
    let descriptors = usize::try_from(program::raise_descriptor_limit()).unwrap_or(usize::MAX);
    let mut listeners = listeners(&options).await?;
    for listener in &mut listeners {
        listener.set_options(Some(KEEPALIVE))?;
    }
    // A client that was handed over comes with a token.
    let each = match listeners.iter().any(Listener::is_handover) {
        true => 2,
        false => 1,
    };
    let possible = (descriptors.saturating_sub(DESCRIPTORS_RESERVED) / each).max(1);
    let server = Arc::new(Server {
        greeting: options.greeting,
        connections_max: options.connections_max.min(possible),
        open: AtomicUsize::new(0),
        accepted: AtomicU64::new(0),
        stopping: AtomicBool::new(false),
        woken: Notify::new(),
    });
    let lifetime = Lifetime {
        exit_idle_time: options.exit_idle_time.finite(),
        drain_timeout: options.drain_timeout.finite(),
    };
    serve(Arc::new(Greeting(server)), listeners.into(), lifetime).await?;
    Ok(())
}

/// All inherited listeners, or those of the command line.
async fn listeners(options: &Options) -> Result<Vec<Listener>, Failure> {
    let (handovers, inherited): (Vec<Inherited>, Vec<Inherited>) = activation::inherited()?
        .into_iter()
        .partition(|socket| socket.name == HANDOVER_NAME);
    if !handovers.is_empty() || !inherited.is_empty() {
        let mut listeners = Listener::inherit_all(inherited)?;
        for socket in handovers {
            listeners.push(Listener::inherited_handover(socket.fd)?);
        }
        return Ok(listeners);
    }
    if let Some(why) = activation::elsewhere() {
        tracing::warn!("{why}");
    }
    let mut addresses = options.listen.clone();
    if let Some(port) = options.port() {
        let host = "::".to_owned();
        addresses.push(Address::Tcp { host, port });
    }
    let mut listeners = binding::bind_all(&addresses, options.bind_timeout).await?;
    for path in &options.handover {
        listeners.push(binding::bind_handover(path, options.bind_timeout).await?);
    }
    Ok(listeners)
}

/// What all connections share.
struct Server {
    greeting: String,
    connections_max: usize,
    open: AtomicUsize,
    accepted: AtomicU64,
    stopping: AtomicBool,
    woken: Notify,
}

/// One client, counted until this is dropped.
struct Client {
    /// Taken when it is dropped, so that it is closed before it is counted as closed.
    socket: Option<ClientSocket>,
    server: Arc<Server>,
    /// The conversation is over; otherwise it is cut, and that is not to look like its end.
    is_served: bool,
}

impl Drop for Client {
    fn drop(&mut self) {
        if let (Some(socket), false) = (&self.socket, self.is_served) {
            ending::reset_on_close(socket);
        }
        drop(self.socket.take());
        self.server.open.fetch_sub(1, Relaxed);
        self.server.woken.notify_one();
    }
}

/// The server as a service.
struct Greeting(Arc<Server>);

impl Service for Greeting {
    type Connection = Client;

    fn may_accept(&self) -> bool {
        !self.0.stopping.load(Relaxed) && self.open() < self.0.connections_max
    }

    fn admit(
        &self,
        accept: &mut dyn FnMut() -> io::Result<Accepted>,
    ) -> io::Result<Admission<Client>> {
        Ok(match accept()? {
            Accepted::Client(Arrival { socket, peer, .. }) => {
                self.0.open.fetch_add(1, Relaxed);
                let id = self.0.accepted.fetch_add(1, Relaxed) + 1;
                tracing::debug!(CONNECTION_ID = id, PEER = %peer, "connection {id}: {peer}");
                Admission::Client(Client {
                    socket: Some(socket),
                    server: Arc::clone(&self.0),
                    is_served: false,
                })
            }
            Accepted::Gone => Admission::Gone,
            Accepted::Nobody => Admission::Nobody,
            Accepted::Exhausted(error) => Admission::Exhausted(error),
        })
    }

    async fn handle(mut client: Client) {
        let Some(socket) = &client.socket else {
            return;
        };
        let served = match Stream::of(socket.as_fd()) {
            Ok(stream) => converse(&stream, &client.server.greeting).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::debug!(ERROR = %error, "a client was lost: {error}");
        }
        client.is_served = true;
    }

    fn open(&self) -> usize {
        self.0.open.load(Relaxed)
    }

    async fn changed(&self) {
        self.0.woken.notified().await;
    }

    fn status(&self, listeners: &[Listener]) -> String {
        let waiting: u32 = listeners
            .iter()
            .filter_map(Listener::queue)
            .map(|(waiting, _)| waiting)
            .sum();
        format!("{} open, {waiting} waiting.", self.open())
    }

    fn stopping(&self) {
        self.0.stopping.store(true, Relaxed);
    }
}

/// Answers a client until it has said everything, or `quit`.
async fn converse(stream: &Stream<BorrowedFd<'_>>, greeting: &str) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut buffer = [0; 2048];
    loop {
        let count = stream.receive(&mut buffer).await?;
        lines.push(&buffer[..count]);
        let mut answers = String::new();
        let end = loop {
            let line = match lines.next_line() {
                None if count == 0 => lines.finish(),
                line => line,
            };
            match line {
                Some(Ok(line)) => match Request::parse(&line) {
                    Request::Hello => answers += &Response::Greeting(greeting).to_string(),
                    Request::Other => answers += &Response::Unknown.to_string(),
                    Request::Quit => break Some(End::Quit),
                },
                Some(Err(error)) => {
                    answers += &Response::Refusal(error).to_string();
                    break Some(End::Refused);
                }
                None => break (count == 0).then_some(End::Quit),
            }
            if answers.len() >= ANSWERS {
                stream.send_all(answers.as_bytes()).await?;
                answers.clear();
            }
        };
        stream.send_all(answers.as_bytes()).await?;
        match end {
            None => {}
            Some(End::Quit) => return Ok(()),
            Some(End::Refused) => return say_farewell(stream).await,
        }
    }
}

/// How a conversation ends.
enum End {
    /// The client wants no more.
    Quit,
    /// We want no more.
    Refused,
}

/// Lets a client that was refused read why, before the connection is closed.
async fn say_farewell(stream: &Stream<BorrowedFd<'_>>) -> io::Result<()> {
    stream.shutdown_write()?;
    let mut left = FAREWELL_BYTES;
    let mut buffer = [0; 2048];
    let reading = async {
        while left > 0 {
            match stream.receive(&mut buffer).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    };
    timeout(FAREWELL_TIME, reading).await.unwrap_or(Ok(()))
}
