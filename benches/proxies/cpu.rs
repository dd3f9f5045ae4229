//! CPU time of processes, by their clocks, and of the machine, from `/proc` (proc(5)).

use std::collections::BTreeSet;
use std::fs;
use std::process;
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

    /// User and system time of all its threads, also of those that have ended. What the kernel does in
    /// its interrupts for the network counts for the process that was interrupted.
    pub fn used(&self) -> Duration {
        self.0.iter().filter_map(|&process| clock(process)).sum()
    }

    /// The same to a hundredth of a second, with the children that have ended.
    fn used_with_children(&self) -> Duration {
        self.0.iter().filter_map(|&process| ticks(process)).sum()
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

/// The clock of a process (clock_getcpuclockid(3)): it has nanoseconds, where `/proc` has hundredths of a
/// second.
fn clock(process: u32) -> Option<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: both calls write to one of our variables, and to nothing else.
    let is_read = unsafe {
        libc::clock_getcpuclockid(process.try_into().ok()?, &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    let seconds = time.tv_sec.try_into().ok()?;
    is_read.then(|| Duration::new(seconds, time.tv_nsec as u32))
}

/// User and system time of a process, and of its children that have ended.
fn ticks(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the name, which may have spaces and parentheses in it.
    let fields = stat.rsplit_once(')')?.1;
    let times = fields.split_whitespace().skip(11).take(4);
    Some(of_ticks(
        times.filter_map(|it| it.parse::<u64>().ok()).sum(),
    ))
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_secs(ticks) / clock_ticks_per_second() as u32
}

/// How busy the machine is, beside this process, all its descendants, and those that have ended.
pub struct Busy {
    before: (Duration, Duration),
}

impl Busy {
    /// From now on.
    pub fn beside_us() -> Self {
        Self { before: now() }
    }

    /// Share of all processors' time that others have used.
    pub fn others(&self, time: Duration) -> f64 {
        let (all, ours) = now();
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

/// Time that all processors were busy, and that we have used.
fn now() -> (Duration, Duration) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    // user nice system idle iowait irq softirq steal; guests are in user and nice already.
    let times = numbers(stat.lines().next().unwrap_or_default());
    let idle = times.iter().skip(3).take(2).sum::<u64>();
    let busy = times.iter().take(8).sum::<u64>() - idle;
    let ours = Tree::of(process::id());
    (of_ticks(busy), ours.used_with_children())
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
