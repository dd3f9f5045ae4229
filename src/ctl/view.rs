//! How a drain looks while it is waited for: a live view on a terminal, lines elsewhere. All of it
//! goes to standard error; standard output is for results.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::Instant;

use super::blockers::{Blockers, Rhythm, Watch};
use super::client::Proxy;
use super::connections;
use super::display::{age, bar, fit};
use super::output::note;
use super::queued;
use crate::interface::{GateReply, GateState};
use crate::service::clock::micros;
use crate::service::plural::{clause, count};

/// How often the live view is drawn.
const LIVE: Rhythm = Rhythm {
    after: Duration::ZERO,
    every: Duration::from_millis(500),
    queue: 4,
};

/// How often it is looked whether the lines have something to add.
const LINES: Rhythm = Rhythm {
    after: Duration::from_secs(5),
    every: Duration::from_secs(5),
    queue: 1,
};

/// The most connections it shows.
const ROWS: usize = 10;

/// Says how a drain goes on.
#[derive(Debug)]
pub enum View {
    /// Says nothing.
    Silent,
    /// A line whenever the gate or the count of open connections has changed.
    Lines {
        /// What the last line was about.
        last: Option<GateReply>,
        /// Who holds it up.
        watch: Watch,
        /// Whether it was said that they may do so for ever.
        warned: bool,
    },
    /// Redrawn in place.
    Live(Box<Live>),
}

impl View {
    /// The view for standard error: live if it is a terminal. `silent` for those who read JSON.
    pub fn new(proxy: &Proxy, silent: bool) -> Self {
        match silent {
            true => Self::Silent,
            false if io::stderr().is_terminal() => Self::Live(Box::new(Live::new(proxy))),
            false => Self::Lines {
                last: None,
                watch: Watch::start(proxy, LINES),
                warned: false,
            },
        }
    }

    /// The drain has got further.
    pub fn reply(&mut self, reply: GateReply) {
        match self {
            Self::Silent => {}
            Self::Lines { last, .. } => {
                if last.is_none_or(|last| (last.gate, last.open) != (reply.gate, reply.open)) {
                    note(progress(&reply));
                }
                *last = Some(reply);
            }
            Self::Live(live) => {
                live.picture.most = live.picture.most.max(reply.open);
                live.picture.reply = Some(reply);
            }
        }
    }

    /// The connection to the proxy has broken.
    pub fn lost(&mut self) {
        self.say("the connection to the proxy was lost; trying again for half a minute");
    }

    /// The proxy is there again.
    pub fn back(&mut self) {
        self.say("the proxy is there again and was asked again");
    }

    fn say(&mut self, text: &str) {
        match self {
            Self::Silent => {}
            Self::Lines { .. } => note(text),
            Self::Live(live) => {
                live.clear();
                note(text);
                live.draw();
            }
        }
    }

    /// Waits until it is time to draw, and draws. Cancel safe.
    pub async fn refresh(&mut self) {
        match self {
            Self::Live(live) => live.refresh().await,
            Self::Lines {
                last,
                watch,
                warned,
            } => {
                let queued = watch.next().await.queued;
                let drains = last.is_some_and(|last| last.gate == GateState::Draining);
                if drains && queued > 0 && !std::mem::replace(warned, true) {
                    note(queued::words(queued).join(" "));
                }
            }
            Self::Silent => std::future::pending().await,
        }
    }

    /// Takes the live view off the terminal.
    pub fn clear(&mut self) {
        if let Self::Live(live) = self {
            live.clear();
        }
    }
}

/// `draining: 3 connections open, 1 client waits`.
pub fn progress(reply: &GateReply) -> String {
    format!(
        "{}: {} open, {}",
        super::status::gate_word(reply.gate),
        count(reply.open, "connection"),
        clause(reply.queued, "client", ("waits", "wait")),
    )
}

/// A view that is redrawn in place.
#[derive(Debug)]
pub struct Live {
    picture: Picture,
    started: Instant,
    /// Lines on the terminal that the next drawing replaces.
    drawn: usize,
    watch: Watch,
}

impl Live {
    fn new(proxy: &Proxy) -> Self {
        Self {
            picture: Picture::default(),
            started: Instant::now(),
            drawn: 0,
            watch: Watch::start(proxy, LIVE),
        }
    }

    async fn refresh(&mut self) {
        self.picture.blockers = self.watch.next().await;
        self.draw();
    }

    fn draw(&mut self) {
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
        let width = size
            .map(|size| size.ws_col.into())
            .filter(|width| *width > 0)
            .unwrap_or(80);
        self.picture.waited = self.started.elapsed();
        let lines = self.picture.lines(width);
        self.clear();
        let mut terminal = io::stderr().lock();
        for line in &lines {
            let _ = writeln!(terminal, "{line}");
        }
        self.drawn = lines.len();
    }

    /// Goes up to the first line that was drawn and clears from there on (ECMA-48: CPL, ED).
    fn clear(&mut self) {
        if self.drawn > 0 {
            let _ = write!(io::stderr().lock(), "\x1b[{}F\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What the live view shows, apart from the terminal.
#[derive(Clone, Debug, Default)]
struct Picture {
    reply: Option<GateReply>,
    most: usize,
    waited: Duration,
    blockers: Blockers,
}

impl Picture {
    fn lines(&self, width: usize) -> Vec<String> {
        let waited = age(micros(self.waited));
        let Some(reply) = &self.reply else {
            return vec![fit(
                &format!("waiting for the proxy to answer ({waited})"),
                width,
            )];
        };
        let done = self.most - reply.open.min(self.most);
        let bar_width = width.saturating_sub(32).clamp(10, 40);
        let mut lines = vec![
            format!("{} ({waited})", progress(reply)),
            format!(
                "{} {done} of {} closed",
                bar(done, self.most, bar_width),
                self.most
            ),
        ];
        if reply.gate == GateState::Draining {
            lines.extend(queued::words(self.blockers.queued));
        }
        let mut blockers = self.blockers.connected.clone();
        // Who has been silent for longest is the likeliest to have been forgotten.
        blockers.sort_by_key(|one| std::cmp::Reverse(one.idle_usec));
        if !blockers.is_empty() {
            lines.extend(connections::table(&blockers[..blockers.len().min(ROWS)]));
        }
        if blockers.len() > ROWS {
            lines.push(format!("… and {} more", blockers.len() - ROWS));
        }
        lines.iter().map(|line| fit(line, width)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::ConnectionStatus;

    fn blocker(id: u64, idle_seconds: u64) -> ConnectionStatus {
        ConnectionStatus {
            id,
            peer: format!("192.0.2.1:{id}"),
            upstream: Some("[::1]:5000".to_owned()),
            age_usec: 90_000_000,
            idle_usec: idle_seconds * 1_000_000,
            received_bytes: 7,
            sent_bytes: 2048,
        }
    }

    #[test]
    fn who_blocks_the_drain_is_listed_and_who_is_idle_for_longest_comes_first() {
        let picture = Picture {
            reply: Some(GateReply {
                gate: GateState::Draining,
                open: 12,
                queued: 1,
            }),
            most: 16,
            waited: Duration::from_secs(61),
            blockers: Blockers {
                connected: (1..=12).map(|id| blocker(id, id)).collect(),
                queued: 0,
            },
        };
        let lines = picture.lines(100);
        assert_eq!(
            lines[0],
            "draining: 12 connections open, 1 client waits (1min 1s)"
        );
        assert_eq!(
            lines[1],
            format!("{}{} 4 of 16 closed", "█".repeat(10), "░".repeat(30))
        );
        assert!(
            lines[2].contains("PEER") && lines[3].contains("192.0.2.1:12"),
            "{lines:#?}"
        );
        assert_eq!(lines.len(), 3 + ROWS + 1);
        assert_eq!(lines.last().unwrap(), "… and 2 more");
    }

    #[test]
    fn peers_that_are_connected_and_wait_in_the_queue_are_told_while_it_drains() {
        let mut picture = Picture::default();
        picture.blockers.queued = 2;
        for (gate, told) in [(GateState::Draining, true), (GateState::Locked, false)] {
            picture.reply = Some(GateReply {
                gate,
                open: 1,
                queued: 3,
            });
            let lines = picture.lines(100);
            let line = "2 clients wait in the queue from addresses that are still connected:";
            assert_eq!(lines.contains(&line.to_owned()), told, "{lines:#?}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut picture = Picture::default();
        assert_eq!(picture.lines(20), ["waiting for the prox"]);
        picture.reply = Some(GateReply {
            gate: GateState::Draining,
            open: 1,
            queued: 0,
        });
        picture.blockers.connected = vec![blocker(1, 1)];
        picture.blockers.queued = 3;
        for width in [1, 20, 60] {
            assert!(
                picture
                    .lines(width)
                    .iter()
                    .all(|line| line.chars().count() <= width)
            );
        }
    }
}
