//! The clients: every second one is busy, the others are idle.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::load::{Client, Destination, PATIENCE, exchange, open, when};
use crate::pattern::Random;
use crate::poll::{Poll, PreciseTimers, Readiness, Ready};
use crate::schedule::Schedule;
use crate::window::{Phase, Seen, Window};

/// Requests a second while the proxy is ended: so many that one is under way at any moment, and so few that none
/// waits for others.
const RATE: f64 = 4_000.0;

/// How often the end of the proxy is looked after while there is no request to be sent.
const LOOK: Duration = Duration::from_millis(1);

/// All clients.
pub struct Crowd {
    poll: Poll,
    clients: Vec<Client>,
    random: Random,
    /// Those that have lost their connections.
    lost: BTreeSet<usize>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new() -> Result<Self, String> {
        Ok(Self {
            poll: Poll::new().map_err(when("epoll"))?,
            clients: Vec::new(),
            random: Random(1),
            lost: BTreeSet::new(),
        })
    }

    /// Opens more connections, each of which is used once.
    pub fn open(&mut self, to: Destination, count: usize) -> Result<(), String> {
        for client in open(to, count, &mut self.random)? {
            let token = self.clients.len();
            self.poll
                .add(&client.socket, token, Readiness::IN)
                .map_err(when("epoll"))?;
            self.clients.push(client);
        }
        Ok(())
    }

    /// The busy ones.
    fn busy(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.clients.len()).step_by(2)
    }

    /// How many have lost their connections.
    pub fn lost(&self) -> usize {
        self.lost.len()
    }

    /// Has the busy ones send one request after the other. `turns` is called when the measured time begins, and when it
    /// is over.
    pub fn requests(
        &mut self,
        mut window: Window<'_>,
        mut turns: impl FnMut(),
    ) -> Result<Seen, String> {
        for token in self.busy() {
            self.ask(token)?;
        }
        let (mut ready, mut last) = (Ready::new(), Phase::WarmUp);
        loop {
            self.wait(&mut ready)?;
            let phase = window.phase();
            if phase != last {
                turns();
                last = phase;
            }
            if phase == Phase::Over {
                break;
            }
            let mut answers = 0;
            for token in ready.tokens() {
                if self.clients[token].answer()?.is_some() {
                    answers += 1;
                    self.ask(token)?;
                }
            }
            if phase == Phase::Measured {
                window.add(answers);
            }
        }
        self.take_answers(ready)?;
        Ok(window.seen())
    }

    /// Takes the answers to all requests that are under way, one of each busy client.
    fn take_answers(&mut self, mut ready: Ready) -> Result<(), String> {
        let mut left = self.busy().count();
        loop {
            for token in ready.tokens() {
                left -= usize::from(self.clients[token].answer()?.is_some());
            }
            if left == 0 {
                return Ok(());
            }
            self.wait(&mut ready)?;
        }
    }

    fn wait(&self, ready: &mut Ready) -> Result<(), String> {
        self.poll
            .wait(ready, Some(PATIENCE))
            .map_err(when("epoll"))?;
        match ready.is_empty() {
            true => Err("no answer".to_owned()),
            false => Ok(()),
        }
    }

    fn ask(&mut self, token: usize) -> Result<(), String> {
        let asked = self.clients[token].ask(&mut self.random);
        asked.map_err(when("asking"))
    }

    /// Has the busy ones send requests at their times, while `act` ends the proxy and starts it anew. That is called
    /// again and again with the time since the beginning, until it says that it is done. Returns the longest time from
    /// when a request was due to its answer.
    pub fn longest_wait(
        &mut self,
        patience: Duration,
        mut act: impl FnMut(Duration) -> Result<bool, String>,
    ) -> Result<Duration, String> {
        let _timers = PreciseTimers::enter();
        let mut schedule = Schedule::new(RATE);
        let mut free: VecDeque<usize> = self.busy().collect();
        let mut due = vec![None; self.clients.len()];
        let (mut waiting, mut is_done) = (0, false);
        let (mut longest, mut ready) = (Duration::ZERO, Ready::new());
        let start = Instant::now();
        while !is_done || waiting > 0 {
            is_done = is_done || act(start.elapsed())?;
            let now = start.elapsed();
            while let (false, Some(&token)) = (is_done, free.front()) {
                let Some(at) = schedule.take(now) else { break };
                free.pop_front();
                match self.ask(token) {
                    Ok(()) => due[token] = Some(at),
                    Err(_) => self.lose(token),
                }
                waiting += usize::from(due[token].is_some());
            }
            let next = match is_done || free.is_empty() {
                true => LOOK,
                false => schedule.next().saturating_sub(start.elapsed()),
            };
            self.poll
                .wait_precisely(&mut ready, next)
                .map_err(when("epoll"))?;
            for token in ready.tokens() {
                match self.clients[token].answer() {
                    Ok(None) => continue,
                    Ok(Some(_)) => free.push_back(token),
                    Err(_) => self.lose(token),
                }
                if let Some(at) = due[token].take() {
                    waiting -= 1;
                    longest = longest.max(start.elapsed().saturating_sub(at));
                }
            }
            if start.elapsed() > patience {
                return Err(format!("{waiting} requests were not answered"));
            }
        }
        Ok(longest)
    }

    /// A connection was lost: it counts, and is watched no more.
    fn lose(&mut self, token: usize) {
        if self.lost.insert(token) {
            // It was watched until now.
            let _ = self.poll.remove(&self.clients[token].socket);
        }
    }

    /// Uses every connection once more, to find those that were lost.
    pub fn use_each(&mut self) -> Result<(), String> {
        for token in 0..self.clients.len() {
            if self.lost.contains(&token) {
                continue;
            }
            let began = Instant::now();
            if let Err(error) = exchange(&mut self.clients[token], &mut self.random) {
                if began.elapsed() > PATIENCE {
                    return Err(error);
                }
                self.lose(token);
            }
        }
        Ok(())
    }
}
