//! What `add` and `remove` print. Pure.

use serde::Serialize;

use super::plan::{InstancePlan, PlanCommand, PlannedFile};

/// What was done, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    pub instance: String,
    pub dry_run: bool,
    /// Files that were written or removed.
    pub files: Vec<PlannedFile>,
    /// As typed in a shell.
    pub commands: Vec<String>,
    /// Commands for the administrator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<String>,
    /// What should be known, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

fn typed(acts: &[PlanCommand]) -> Vec<String> {
    acts.iter().map(PlanCommand::to_string).collect()
}

impl PlanReport {
    pub fn of_plan(instance: &str, dry_run: bool, plan: InstancePlan, notes: Vec<String>) -> Self {
        Self {
            instance: instance.to_owned(),
            dry_run,
            commands: typed(&plan.now),
            later: typed(&plan.later),
            files: plan.files,
            notes,
        }
    }

    /// For people; `end` is the last sentence of what was done.
    pub fn lines(&self, end: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for PlannedFile { path, content } in &self.files {
            lines.push(path.clone());
            lines.extend(
                content
                    .lines()
                    .map(|line| format!("    {line}").trim_end().to_owned()),
            );
        }
        lines.extend(self.commands.iter().cloned());
        if !self.later.is_empty() {
            lines.push("to switch over, which refuses clients for a moment:".to_owned());
            lines.extend(self.later.iter().map(|command| format!("    {command}")));
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.push(match self.dry_run {
            true => "nothing was changed (--dry-run)".to_owned(),
            false => end.to_owned(),
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(dry_run: bool) -> PlanReport {
        let act = |words: &[&str]| PlanCommand::systemctl(words, &[]);
        let plan = InstancePlan {
            files: vec![PlannedFile {
                path: "/etc/a.conf".to_owned(),
                content: "[Socket]\n\nListenStream=80\n".to_owned(),
            }],
            now: vec![act(&["daemon-reload"])],
            later: vec![act(&["start", "a"])],
        };
        PlanReport::of_plan("web", dry_run, plan, vec!["mind the gap".to_owned()])
    }

    #[test]
    fn files_commands_and_notes_are_shown_in_their_order() {
        let mut expected = [
            "/etc/a.conf",
            "    [Socket]",
            "",
            "    ListenStream=80",
            "systemctl daemon-reload",
            "to switch over, which refuses clients for a moment:",
            "    systemctl start a",
            "note: mind the gap",
            "it is done",
        ];
        assert_eq!(report(false).lines("it is done"), expected);
        expected[8] = "nothing was changed (--dry-run)";
        assert_eq!(report(true).lines("it is done"), expected);
    }

    #[test]
    fn json_has_the_same() {
        let json = serde_json::to_value(report(true)).unwrap();
        assert_eq!(json["dryRun"], true);
        assert_eq!(json["files"][0]["path"], "/etc/a.conf");
        assert_eq!(json["later"], serde_json::json!(["systemctl start a"]));
    }
}
