//! Long streams, from the service to the clients.

use super::{Destination, Outcome, PATIENCE, connected, when};
use crate::pattern::{LONGEST, Request, belongs};
use crate::poll::{Poll, Readiness, Ready, receive, transmit_all};
use crate::window::{Phase, Window};

/// Receives `streams` at once.
pub fn run(to: Destination, streams: usize, mut window: Window<'_>) -> Outcome {
    let poll = Poll::new().map_err(when("epoll"))?;
    let mut clients = Vec::with_capacity(streams);
    for turn in 0..streams {
        let socket = connected(to, turn).map_err(when("connecting"))?;
        poll.add(&socket, turn, Readiness::IN)
            .map_err(when("epoll"))?;
        transmit_all(&socket, &Request::Endless.encode()).map_err(when("asking"))?;
        clients.push((socket, 0));
    }
    let mut buffer = vec![0; LONGEST];
    let mut ready = Ready::new();
    loop {
        poll.wait(&mut ready, Some(PATIENCE))
            .map_err(when("epoll"))?;
        if ready.is_empty() {
            return Err("nothing came".to_owned());
        }
        let phase = window.phase();
        if phase == Phase::Over {
            return Ok(window.seen());
        }
        for token in ready.tokens() {
            let (socket, offset) = &mut clients[token];
            let count = match receive(&*socket, &mut buffer) {
                Ok(None) => continue,
                Ok(Some(0)) => return Err("a stream ended".to_owned()),
                Ok(Some(count)) => count,
                Err(error) => return Err(format!("a stream was lost: {error}")),
            };
            if !belongs(&buffer[..count], *offset) {
                return Err(format!("a stream is wrong at byte {offset}"));
            }
            *offset += count;
            if phase == Phase::Measured {
                window.add(count);
            }
        }
    }
}
