//! What systemd says about units. To ask it starts nothing, as a call to a proxy would.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// The time limit for `systemctl`. A busy machine may need seconds.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Why systemd has not said anything.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    #[error("systemctl cannot be run: {0}")]
    NotRun(#[from] io::Error),
    #[error("systemctl has failed: {0}")]
    Failed(String),
    #[error("systemctl does not answer")]
    Silent,
    #[error("systemctl has answered for {answers} units instead of {questions}")]
    Mixed { questions: usize, answers: usize },
}

/// The properties of a unit. One that is a list may be there several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitProperties(Vec<(String, String)>);

impl UnitProperties {
    /// The value of the property; empty if it has none, or if this systemd does not know it.
    pub fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Each value of the property.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.0.iter().filter(move |(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Whether systemd runs on this machine: sd_booted(3).
pub fn runs() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}

/// The properties of all units that match a pattern.
pub async fn matching(
    pattern: &str,
    properties: &[&str],
) -> Result<Vec<UnitProperties>, SystemdError> {
    Ok(parse(&show(&[pattern], properties).await?))
}

/// The properties of each of these units, in this order.
pub async fn each(
    units: &[&str],
    properties: &[&str],
) -> Result<Vec<UnitProperties>, SystemdError> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let found = parse(&show(units, properties).await?);
    match found.len() == units.len() {
        true => Ok(found),
        false => Err(SystemdError::Mixed {
            questions: units.len(),
            answers: found.len(),
        }),
    }
}

async fn show(units: &[&str], properties: &[&str]) -> Result<String, SystemdError> {
    let output = Command::new("systemctl")
        .arg("show")
        .arg(format!("--property={}", properties.join(",")))
        .arg("--")
        .args(units)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(ANSWER_TIME, output).await;
    let output = output.map_err(|_| SystemdError::Silent)??;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("it does not say why");
            Err(SystemdError::Failed(said.to_owned()))
        }
    }
}

/// Reads `NAME=VALUE` lines, with an empty line between two units.
fn parse(text: &str) -> Vec<UnitProperties> {
    let property = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    let units = text
        .split("\n\n")
        .map(str::trim)
        .filter(|unit| !unit.is_empty());
    units
        .map(|unit| UnitProperties(unit.lines().filter_map(property).collect()))
        .collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A unit with these lines.
    pub fn unit(lines: &str) -> UnitProperties {
        parse(lines).pop().unwrap_or_default()
    }

    #[test]
    fn each_unit_has_its_properties_and_a_list_may_have_several_lines() {
        let units = parse(
            "Listen=[::]:80 (Stream)\nListen=/run/a=b (Stream)\nTriggers=\n\nListen=/run/c (Stream)\n",
        );
        assert_eq!(units.len(), 2);
        let listens: Vec<_> = units[0].all("Listen").collect();
        assert_eq!(listens, ["[::]:80 (Stream)", "/run/a=b (Stream)"]);
        assert_eq!(units[0].get("Triggers"), "");
        assert_eq!(units[1].get("Listen"), "/run/c (Stream)");
        assert_eq!(units[1].get("Unheard"), "");
    }

    #[test]
    fn nothing_is_said_about_no_unit() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("\n\n\n"), []);
    }
}
