//! `add`: make a proxy.

use super::existing::check_absent;
use super::files::MadeFiles;
use super::former_state::FormerState;
use super::instance::Instance;
use super::old_units::OldUnits;
use super::options::{AddOptions, Relations};
use super::plan::{Beginning, CarriedLines, InstancePlan, Order, PlanCommand};
use super::ports;
use super::report::PlanReport;
use super::socket_proxyd::ProxyTraits;
use super::system::{ProxySystem, not_written};
use super::systemctl::first;
use crate::ctl::call::wait::catch_signals;
use crate::ctl::failure::CtlFailure;
use crate::ctl::terminal::output;
use crate::service::address::Address;
use crate::service::clock::realtime_micros;
use crate::service::program::note;

/// Writes the files of a proxy and starts it. If that fails, nothing of it stays.
pub async fn run(options: &AddOptions, as_json: bool) -> Result<(), CtlFailure> {
    let instance = Instance::new(&options.name).map_err(CtlFailure::Usage)?;
    let system = ProxySystem::of(&options.place);
    let is_dry = options.place.dry_run;
    if !is_dry {
        system.check_rights()?;
    }
    let (order, old) = order(options, instance, &system).await?;
    let beginning = match &old {
        _ if !system.is_running => Beginning::Enabled,
        None => Beginning::Started,
        Some(old) if options.replace => Beginning::Replacing(&old.names),
        Some(old) => Beginning::Later(&old.names),
    };
    let plan = order.plan(beginning).map_err(CtlFailure::Usage)?;
    let missing = missing_units(&system, &order.relations).await;
    if !is_dry {
        check_absent(&system, &order.instance).await?;
        if old.is_none() && system.is_running {
            check_free(&order)?;
        }
        make(&system, &order.instance, &plan, old.as_ref()).await?;
    }
    let notes = old.map(|old| old.notes).unwrap_or_default();
    report(&order, is_dry, plan, [notes, missing].concat(), as_json)
}

/// What is to be made, and the units that it is made from.
async fn order(
    options: &AddOptions,
    instance: Instance,
    system: &ProxySystem,
) -> Result<(Order, Option<OldUnits>), CtlFailure> {
    let given = |target: Address| ProxyTraits {
        listen: options.listen.clone(),
        target,
        variables: Vec::new(),
        relations: Relations::default(),
        carried: CarriedLines::default(),
    };
    let (traits, old) = match (&options.from_socket_proxyd, &options.target) {
        (Some(unit), _) => {
            let (traits, old) = OldUnits::read(system, unit).await?;
            (traits, Some(old))
        }
        (None, Some(target)) => (given(target.clone()), None),
        (None, None) => return Err(CtlFailure::Usage("--target is missing".to_owned())),
    };
    let order = Order {
        instance,
        listen: traits.listen,
        target: traits.target,
        fixed: options.fixed,
        // What is given now is behind, and counts.
        variables: [traits.variables, options.settings.variables()].concat(),
        relations: traits.relations.and(&options.relations),
        carried: traits.carried,
    };
    Ok((order, old))
}

/// Notes about units that are not there: systemd does without them, and says nothing.
async fn missing_units(system: &ProxySystem, relations: &Relations) -> Vec<String> {
    let mut notes = Vec::new();
    if !system.is_running {
        return notes;
    }
    for unit in relations.wants.iter().chain(&relations.upholds) {
        let shown = system.systemctl.show("LoadState", unit).await;
        if shown.is_ok_and(|shown| first(&shown, "LoadState") == "not-found") {
            notes.push(format!(
                "systemd has no unit {unit}, and starts the proxy without it: if the name is wrong, \
                 `systemctl list-unit-files` shows which there are"
            ));
        }
    }
    notes
}

fn check_free(order: &Order) -> Result<(), CtlFailure> {
    match order.listen.iter().find_map(ports::objection) {
        Some(why) => Err(CtlFailure::Refused(format!("{why}; nothing was changed"))),
        None => Ok(()),
    }
}

/// Writes the files and gives the commands. If one fails, or this program is interrupted, all of it is undone.
async fn make(
    system: &ProxySystem,
    instance: &Instance,
    plan: &InstancePlan,
    old: Option<&OldUnits>,
) -> Result<(), CtlFailure> {
    let mut signals = catch_signals()?;
    let made = system.root.write(&plan.files);
    let made = made.map_err(|error| not_written(&error))?;
    let since = realtime_micros() / 1_000_000;
    let mut former = None;
    for act in &plan.now {
        let work = async {
            if former.is_none() && act.starts() {
                former = Some(FormerState::read(system, &instance.service()).await?);
            }
            system.perform(act, instance).await
        };
        let done = tokio::select! {
            // What is done is done, also if an interruption comes at the same time.
            biased;
            done = work => done,
            _ = signals.next() => Err(CtlFailure::Refused("it was interrupted".to_owned())),
        };
        if let Err(failure) = done {
            tell_why(system, instance, act, since).await;
            let undone = take_back(system, instance, made, former.as_ref(), old).await;
            return Err(not_made(instance, &failure, &undone));
        }
    }
    Ok(())
}

/// Shows what the journal has about the units that were to be started.
async fn tell_why(system: &ProxySystem, instance: &Instance, act: &PlanCommand, since: u64) {
    let service = [instance.service()];
    let units = match act {
        PlanCommand::Systemctl(words) if words[0] == "start" || words[0] == "enable" => &words[1..],
        PlanCommand::SetTarget { .. } => &service[..],
        PlanCommand::Systemctl(_) => return,
    };
    for unit in units.iter().filter(|unit| !unit.starts_with('-')) {
        for line in system.systemctl.log(unit, since).await {
            note(format_args!("the journal of {unit}: {line}"));
        }
    }
}

/// What became of a failed attempt.
struct Undone {
    /// Paths that could not be removed.
    stayed: Vec<String>,
    /// Why the units that it was made from are not what they were.
    old: Option<Vec<String>>,
}

/// Undoes what was done. What a proxy of that name has left before stays; without `former` nothing was started.
async fn take_back(
    system: &ProxySystem,
    instance: &Instance,
    made: MadeFiles,
    former: Option<&FormerState>,
    old: Option<&OldUnits>,
) -> Undone {
    let sockets = [instance.socket(), instance.control_socket()];
    if !system.is_running {
        system.try_systemctl(&["disable"], &sockets).await;
        let stayed = made.take_back();
        return Undone { stayed, old: None };
    }
    system.try_systemctl(&["disable", "--now"], &sockets).await;
    let services = [instance.service(), instance.pause()];
    system.try_systemctl(&["stop"], &services).await;
    for what in former.map(FormerState::cleaning).unwrap_or_default() {
        system
            .try_systemctl(&["clean", &what], &services[..1])
            .await;
    }
    let stayed = made.take_back();
    system.remove_control_directory(instance);
    system.try_systemctl(&["daemon-reload"], &[]).await;
    system
        .try_systemctl(&["reset-failed"], &instance.units())
        .await;
    let old = match old {
        Some(old) => Some(old.restore(system).await),
        None => None,
    };
    Undone { stayed, old }
}

fn not_made(instance: &Instance, failure: &CtlFailure, undone: &Undone) -> CtlFailure {
    let name = instance.name();
    let files = match &undone.stayed[..] {
        [] => "everything that was written is removed again".to_owned(),
        paths => format!(
            "remove {} yourself, the rest is removed again",
            paths.join(", ")
        ),
    };
    let old = match undone.old.as_deref() {
        None => String::new(),
        Some([]) => ", and the old units are as before".to_owned(),
        Some(failures) => format!(
            ", but the old proxy does not listen again ({}): start it yourself",
            failures.join("; ")
        ),
    };
    CtlFailure::Refused(format!(
        "the proxy {name} was not made: {failure}; {files}{old}; mend the cause and try again"
    ))
}

fn report(
    order: &Order,
    is_dry: bool,
    plan: InstancePlan,
    notes: Vec<String>,
    as_json: bool,
) -> Result<(), CtlFailure> {
    let name = order.instance.name();
    let (has_started, is_later) = (plan.now.len() > 1, !plan.later.is_empty());
    let listen: Vec<_> = order.listen.iter().map(ToString::to_string).collect();
    let end = match (is_later, has_started) {
        (true, _) => format!(
            "the files of the proxy {name} are there; the commands above switch over, \
             `disnix-tcp-proxyctl remove {name}` takes it back"
        ),
        (false, true) => format!(
            "the proxy {name} listens on {} and leads to {}; `disnix-tcp-proxyctl --instance {name}` \
             shows it",
            listen.join(", "),
            order.target
        ),
        (false, false) => format!("the proxy {name} starts with the system below --root"),
    };
    let report = PlanReport::of_plan(name, is_dry, plan, notes);
    match as_json {
        true => output::json(&report),
        false => report.lines(&end).iter().try_for_each(output::line),
    }
}
