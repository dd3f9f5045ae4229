//! The system that a proxy is made on: its files, its systemd, and calls to its proxies.

use std::io;

use rustix::process::geteuid;

use super::files::SystemRoot;
use super::instance::Instance;
use super::options::PlaceOptions;
use super::plan::PlanCommand;
use super::systemctl::Systemctl;
use crate::ctl::call::client::{ANSWER_TIME, NamedProxy};
use crate::ctl::failure::CtlFailure;
use crate::ctl::sockets;
use crate::interface::TargetParameters;

/// A system, which need not be the one that this program runs on.
#[derive(Clone, Debug)]
pub struct ProxySystem {
    pub root: SystemRoot,
    pub systemctl: Systemctl,
    /// Whether it is the one that runs here.
    pub is_running: bool,
    is_pretended: bool,
}

impl ProxySystem {
    pub fn of(place: &PlaceOptions) -> Self {
        let root = place.root.as_deref();
        Self {
            root: SystemRoot::new(root.or(place.pretend_root.as_deref())),
            systemctl: Systemctl::new(root),
            is_running: root.is_none(),
            is_pretended: place.pretend_root.is_some(),
        }
    }

    /// Fails if it cannot be changed at all.
    pub fn check_rights(&self) -> Result<(), CtlFailure> {
        if self.root.place("/etc/NIXOS").exists() {
            return Err(nixos("this is NixOS, where the configuration makes units"));
        }
        if self.is_running && !self.is_pretended && !geteuid().is_root() {
            return Err(CtlFailure::Refused(
                "only root may make or remove a proxy: use sudo; --dry-run shows what it would do"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    pub fn proxy(&self, instance: &Instance) -> NamedProxy {
        let name = instance.name();
        let directory = self.root.place(sockets::DIRECTORY);
        NamedProxy {
            name: name.to_owned(),
            control: directory.join(name).join("control"),
            options: format!(" --instance {name}"),
        }
    }

    /// Removes the directory of its control socket, which systemd makes and leaves, unless something is in it.
    pub fn remove_control_directory(&self, instance: &Instance) {
        let directory = format!("{}/{}", sockets::DIRECTORY, instance.name());
        // An empty directory harms nobody.
        let _ = self.root.remove_empty(&directory);
    }

    /// Gives a command of the plan.
    pub async fn perform(&self, act: &PlanCommand, instance: &Instance) -> Result<(), CtlFailure> {
        match act {
            PlanCommand::Systemctl(words) => self.systemctl.run(words).await.map(drop),
            PlanCommand::SetTarget { target, .. } => {
                let parameters = TargetParameters {
                    target: target.clone(),
                    probe_usec: None,
                    try_only: None,
                };
                let call = self.proxy(instance);
                let call = call.ask(ANSWER_TIME, "SetTarget", parameters);
                call.await.map(|_: TargetParameters| ())
            }
        }
    }

    /// Gives a command whose failure does not matter.
    pub async fn try_systemctl(&self, words: &[&str], units: &[String]) {
        if let PlanCommand::Systemctl(words) = PlanCommand::systemctl(words, units) {
            // It may have nothing to do.
            let _ = self.systemctl.run(&words).await;
        }
    }
}

/// The failure of writing a file.
pub fn not_written(error: &io::Error) -> CtlFailure {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            nixos(&format!("nothing can be written below /etc ({error})"))
        }
        _ => CtlFailure::Refused(format!(
            "{error}: nothing was changed; mend that and try again"
        )),
    }
}

fn nixos(why: &str) -> CtlFailure {
    CtlFailure::Refused(format!(
        "{why}: use the module, services.disnix-tcp-proxy.instances of doc/nixos.md, or what else makes the \
         files of this system; --dry-run shows which ones a proxy needs"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_cannot_be_written_to_is_told_of_the_module() {
        let failure = not_written(&io::ErrorKind::ReadOnlyFilesystem.into());
        assert!(failure.to_string().contains("the module"), "{failure}");
        assert_eq!(failure.exit_status(), 1);
        let failure = not_written(&io::ErrorKind::PermissionDenied.into());
        assert!(!failure.to_string().contains("the module"), "{failure}");
    }
}
