//! Ends the proxy while requests are under way, and starts it anew.

use std::time::Duration;

use super::crowd::Crowd;
use super::subject::{LONGEST_START, Subject};

/// How long requests are sent before the end. A process that has served for less than a quarter of a second has no
/// heir.
const BEFORE: Duration = Duration::from_millis(400);
/// How long they are sent after the start: what has waited is taken up by then.
const AFTER: Duration = Duration::from_millis(300);

/// What is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The process: its last will becomes the next one.
    Process,
    /// All processes: another one is started with what is in the store.
    All,
}

/// The longest time that a request waits meanwhile.
pub fn longest_pause(
    subject: &mut Subject,
    crowd: &mut Crowd,
    ended: Ended,
) -> Result<Duration, String> {
    let (mut has_ended, mut served) = (false, None);
    let longest = crowd.longest_wait(LONGEST_START, |now| {
        if !has_ended && now >= BEFORE {
            has_ended = true;
            match ended {
                Ended::Process => subject.kill_process()?,
                Ended::All => {
                    subject.kill_all()?;
                    subject.start()?;
                }
            }
        }
        if has_ended && served.is_none() && subject.is_ready() {
            served = Some(now);
        }
        Ok(served.is_some_and(|served| now >= served + AFTER))
    });
    longest.map_err(|error| format!("{ended:?} killed: {error}: {}", subject.said()))
}
