//! The command line.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Parser;

use crate::address::Header;

/// Verified connections through a proxy: the clients, and the service behind it.
#[derive(Clone, Debug, Parser)]
#[command(name = "verified-load")]
pub struct Options {
    /// Where clients connect to: the proxy
    #[arg(long, value_name = "ADDRESS")]
    pub connect: SocketAddr,
    /// Where the service listens: what the proxy leads to. `unix:PATH`, and
    /// `handover:PATH` where clients are handed over
    #[arg(long, value_name = "ADDRESS")]
    pub upstream: String,
    /// The service hears a PROXY header first, which has to be right
    #[arg(long, value_name = "VERSION")]
    pub header: Option<Header>,
    /// How long it goes on, in seconds
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// How long, in seconds, what is open at the end may take to end
    #[arg(long, default_value_t = 15.0)]
    pub grace: f64,
    /// Everything that is random follows from it
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// How many streams begin each second
    #[arg(long, default_value_t = 0.0, value_name = "RATE")]
    pub streams: f64,
    /// How much each side of a stream says, LEAST-MOST in bytes: each order of magnitude as often as any
    /// other
    #[arg(long, default_value = "1-3000000", value_parser = range, value_name = "RANGE")]
    pub sizes: RangeInclusive<u64>,
    /// The longest of the pauses that a side of a stream makes, in milliseconds
    #[arg(long, default_value_t = 300, value_name = "MS")]
    pub pause: u64,
    /// One stream in so many is reset by its client; 0: none
    #[arg(long, default_value_t = 0, value_name = "TIMES")]
    pub resets: u64,
    /// No side ends before both have heard everything: for proxies that lose the rest
    #[arg(long)]
    pub no_half_closes: bool,
    /// No more streams than that at a time: beyond it none begins
    #[arg(long, default_value_t = 4000, value_name = "COUNT")]
    pub most: usize,

    /// How many connections exchange small packets all the time
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub talkers: usize,
    /// How many packets all of them exchange each second; what is echoed counts as well
    #[arg(long, default_value_t = 1000.0, value_name = "RATE")]
    pub packets: f64,
    /// How large a packet is
    #[arg(long, default_value = "1-200", value_parser = range, value_name = "RANGE")]
    pub packet_sizes: RangeInclusive<u64>,

    /// How many connections have little to say
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub idle: usize,
    /// How many packets all of these exchange each second
    #[arg(long, default_value_t = 1000.0, value_name = "RATE")]
    pub idle_packets: f64,

    /// How many clients ask as fast as they are answered
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub workers: usize,
    /// How often each asks before it makes a new connection; 0: it stays with its first one
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub requests: u64,
}

impl Options {
    /// How long it goes on.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let parsed = text
        .split_once('-')
        .and_then(|(least, most)| Some((least.parse().ok()?, most.parse().ok()?)));
    match parsed {
        Some((least, most)) if 0 < least && least <= most => Ok(least..=most),
        _ => Err("LEAST-MOST is wanted, two numbers from 1 on".to_owned()),
    }
}
