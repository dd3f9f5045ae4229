//! An atomic upgrade that anyone can watch, without root and without systemd:
//!
//! ```sh
//! cargo run --release --example atomic-upgrade
//! ```
//!
//! The programs are the real ones. This example plays everything around them:
//!
//! - [`stage`] plays systemd: binds the sockets, hands them over, starts a program when a client
//!   comes, waits for `READY=1`, keeps what it is given, starts again what was killed;
//! - [`clients`] and [`company`] are the audience, and [`control`] the administrator's hand on the proxy;
//! - [`story`] is the script, one method for each scene;
//! - [`recorder`] writes down what is seen, [`record`] is what was seen, [`verdict`] judges it, [`timeline`] draws it.
//!
//! It ends with status 1 when a single client failed, when the upgrade was not atomic, or when a
//! connection was cut because the proxy was killed.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use disnix_proxy_example::service::program::raise_descriptor_limit;
use disnix_proxy_example::service::timespan::TimeSpan;

mod clients;
mod company;
mod control;
mod narrator;
mod programs;
mod record;
mod recorder;
mod stage;
mod story;
mod timeline;
mod verdict;

/// What can go wrong, in one sentence.
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Longer than any machine should take; the script itself takes about eight seconds.
const TOO_LONG: Duration = Duration::from_secs(60);

/// Watch an atomic upgrade: real programs, real clients, no root, no systemd.
#[derive(Debug, Parser)]
#[command(name = "atomic-upgrade")]
struct Options {
    /// Draw the timeline into this file, too
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
    /// A new client comes so often
    #[arg(long, value_name = "TIME", default_value = "5ms")]
    every: TimeSpan,
    /// Take the programs from this directory instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Whether the proxy keeps connections when it is killed; with `no`, see how many are lost
    #[arg(long, value_name = "YES|NO", default_value = "yes", action = clap::ArgAction::Set,
          value_parser = clap::builder::BoolishValueParser::new())]
    keep_connections: bool,
    /// Show what the programs log, between the lines of the story
    #[arg(long)]
    logs: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    raise_descriptor_limit(); // every client that waits is one here
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(watch(&options)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\natomic-upgrade: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Performs the story, then shows the table, the timeline and the verdict. True if all is well.
async fn watch(options: &Options) -> Fallible<bool> {
    let programs = programs::find(options.programs.as_deref())?;
    let interval = options.every.finite().unwrap_or(Duration::MAX);
    let interval = interval.clamp(Duration::from_millis(1), Duration::from_secs(1));
    let performance = story::perform(story::Script {
        programs,
        every: interval,
        logs: options.logs,
        keep_connections: options.keep_connections,
    });
    let record = tokio::select! {
        record = performance => record?,
        () = tokio::time::sleep(TOO_LONG) => {
            return Err(format!("not over after {} s, given up", TOO_LONG.as_secs()).into());
        }
        _ = tokio::signal::ctrl_c() => return Err("interrupted".into()),
    };
    println!("\n{}", verdict::table(&record));
    println!(
        "{}",
        timeline::terminal::draw(&record, &timeline::terminal::Screen::of_stdout())
    );
    if let Some(path) = &options.svg {
        fs::write(path, timeline::svg::draw(&record))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("The same as a picture: {}\n", path.display());
    }
    Ok(verdict::announce(&record))
}
