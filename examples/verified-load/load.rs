//! The state of all connections: the open ones, and the results of the others.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Instant;

use tokio::net::TcpSocket;

use crate::connection::{Connection, Role};
use crate::end::End;
use crate::event::Event;
use crate::failure::{Failure, Kind};
use crate::options::Options;
use crate::report::Tally;

/// More than any plan needs.
const DESCRIPTORS: u64 = 200_000;

/// One run.
#[derive(Debug)]
pub struct Load {
    pub options: Options,
    /// The open connections.
    pub connections: RefCell<HashMap<u64, Rc<Connection>>>,
    /// No connection is open.
    pub empty: RefCell<Option<Rc<Event>>>,
    /// No connection starts any more, and those that stay end.
    pub ending: Event,
    pub tally: RefCell<Tally>,
    /// When all connections that stay had been answered.
    pub beginning: Cell<Instant>,
    next: Cell<u64>,
}

impl Load {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            connections: RefCell::default(),
            empty: RefCell::default(),
            ending: Event::default(),
            tally: RefCell::default(),
            beginning: Cell::new(Instant::now()),
            next: Cell::new(0),
        }
    }

    /// Runs a connection: `client` is its client's part, the upstream does the rest.
    /// Returns whether it came to its end.
    pub async fn carry(
        &self,
        group: &'static str,
        role: Role,
        client: impl AsyncFnOnce(&Rc<Connection>) -> Result<(), Failure>,
    ) -> bool {
        let id = self.next.get();
        self.next.set(id + 1);
        let (connection, verdict) = Connection::new(id, group, role);
        let connection = Rc::new(connection);
        self.connections
            .borrow_mut()
            .insert(id, Rc::clone(&connection));
        self.tally.borrow_mut().opened(group);
        let upstream = async {
            // The upstream reports the result, or the connection would still be in the table.
            verdict.await.unwrap_or(Ok(()))
        };
        let result = tokio::try_join!(client(&connection), upstream);
        connection.abort_upstream();
        self.leave(&connection, result.map(|_| ()))
    }

    fn leave(&self, connection: &Connection, result: Result<(), Failure>) -> bool {
        self.connections.borrow_mut().remove(&connection.id);
        let finished = result.is_ok();
        self.tally.borrow_mut().ended(self, connection, result);
        if self.connections.borrow().is_empty() {
            if let Some(empty) = &*self.empty.borrow() {
                empty.tell();
            }
        }
        finished
    }

    /// Waits until no connection is open.
    pub async fn is_empty(&self) {
        if self.connections.borrow().is_empty() {
            return;
        }
        let event = Rc::new(Event::default());
        *self.empty.borrow_mut() = Some(Rc::clone(&event));
        event.wait().await;
    }

    /// Counts all open connections as lost, after their time, except those that have not reached
    /// the upstream, which may still wait to be accepted.
    pub fn give_up(&self) {
        let left: Vec<_> = self.connections.borrow_mut().drain().collect();
        let mut tally = self.tally.borrow_mut();
        for (_, connection) in left {
            if connection.heard.has_happened() {
                let silent = connection.last.get().elapsed().as_secs_f64();
                let text = format!("nothing has come for {silent:.1} s");
                tally.ended(self, &connection, Err(Failure::Lost(Kind::TimedOut, text)));
            } else {
                tally.waits(self, &connection);
            }
        }
    }

    /// A client that is connected and has sent its greeting.
    pub async fn connect(
        &self,
        connection: &Connection,
        receive_buffer: Option<usize>,
    ) -> Result<End, Failure> {
        let connected = async {
            let address = self.options.connect;
            let socket = match address.is_ipv4() {
                true => TcpSocket::new_v4(),
                false => TcpSocket::new_v6(),
            }?;
            if let Some(size) = receive_buffer {
                socket.set_recv_buffer_size(u32::try_from(size).unwrap_or(u32::MAX))?;
            }
            let stream = socket.connect(address).await?;
            connection.client.set(Some(stream.local_addr()?));
            End::new(stream, "client")
        };
        let end = connected
            .await
            .map_err(|error: io::Error| Failure::of(&error, "client, connecting"))?;
        let greeting = connection.greeting();
        let mut sent = 0;
        while sent < greeting.len() {
            sent += end.send(&greeting[sent..]).await?;
        }
        Ok(end)
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.beginning.get().elapsed().as_secs_f64()
    }
}

/// Packets in flight: the end position of each, and the time of its send.
pub type UnderWay = VecDeque<(u64, Instant)>;

/// Every connection takes two descriptors here. Only root can exceed the hard limit.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    for wanted in [Some(DESCRIPTORS), hard] {
        let raised = Rlimit {
            current: wanted,
            maximum: wanted,
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return;
        }
    }
}
