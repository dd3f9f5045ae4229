//! Where the figures come from: the machine, its kernel, the versions of the peers.

use std::fs;
use std::process::Command;

use crate::candidates::Candidate;
use crate::figure::count;
use crate::options::Plan;
use crate::results::Results;
use crate::run::CROWDED;

/// As a list in Markdown.
pub fn describe(plan: &Plan, results: &Results) -> String {
    let settings: Vec<_> = plan.settings.iter().map(|it| it.name()).collect();
    let mut lines = vec![
        hardware(),
        format!(
            "{}; congestion control of the machine {}; at most {} datagrams in a queue",
            settings.join(", "),
            setting("/proc/sys/net/ipv4/tcp_congestion_control"),
            setting("/proc/sys/net/unix/max_dgram_qlen"),
        ),
        format!(
            "{} rounds, {} s each; {} idle connections",
            plan.rounds,
            plan.length.as_secs_f64(),
            count(plan.idle)
        ),
    ];
    lines.extend(results.others().map(beside));
    let (mut families, mut versions) = (Vec::new(), Vec::new());
    for candidate in &plan.candidates {
        if !families.contains(&candidate.family()) {
            families.push(candidate.family());
            versions.extend(version(*candidate));
        }
    }
    lines.push(versions.join("; "));
    lines.iter().map(|line| format!("- {line}\n")).collect()
}

/// The machine and its system.
pub fn hardware() -> String {
    let system = rustix::system::uname();
    let processors = std::thread::available_parallelism().map_or(1, Into::into);
    format!(
        "{processors} processors, {}; {}; Linux {}; {}",
        value("/proc/cpuinfo", "model name", ':'),
        memory(),
        system.release().to_string_lossy(),
        value("/etc/os-release", "PRETTY_NAME", '='),
    )
}

/// What has to be said when others used these parts of the machine: the median, and the most.
pub fn beside((median, most): (f64, f64)) -> String {
    format!(
        "others used {:.0} % of the machine meanwhile (median; at most {:.0} %){}",
        median * 100.0,
        most * 100.0,
        match median < CROWDED {
            true => "",
            false => ": **too much for these figures to be worth anything**",
        }
    )
}

/// A setting of the kernel.
pub fn setting(path: &str) -> String {
    fs::read_to_string(path).map_or("unknown".to_owned(), |text| text.trim().to_owned())
}

/// What the program says of its version, in one line.
fn version(candidate: Candidate) -> Option<String> {
    let option = match candidate {
        Candidate::Copy | Candidate::Nobody => return None,
        Candidate::Nginx { .. } | Candidate::Haproxy { .. } => "-v",
        _ => "--version",
    };
    let output = Command::new(candidate.program().ok()?)
        .arg(option)
        .output()
        .ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next()?;
    Some(match candidate {
        Candidate::SocketProxyd => format!("systemd-socket-proxyd of {line}"),
        _ => line.trim_end_matches(" - https://haproxy.org/").to_owned(),
    })
}

fn memory() -> String {
    let text = value("/proc/meminfo", "MemTotal", ':');
    let kilobytes = text.split(' ').next().and_then(|it| it.parse::<f64>().ok());
    format!("{:.0} GiB", kilobytes.unwrap_or(0.0) / 1024.0 / 1024.0)
}

/// What a file of names and values says of a name.
fn value(file: &str, name: &str, separator: char) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text
        .lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().trim_matches('"').to_owned());
    value.unwrap_or_else(|| format!("unknown {name}"))
}
