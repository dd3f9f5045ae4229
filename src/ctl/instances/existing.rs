//! Whether there is a proxy with the name already.

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
    let properties = "LoadState,ActiveState,UnitFileState,Listen";
    let shown = system.systemctl.show(properties, &socket).await?;
    if first(&shown, "LoadState") == "not-found" {
        return Err(CtlFailure::Refused(format!(
            "systemd does not know {socket}: install the units first, with the package or as in \
             doc/installation.md"
        )));
    }
    let active = first(&shown, "ActiveState");
    let enabled = first(&shown, "UnitFileState");
    if active == "active" || enabled.starts_with("enabled") {
        return Err(exists(
            instance,
            &format!("{socket} is {active} and {enabled}"),
        ));
    }
    match first(&shown, "Listen") {
        "" => Ok(()),
        address => Err(exists(
            instance,
            &format!("a drop-in of {socket} has an address, {address}"),
        )),
    }
}

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
