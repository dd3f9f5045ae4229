//! How often the threads of a process had to wait, and were woken.

use std::fs;

/// The voluntary context switches of all threads by now (proc_pid_status(5)): each of them was woken after that.
pub fn of(process: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let of_thread = |status: String| -> Option<u64> {
        let mut lines = status.lines();
        let switches = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        switches?.trim().parse().ok()
    };
    let statuses = threads.filter_map(|it| fs::read_to_string(it.ok()?.path().join("status")).ok());
    Some(statuses.filter_map(of_thread).sum())
}
