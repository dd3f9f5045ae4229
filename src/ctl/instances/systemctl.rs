//! Commands to systemd.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::Command;

use super::plan::PlanCommand;
use crate::ctl::failure::CtlFailure;

/// How many lines of the journal are looked at for why a unit has failed: a program that ends at once is started again
/// and again.
const LINES: &str = "--lines=30";

/// What systemd itself says whenever a unit ends.
const ROUTINE: [&str; 14] = [
    "Starting ",
    "Started ",
    "Stopping ",
    "Stopped ",
    "Listening on ",
    "Closed ",
    "Failed to start ",
    "Failed to listen on ",
    "For more information, try",
    ": Main process exited",
    ": Failed with result",
    ": Scheduled restart job",
    ": Triggering OnFailure",
    ": Start request repeated",
];

/// systemctl(1) of the running system, or for the files below a root.
#[derive(Clone, Debug)]
pub struct Systemctl {
    root: Option<PathBuf>,
}

/// Properties of a unit, as `systemctl show` prints them; one that is printed several times has several values.
pub type Properties = BTreeMap<String, Vec<String>>;

/// The failure of a command that has ended with this.
fn failed(words: &[String], output: &Output) -> CtlFailure {
    let shown = PlanCommand::Systemctl(words.to_vec());
    let said = complaint(&String::from_utf8_lossy(&output.stderr));
    let why = if said.is_empty() {
        output.status.to_string()
    } else {
        said
    };
    CtlFailure::Refused(format!("`{shown}` failed: {why}"))
}

impl Systemctl {
    pub fn new(root: Option<&Path>) -> Self {
        Self {
            root: root.map(Path::to_owned),
        }
    }

    /// Runs a command, and returns its output. The failure has what it says on standard error.
    pub async fn run(&self, words: &[String]) -> Result<String, CtlFailure> {
        let output = self.output(words).await?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(failed(words, &output))
    }

    async fn output(&self, words: &[String]) -> Result<Output, CtlFailure> {
        let mut command = Command::new("systemctl");
        if let Some(root) = &self.root {
            command.arg("--root").arg(root);
        }
        // What it says is read.
        command.args(words).env("LC_ALL", "C").stdin(Stdio::null());
        // Not after an interruption either.
        command.kill_on_drop(true);
        command.output().await.map_err(|error| {
            let shown = PlanCommand::Systemctl(words.to_vec());
            CtlFailure::Refused(format!(
                "`{shown}` could not be started ({error}): without systemd start disnix-tcp-proxy yourself"
            ))
        })
    }

    /// Whether the unit is enabled, in the words of systemctl(1). It reads links, and not the unit. Fails if there is no
    /// such unit.
    pub async fn enablement(&self, unit: &str) -> Result<String, CtlFailure> {
        let words = ["is-enabled", "--", unit].map(str::to_owned);
        // It fails for each unit that is not enabled.
        let output = self.output(&words).await?;
        let word = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        // Before systemd 253 it has no word for that.
        if word == "not-found" || word.is_empty() && said.contains("No such file or directory") {
            return Err(CtlFailure::Refused(format!(
                "systemd does not know {unit}: install the units first, with the package or as in \
                 doc/installation.md"
            )));
        }
        match word.is_empty() {
            true => Err(failed(&words, &output)),
            false => Ok(word),
        }
    }

    /// Whether systemd has the unit in memory; to ask does not load it.
    pub async fn has(&self, unit: &str) -> Result<bool, CtlFailure> {
        let words = ["list-units", "--all", "--no-legend", "--plain", "--", unit];
        let listed = self.run(&words.map(str::to_owned)).await?;
        Ok(!listed.trim().is_empty())
    }

    /// Properties of a unit, whether it is there or not.
    pub async fn show(&self, properties: &str, unit: &str) -> Result<Properties, CtlFailure> {
        let property = format!("--property={properties}");
        let words = ["show", &property, "--", unit].map(str::to_owned);
        Ok(read_properties(&self.run(&words).await?))
    }

    /// What the journal has about a unit, of this time and later, in seconds since 1970.
    pub async fn log(&self, unit: &str, since: u64) -> Vec<String> {
        let (since, unit) = (format!("--since=@{since}"), format!("--unit={unit}"));
        let words = [
            "--quiet",
            "--no-pager",
            "--output=cat",
            LINES,
            &since,
            &unit,
        ];
        let mut command = Command::new("journalctl");
        // Without a journal there is nothing to show.
        let output = command.args(words).stdin(Stdio::null()).output().await;
        let output = output.map(|output| output.stdout).unwrap_or_default();
        log_lines(&String::from_utf8_lossy(&output))
    }
}

/// What systemctl says, in one line, without the advice to look at units that are gone soon.
fn complaint(errors: &str) -> String {
    let is_advice = |line: &&str| line.starts_with("See ") || line.starts_with("Created symlink");
    let lines = errors.lines().map(str::trim);
    let lines: Vec<_> = lines
        .filter(|line| !line.is_empty() && !is_advice(line))
        .collect();
    lines.join(" ")
}

/// The lines of a journal that say something, each once.
fn log_lines(journal: &str) -> Vec<String> {
    let is_routine = |line: &str| {
        ROUTINE.iter().any(|words| match words.strip_prefix(':') {
            Some(_) => line.contains(words),
            None => line.starts_with(words),
        })
    };
    let mut said = Vec::<String>::new();
    for line in journal.lines().map(str::trim) {
        if !line.is_empty() && !is_routine(line) && !said.iter().any(|before| before == line) {
            said.push(line.to_owned());
        }
    }
    said
}

fn read_properties(text: &str) -> Properties {
    let mut properties = Properties::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let values = properties.entry(name.to_owned()).or_default();
        if !value.is_empty() {
            values.push(value.to_owned());
        }
    }
    properties
}

/// The only or first value of a property; empty if there is none.
pub fn first<'a>(properties: &'a Properties, name: &str) -> &'a str {
    let values = properties.get(name);
    values
        .and_then(|values| values.first())
        .map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_one_line_without_advice() {
        let errors = "Created symlink /etc/a → /etc/b.\nJob for a.service failed.\n\
                      See \"systemctl status a.service\" and \"journalctl -xeu a.service\" for details.\n";
        assert_eq!(complaint(errors), "Job for a.service failed.");
        assert_eq!(complaint("\n"), "");
    }

    #[test]
    fn of_the_journal_that_is_left_which_is_not_said_at_every_end() {
        let one = "Starting a.service - A...\nerror: no such option\n\na.service: Main process exited, \
                   code=exited\na.service: Failed with result 'exit-code'.\nFailed to start a.service - A.\n";
        assert_eq!(log_lines(&one.repeat(2)), ["error: no such option"]);
        let socket = "a.socket: Failed to create listening socket: Address already in use\n\
                      a.socket: Failed with result 'resources'.\n";
        assert_eq!(
            log_lines(socket),
            ["a.socket: Failed to create listening socket: Address already in use"]
        );
        assert_eq!(log_lines(""), [""; 0]);
    }

    #[test]
    fn a_property_may_have_several_values_or_none() {
        let shown =
            "Listen=[::]:80 (Stream)\nListen=/run/a (Stream)\nUser=\nExecStart={ argv[]=a b=c }\n";
        let properties = read_properties(shown);
        assert_eq!(
            properties["Listen"],
            ["[::]:80 (Stream)", "/run/a (Stream)"]
        );
        assert_eq!(first(&properties, "ExecStart"), "{ argv[]=a b=c }");
        assert_eq!(first(&properties, "User"), "");
        assert_eq!(first(&properties, "Group"), "");
    }
}
