//! Clients and the service that they want, in one process, with a proxy between them: whatever happens
//! to the proxy, each byte is checked, and who loses a connection is counted.
//!
//! ```sh
//! cargo run --release --example verified-load -- --connect 127.0.0.1:5001 --upstream 127.0.0.1:5000 \
//!     --streams 300 --packets 50000 --talkers 64 --idle 1000 --seconds 60
//! ```
//!
//! Three kinds of connections, each as many as it is told:
//!
//! - [`stream`]: comes, says much or little both ways with pauses, half-closes at either side, goes;
//! - [`talk`]: stays, sends small packets at a rate that does not depend on the answers, has them echoed,
//!   and measures the longest pause;
//! - [`worker`]: asks as fast as it is answered, to measure what a connection and a request cost.
//!
//! A client says first which connection it is, so [`upstream`] knows what it is to hear ([`connection`]).
//! `ready` on standard error says that all who stay have been answered, and that the time begins. At the
//! end there is one line of JSON ([`report`]), and the status is 1 if anything was lost or wrong.

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
