//! Variables of the environment that are meant for a program, and belong to none of its options: misspelt ones, and
//! those of another version. Those that Kubernetes sets for a service with the program's name are no such variables.

use std::collections::BTreeSet;
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
        let names: BTreeSet<_> = environment.map(OsStr::to_string_lossy).collect();
        let unknown = names.iter().filter_map(|name| {
            let own = name.strip_prefix(self.prefix)?;
            let is_known = self.others.contains(&own) || options.contains(&&**name);
            let is_known = is_known || is_of_kubernetes(name, |other| names.contains(other));
            (!is_known).then(|| UnknownVariable {
                meant: self.closest(own, options),
                name: name.to_string(),
            })
        });
        unknown.collect()
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

/// Whether Kubernetes sets a variable of that name for one of its services. For each service it sets `_SERVICE_HOST` and
/// `_SERVICE_PORT`, so that a single variable with such an end is not taken for its own.
fn is_of_kubernetes(name: &str, is_set: impl Fn(&str) -> bool) -> bool {
    let ends = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"];
    let services = ends.iter().flat_map(|end| {
        let found = name.match_indices(end);
        found.map(|(at, end)| (&name[..at], end, &name[at + end.len()..]))
    });
    let mut services = services.filter(|(service, ..)| {
        ends[..2]
            .iter()
            .all(|end| is_set(&format!("{service}{end}")))
    });
    services.any(|(_, end, rest)| match end {
        "_PORT" => rest.is_empty() || is_link(rest),
        "_SERVICE_PORT" => rest.is_empty() || is_port_name(rest),
        _ => rest.is_empty(),
    })
}

/// `_80_TCP`, which says where that port is, or a part of it.
fn is_link(text: &str) -> bool {
    let mut words = text.split('_').skip(1);
    let (port, protocol, part) = (words.next(), words.next(), words.next());
    port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && matches!(protocol, Some("TCP" | "UDP" | "SCTP"))
        && matches!(part, None | Some("PROTO" | "PORT" | "ADDR"))
        && words.next().is_none()
}

/// `_HTTP`, for a port that has a name.
fn is_port_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.len() > 1 && text.starts_with('_') && text.chars().all(is_allowed)
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

    /// What Kubernetes sets for a service with the name of the program, one with a longer name, and their ports.
    const OF_KUBERNETES: [&str; 13] = [
        "P_SERVICE_HOST",
        "P_SERVICE_PORT",
        "P_SERVICE_PORT_HTTP",
        "P_SERVICE_PORT_WEB_1",
        "P_PORT",
        "P_PORT_80_TCP",
        "P_PORT_80_TCP_PROTO",
        "P_PORT_80_TCP_PORT",
        "P_PORT_80_TCP_ADDR",
        "P_PORT_53_UDP",
        "P_TARGET_SERVICE_HOST",
        "P_TARGET_SERVICE_PORT",
        "P_TARGET_PORT",
    ];

    #[test]
    fn what_kubernetes_sets_for_a_service_of_that_name_is_nothing_to_refuse() {
        assert_eq!(unknown(&OF_KUBERNETES), [""; 0]);
    }

    #[test]
    fn what_only_looks_like_it_is_unknown() {
        for name in [
            "P_SERVICE",
            "P_SERVICE_HOST_A",
            "P_SERVICE_PORT_",
            "P_SERVICE_PORT_a",
            "P_PORT_80",
            "P_PORT_0_TCP",
            "P_PORT_65536_TCP",
            "P_PORT_X_TCP",
            "P_PORT_80_TCPX",
            "P_PORT_80_TCP_NAME",
            "P_PORT_80_TCP_ADDR_A",
            "P_EXPORT",
            "P_LISTEN_PORT",
        ] {
            let environment = [&OF_KUBERNETES[..], &[name]].concat();
            assert_eq!(unknown(&environment).len(), 1, "{name}");
        }
        // Without the rest it is of nobody.
        for name in OF_KUBERNETES {
            assert_eq!(unknown(&[name]).len(), 1, "{name}");
        }
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
