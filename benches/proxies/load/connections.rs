//! Connections for one request each: connect, ask, read the answer, close.

use super::{Client, Destination, Outcome, PATIENCE, when};
use crate::pattern::Random;
use crate::poll::{Poll, Readiness, Ready};
use crate::window::{Phase, Window};

/// Keeps `at_a_time` of them open.
pub fn run(to: Destination, at_a_time: usize, mut window: Window<'_>) -> Outcome {
    let poll = Poll::new().map_err(when("epoll"))?;
    let mut random = Random(to.at.port().into());
    let mut turn = 0;
    let mut another = |token: usize| -> Result<Client, String> {
        turn += 1;
        let mut client = Client::new(to, turn).map_err(when("connecting"))?;
        client.ask(&mut random).map_err(when("asking"))?;
        poll.add(&client.socket, token, Readiness::IN)
            .map_err(when("epoll"))?;
        Ok(client)
    };
    let mut clients = (0..at_a_time)
        .map(&mut another)
        .collect::<Result<Vec<_>, _>>()?;
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
            if let Some(time) = clients[token].answer()? {
                if phase == Phase::Measured {
                    window.count(time);
                }
                clients[token] = another(token)?;
            }
        }
    }
}
