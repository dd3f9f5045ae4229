//! What can be seen of a running process from outside.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many pipes it has open. Each has two ends, but counts once.
pub fn pipes(pid: i32) -> usize {
    let mut pipes: Vec<_> = links(pid)
        .into_iter()
        .filter(|link| link.starts_with("pipe:"))
        .collect();
    pipes.sort();
    pipes.dedup();
    pipes.len()
}

fn links(pid: i32) -> Vec<String> {
    let directory = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    directory
        // A descriptor may be closed while we look.
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}

/// Bytes of memory that are its own and no file's.
pub fn memory(pid: i32) -> u64 {
    let map = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = map.lines().find(|line| line.starts_with("Pss_Anon:"));
    let words = line.expect("the kernel is too old").split_whitespace();
    words.clone().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// How many threads it has.
pub fn threads(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// For tests that need much of the machine: one of them runs at a time.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // One that failed does not keep the others from running.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the limit of open descriptors of this process and of those that it starts.
pub fn need_descriptors(count: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit(2) writes the struct, setrlimit(2) reads it.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        if limit.rlim_cur >= count {
            return;
        }
        limit.rlim_cur = count;
        limit.rlim_max = limit.rlim_max.max(count);
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    let error = std::io::Error::last_os_error();
    assert_eq!(
        raised, 0,
        "this test needs {count} descriptors, and the machine does not allow them: {error} \
         (ulimit -n; beyond the hard limit only root goes, and nobody beyond fs.nr_open)"
    );
}
