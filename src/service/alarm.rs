//! A timer for one moment.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::clock::Uptime;
use super::kernel::{self, timespec};

/// A timer of the kernel on the clock of [`Uptime`]: timerfd_create(2).
///
/// A loop that other events wake all the time leaves it set. A timer of the runtime would cost something at
/// each of them, because the runtime passes its timeout to epoll_wait(2) again.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    due: Option<Uptime>,
}

impl Alarm {
    /// Not set. Fails when descriptors or memory have run out.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self {
            timer: kernel::watch(timer, Interest::READABLE)?,
            due: None,
        })
    }

    /// Waits until `due`, or until an earlier moment of a cancelled wait; `None`: for ever. Cancel safe.
    pub async fn wait(&mut self, due: Option<Uptime>) {
        let Some(due) = due else {
            return std::future::pending().await;
        };
        if self.due.is_none_or(|earlier| due < earlier) {
            if let Err(error) = self.set(due) {
                // No moment is refused; if one is, late is better than never.
                tracing::error!(ERROR = %error, "the timer cannot be set: {error}");
                return tokio::time::sleep(due.since(Uptime::now())).await;
            }
            self.due = Some(due);
        }
        if let Ok(mut ready) = self.timer.readable().await {
            ready.clear_ready();
        }
        self.due = None;
    }

    fn set(&self, due: Uptime) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            // Zero would unset it.
            it_value: timespec(Duration::from_micros(due.as_micros().max(1))),
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
        assert_eq!(alarm.due, None, "the next wait sets it again");
    }
}
