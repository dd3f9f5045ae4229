//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Measure how the costs of disnix-tcp-proxy grow with the number of its connections.
///
/// cargo bench --bench proxies -- growth [OPTIONS]
#[derive(Debug, Parser)]
#[command(name = "growth")]
pub struct GrowthOptions {
    /// The number of rounds, of which the medians count
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: usize,
    /// The seconds of requests at each number of connections
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub seconds: f64,
    /// The most connections; without it, as many as memory and descriptors allow
    #[arg(long, value_name = "N")]
    pub most: Option<usize>,
    /// Write the tables into DIR/growth.md, and DIR/growth.svg
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
    /// cargo bench says so
    #[arg(long = "bench", hide = true)]
    pub _bench: bool,
}
