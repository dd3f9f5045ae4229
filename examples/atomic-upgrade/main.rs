//! A demonstration of an atomic upgrade, without root and without systemd:
//!
//! ```sh
//! cargo run --release --example atomic-upgrade
//! ```
//!
//! The programs are the real ones. This example plays everything around them:
//!
//! - [`stage`] plays systemd: it binds the sockets, passes them on, starts a program for a client, waits
//!   for `READY=1`, stores descriptors, and starts a killed program again;
//! - [`clients`] are the clients, and [`control`] makes the administrator's calls;
//! - [`story`] is the script, with a method for each scene;
//! - [`recorder`] writes the [`record`], [`verdict`] judges it, [`timeline`] draws it.
//!
//! The exit status is 1 if a client failed, if the upgrade was not atomic, if the client that stays was not
//! answered by both versions over one connection, or if a kill of the proxy cut a connection.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use disnix_proxy_example::service::program::raise_descriptor_limit;
use disnix_proxy_example::service::timespan::TimeSpan;

mod clients;
mod control;
mod narrator;
mod programs;
mod record;
mod recorder;
mod stage;
mod story;
mod timeline;
mod verdict;

/// Errors are sentences.
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The limit for the whole performance, which takes about eight seconds.
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
    raise_descriptor_limit(); // each waiting client takes a descriptor here
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

/// Performs the story, then prints the table, the timeline and the verdict. Returns whether all is well.
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
