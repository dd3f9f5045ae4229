//! How the costs of disnix-tcp-proxy grow with the number of its connections:
//!
//! ```sh
//! cargo bench --bench proxies -- growth
//! cargo bench --bench proxies -- growth --most 10000 --rounds 1
//! ```
//!
//! - [`options`] say what a run consists of, [`room`] how many connections are possible here;
//! - [`subject`] is the proxy with the store of its descriptors, [`crowd`] are the clients, [`restart`] ends the
//!   proxy and starts it anew, [`wakeups`] are what it is woken for;
//! - [`measure`] goes through all of it at one number of connections;
//! - [`figures`] are what is measured, [`records`] the medians, [`slope`] says what grows how fast, [`report`] and
//!   [`picture`] show it.

use std::process::ExitCode;
use std::time::Duration;
use std::{fs, iter};

use clap::Parser;

use crate::document;
use crate::load::when;

mod crowd;
mod figures;
mod measure;
mod options;
mod picture;
mod records;
mod report;
mod restart;
mod room;
mod slope;
mod subject;
mod wakeups;

use options::GrowthOptions;
use records::Records;

/// The first argument.
pub const NAME: &str = "growth";

/// The numbers of connections; the last one is what is possible.
const NUMBERS: [usize; 3] = [100, 1_000, 10_000];

/// Runs it with the rest of the arguments.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let options = GrowthOptions::parse_from(iter::once(NAME.to_owned()).chain(arguments));
    let records = run(&options);
    let text = report::draw(&options, &records);
    println!("\n{text}");
    if let Err(error) = write(&options, &text, &records) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    match records.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Measures all numbers round after round, and says on standard error how it goes.
fn run(options: &GrowthOptions) -> Records {
    let room = room::Room::of_descriptors(room::raise_descriptors());
    let below = |number: &usize| *number < room.most && options.most.is_none_or(|it| *number < it);
    let mut numbers: Vec<usize> = NUMBERS.into_iter().filter(below).collect();
    numbers.extend(options.most.map(|most| most.min(room.most)));
    let mut records = Records::new(room);
    for round in 0..options.rounds.max(1) {
        let mut of_one = None;
        for &number in &numbers {
            of_one = one(&mut records, options, (round, number)).or(of_one);
        }
        if let (0, None, Some(of_one)) = (round, options.most, of_one) {
            // The more connections, the more exact is their memory.
            records.room = records.room.with_memory(of_one);
            let most = records.room.most;
            if numbers.last().is_none_or(|last| *last < most) {
                one(&mut records, options, (round, most));
                numbers.push(most);
            }
        }
    }
    records
}

/// Measures at one number. Returns the memory of the machine for a connection, in bytes.
fn one(
    records: &mut Records,
    options: &GrowthOptions,
    (round, number): (usize, usize),
) -> Option<f64> {
    let length = Duration::from_secs_f64(options.seconds.clamp(0.01, 600.0));
    let measured = measure::measure(number, length);
    let said = match &measured {
        Ok(measured) => figures::say(&measured.values),
        Err(error) => format!("FAILED: {error}"),
    };
    let rounds = options.rounds.max(1);
    eprintln!("{}/{rounds} {number:7} connections: {said}", round + 1);
    let of_one = measured.as_ref().ok().and_then(|it| it.of_machine);
    records.add(number, measured);
    of_one
}

fn write(options: &GrowthOptions, text: &str, records: &Records) -> Result<(), String> {
    let Some(directory) = &options.write else {
        return Ok(());
    };
    let text = format!("{text}\n![Each cost by the number of connections](growth.svg)");
    document::replace(&directory.join("growth.md"), document::BEGIN, &text)?;
    let picture = picture::draw(records);
    fs::write(directory.join("growth.svg"), picture).map_err(when("growth.svg"))
}

/// Makes sure that all of this works, with few connections.
pub fn works() -> bool {
    let length = Duration::from_millis(50);
    [20, 100].into_iter().all(|number| {
        let measured = measure::measure(number, length);
        let lost = |measured: measure::Measurement| measured.losses.into_iter().next();
        match measured.map(lost) {
            Ok(None) => true,
            Ok(Some(what)) | Err(what) => {
                eprintln!("{number} connections: {what}");
                false
            }
        }
    })
}
