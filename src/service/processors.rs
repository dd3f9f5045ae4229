//! How idle the machine's processors are.

use std::fs;
use std::time::Duration;

use super::clock::Uptime;

/// The shortest time to measure over: the kernel counts in hundredths of a second.
const SHORTEST: Duration = Duration::from_millis(200);

/// The longest time to measure over: an older sample says nothing of now.
const LONGEST: Duration = Duration::from_secs(1);

/// All processors of the machine, sampled from time to time.
#[derive(Debug, Default)]
pub struct Processors {
    /// When they were sampled, and how long they had been idle since the boot.
    sample: Option<(Uptime, Duration)>,
    idle: Option<u32>,
}

impl Processors {
    /// How idle they were lately, in thousandths of one processor. `None` until two calls were 0.2 to 1 s apart.
    pub fn idle(&mut self, now: Uptime) -> Option<u32> {
        self.look(now, || fs::read_to_string("/proc/stat").ok())
    }

    /// Returns `idle` from now on.
    #[cfg(test)]
    pub fn pretend(&mut self, idle: u32) {
        self.sample = Some((Uptime::from_micros(u64::MAX), Duration::ZERO));
        self.idle = Some(idle);
    }

    fn look(&mut self, now: Uptime, stat: impl FnOnce() -> Option<String>) -> Option<u32> {
        let age = self.sample.map(|(then, _)| now.since(then));
        if age.is_some_and(|age| age < SHORTEST) {
            return self.idle;
        }
        // Where it cannot be read, the result stays `None`.
        let idle = idle_time(&stat()?)?;
        let before = self.sample.replace((now, idle));
        self.idle = before
            .filter(|(then, _)| now.since(*then) < LONGEST)
            .map(|(then, before)| {
                let part =
                    idle.saturating_sub(before).as_micros() * 1000 / now.since(then).as_micros();
                part.try_into().unwrap_or(u32::MAX)
            });
        self.idle
    }
}

/// How long all processors together have been idle since the boot. The first line of /proc/stat (proc_stat(5)) is
/// `cpu` and their times in user, nice, system, idle and iowait; the last two are idle.
fn idle_time(stat: &str) -> Option<Duration> {
    let mut ticks = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .map_while(|number| number.parse::<u64>().ok())
        .skip(3);
    let ticks = ticks.next()? + ticks.next()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_micros(ticks * 1_000_000 / per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let stat = "cpu  100 5 300 4000 40 6 7 8 90 0\ncpu0 1 2 3 4 5\nintr 5\n";
        assert_eq!(idle_time(stat), Some(Duration::from_millis(40_400)));
        for other in ["", "cpu", "cpu  1 2 3", "cpu  1 2 3 4", "cpu0 1 2 3 4 5"] {
            assert_eq!(idle_time(other), None, "{other}");
        }
        let real = fs::read_to_string("/proc/stat").unwrap();
        assert!(idle_time(&real).is_some());
    }

    #[test]
    fn it_is_known_after_a_while_and_forgotten_after_a_longer_one() {
        let mut processors = Processors::default();
        let mut look = |milliseconds: u64, idle: u64| {
            let now = Uptime::from_micros(1_000_000 + milliseconds * 1000);
            processors.look(now, || Some(format!("cpu  1 1 1 {idle} 0")))
        };
        assert_eq!(look(0, 1000), None, "nothing to compare with");
        assert_eq!(look(199, 1010), None, "too early");
        // 30 hundredths of a second of 20: one and a half processors.
        assert_eq!(look(200, 1030), Some(1500));
        assert_eq!(look(399, 9999), Some(1500), "not looked at again");
        assert_eq!(look(400, 1030), Some(0));
        assert_eq!(look(1400, 1100), None, "too late");
    }
}
