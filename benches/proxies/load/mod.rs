//! The clients: one thread, this process.

use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::http;
use crate::network::CLIENTS;
use crate::pattern::{LONGEST_REPLY, Protocol, Random, Request, piece};
use crate::poll::{Poll, Readiness, Ready, receive, transmit_all};
use crate::window::Seen;

pub mod bulk;
pub mod connections;
pub mod idle;
pub mod paced;
pub mod requests;
pub mod tool;

/// When nothing at all has happened for so long, it hangs.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Where clients connect to, and what they speak there.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// Where it listens.
    pub at: SocketAddrV4,
    /// The first of the clients' own addresses.
    pub clients: Ipv4Addr,
    /// What the service behind it speaks.
    pub protocol: Protocol,
}

/// What a load has seen, or a sentence that says what was wrong.
pub type Outcome = Result<Seen, String>;

/// Says what was being done when something failed.
pub fn when<E: Display>(doing: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{doing}: {error}")
}

/// Connects, from each of the clients' addresses in turn. On one machine this does not wait for anybody, as
/// long as there is room in the listener's backlog.
pub fn connected(to: Destination, turn: usize) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let own = Ipv4Addr::from(u32::from(to.clients) + turn as u32 % CLIENTS);
    choose_port_when_connecting(socket.as_fd())?;
    bind(&socket, &SocketAddrV4::new(own, 0))?;
    connect(&socket, &to.at)?;
    Ok(socket)
}

/// Ports may then be the same for several peers (`IP_BIND_ADDRESS_NO_PORT`, ip(7)).
fn choose_port_when_connecting(socket: BorrowedFd<'_>) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the kernel reads an integer, which is here.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const yes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A client that asks, and checks the answer.
pub struct Client {
    /// Its connection.
    pub socket: OwnedFd,
    protocol: Protocol,
    request: Vec<u8>,
    buffer: [u8; http::LONGEST_HEAD + LONGEST_REPLY + 1],
    received: usize,
    offset: usize,
    length: usize,
    asked: Instant,
}

impl Client {
    /// Connects, and asks nothing yet.
    pub fn new(to: Destination, turn: usize) -> io::Result<Self> {
        Ok(Self {
            socket: connected(to, turn)?,
            protocol: to.protocol,
            request: Vec::new(),
            buffer: [0; http::LONGEST_HEAD + LONGEST_REPLY + 1],
            received: 0,
            offset: 0,
            length: 0,
            asked: Instant::now(),
        })
    }

    /// Sends a request.
    pub fn ask(&mut self, random: &mut Random) -> io::Result<()> {
        let request = Request::any(random);
        if let Request::Piece { offset, length } = request {
            (self.received, self.offset, self.length) = (0, offset, length);
        }
        self.request.clear();
        match self.protocol {
            Protocol::Plain => self.request.extend(request.encode()),
            Protocol::Http => http::write_request(&mut self.request, self.offset, self.length)?,
        }
        self.asked = Instant::now();
        transmit_all(&self.socket, &self.request)
    }

    /// Receives what there is of the answer. Its time, when it is complete and right.
    pub fn answer(&mut self) -> Result<Option<Duration>, String> {
        match receive(&self.socket, &mut self.buffer[self.received..]) {
            Ok(None) => return Ok(None),
            Ok(Some(0)) => return Err("a connection was closed before its answer".to_owned()),
            Ok(Some(count)) => self.received += count,
            Err(error) => return Err(format!("a connection was lost: {error}")),
        }
        let received = &self.buffer[..self.received];
        let (begin, length) = match self.protocol {
            Protocol::Plain => (0, self.length),
            Protocol::Http => match http::body(received)? {
                Some(body) => body,
                None if received.len() == self.buffer.len() => {
                    return Err("an answer has too long a head".to_owned());
                }
                None => return Ok(None),
            },
        };
        if length != self.length {
            return Err("an answer has the wrong length".to_owned());
        }
        if received.len() < begin + length {
            return Ok(None);
        }
        match received[begin..] == *piece(self.offset, length) {
            true => Ok(Some(self.asked.elapsed())),
            false => Err("an answer is wrong".to_owned()),
        }
    }
}

/// Opens connections, each of which is used once.
pub fn open(to: Destination, count: usize, random: &mut Random) -> Result<Vec<Client>, String> {
    (0..count)
        .map(|turn| {
            let mut client = Client::new(to, turn).map_err(when("connecting"))?;
            exchange(&mut client, random)
                .map_err(|error| format!("{error}, after {turn} connections"))?;
            Ok(client)
        })
        .collect()
}

/// Asks, and waits for the answer.
pub fn exchange(client: &mut Client, random: &mut Random) -> Result<(), String> {
    let poll = Poll::new().map_err(when("epoll"))?;
    poll.add(&client.socket, 0, Readiness::IN)
        .map_err(when("epoll"))?;
    client.ask(random).map_err(when("asking"))?;
    let until = Instant::now() + PATIENCE;
    while client.answer()?.is_none() {
        if Instant::now() > until {
            return Err("no answer".to_owned());
        }
        poll.wait(&mut Ready::new(), Some(PATIENCE))
            .map_err(when("epoll"))?;
    }
    Ok(())
}
