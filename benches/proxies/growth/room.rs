//! How many connections are possible here.

use std::fs;

use disnix_proxy_example::service::program::raise_descriptor_limit;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::figure::count;

/// Descriptors that are not for connections.
const RESERVED: u64 = 1_000;
/// The connections for each of the others: the proxy has two descriptors for each connection, and the lots keep some
/// for what has ended.
const FOR_EACH: f64 = 0.476;
/// No connection of four sockets has less memory, whatever others did with theirs meanwhile.
const EACH_AT_LEAST: f64 = 16.0 * 1024.0;
/// The part of the memory that is there, for connections: clients and service have theirs in it.
const PART: f64 = 0.7;

/// The most connections, and what does not allow more.
#[derive(Clone, Debug)]
pub struct Room {
    /// Connections.
    pub most: usize,
    /// As a sentence.
    pub why: String,
}

impl Room {
    /// What a process can have with this number of descriptors.
    pub fn of_descriptors(limit: u64) -> Self {
        let most = limit.saturating_sub(RESERVED) as f64 * FOR_EACH;
        Self {
            most: round_down(most as usize),
            why: format!(
                "a process may have {} descriptors here, of which each connection needs two",
                count(usize::try_from(limit).unwrap_or(usize::MAX))
            ),
        }
    }

    /// No more than there is memory for, with `each` bytes of the whole machine for a connection.
    pub fn with_memory(&self, each: f64) -> Self {
        let Some(available) = available_memory() else {
            return self.clone();
        };
        let each = each.max(EACH_AT_LEAST);
        let most = round_down((available as f64 * PART / each) as usize);
        match most < self.most {
            false => self.clone(),
            true => Self {
                most,
                why: format!(
                    "clients, proxy and service need {:.0} KiB for each, and get {:.0} GiB",
                    each / 1024.0,
                    available as f64 * PART / f64::from(1 << 30)
                ),
            },
        }
    }
}

/// To two digits.
fn round_down(number: usize) -> usize {
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    number / unit * unit
}

/// Bytes that programs can have without swapping, proc_meminfo(5).
pub fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|it| it.strip_prefix("MemAvailable:"));
    let kilobytes: u64 = line?.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Allows this process and those that it starts as many descriptors as the kernel gives, if it may. Returns how many.
pub fn raise_descriptors() -> u64 {
    let most = fs::read_to_string("/proc/sys/fs/nr_open");
    let most = most.ok().and_then(|text| text.trim().parse().ok());
    if let Some(most) = most {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        if setrlimit(Resource::Nofile, limit).is_ok() {
            return most;
        }
    }
    raise_descriptor_limit()
}
