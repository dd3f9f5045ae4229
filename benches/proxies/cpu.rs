//! CPU time of processes, and of the machine, from `/proc` (proc(5)).

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A process and all its descendants.
#[derive(Clone, Debug, Default)]
pub struct Tree(Vec<u32>);

impl Tree {
    /// The process, and those that it has by now.
    pub fn of(process: u32) -> Self {
        let mut found = BTreeSet::from([process]);
        let mut new = vec![process];
        while let Some(process) = new.pop() {
            new.extend(children(process).into_iter().filter(|&it| found.insert(it)));
        }
        Self(found.into_iter().collect())
    }

    /// User and system time of all its threads, also of those that have ended, to a hundredth of a
    /// second. What the kernel does in its interrupts for the network counts for whoever was
    /// interrupted.
    pub fn used(&self) -> Duration {
        self.0.iter().filter_map(|&process| used(process)).sum()
    }

    /// Ends all of them at once.
    pub fn kill(&self) {
        let processes = self.0.iter().filter_map(|&process| process.try_into().ok());
        for process in processes.filter_map(Pid::from_raw) {
            let _ = kill_process(process, Signal::KILL); // it may have ended
        }
    }
}

fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|list| numbers(&list))
        .filter_map(|number| number.try_into().ok())
        .collect()
}

fn used(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the name, which may have spaces and parentheses in it.
    let fields = stat.rsplit_once(')')?.1;
    let mut ticks = fields.split_whitespace().skip(11);
    let user: u64 = ticks.next()?.parse().ok()?;
    let system: u64 = ticks.next()?.parse().ok()?;
    Some(of_ticks(user + system))
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_secs(ticks) / clock_ticks_per_second() as u32
}

/// How busy the machine is, beside a tree of processes.
pub struct Busy {
    ours: Tree,
    before: (Duration, Duration),
}

impl Busy {
    /// From now on.
    pub fn beside(ours: Tree) -> Self {
        let before = now(&ours);
        Self { ours, before }
    }

    /// Share of all processors' time that others have used.
    pub fn others(&self, time: Duration) -> f64 {
        let (all, ours) = now(&self.ours);
        let all = all.saturating_sub(self.before.0);
        let ours = ours.saturating_sub(self.before.1);
        let processors = fs::read_to_string("/proc/stat").map_or(1, |stat| {
            stat.lines()
                .filter(|line| is_processor(line))
                .count()
                .max(1)
        });
        all.saturating_sub(ours).as_secs_f64() / (time.as_secs_f64() * processors as f64)
    }
}

/// Time that all processors were busy, and that `ours` have used.
fn now(ours: &Tree) -> (Duration, Duration) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    // user nice system idle iowait irq softirq steal; guests are in user and nice already.
    let times = numbers(stat.lines().next().unwrap_or_default());
    let idle = times.iter().skip(3).take(2).sum::<u64>();
    let busy = times.iter().take(8).sum::<u64>() - idle;
    (of_ticks(busy), ours.used())
}

fn is_processor(line: &str) -> bool {
    line.strip_prefix("cpu")
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// Everything that is started from now on shares one processor with us, until this is dropped.
pub struct OneProcessor(CpuSet);

impl OneProcessor {
    /// The first processor that we may use.
    pub fn enter() -> Result<Self, String> {
        let before = sched_getaffinity(None::<Pid>).map_err(|error| error.to_string())?;
        let first = (0..CpuSet::MAX_CPU).find(|&cpu| before.is_set(cpu));
        let mut one = CpuSet::new();
        one.set(first.unwrap_or(0));
        sched_setaffinity(None, &one).map_err(|error| error.to_string())?;
        Ok(Self(before))
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.0); // they were ours before
    }
}
