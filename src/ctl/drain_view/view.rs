//! The progress of a drain, on standard error: a live view on a terminal, lines elsewhere.

use std::cmp::Reverse;
use std::io::{self, IsTerminal, Stderr};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::blockers::{Blockers, Rhythm, Watch};
use super::opaque::{self, OpaqueReport};
use super::queued;
use crate::ctl::call::client::NamedProxy;
use crate::ctl::connections;
use crate::ctl::terminal::colour;
use crate::ctl::terminal::display::{age, bar, fit};
use crate::ctl::terminal::screen::Screen;
use crate::interface::{GateReply, GateState};
use crate::service::clock::micros;
use crate::service::plural::{clause, count};
use crate::service::program::note;

/// How often the live view is drawn.
const LIVE: Rhythm = Rhythm {
    delay: Duration::ZERO,
    interval: Duration::from_millis(500),
    queue_every: 4,
};

/// How often the plain view looks for a drain that may never end.
const LINES: Rhythm = Rhythm {
    delay: Duration::from_secs(5),
    interval: Duration::from_secs(5),
    queue_every: 1,
};

/// The time for the last look at the connections when a drain was given up.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// The most connections in the live view.
const ROWS: usize = 10;

pub enum View {
    Silent,
    /// A line whenever the gate or the number of open connections has changed.
    Lines {
        last: Option<GateReply>,
        watch: Watch,
        /// Whether the warning was printed that the drain may never end.
        is_warned: bool,
        opaque: OpaqueReport,
    },
    /// Redrawn in place.
    Live(Box<Live>),
}

impl View {
    /// The view for standard error: live if it is a terminal.
    pub fn new(proxy: &NamedProxy, silent: bool) -> Self {
        match silent {
            true => Self::Silent,
            false if io::stderr().is_terminal() => Self::Live(Box::new(Live::new(proxy))),
            false => Self::Lines {
                last: None,
                watch: Watch::start(proxy, LINES),
                is_warned: false,
                opaque: OpaqueReport::default(),
            },
        }
    }

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

    /// Prints a sentence, above the live view if there is one.
    pub fn note(&mut self, text: &str) {
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
            Self::Live(live) => {
                live.picture.blockers = live.watch.next().await;
                live.draw();
            }
            Self::Lines {
                last,
                watch,
                is_warned,
                opaque,
            } => {
                let Blockers { connected, queued } = watch.next().await;
                let is_draining = last.is_some_and(|last| last.gate == GateState::Draining);
                if is_draining && queued > 0 && !std::mem::replace(is_warned, true) {
                    note(queued::warning(queued).join(" "));
                }
                if is_draining {
                    opaque.news(&connected).iter().for_each(note);
                }
            }
            Self::Silent => std::future::pending().await,
        }
    }

    /// The drain was given up: says why connections could not be detached, to the reader of a log or of what is left on
    /// the terminal.
    pub async fn give_up(&mut self, proxy: &NamedProxy) {
        if matches!(self, Self::Silent) {
            return;
        }
        let mut client = None;
        let connected = timeout(LAST_LOOK, connections::list(proxy, &mut client)).await;
        let connected = connected.ok().and_then(Result::ok);
        let connected = connected.map(connections::that_hold_up).unwrap_or_default();
        self.clear();
        match self {
            Self::Silent => {}
            Self::Lines { opaque, .. } => opaque.conclusion(&connected).iter().for_each(note),
            Self::Live(_) => opaque::lines(&connected).iter().for_each(note),
        }
    }

    /// Takes the live view off the terminal.
    pub fn clear(&mut self) {
        if let Self::Live(live) = self {
            live.clear();
        }
    }
}

/// `draining: 3 connections open, 2 idle ones closed, 5 clients detached, 1 client queued`.
pub fn progress(reply: &GateReply) -> String {
    let closed_idle = match reply.closed_idle {
        0 => String::new(),
        more => format!(" {} closed,", count(more, "idle one")),
    };
    let detached = match reply.detached {
        0 => String::new(),
        more => format!(" {} detached,", count(more, "client")),
    };
    format!(
        "{}: {} open,{closed_idle}{detached} {}",
        reply.gate.as_str(),
        count(reply.open, "connection"),
        clause(reply.queued, "client", ("queued", "queued")),
    )
}

pub struct Live {
    picture: Picture,
    started: Instant,
    screen: Screen<Stderr>,
    watch: Watch,
}

impl Live {
    fn new(proxy: &NamedProxy) -> Self {
        Self {
            picture: Picture::default(),
            started: Instant::now(),
            screen: Screen::new(io::stderr()),
            watch: Watch::start(proxy, LIVE),
        }
    }

    fn draw(&mut self) {
        let (width, _) = self.screen.size();
        self.picture.elapsed = self.started.elapsed();
        let mut lines = self.picture.lines(width);
        if colour::is_wanted(&io::stderr()) {
            lines[0] = colour::paint(&lines[0], 0);
        }
        self.screen.draw(&lines);
    }

    fn clear(&mut self) {
        self.screen.clear();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The contents of the live view. Pure.
#[derive(Clone, Default)]
struct Picture {
    reply: Option<GateReply>,
    /// The largest number of open connections so far.
    most: usize,
    elapsed: Duration,
    blockers: Blockers,
}

impl Picture {
    fn lines(&self, width: usize) -> Vec<String> {
        let elapsed = age(micros(self.elapsed));
        let Some(reply) = &self.reply else {
            let text = format!("waiting for the proxy to answer ({elapsed})");
            return vec![fit(&text, width)];
        };
        let closed = self.most - reply.open.min(self.most);
        let bar_width = width.saturating_sub(32).clamp(10, 40);
        let mut lines = vec![
            format!("{} ({elapsed})", progress(reply)),
            format!(
                "{} {closed} of {} {}",
                bar(closed, self.most, bar_width),
                self.most,
                match reply.detached {
                    0 => "closed",
                    _ => "closed or detached",
                }
            ),
        ];
        if reply.gate == GateState::Draining {
            lines.extend(queued::warning(self.blockers.queued));
        }
        lines.extend(opaque::lines(&self.blockers.connected));
        let mut blockers = self.blockers.connected.clone();
        // The longest silent one is the likeliest to have been forgotten.
        blockers.sort_by_key(|blocker| Reverse(blocker.idle_usec));
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
            detached: false,
            opaque: None,
        }
    }

    fn reply(gate: GateState, open: usize, queued: u32) -> Option<GateReply> {
        Some(GateReply {
            gate,
            open,
            queued,
            closed_idle: 0,
            detached: 0,
        })
    }

    #[test]
    fn clients_that_block_the_drain_are_listed_longest_idle_first() {
        let picture = Picture {
            reply: reply(GateState::Draining, 12, 1),
            most: 16,
            elapsed: Duration::from_secs(61),
            blockers: Blockers {
                connected: (1..=12).map(|id| blocker(id, id)).collect(),
                queued: 0,
            },
        };
        let lines = picture.lines(100);
        assert_eq!(
            lines[0],
            "draining: 12 connections open, 1 client queued (1min 1s)"
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
    fn clients_that_stay_are_counted_and_those_that_cannot_are_shown_by_reason() {
        let blockers = [None, Some("TLS"), Some("upgraded to websocket")];
        let blockers = (1..=4).zip(blockers.into_iter().cycle().skip(2));
        let picture = Picture {
            reply: reply(GateState::Draining, 4, 1).map(|reply| GateReply {
                detached: 12,
                ..reply
            }),
            most: 16,
            elapsed: Duration::from_secs(1),
            blockers: Blockers {
                connected: blockers
                    .map(|(id, opaque)| ConnectionStatus {
                        opaque: opaque.map(str::to_owned),
                        ..blocker(id, id)
                    })
                    .collect(),
                queued: 0,
            },
        };
        let lines = picture.lines(100);
        assert_eq!(
            lines[0],
            "draining: 4 connections open, 12 clients detached, 1 client queued (1s)"
        );
        assert!(lines[1].ends_with("12 of 16 closed or detached"));
        assert_eq!(
            lines[2],
            "2 connections cannot be detached: upgraded to websocket"
        );
        assert_eq!(lines[3], "1 connection cannot be detached: TLS");
        assert!(lines[4].ends_with("OPAQUE"), "{lines:#?}");
    }

    #[test]
    fn peers_that_are_connected_and_wait_in_the_queue_are_shown_while_it_drains() {
        let mut picture = Picture::default();
        picture.blockers.queued = 2;
        for (gate, is_shown) in [(GateState::Draining, true), (GateState::Locked, false)] {
            picture.reply = reply(gate, 1, 3);
            let lines = picture.lines(100);
            let line = "2 clients wait in the queue from addresses that are still connected:";
            assert_eq!(lines.contains(&line.to_owned()), is_shown, "{lines:#?}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut picture = Picture::default();
        assert_eq!(picture.lines(20), ["waiting for the prox"]);
        picture.reply = reply(GateState::Draining, 1, 0);
        picture.blockers.connected = vec![blocker(1, 1)];
        picture.blockers.queued = 3;
        for width in [1, 20, 60] {
            let lines = picture.lines(width);
            assert!(lines.iter().all(|line| line.chars().count() <= width));
        }
    }
}
