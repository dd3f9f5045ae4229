//! Variables of the environment that are meant for a program, and belong to none of its options: misspelt ones, and
//! those of another version.

use std::ffi::OsStr;
use std::fmt;

use super::printable::Printable;

/// How the variables of a program are named.
#[derive(Clone, Copy, Debug)]
pub struct VariableNames {
    /// What all of them begin with.
    pub prefix: &'static str,
    /// How those end that are no options of the program, but somebody else's or its own.
    pub others: &'static [&'static str],
}

/// A variable that is set and belongs to no option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    name: String,
    /// The variable of an option that has a similar name.
    meant: Option<String>,
}

impl fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Printable(&self.name);
        match &self.meant {
            Some(meant) => write!(
                f,
                "no option has the variable {name}: {meant} was probably meant"
            ),
            None => write!(
                f,
                "no option has the variable {name}: remove it, or see --help for those that there are"
            ),
        }
    }
}

impl VariableNames {
    /// The names among those of an environment that belong to no option; `options`: the variables of all options.
    pub fn unknown<'a>(
        &self,
        environment: impl Iterator<Item = &'a OsStr>,
        options: &[&str],
    ) -> Vec<UnknownVariable> {
        let unknown = environment.filter_map(|name| {
            let name = name.to_string_lossy();
            let own = name.strip_prefix(self.prefix)?;
            let is_known = self.others.contains(&own) || options.contains(&&*name);
            (!is_known).then(|| UnknownVariable {
                meant: self.closest(own, options),
                name: name.to_string(),
            })
        });
        let mut unknown: Vec<_> = unknown.collect();
        unknown.sort_by(|one, other| one.name.cmp(&other.name));
        unknown
    }

    /// The variable of an option that differs from `own` in a third of its letters at most.
    fn closest(&self, own: &str, options: &[&str]) -> Option<String> {
        let own = own.to_ascii_uppercase();
        let distances = options.iter().filter_map(|option| {
            let other = option.strip_prefix(self.prefix)?;
            let distance = strsim::damerau_levenshtein(&own, other);
            (3 * distance <= own.len().max(other.len())).then_some((distance, *option))
        });
        distances.min().map(|(_, option)| option.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: VariableNames = VariableNames {
        prefix: "P_",
        others: &["INSTANCE"],
    };

    const OPTIONS: [&str; 5] = [
        "P_TARGET",
        "P_IDLE_TIMEOUT",
        "P_EXIT_IDLE_TIME",
        "P_CONNECTIONS_MAX",
        "P_CONNECTIONS_MAX_PER_SOURCE",
    ];

    fn unknown(names: &[&str]) -> Vec<String> {
        let environment = names.iter().map(OsStr::new);
        let unknown = NAMES.unknown(environment, &OPTIONS);
        unknown.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_misspelt_variable_is_named_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("P_TARGT", "P_TARGET"),
            ("P_TRAGET", "P_TARGET"),
            ("P_target", "P_TARGET"),
            ("P_IDLE_TIME", "P_IDLE_TIMEOUT"),
            ("P_EXIT_IDLE_TIMEOUT", "P_EXIT_IDLE_TIME"),
            ("P_CONNECTION_MAX", "P_CONNECTIONS_MAX"),
            ("P_CONNECTIONS_PER_SOURCE", "P_CONNECTIONS_MAX_PER_SOURCE"),
        ] {
            let expected = format!("no option has the variable {name}: {meant} was probably meant");
            assert_eq!(unknown(&[name]), [expected]);
        }
    }

    #[test]
    fn nothing_is_suggested_that_is_not_similar() {
        for name in ["P_", "P_X", "P_HEALTH", "P_TIMEOUT", "P_PORT_5001_TCP_ADDR"] {
            let said = unknown(&[name]).concat();
            assert!(said.contains("remove it"), "{said}");
        }
    }

    #[test]
    fn all_that_are_unknown_are_named_and_variables_of_others_are_not() {
        let environment = ["Z", "P_TARGET", "P_Z", "P_INSTANCE", "PATH", "P_Q", "Q_P_Z"];
        let said = unknown(&environment);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("P_Q:") && said[1].contains("P_Z:"));
    }

    #[test]
    fn a_name_cannot_control_a_terminal() {
        let said = unknown(&["P_\x1b[31m"]).concat();
        assert!(said.contains(r"P_\u{1b}[31m"), "{said}");
    }

    proptest! {
        #[test]
        fn a_name_is_unknown_exactly_if_it_is_no_options(end in "[A-Z_]{0,16}") {
            let name = format!("P_{end}");
            let is_known = OPTIONS.contains(&&*name) || end == "INSTANCE";
            prop_assert_eq!(unknown(&[&name]).is_empty(), is_known);
        }

        #[test]
        fn what_is_one_letter_away_is_suggested(which in 0..OPTIONS.len(), at in 2usize..7, letter in "[A-Z]") {
            let mut name = OPTIONS[which].to_owned();
            name.replace_range(at..=at, &letter);
            prop_assume!(name != OPTIONS[which]);
            let said = unknown(&[&name]).concat();
            prop_assert!(said.ends_with(&format!(": {} was probably meant", OPTIONS[which])), "{}", said);
        }
    }
}
