//! Whether there is a proxy with the name already.

use std::fs;

use super::files::FoundFile;
use super::instance::Instance;
use super::system::{ProxySystem, not_written};
use super::systemctl::first;
use crate::ctl::failure::CtlFailure;

/// Fails if a file or a unit of it is there, or the units of all proxies are missing.
pub async fn check_absent(system: &ProxySystem, instance: &Instance) -> Result<(), CtlFailure> {
    for path in instance.files() {
        let found = system
            .root
            .find(&path)
            .map_err(|error| not_written(&error))?;
        if found != FoundFile::Nothing {
            return Err(exists(instance, &format!("there is {path}")));
        }
    }
    if !system.is_running {
        return Ok(());
    }
    let socket = instance.socket();
    let enabled = system.systemctl.enablement(&socket).await?;
    if enabled.starts_with("enabled") {
        return Err(exists(instance, &format!("{socket} is {enabled}")));
    }
    if !is_known(system, &socket).await? {
        return Ok(());
    }
    let shown = system.systemctl.show("ActiveState,Listen", &socket).await?;
    if first(&shown, "ActiveState") == "active" {
        return Err(exists(instance, &format!("{socket} is active")));
    }
    match first(&shown, "Listen") {
        "" => Ok(()),
        address => Err(exists(
            instance,
            &format!("a drop-in of {socket} has an address, {address}"),
        )),
    }
}

/// Whether systemd has the unit in memory, or a drop-in of it is somewhere. To ask for the properties of any other one
/// would have systemd read it, and complain in the journal that it has no address.
async fn is_known(system: &ProxySystem, socket: &str) -> Result<bool, CtlFailure> {
    let has_drop_in = |place: &str| {
        let directory = system.root.place(&format!("{place}/{socket}.d"));
        fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
    };
    Ok(UNIT_PLACES.iter().any(|place| has_drop_in(place)) || system.systemctl.has(socket).await?)
}

/// Where systemd looks for units, but for those that it makes itself: systemd.unit(5).
const UNIT_PLACES: [&str; 7] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

fn exists(instance: &Instance, why: &str) -> CtlFailure {
    let (name, service) = (instance.name(), instance.service());
    CtlFailure::Refused(format!(
        "there is a proxy {name} already ({why}), and nothing was changed: lead it elsewhere with \
         `disnix-tcp-proxyctl --instance {name} set-target TARGET`, change its options in {} and \
         `systemctl restart {service}`, or remove it first: `disnix-tcp-proxyctl remove {name}` removes what \
         `add` has written, and the rest is yours to remove",
        instance.environment_file()
    ))
}
