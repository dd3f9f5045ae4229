//! Clients and their service in one process, with a proxy between them. Each byte is checked, and lost
//! connections are counted, while the proxy is disturbed.
//!
//! ```sh
//! cargo run --release --example verified-load -- --connect 127.0.0.1:5001 --upstream 127.0.0.1:5000 \
//!     --streams 300 --packets 50000 --talkers 64 --idle 1000 --seconds 60
//! ```
//!
//! There are three kinds of connections:
//!
//! - [`stream`]: sends much or little in both directions with pauses, half-closes at either side, ends;
//! - [`talk`]: stays, sends small packets that are echoed, at a rate that does not depend on the answers,
//!   and measures the longest pause;
//! - [`worker`]: sends requests as fast as they are answered, to measure the cost of connections and requests.
//!
//! A client first sends its number, from which [`upstream`] knows the expected data ([`connection`]).
//! `ready` on standard error means that all connections that stay have been answered, and starts the time. At
//! the end there is one line of JSON ([`report`]); the exit status is 1 if anything was lost or wrong.

use std::process::ExitCode;

use clap::Parser;
use tokio::task::LocalSet;

mod address;
#[path = "../../tests/streams/bytes.rs"]
mod bytes;
mod connection;
mod crew;
mod end;
mod event;
mod failure;
mod load;
mod options;
mod pauses;
mod plan;
mod report;
mod stream;
mod talk;
#[cfg(test)]
mod tests;
mod ticker;
mod upstream;
mod worker;

fn main() -> ExitCode {
    let options = options::Options::parse();
    load::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => LocalSet::new().block_on(&runtime, crew::run(options)),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(report) => {
            println!("{}", report.line());
            ExitCode::from(u8::from(report.is_bad()))
        }
        Err(error) => {
            eprintln!("verified-load: {error}");
            ExitCode::from(2)
        }
    }
}
