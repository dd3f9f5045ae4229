//! Requests at their times (open loop): each is sent when it is due, not when the one before is answered.
//!
//! Its time counts from when it was due. So a request that waited for a free connection, or for this client,
//! has the time that a user would see.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Destination, Outcome, PATIENCE, open, when};
use crate::pattern::Random;
use crate::poll::{Poll, PreciseTimers, Readiness, Ready};
use crate::schedule::Schedule;
use crate::window::{Phase, Window};

/// Asks `rate` times a second on `connections`.
pub fn run(to: Destination, connections: usize, rate: f64, mut window: Window<'_>) -> Outcome {
    let poll = Poll::new().map_err(when("epoll"))?;
    let _timers = PreciseTimers::enter();
    let mut random = Random(to.at.port().into());
    let mut clients = open(to, connections, &mut random)?;
    for (token, client) in clients.iter().enumerate() {
        poll.add(&client.socket, token, Readiness::IN)
            .map_err(when("epoll"))?;
    }
    let mut free: VecDeque<usize> = (0..connections).collect();
    let mut asked = vec![None; connections];
    let mut schedule = Schedule::new(rate);
    let mut ready = Ready::new();
    let start = Instant::now();
    let mut last_answer = start;
    loop {
        let now = start.elapsed();
        let phase = window.phase();
        if phase == Phase::Over {
            // What was not answered yet has waited at least so long.
            let waiting = std::iter::from_fn(|| schedule.take(now));
            for due in asked.into_iter().flatten().chain(waiting) {
                window.count(now.saturating_sub(due));
            }
            return Ok(window.seen());
        }
        while let Some(&token) = free.front() {
            let Some(due) = schedule.take(now) else { break };
            clients[token].ask(&mut random).map_err(when("asking"))?;
            asked[token] = Some(due);
            free.pop_front();
        }
        let until = match free.is_empty() {
            true => now + PATIENCE,
            false => schedule.next(),
        };
        poll.wait_precisely(&mut ready, until.saturating_sub(start.elapsed()))
            .map_err(when("epoll"))?;
        for token in ready.tokens() {
            if clients[token].answer()?.is_none() {
                continue;
            }
            last_answer = Instant::now();
            free.push_back(token);
            let due = asked[token].take().filter(|_| phase == Phase::Measured);
            if let Some(due) = due {
                window.count(start.elapsed().saturating_sub(due));
            }
        }
        if free.len() < connections && last_answer.elapsed() > PATIENCE {
            return Err("no answer".to_owned());
        }
    }
}
