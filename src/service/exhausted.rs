//! The lack of descriptors or memory: accepting pauses and is tried again, and clients wait until it succeeds.

use std::error::Error;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::clock::Uptime;
use super::event;

/// How long accepting pauses, unless a connection ends earlier.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// The shortest time between two log messages.
pub const LOG_EVERY: Duration = Duration::from_secs(10);

/// Whether descriptors or memory had run out.
pub fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Whether the error, or a cause of it, is that descriptors had run out.
pub fn is_of_descriptors(error: &(dyn Error + 'static)) -> bool {
    has_cause(error, &[libc::EMFILE, libc::ENFILE])
}

/// Whether the error, or a cause of it, is that memory or address space had run out.
pub fn is_of_memory(error: &(dyn Error + 'static)) -> bool {
    has_cause(error, &[libc::ENOMEM])
}

fn has_cause(error: &(dyn Error + 'static), numbers: &[i32]) -> bool {
    let is_one = |error: &(dyn Error + 'static)| {
        let number = error.downcast_ref().and_then(io::Error::raw_os_error);
        number.is_some_and(|number| numbers.contains(&number))
    };
    std::iter::successors(Some(error), |&error| error.source()).any(is_one)
}

#[derive(Debug, thiserror::Error)]
#[error("there are too few descriptors to serve anybody: {0} (raise LimitNOFILE=)")]
pub struct TooFew(#[source] io::Error);

/// Checks that `count` more descriptors can be opened now.
pub fn make_sure_of(count: usize) -> Result<(), TooFew> {
    check_room(count).map_err(TooFew)
}

/// That descriptors have run out, if they have, or else this error: not everything that needs some says so when there
/// are none, the resolver for example.
pub fn or_shortage(error: io::Error) -> io::Error {
    let shortage = check_room(2).err();
    shortage.filter(is_exhausted).unwrap_or(error)
}

pub(super) fn check_room(count: usize) -> io::Result<()> {
    let stderr = io::stderr();
    let copies = (0..count).map(|_| stderr.as_fd().try_clone_to_owned());
    copies.collect::<io::Result<Vec<OwnedFd>>>().map(drop)
}

/// The pause of accepting.
#[derive(Debug, Default)]
pub struct Pause {
    until: Option<Uptime>,
    logged: Option<Uptime>,
}

impl Pause {
    /// Begins: accepting has failed with `error` while `open` connections are open.
    pub fn begin(&mut self, now: Uptime, error: &io::Error, open: usize) {
        self.until = Some(now + PAUSE);
        if self.logged.is_some_and(|logged| now < logged + LOG_EVERY) {
            return;
        }
        self.logged = Some(now);
        tracing::warn!(
            MESSAGE_ID = event::NO_DESCRIPTORS,
            ERROR = %error,
            OPEN = open,
            "cannot accept: {error}; clients wait until it succeeds, which is tried every 100 ms{}",
            advice(error)
        );
    }

    /// When it is over; `None` if there is none.
    pub fn until(&self) -> Option<Uptime> {
        self.until
    }

    /// Whether it is over now; true once.
    pub fn is_over(&mut self, now: Uptime) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }

    /// Ends early: something has changed.
    pub fn end(&mut self) {
        self.until = None;
    }
}

/// What helps if descriptors or memory had run out. A directory for handovers that cannot be used, for example, has
/// its reason in the error.
pub fn advice(error: &io::Error) -> &'static str {
    match is_exhausted(error) || is_of_descriptors(error) {
        true => " (raise LimitNOFILE= or lower --connections-max)",
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_is_found_among_the_causes() {
        let none_left = || io::Error::from_raw_os_error(libc::EMFILE);
        let caused = crate::service::listener::ListenError::Watch(none_left());
        assert!(is_of_descriptors(&none_left()) && is_of_descriptors(&caused));
        let another = io::Error::from_raw_os_error(libc::ENOMEM);
        assert!(is_exhausted(&another) && !is_of_descriptors(&another));
        let caused = crate::service::listener::ListenError::Watch(another);
        assert!(is_of_memory(&caused) && !is_of_memory(&none_left()));
    }

    #[test]
    fn more_descriptors_are_advised_only_where_they_help() {
        let none_left = io::Error::from_raw_os_error(libc::EMFILE);
        assert!(advice(&none_left).contains("LimitNOFILE="));
        let no_permission = io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(advice(&no_permission), "");
    }

    #[test]
    fn it_is_over_once_after_its_time() {
        let mut pause = Pause::default();
        let now = Uptime::from_micros(1);
        assert!(!pause.is_over(now));
        pause.begin(now, &io::ErrorKind::OutOfMemory.into(), 1);
        assert!(!pause.is_over(now));
        let until = pause.until().unwrap();
        assert!(pause.is_over(until));
        assert!(!pause.is_over(until));
        assert_eq!(pause.until(), None);
    }
}
