//! The service behind every proxy: one thread, as few system calls as it can do with. It runs as a
//! process of its own. Clients come to its listener, or are handed over to it.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};

use disnix_proxy_example::service::arrival::Accepted;
use disnix_proxy_example::service::client_socket::ClientSocket;
use disnix_proxy_example::service::handover::Queue;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use crate::http;
use crate::pattern::{LONGEST, Protocol, REQUEST, Request, piece};
use crate::poll::{Poll, Readiness, Ready, receive, transmit, transmit_all};

/// The listener's token; the connections' are their places in the table.
const LISTENER: usize = usize::MAX;
/// The token of the socket that clients are handed over to.
const QUEUE: usize = LISTENER - 1;
/// So many are accepted before those that are connected have their turn.
const AT_A_TIME: usize = 64;

/// Room for a request.
const ROOM: usize = http::LONGEST_HEAD;

/// Serves for ever.
pub fn run(listener: &TcpListener, queue: &OwnedFd, protocol: Protocol) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut clients = Clients {
        protocol,
        poll: Poll::new()?,
        reply: Vec::new(),
        table: Vec::new(),
        free: Vec::new(),
    };
    clients.poll.add(listener, LISTENER, Readiness::IN)?;
    clients.poll.add(queue, QUEUE, Readiness::IN)?;
    let received = Queue::default();
    let mut ready = Ready::new();
    loop {
        clients.poll.wait(&mut ready, None)?;
        for token in ready.tokens() {
            match token {
                LISTENER => accept(listener, &mut clients)?,
                QUEUE => receive_clients(queue, &received, &mut clients)?,
                place => clients.serve(place),
            }
        }
    }
}

fn accept(listener: &TcpListener, clients: &mut Clients) -> io::Result<()> {
    for _ in 0..AT_A_TIME {
        match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => clients.enter(ClientSocket::accepted(socket), false)?,
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::CONNABORTED | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn receive_clients(socket: &OwnedFd, queue: &Queue, clients: &mut Clients) -> io::Result<()> {
    let mut count = 0;
    while count < AT_A_TIME || queue.has_waiting() {
        count += 1;
        match queue.receive(socket.as_fd()) {
            Ok(Accepted::Client(client)) => clients.enter(client.socket, true)?,
            Ok(Accepted::Gone) | Err(Errno::INTR) => {}
            Ok(Accepted::Exhausted(error)) => return Err(error),
            Ok(Accepted::NoClient) | Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A client, and what it has said of its next request.
struct Client {
    socket: ClientSocket,
    handed_over: bool,
    request: [u8; ROOM],
    received: usize,
    /// Where in the pattern we are, for one that wants it all.
    endless: Option<usize>,
}

/// A table with places that are used again.
struct Clients {
    protocol: Protocol,
    poll: Poll,
    /// The last reply with a head.
    reply: Vec<u8>,
    table: Vec<Option<Client>>,
    free: Vec<usize>,
}

impl Clients {
    fn enter(&mut self, socket: ClientSocket, handed_over: bool) -> io::Result<()> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.table.push(None);
            self.table.len() - 1
        });
        self.poll.add(&socket, place, Readiness::IN)?;
        self.table[place] = Some(Client {
            socket,
            handed_over,
            request: [0; ROOM],
            received: 0,
            endless: None,
        });
        Ok(())
    }

    /// Serves a client once; forgets it when it has gone, or has sent what no client sends.
    fn serve(&mut self, place: usize) {
        let Some(client) = &mut self.table[place] else {
            return;
        };
        let served = match self.protocol {
            Protocol::Plain => client.turn(place, &self.poll),
            Protocol::Http => client.http_turn(&mut self.reply),
        };
        if served.unwrap_or(false) {
            return;
        }
        if client.handed_over {
            // The proxy has a descriptor too, so that closing ours would not end the watch.
            let _ = self.poll.remove(&client.socket);
        }
        self.table[place] = None;
        self.free.push(place);
    }
}

impl Client {
    /// One request or one piece. False when there is nothing more to do.
    fn turn(&mut self, place: usize, poll: &Poll) -> io::Result<bool> {
        if let Some(offset) = &mut self.endless {
            *offset += transmit(&self.socket, piece(*offset, LONGEST))?;
            return Ok(true);
        }
        match receive(&self.socket, &mut self.request[self.received..REQUEST])? {
            None => return Ok(true),
            Some(0) => return Ok(false),
            Some(count) => self.received += count,
        }
        let Some(request) = self
            .request
            .first_chunk()
            .filter(|_| self.received == REQUEST)
        else {
            return Ok(true);
        };
        self.received = 0;
        match Request::decode(request) {
            None => return Ok(false),
            Some(Request::Endless) => {
                self.endless = Some(0);
                poll.change(&self.socket, place, Readiness::OUT)?;
            }
            Some(Request::Piece { offset, length }) => {
                transmit_all(&self.socket, piece(offset, length))?;
            }
        }
        Ok(true)
    }

    /// One request in HTTP. False when there is nothing more to do.
    fn http_turn(&mut self, reply: &mut Vec<u8>) -> io::Result<bool> {
        match receive(&self.socket, &mut self.request[self.received..])? {
            None => return Ok(true),
            Some(0) => return Ok(false),
            Some(count) => self.received += count,
        }
        let request = http::request(&self.request[..self.received]).map_err(io::Error::other)?;
        match request {
            None => return Ok(true),
            Some(Request::Endless) => return Ok(false),
            Some(Request::Piece { offset, length }) => {
                self.received = 0;
                reply.clear();
                http::write_reply_head(reply, length)?;
                reply.extend(piece(offset, length));
                transmit_all(&self.socket, reply)?;
            }
        }
        Ok(true)
    }
}
