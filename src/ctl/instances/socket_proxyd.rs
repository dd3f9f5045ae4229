//! What a unit of systemd-socket-proxyd(8) says, for a proxy in its place. Pure.

use std::collections::BTreeSet;

use super::listen::ListenAddress;
use super::options::{ProxyVariable, Relations};
use super::plan::CarriedLines;
use super::systemctl::{Properties, first};
use super::unit_text::directives;
use crate::service::address::Address;
use crate::service::printable::Printable;
use crate::service::timespan::TimeSpan;

/// What `systemctl` shows of a service and its sockets.
#[derive(Clone, Debug, Default)]
pub struct ShownUnits {
    pub service: Properties,
    pub sockets: Vec<Properties>,
    /// The unit files.
    pub text: String,
    /// Whether a socket at `::` has clients of IPv6 alone where `BindIPv6Only=` does not say it: net.ipv6.bindv6only.
    pub default_is_only_v6: bool,
}

/// A proxy, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyTraits {
    pub listen: Vec<ListenAddress>,
    pub target: Address,
    pub variables: Vec<ProxyVariable>,
    pub relations: Relations,
    pub carried: CarriedLines,
}

/// The arguments of systemd-socket-proxyd(8).
#[derive(Debug, Default, PartialEq, Eq)]
struct ProxydArguments {
    target: String,
    connections_max: Option<String>,
    exit_idle_time: Option<String>,
}

/// The proxy for these units, and notes about what is different. `port` knows the services of services(5). The error is
/// a sentence.
pub fn read(
    units: &ShownUnits,
    port: &dyn Fn(&str) -> Option<u16>,
) -> Result<(ProxyTraits, Vec<String>), String> {
    let arguments = arguments(&command(&units.service)?)?;
    let mut notes = Vec::new();
    let traits = ProxyTraits {
        listen: listen(&units.sockets)?,
        target: Address::parse_target_with(&arguments.target, port)
            .map_err(|error| format!("its target: {error}"))?,
        variables: variables(&arguments, &mut notes)?,
        relations: relations(units, &mut notes),
        carried: CarriedLines {
            socket: socket_lines(&units.sockets, units.default_is_only_v6)?,
            unit: named(units, "JoinsNamespaceOf"),
            service: namespace_lines(&units.service),
        },
    };
    notes.extend(not_carried(&units.text));
    Ok((traits, notes))
}

/// The words of `ExecStart=`.
fn command(service: &Properties) -> Result<Vec<String>, String> {
    let shown = first(service, "ExecStart");
    let words = shown.split_once("argv[]=").map(|(_, rest)| rest);
    let words = words
        .and_then(|rest| rest.split_once(" ; "))
        .map(|(words, _)| words);
    let words = words.ok_or("it has no ExecStart=, so it is no proxy")?;
    if words.contains(['"', '\'', '\\', '$']) {
        return Err(format!(
            "its ExecStart= has quotes or variables, which cannot be read here ({}): use --listen and --target",
            Printable(words)
        ));
    }
    let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
    match words.first() {
        Some(program) if program.ends_with("/systemd-socket-proxyd") => Ok(words[1..].to_vec()),
        program => Err(format!(
            "it runs {} and not systemd-socket-proxyd: use --listen and --target",
            Printable(program.map_or("nothing", String::as_str))
        )),
    }
}

/// As getopt_long(3) reads them.
fn arguments(words: &[String]) -> Result<ProxydArguments, String> {
    let mut found = ProxydArguments::default();
    let mut targets = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            targets.extend(words.by_ref());
            break;
        }
        let (option, value) = match word.strip_prefix("--") {
            Some(long) => match long.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (long, None),
            },
            None => match word.strip_prefix("-c") {
                Some(value) => (
                    "connections-max",
                    Some(value).filter(|value| !value.is_empty()),
                ),
                None => {
                    targets.push(word);
                    continue;
                }
            },
        };
        let place = match option {
            "connections-max" => &mut found.connections_max,
            "exit-idle-time" => &mut found.exit_idle_time,
            _ => return Err(format!("its option “{}” is not known", Printable(word))),
        };
        let value = value.or_else(|| words.next().map(String::as_str));
        *place = Some(
            value
                .ok_or("the value of its last option is missing")?
                .to_owned(),
        );
    }
    match targets[..] {
        [target] => target.clone_into(&mut found.target),
        _ => return Err("its command line does not have exactly one HOST".to_owned()),
    }
    Ok(found)
}

fn listen(sockets: &[Properties]) -> Result<Vec<ListenAddress>, String> {
    let mut found: Vec<ListenAddress> = Vec::new();
    for socket in sockets {
        let id = first(socket, "Id");
        if first(socket, "Accept") == "yes" {
            return Err(format!(
                "its {id} has Accept=yes, so it passes connections and not itself"
            ));
        }
        for shown in socket.get("Listen").into_iter().flatten() {
            let Some(address) = shown.strip_suffix(" (Stream)") else {
                return Err(format!(
                    "its {id} listens on {}, which is no stream",
                    Printable(shown)
                ));
            };
            found.push(
                address
                    .parse()
                    .map_err(|error| format!("its {id}: {error}"))?,
            );
        }
    }
    match found.is_empty() {
        true => Err("no socket unit with an address activates it".to_owned()),
        false => Ok(found),
    }
}

fn variables(
    arguments: &ProxydArguments,
    notes: &mut Vec<String>,
) -> Result<Vec<ProxyVariable>, String> {
    let idle = arguments.exit_idle_time.as_deref().unwrap_or("infinity");
    let idle: TimeSpan = idle
        .parse()
        .map_err(|error| format!("its --exit-idle-time: {error}"))?;
    let mut variables = vec![ProxyVariable::new("exit-idle-time", idle)];
    match &arguments.connections_max {
        Some(max) => {
            let is_number = max.parse::<usize>().is_ok_and(|max| max > 0);
            if !is_number {
                return Err("its --connections-max is not a number".to_owned());
            }
            variables.push(ProxyVariable::new("connections-max", max));
            notes.push(format!("clients beyond --connections-max {max} wait now, and are not refused"));
        }
        None => notes.push(
            "clients beyond 256 were refused; the new proxy serves 16384 at a time, and further ones wait \
             (--connections-max)"
                .to_owned(),
        ),
    }
    Ok(variables)
}

/// Units of a dependency that it was given: services, and what its files name. systemd adds others to each unit.
fn given<'a>(units: &'a ShownUnits, dependency: &str) -> Vec<&'a str> {
    let lines = directives(&units.text);
    let is_written = |name: &str| {
        let mut of_units = lines.iter().filter(|line| line.section == "Unit");
        of_units.any(|line| line.value.split_whitespace().any(|word| word == name))
    };
    let is_own = |name: &str| {
        let mut own = units.sockets.iter().chain([&units.service]);
        own.any(|unit| first(unit, "Id") == name)
    };
    let names = first(&units.service, dependency).split_whitespace();
    names
        .filter(|name| !is_own(name) && (name.ends_with(".service") || is_written(name)))
        .collect()
}

fn relations(units: &ShownUnits, notes: &mut Vec<String>) -> Relations {
    let service = &units.service;
    let mut relations = Relations::default();
    for dependency in ["Requires", "Requisite", "BindsTo", "Wants", "Upholds"] {
        for name in given(units, dependency) {
            let place = match dependency {
                "Upholds" => &mut relations.upholds,
                _ => &mut relations.wants,
            };
            if !place.iter().any(|before| before == name) {
                place.push(name.to_owned());
            }
            if !["Wants", "Upholds"].contains(&dependency) {
                notes.push(format!(
                    "{dependency}={name} is Wants={name} now: clients wait while {name} is stopped, and are \
                     not disconnected with it"
                ));
            }
        }
    }
    let groups = [
        first(service, "Group"),
        first(service, "SupplementaryGroups"),
    ];
    let groups = groups.iter().flat_map(|names| names.split_whitespace());
    relations.groups = groups.map(str::to_owned).collect();
    relations
}

/// The lines of a dependency that is carried as it is.
fn named(units: &ShownUnits, dependency: &str) -> Vec<String> {
    let names = given(units, dependency).into_iter();
    names.map(|name| format!("{dependency}={name}")).collect()
}

fn namespace_lines(service: &Properties) -> Vec<String> {
    let kinds = ["PrivateNetwork", "PrivateTmp"];
    // PrivateTmp= alone changes nothing: the unit of the proxy has it.
    let joins = !first(service, "JoinsNamespaceOf").is_empty();
    let is_set =
        |kind: &&&str| first(service, kind) == "yes" && (joins || **kind == "PrivateNetwork");
    kinds
        .iter()
        .filter(is_set)
        .map(|kind| format!("{kind}=yes"))
        .collect()
}

/// Settings of the sockets that are not those of the proxy's own, which has one unit for all addresses. The error is a
/// sentence.
fn socket_lines(sockets: &[Properties], default_is_only_v6: bool) -> Result<Vec<String>, String> {
    let is_v6 = |address: &str| address.starts_with('[');
    let is_ip = |address: &str| address.starts_with(|c: char| c == '[' || c.is_ascii_digit());
    let is_path = |address: &str| address.starts_with('/');
    let mut lines = Vec::new();
    for (key, usual, concerns) in [
        (
            "BindIPv6Only",
            &["", "default", "both"][..],
            &is_v6 as &dyn Fn(&str) -> bool,
        ),
        ("BindToDevice", &[""], &is_ip),
        ("SocketUser", &[""], &is_path),
        ("SocketGroup", &[""], &is_path),
        ("SocketMode", &["", "0666"], &is_path),
        ("Transparent", &["", "no"], &is_ip),
    ] {
        let concerned = sockets.iter().filter(|socket| {
            let mut addresses = socket.get("Listen").into_iter().flatten();
            addresses.any(|address| concerns(address))
        });
        let values = concerned.map(|socket| first(socket, key));
        let values = values.map(|value| match value {
            "" | "default" if key == "BindIPv6Only" && default_is_only_v6 => "ipv6-only",
            value if usual.contains(&value) => "",
            value => value,
        });
        let values: BTreeSet<_> = values.collect();
        if values.len() > 1 {
            return Err(format!(
                "its sockets differ in {key}=, and a proxy has one unit for all of its addresses: make one for \
                 each with --listen and --target"
            ));
        }
        let set = values.iter().filter(|value| !value.is_empty());
        lines.extend(set.map(|value| format!("{key}={value}")));
    }
    Ok(lines)
}

/// Keys that are carried over, that the units of the proxy set themselves, or that say nothing to it.
const KNOWN: [&str; 33] = [
    "Description",
    "Documentation",
    "Requires",
    "Requisite",
    "BindsTo",
    "Wants",
    "Upholds",
    "After",
    "Before",
    "JoinsNamespaceOf",
    "ExecStart",
    "Type",
    "NotifyAccess",
    "PrivateNetwork",
    "PrivateTmp",
    "Group",
    "SupplementaryGroups",
    "DynamicUser",
    "NoNewPrivileges",
    "ListenStream",
    "Accept",
    "Backlog",
    "BindIPv6Only",
    "BindToDevice",
    "SocketUser",
    "SocketGroup",
    "SocketMode",
    "Transparent",
    "FreeBind",
    "RemoveOnStop",
    "Service",
    "FileDescriptorName",
    "NonBlocking",
];

/// Beginnings of keys of a sandbox: the proxy has its own.
const SANDBOX: [&str; 9] = [
    "Private",
    "Protect",
    "Restrict",
    "SystemCall",
    "Lock",
    "MemoryDeny",
    "Capability",
    "Ambient",
    "RemoveIPC",
];

/// Notes about lines that are neither carried over nor known.
fn not_carried(text: &str) -> Vec<String> {
    let is_known =
        |key: &str| KNOWN.contains(&key) || SANDBOX.iter().any(|start| key.starts_with(start));
    let unknown = directives(text).into_iter();
    let unknown = unknown.filter(|line| line.section != "Install" && !is_known(&line.key));
    unknown
        .map(|line| {
            let (section, key, value) = (line.section, line.key, line.value);
            format!("not carried over: [{section}] {key}={value}")
        })
        .collect()
}

#[cfg(test)]
mod tests;
