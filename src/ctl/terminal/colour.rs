//! Colours of states on a terminal: a gate that is locked is red, one that drains yellow.

use std::env;
use std::io::IsTerminal;

/// The states, and how they are shown (ECMA-48: SGR).
const STATES: [(&str, u8); 6] = [
    ("open", 32),
    ("draining", 33),
    ("locked", 31),
    ("asleep", 36),
    ("failed", 31),
    ("unreachable", 31),
];

/// Whether to use colours there: on a terminal that has them, unless `NO_COLOR` is set (<https://no-color.org>).
pub fn is_wanted(output: &impl IsTerminal) -> bool {
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
    output.is_terminal() && !no_color && !is_dumb
}

/// The line with the word in colour that begins at this character, if it is a state.
pub fn paint(line: &str, at: usize) -> String {
    let Some((start, _)) = line.char_indices().nth(at) else {
        return line.to_owned();
    };
    let (before, rest) = line.split_at(start);
    let length = rest
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(rest.len());
    let (word, behind) = rest.split_at(length);
    match STATES.iter().find(|(state, _)| *state == word) {
        Some((_, colour)) => format!("{before}\x1b[{colour}m{word}\x1b[0m{behind}"),
        None => line.to_owned(),
    }
}

/// Where the state is in a line of a description: behind its label.
pub fn behind_label(line: &str) -> usize {
    let mut labels = ["Gate: ", "Process: "].into_iter();
    let is_label = |label: &&str| line.trim_start().starts_with(*label);
    let found = labels.find(is_label);
    let indentation = line.len() - line.trim_start().len();
    found.map_or(usize::MAX, |label| indentation + label.len())
}

/// Where the state is in the lines of a table: below this heading.
pub fn below(headings: &str, heading: &str) -> usize {
    let start = headings.find(heading);
    start.map_or(usize::MAX, |start| headings[..start].chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_at_a_place_is_in_colour_if_it_is_a_state() {
        for (line, at, expected) in [
            (
                "     Gate: locked since",
                11,
                "     Gate: \x1b[31mlocked\x1b[0m since",
            ),
            ("ü  draining", 3, "ü  \x1b[33mdraining\x1b[0m"),
            (
                "web  locked, asleep",
                5,
                "web  \x1b[31mlocked\x1b[0m, asleep",
            ),
            ("     Gate: lockedness", 11, "     Gate: lockedness"),
            ("  Process: 42, version", 11, "  Process: 42, version"),
            ("open", 4, "open"),
            ("open", usize::MAX, "open"),
        ] {
            assert_eq!(paint(line, at), expected);
        }
    }

    #[test]
    fn the_state_is_behind_its_label_and_below_its_heading() {
        assert_eq!(behind_label("     Gate: open"), 11);
        assert_eq!(behind_label("  Process: asleep since"), 11);
        for line in ["", "   Target: Gate: open", "disnix-tcp-proxy Gate: "] {
            assert_eq!(behind_label(line), usize::MAX, "{line}");
        }
        assert_eq!(below("INSTANCE  GATE  OPEN", "GATE"), 10);
        assert_eq!(below("INSTANCE", "GATE"), usize::MAX);
    }
}
