//! Lines of unit files, as `systemctl cat` shows them. Pure.

/// An assignment of a unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitDirective {
    /// Without brackets.
    pub section: String,
    pub key: String,
    pub value: String,
}

/// All assignments, but for those that are empty and only take earlier ones back.
pub fn directives(text: &str) -> Vec<UnitDirective> {
    let mut found = Vec::new();
    let mut section = String::new();
    for line in whole_lines(text) {
        let line = line.trim();
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut section);
            continue;
        }
        let assigned = line
            .split_once('=')
            .filter(|(_, value)| !value.trim().is_empty());
        if let Some((key, value)) = assigned {
            found.push(UnitDirective {
                section: section.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            });
        }
    }
    found
}

/// Lines without comments; one that ends with a `\` continues in the next, systemd.syntax(7).
fn whole_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut begun: Option<String> = None;
    for line in text
        .lines()
        .filter(|line| !line.trim_start().starts_with(['#', ';']))
    {
        let whole = match begun.take() {
            Some(start) => format!("{start} {}", line.trim_start()),
            None => line.to_owned(),
        };
        match whole.strip_suffix('\\') {
            Some(start) => begun = Some(start.to_owned()),
            None => lines.push(whole),
        }
    }
    lines.extend(begun);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_found_with_their_sections_over_comments_and_continued_lines() {
        let text = "# /etc/systemd/system/a.service\n[Unit]\nDescription=A = b\n\n[Service]\n; no=comment\n\
                    ExecStart=/bin/a \\\n# in between\n  --b\nEnvironment=\n Nice = 5\n\n# /etc/b.conf\n\
                    [Install]\nWantedBy=x";
        let found = directives(text);
        let found: Vec<_> = found
            .iter()
            .map(
                |UnitDirective {
                     section,
                     key,
                     value,
                 }| (&**section, &**key, &**value),
            )
            .collect();
        assert_eq!(
            found,
            [
                ("Unit", "Description", "A = b"),
                ("Service", "ExecStart", "/bin/a  --b"),
                ("Service", "Nice", "5"),
                ("Install", "WantedBy", "x"),
            ]
        );
        assert_eq!(directives("a\\"), []);
    }
}
