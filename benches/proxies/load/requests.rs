//! Connections that are kept alive, each with one request after the other.

use super::{Destination, Outcome, PATIENCE, open, when};
use crate::pattern::Random;
use crate::poll::{Poll, Readiness, Ready};
use crate::window::{Phase, Window};

/// Asks on `connections` at once.
pub fn run(to: Destination, connections: usize, mut window: Window<'_>) -> Outcome {
    let poll = Poll::new().map_err(when("epoll"))?;
    let mut random = Random(to.at.port().into());
    let mut clients = open(to, connections, &mut random)?;
    for (token, client) in clients.iter().enumerate() {
        poll.add(&client.socket, token, Readiness::IN)
            .map_err(when("epoll"))?;
    }
    for client in &mut clients {
        client.ask(&mut random).map_err(when("asking"))?;
    }
    let mut ready = Ready::new();
    loop {
        poll.wait(&mut ready, Some(PATIENCE))
            .map_err(when("epoll"))?;
        if ready.is_empty() {
            return Err("no answer".to_owned());
        }
        let phase = window.phase();
        if phase == Phase::Over {
            return Ok(window.seen());
        }
        for token in ready.tokens() {
            let client = &mut clients[token];
            if let Some(time) = client.answer()? {
                if phase == Phase::Measured {
                    window.count(time);
                }
                client.ask(&mut random).map_err(when("asking"))?;
            }
        }
    }
}
