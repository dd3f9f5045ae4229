//! disnix-tcp-proxy beside its peers, in one run:
//!
//! ```sh
//! cargo bench --bench proxies
//! cargo bench --bench proxies -- --quick --only bulk-1
//! ```
//!
//! - [`options`] say what a run consists of, [`run`] goes round after round in the order of [`pairs`];
//! - [`candidates`] are who takes part, [`peers`] how the others are configured, [`copy`] is one of
//!   them, [`program`] starts and ends them all;
//! - [`columns`] are the loads with their figures and goals;
//! - [`load`] are the clients, some of them in the order of a [`schedule`]; [`upstream`] is their service, [`pattern`]
//!   what they say, [`http`] how they say it in HTTP, [`poll`] what they are made of;
//! - [`tools`] are other programs' clients and services, [`service`] starts each service;
//! - [`network`] is where a measurement takes place; [`window`] is the time that counts, [`cpu`] and [`memory`]
//!   are what a proxy uses, and [`control`] asks it whether its clients are detached;
//! - [`results`] are medians and ratios, [`significance`] tells a difference from chance, [`summary`] puts in one
//!   place what several loads say, of which the [`worst`] counts; [`table`] and [`plot`] show them, [`machine`] says
//!   where they come from, [`document`] puts it all into `doc/`;
//! - [`growth`] is about our proxy alone, with more and more connections.
//!
//! Service and proxy are processes of their own; the clients are one thread of this one. Started
//! without `--bench`, as `cargo test --benches` does, it only makes sure that all of this works.

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Parser;
use disnix_proxy_example::service::handover;

mod candidates;
mod columns;
mod control;
mod copy;
mod cpu;
mod document;
mod figure;
mod growth;
mod http;
mod load;
mod machine;
mod memory;
mod network;
mod options;
mod pairs;
mod pattern;
mod peers;
mod plot;
mod poll;
mod program;
mod results;
mod run;
mod schedule;
mod service;
mod significance;
mod summary;
mod table;
mod tools;
mod upstream;
mod window;
mod worst;

use options::{Options, Plan};
use pattern::Protocol;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let played = match arguments.next().as_deref() {
        Some(service::UPSTREAM) => {
            let queue = arguments.next().ok_or_else(|| io::Error::other("where?"));
            let queue = queue.and_then(|path| handover::bind(path.as_ref()));
            let protocol = match arguments.next().as_deref() {
                Some(service::SPEAK_HTTP) => Protocol::Http,
                _ => Protocol::Plain,
            };
            queue.and_then(|queue| upstream::run(&listener()?, &queue, protocol))
        }
        Some(candidates::COPY) => {
            let target = arguments.next().and_then(|target| target.parse().ok());
            let target = target.ok_or_else(|| io::Error::other("where to?"));
            target.and_then(|target| copy::run(listener()?, target))
        }
        Some(growth::NAME) => return growth::main(arguments),
        _ => return compare(&Options::parse()),
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The listener that is our standard input.
fn listener() -> io::Result<TcpListener> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

/// Measures, and shows the results.
fn compare(options: &Options) -> ExitCode {
    let plans = options.plans();
    let missing = missing(&plans);
    if !missing.is_empty() {
        eprintln!("{}", missing.join("\n"));
        eprintln!("Or leave it away: --without NAME.");
        return ExitCode::FAILURE;
    }
    let mut is_complete = true;
    for plan in &plans {
        let results = run::run(plan);
        let figures = summary::summary(&results);
        let text = format!(
            "{}\n{}",
            machine::describe(plan, &results),
            table::draw(&results, &figures)
        );
        println!("\n{text}{}", table::everybody(&results));
        let written = match &options.write {
            Some(directory) => {
                let plot = plot::draw(&results, &figures);
                document::write(directory, plan.protocol, &text, &plot)
            }
            None => Ok(()),
        };
        if let Err(error) = &written {
            eprintln!("{error}");
        }
        is_complete &= results.failures.is_empty() && written.is_ok();
    }
    is_complete &= options.bench || growth::works();
    match is_complete {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// What to do to have everybody.
fn missing(plans: &[Plan]) -> Vec<String> {
    let mut missing = Vec::new();
    for plan in plans {
        for setting in &plan.settings {
            missing.extend(setting.check().err());
        }
        for what in plan.missing_tools() {
            if !missing.contains(&what) {
                missing.push(what);
            }
        }
        for candidate in &plan.candidates {
            match candidate.check(plan.protocol) {
                Err(what) if !missing.contains(&what) => missing.push(what),
                _ => {}
            }
        }
    }
    missing
}
