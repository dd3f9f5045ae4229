//! The results as text.

use super::figures::ALL;
use super::options::GrowthOptions;
use super::records::Records;
use super::slope::Step;
use crate::figure::{count, figure};
use crate::machine::{beside, hardware, setting};
use crate::table::markdown;

/// Where it was measured, the figures, how fast they grow, and which of them grow too fast.
pub fn draw(options: &GrowthOptions, records: &Records) -> String {
    let mut lines = vec![
        hardware(),
        format!(
            "congestion control {}; at most {} bytes in the buffer of a socket that keeps connections",
            setting("/proc/sys/net/ipv4/tcp_congestion_control"),
            setting("/proc/sys/net/core/wmem_max"),
        ),
        format!(
            "{}, {} s of requests each",
            rounds(options.rounds),
            options.seconds
        ),
    ];
    if options.most.is_none() {
        let room = &records.room;
        lines.push(format!(
            "at most {} connections: {}",
            count(room.most),
            room.why
        ));
    }
    lines.extend(records.others().map(beside));
    let lines: String = lines.iter().map(|line| format!("- {line}\n")).collect();
    let failed: String = records
        .failures
        .iter()
        .map(|line| format!("- {line}\n"))
        .collect();
    let failed = match failed.is_empty() {
        true => failed,
        false => format!("\n**Failed**\n\n{failed}"),
    };
    format!(
        "{lines}\n{}\n{}\n{}{failed}",
        markdown(&medians(records)),
        verdict(records),
        powers(records)
    )
}

fn rounds(number: usize) -> String {
    match number {
        0 | 1 => "one round".to_owned(),
        more => format!("{more} rounds"),
    }
}

fn head(first: &str) -> Vec<String> {
    let names = ALL.iter().map(|figure| figure.name.to_owned());
    [first.to_owned()].into_iter().chain(names).collect()
}

/// The medians, a row for each number of connections.
fn medians(records: &Records) -> Vec<Vec<String>> {
    let row = |number: usize| {
        let values = ALL.iter().enumerate().map(|(at, it)| {
            let value = records.median(number, at);
            value.map_or_else(String::new, |value| figure(value, it.digits))
        });
        [count(number)].into_iter().chain(values).collect()
    };
    let rows = records.numbers().map(row);
    [head("connections")].into_iter().chain(rows).collect()
}

/// How fast each grows, a row for each step: nothing if there is none.
fn powers(records: &Records) -> String {
    let numbers: Vec<usize> = records.numbers().collect();
    let row = |two: &[usize]| {
        let (from, to) = (two[0], two[1]);
        let powers = (0..ALL.len()).map(|at| {
            let steps = records.steps(at);
            let step = steps.iter().find(|step| (step.from, step.to) == (from, to));
            step.map_or_else(String::new, power)
        });
        let step = format!("{} to {}", count(from), count(to));
        [step].into_iter().chain(powers).collect()
    };
    let rows = numbers.windows(2).map(row);
    let head = [head("grows with the power")].into_iter();
    match numbers.len() > 1 {
        true => markdown(&head.chain(rows).collect::<Vec<_>>()),
        false => String::new(),
    }
}

fn power(step: &Step) -> String {
    match step.is_faster {
        true => format!("**{:.2}**", step.power),
        false => format!("{:.2}", step.power),
    }
}

/// Which figures grow faster than the number of connections.
fn verdict(records: &Records) -> String {
    let faster = |at: usize| {
        let steps = records.steps(at).into_iter().filter(|step| step.is_faster);
        steps.map(move |step| {
            format!(
                "- {}: with the power {:.2} from {} to {}\n",
                ALL[at].cost.as_ref().map_or(ALL[at].name, |cost| cost.name),
                step.power,
                count(step.from),
                count(step.to)
            )
        })
    };
    let faster: String = (0..ALL.len()).flat_map(faster).collect();
    match faster.is_empty() {
        true => "Nothing grows faster than the number of connections.\n".to_owned(),
        false => format!("**Faster than the number of connections grows:**\n\n{faster}"),
    }
}
