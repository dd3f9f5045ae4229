//! The units of a systemd-socket-proxyd(8) that another proxy is made from.

use std::fs;

use super::socket_proxyd::{ProxyTraits, ShownUnits, read};
use super::system::ProxySystem;
use super::systemctl::first;
use super::unit_links::UnitLinks;
use crate::ctl::failure::CtlFailure;
use crate::service::port_name;

const OF_SERVICE: &str = "Id,LoadState,ActiveState,UnitFileState,ExecStart,TriggeredBy,Requires,Requisite,\
    BindsTo,Wants,Upholds,JoinsNamespaceOf,PrivateNetwork,PrivateTmp,Group,SupplementaryGroups";
const OF_SOCKET: &str = "Id,LoadState,ActiveState,UnitFileState,Listen,Accept,BindIPv6Only,BindToDevice,\
    SocketUser,SocketGroup,SocketMode,Transparent,Triggers";

/// The units that a proxy is made from.
#[derive(Debug)]
pub struct OldUnits {
    /// Sockets, then the service.
    pub names: Vec<String>,
    /// What is different in the new proxy.
    pub notes: Vec<String>,
    shown: ShownUnits,
    /// As they were before.
    links: UnitLinks,
}

impl OldUnits {
    /// Reads a service, or a socket and its service. They go on.
    pub async fn read(system: &ProxySystem, unit: &str) -> Result<(ProxyTraits, Self), CtlFailure> {
        let none = || {
            CtlFailure::Usage(format!(
                "systemd has no unit {unit}, or no service for it: `systemctl list-sockets` shows which there are"
            ))
        };
        let service = match unit.ends_with(".socket") {
            true => {
                let socket = system.systemctl.show(OF_SOCKET, unit).await?;
                the_only(first(&socket, "Triggers"), unit)?.ok_or_else(none)?
            }
            false => unit.to_owned(),
        };
        let shown = show(system, &service).await?;
        if first(&shown.service, "LoadState") != "loaded" {
            return Err(none());
        }
        let known = read(&shown, &port_name::tcp_port);
        let (traits, notes) = known
            .map_err(|why| CtlFailure::Usage(format!("no proxy can be made from {unit}: {why}")))?;
        let sockets = shown.sockets.iter();
        let units = sockets.chain([&shown.service]);
        let names = units.map(|unit| first(unit, "Id").to_owned()).collect();
        let links = UnitLinks::read(&system.root).map_err(|error| {
            CtlFailure::Refused(format!(
                "the links of the units cannot be read ({error}), and nothing was changed: become root"
            ))
        })?;
        let old = Self {
            names,
            notes,
            shown,
            links,
        };
        Ok((traits, old))
    }

    /// Brings back what they were: enabled, linked, and open. Returns why some of it is not.
    pub async fn restore(&self, system: &ProxySystem) -> Vec<String> {
        let mut failures = self.links.restore();
        for words in self.commands() {
            let done = system.systemctl.run(&words).await;
            failures.extend(done.err().map(|failure| failure.to_string()));
        }
        failures
    }

    /// The words of the commands of systemctl for when the links are there again.
    fn commands(&self) -> Vec<Vec<String>> {
        let sockets = self.shown.sockets.iter();
        // The next client starts the service.
        let open = sockets.filter(|unit| first(unit, "ActiveState") == "active");
        let start = open.map(|unit| vec!["start".to_owned(), first(unit, "Id").to_owned()]);
        let reload = vec!["daemon-reload".to_owned()];
        [reload].into_iter().chain(start).collect()
    }
}

/// The service of a socket; `None` if it has none.
fn the_only(services: &str, socket: &str) -> Result<Option<String>, CtlFailure> {
    let mut names = services.split_whitespace();
    match (names.next(), names.next()) {
        (Some(_), Some(_)) => Err(CtlFailure::Usage(format!(
            "{socket} is a socket of several services: name one of {services}"
        ))),
        (name, _) => Ok(name.map(str::to_owned)),
    }
}

async fn show(system: &ProxySystem, service: &str) -> Result<ShownUnits, CtlFailure> {
    let mut shown = ShownUnits {
        default_is_only_v6: default_is_only_v6(system),
        service: system.systemctl.show(OF_SERVICE, service).await?,
        ..ShownUnits::default()
    };
    if first(&shown.service, "LoadState") != "loaded" {
        return Ok(shown);
    }
    let triggers = first(&shown.service, "TriggeredBy").split_whitespace();
    let mut names: Vec<_> = triggers.filter(|name| name.ends_with(".socket")).collect();
    for socket in &names {
        shown
            .sockets
            .push(system.systemctl.show(OF_SOCKET, socket).await?);
    }
    names.push(service);
    let words = ["cat", "--no-pager", "--"].into_iter().chain(names);
    let words: Vec<_> = words.map(str::to_owned).collect();
    shown.text = system.systemctl.run(&words).await?;
    Ok(shown)
}

/// Whether a socket at `::` has clients of IPv6 alone if nothing is said, ipv6(7). Without IPv6 there is no setting.
fn default_is_only_v6(system: &ProxySystem) -> bool {
    let setting = fs::read_to_string(system.root.place("/proc/sys/net/ipv6/bindv6only"));
    setting.is_ok_and(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::instances::systemctl::Properties;

    #[test]
    fn what_was_open_becomes_so_again() {
        let unit = |id: &str, active: &str, enabled: &str| {
            let lines = [
                ("Id", id),
                ("ActiveState", active),
                ("UnitFileState", enabled),
            ];
            let lines = lines.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
            Properties::from(lines)
        };
        let old = OldUnits {
            names: Vec::new(),
            notes: Vec::new(),
            shown: ShownUnits {
                default_is_only_v6: false,
                service: unit("a.service", "active", "static"),
                sockets: vec![
                    unit("a.socket", "active", "enabled"),
                    unit("b.socket", "inactive", "disabled"),
                ],
                text: String::new(),
            },
            links: UnitLinks::default(),
        };
        assert_eq!(
            old.commands(),
            [vec!["daemon-reload"], vec!["start", "a.socket"]]
        );
    }
}
