//! `remove`: take a proxy back that `add` has made.

use tokio::time::timeout;

use super::files::FoundFile;
use super::instance::Instance;
use super::options::RemoveOptions;
use super::plan::{InstancePlan, PlanCommand, PlannedFile};
use super::report::PlanReport;
use super::system::{ProxySystem, not_written};
use super::systemctl::first;
use crate::ctl::call::client::{ANSWER_TIME, Client};
use crate::ctl::failure::CtlFailure;
use crate::ctl::terminal::output;
use crate::interface::{GateReply, GateState, LockParameters};
use crate::service::plural::clause;
use crate::service::program::note;

/// Stops the proxy and removes the files with the mark.
pub async fn run(options: &RemoveOptions, as_json: bool) -> Result<(), CtlFailure> {
    let instance = Instance::new(&options.name).map_err(CtlFailure::Usage)?;
    let system = ProxySystem::of(&options.place);
    let is_dry = options.place.dry_run;
    if !is_dry {
        system.check_rights()?;
    }
    let (ours, foreign) = files(&system, &instance)?;
    let mut notes: Vec<_> = foreign.iter().map(|path| stays(path)).collect();
    let (stop, clean, reload) = acts(&system, &instance);
    if !is_dry {
        let closed = match system.is_running && !options.force {
            true => close_gate(&system, &instance).await?,
            false => None,
        };
        if let Err(failure) = system.perform(&stop, &instance).await {
            // A socket whose file with the address is gone already cannot be stopped, and need not be.
            if !system.is_running || !is_stopped(&system, &instance).await? {
                return Err(failure);
            }
        }
        // Nobody is left who could be let through.
        drop(closed);
        if let Some(clean) = &clean {
            if let Err(failure) = system.perform(clean, &instance).await {
                note(format_args!(
                    "warning: its state may have stayed: {failure}"
                ));
            }
        }
        for path in &ours {
            let left = system.root.remove(path);
            let left = left.map_err(|error| not_removed(&instance, &error))?;
            notes.extend(left.as_deref().map(stays));
        }
        if let Some(reload) = &reload {
            system.remove_control_directory(&instance);
            system.perform(reload, &instance).await?;
            system
                .try_systemctl(&["reset-failed"], &instance.units())
                .await;
        }
    }
    let without_content = |path| PlannedFile {
        path,
        content: String::new(),
    };
    let plan = InstancePlan {
        files: ours.into_iter().map(without_content).collect(),
        now: [Some(stop), clean, reload].into_iter().flatten().collect(),
        later: Vec::new(),
    };
    let end = format!("the proxy {} and these files are removed", instance.name());
    let report = PlanReport::of_plan(instance.name(), is_dry, plan, notes);
    match as_json {
        true => output::json(&report),
        false => report.lines(&end).iter().try_for_each(output::line),
    }
}

fn stays(path: &str) -> String {
    format!("{path} stays, because it has what `add` did not write")
}

/// The files with the mark, and the others. To find none with it is a failure.
fn files(
    system: &ProxySystem,
    instance: &Instance,
) -> Result<(Vec<String>, Vec<String>), CtlFailure> {
    let (mut ours, mut foreign) = (Vec::new(), Vec::new());
    for path in instance.files() {
        match system
            .root
            .find(&path)
            .map_err(|error| not_written(&error))?
        {
            FoundFile::Nothing => {}
            FoundFile::Ours => ours.push(path),
            FoundFile::Foreign => foreign.push(path),
        }
    }
    if ours.is_empty() {
        let name = instance.name();
        return Err(CtlFailure::Refused(format!(
            "`disnix-tcp-proxyctl add` has written no file for a proxy {name}, so nothing was removed: \
             `disnix-tcp-proxyctl` shows which proxies there are, and doc/by-hand.md how one is removed \
             that was made by hand"
        )));
    }
    Ok((ours, foreign))
}

/// The commands: stop, clean, reload.
fn acts(
    system: &ProxySystem,
    instance: &Instance,
) -> (PlanCommand, Option<PlanCommand>, Option<PlanCommand>) {
    let sockets = [instance.socket(), instance.control_socket()];
    if !system.is_running {
        return (PlanCommand::systemctl(&["disable"], &sockets), None, None);
    }
    (
        PlanCommand::systemctl(&["disable", "--now"], &sockets),
        Some(PlanCommand::systemctl(
            &["clean", "--what=all"],
            &[instance.service()],
        )),
        Some(PlanCommand::systemctl(&["daemon-reload"], &[])),
    )
}

/// Whether nothing of it runs, now or after a boot.
async fn is_stopped(system: &ProxySystem, instance: &Instance) -> Result<bool, CtlFailure> {
    for unit in [
        instance.socket(),
        instance.control_socket(),
        instance.service(),
    ] {
        let shown = system.systemctl.show("ActiveState,UnitFileState", &unit);
        let shown = shown.await?;
        let is_enabled = first(&shown, "UnitFileState").starts_with("enabled");
        if is_enabled || !AT_REST.contains(&first(&shown, "ActiveState")) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The `ActiveState` of a unit of which nothing runs, is started or ends.
const AT_REST: [&str; 2] = ["inactive", "failed"];

/// Closes the gate of a proxy that runs, if nobody is connected. It stays closed as long as the connection lasts.
async fn close_gate(
    system: &ProxySystem,
    instance: &Instance,
) -> Result<Option<Client>, CtlFailure> {
    let service = instance.service();
    let shown = system
        .systemctl
        .show("ActiveState,NFileDescriptorStore", &service)
        .await?;
    if AT_REST.contains(&first(&shown, "ActiveState")) {
        return match first(&shown, "NFileDescriptorStore") {
            "" | "0" => Ok(None),
            _ => Err(is_kept(instance)),
        };
    }
    let proxy = system.proxy(instance);
    let closing = async {
        let mut client = proxy.connect().await?;
        let parameters = LockParameters {
            reason: Some("the proxy is being removed".to_owned()),
            timeout_usec: Some(0),
            hold: Some(true),
            ..LockParameters::default()
        };
        client.call("Lock", parameters, true).await?;
        loop {
            let reply: GateReply = client.reply().await?.parameters;
            if reply.gate == GateState::Locked {
                return Ok((client, reply.detached));
            }
        }
    };
    let closed = timeout(ANSWER_TIME, closing).await;
    match closed.unwrap_or_else(|_| Err(proxy.silent(ANSWER_TIME))) {
        Ok((client, 0)) => Ok(Some(client)),
        Ok((_, detached)) => Err(is_used(instance, detached as u64)),
        Err(CtlFailure::DrainTimedOut(left)) => Err(is_used(instance, left.open)),
        Err(failure) => Err(CtlFailure::Refused(format!(
            "it cannot be told whether clients are connected: {failure}; nothing was removed, and --force \
             removes the proxy all the same"
        ))),
    }
}

fn is_used(instance: &Instance, open: u64) -> CtlFailure {
    let name = instance.name();
    let clients = clause(open, "client", ("is", "are"));
    CtlFailure::Refused(format!(
        "{clients} connected through the proxy {name}, and nothing was removed: \
         `disnix-tcp-proxyctl --instance {name} connections` shows them, \
         `disnix-tcp-proxyctl --instance {name} lock` waits until they have left, and --force resets them"
    ))
}

/// `FileDescriptorStorePreserve=` lets connections outlive a stop.
fn is_kept(instance: &Instance) -> CtlFailure {
    let (name, service) = (instance.name(), instance.service());
    CtlFailure::Refused(format!(
        "the proxy {name} is stopped, but systemd keeps connections for its next start, and nothing was \
         removed: `systemctl start {service}` lets them go on, and --force resets them"
    ))
}

fn not_removed(instance: &Instance, error: &std::io::Error) -> CtlFailure {
    CtlFailure::Refused(format!(
        "the proxy {} is stopped, but {error}: mend that and repeat the command",
        instance.name()
    ))
}
