//! The service behind every proxy: one thread, as few system calls as it can do with. It runs as a
//! process of its own.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use crate::pattern::{LONGEST, REQUEST, Request, piece};
use crate::poll::{Poll, Readiness, Ready, receive, transmit, transmit_all};

/// The listener's token; the connections' are their places in the table.
const LISTENER: usize = usize::MAX;
/// So many are accepted before those that are connected have their turn.
const AT_A_TIME: usize = 64;

/// Serves for ever.
pub fn run(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let poll = Poll::new()?;
    poll.add(listener, LISTENER, Readiness::IN)?;
    let mut clients = Clients::default();
    let mut ready = Ready::new();
    loop {
        poll.wait(&mut ready, None)?;
        for token in ready.tokens() {
            match token {
                LISTENER => accept(listener, &poll, &mut clients)?,
                place => serve(place, &poll, &mut clients),
            }
        }
    }
}

/// A client, and what it has said of its next request.
struct Client {
    socket: OwnedFd,
    request: [u8; REQUEST],
    received: usize,
    /// Where in the pattern we are, for one that wants it all.
    endless: Option<usize>,
}

/// A table with places that are used again.
#[derive(Default)]
struct Clients {
    table: Vec<Option<Client>>,
    free: Vec<usize>,
}

fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Clients) -> io::Result<()> {
    for _ in 0..AT_A_TIME {
        let socket = match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::CONNABORTED | Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let place = clients.free.pop().unwrap_or_else(|| {
            clients.table.push(None);
            clients.table.len() - 1
        });
        poll.add(&socket, place, Readiness::IN)?;
        clients.table[place] = Some(Client {
            socket,
            request: [0; REQUEST],
            received: 0,
            endless: None,
        });
    }
    Ok(())
}

/// Serves a client once; forgets it when it has gone, or has sent what no client sends.
fn serve(place: usize, poll: &Poll, clients: &mut Clients) {
    let Some(client) = &mut clients.table[place] else {
        return;
    };
    if !client.turn(place, poll).unwrap_or(false) {
        clients.table[place] = None;
        clients.free.push(place);
    }
}

impl Client {
    /// One request or one piece. False when there is nothing more to do.
    fn turn(&mut self, place: usize, poll: &Poll) -> io::Result<bool> {
        if let Some(offset) = &mut self.endless {
            *offset += transmit(&self.socket, piece(*offset, LONGEST))?;
            return Ok(true);
        }
        match receive(&self.socket, &mut self.request[self.received..])? {
            None => return Ok(true),
            Some(0) => return Ok(false),
            Some(count) => self.received += count,
        }
        if self.received < REQUEST {
            return Ok(true);
        }
        self.received = 0;
        match Request::decode(&self.request) {
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
}
