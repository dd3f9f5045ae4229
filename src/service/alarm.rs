//! One moment to wake up at.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::clock::Uptime;
use super::kernel;

/// A timer of the kernel, timerfd_create(2), that goes by the clock of [`Uptime`].
///
/// A loop that is woken by other things all the time leaves it set as it is. A timer of the runtime
/// would cost something with each of them: the kernel is asked to wait until then, again and again.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    set: Option<Uptime>,
}

impl Alarm {
    /// One that is not set.
    ///
    /// # Errors
    ///
    /// When no descriptor or memory is left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self {
            timer: kernel::watch(timer, Interest::READABLE)?,
            set: None,
        })
    }

    /// Waits until then, or shorter: a moment that was waited for before may come first. `None`: for
    /// ever. Cancel safe.
    pub async fn wait(&mut self, due: Option<Uptime>) {
        let Some(due) = due else {
            return std::future::pending().await;
        };
        if self.set.is_none_or(|set| due < set) {
            if let Err(error) = self.set(due) {
                // It takes any moment; if it does not, late is better than never.
                tracing::error!(ERROR = %error, "the timer cannot be set: {error}");
                return tokio::time::sleep(due.since(Uptime::now())).await;
            }
            self.set = Some(due);
        }
        if let Ok(mut ready) = self.timer.readable().await {
            ready.clear_ready();
        }
        self.set = None;
    }

    fn set(&self, due: Uptime) -> io::Result<()> {
        // Zero would unset it.
        let due = Duration::from_micros(due.as_micros().max(1));
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: due.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: due.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_wakes_at_the_moment_and_not_before() {
        let mut alarm = Alarm::new().unwrap();
        for pause in [0, 1, 20] {
            let due = Uptime::now() + Duration::from_millis(pause);
            alarm.wait(Some(due)).await;
            assert!(Uptime::now() >= due);
        }
    }

    #[tokio::test]
    async fn an_earlier_moment_comes_first_and_the_later_one_is_not_forgotten() {
        let mut alarm = Alarm::new().unwrap();
        let later = Uptime::now() + Duration::from_secs(3600);
        tokio::select! {
            biased;
            () = alarm.wait(Some(later)) => panic!("an hour has not passed"),
            () = std::future::ready(()) => {}
        }
        let soon = Uptime::now() + Duration::from_millis(5);
        alarm.wait(Some(soon)).await;
        assert!(Uptime::now() >= soon);
        assert_eq!(alarm.set, None, "whoever waits next sets it again");
    }
}
