//! From what is asked for to files and commands. Pure.

use std::fmt;
use std::path::Path;

use super::instance::Instance;
use super::listen::ListenAddress;
use super::options::{ProxyVariable, Relations};
use super::text::{environment_line, unit_value};
use crate::ctl::shell::shell_word;
use crate::service::address::Address;

/// The first line of each file that `add` writes. `remove` deletes only files that begin with it.
pub const MARK: &str = "# Written by disnix-tcp-proxyctl add, removed by disnix-tcp-proxyctl remove as long as this line is here.";

/// What a sandbox hides from the proxy: `ProtectHome=`, and `PrivateTmp=` that `DynamicUser=` implies.
const HIDDEN: [&str; 5] = ["/tmp", "/var/tmp", "/home", "/root", "/run/user"];

/// A proxy that is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    pub instance: Instance,
    pub listen: Vec<ListenAddress>,
    pub target: Address,
    /// Whether the target stands in the environment file.
    pub fixed: bool,
    pub variables: Vec<ProxyVariable>,
    pub relations: Relations,
    /// What else is carried over from another unit.
    pub carried: CarriedLines,
}

/// Lines from the unit files of another proxy, in the syntax of unit files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarriedLines {
    /// For `[Socket]`.
    pub socket: Vec<String>,
    /// For `[Unit]` of the service.
    pub unit: Vec<String>,
    /// For `[Service]`.
    pub service: Vec<String>,
}

/// How it comes to life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning<'a> {
    /// Now.
    Started,
    /// By commands that the administrator gives later: until then these units hold its addresses.
    Later(&'a [String]),
    /// Now, in place of these units.
    Replacing(&'a [String]),
    /// With the system, which does not run.
    Enabled,
}

/// A command of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanCommand {
    Systemctl(Vec<String>),
    /// Lead the new proxy there.
    SetTarget {
        instance: String,
        target: String,
    },
}

impl fmt::Display for PlanCommand {
    /// As it is typed in a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemctl(words) => {
                let words: Vec<_> = words.iter().map(|word| shell_word(word)).collect();
                write!(f, "systemctl {}", words.join(" "))
            }
            Self::SetTarget { instance, target } => {
                let target = shell_word(target);
                write!(
                    f,
                    "disnix-tcp-proxyctl --instance {instance} set-target {target}"
                )
            }
        }
    }
}

/// A file that is to be written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PlannedFile {
    /// Absolute, below the root.
    pub path: String,
    pub content: String,
}

/// Files, and the commands to give when they are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstancePlan {
    pub files: Vec<PlannedFile>,
    pub now: Vec<PlanCommand>,
    /// For the administrator.
    pub later: Vec<PlanCommand>,
}

impl Order {
    /// What is wrong with it, as a sentence.
    fn check(&self) -> Result<(), String> {
        let target = &self.target;
        // Otherwise the units have BindIPv6Only=both, whatever net.ipv6.bindv6only says.
        let only_v6 = self
            .carried
            .socket
            .iter()
            .any(|line| line == "BindIPv6Only=ipv6-only");
        for (index, listen) in self.listen.iter().enumerate() {
            if self.listen[..index].contains(listen) {
                return Err(format!(
                    "--listen {listen} stands there twice: once is enough"
                ));
            }
            let mut before = self.listen[..index].iter();
            if let Some(other) = before.find(|other| other.overlaps(listen, only_v6)) {
                return Err(format!(
                    "--listen {other} and --listen {listen} overlap, and two sockets cannot listen there: leave \
                     out the one that the other contains"
                ));
            }
            if listen.is_reached_by(target) {
                return Err(format!(
                    "the target {target} is the proxy itself, which is to listen on {listen}: move the \
                     service to another port or address, and give that with --target"
                ));
            }
        }
        if self.listen.is_empty() {
            return Err("nothing says where the proxy is to listen".to_owned());
        }
        match target {
            Address::Unix(path) | Address::Handover(path) if self.is_hidden(path) => Err(format!(
                "the proxy cannot reach {target}: its sandbox hides {}; have the service put its socket \
                 below /run",
                HIDDEN.join(", ")
            )),
            _ => Ok(()),
        }
    }

    fn is_hidden(&self, path: &Path) -> bool {
        let shares_tmp = self
            .carried
            .unit
            .iter()
            .any(|line| line.starts_with("JoinsNamespaceOf="));
        let hides =
            |place: &&str| path.starts_with(place) && !(shares_tmp && place.ends_with("/tmp"));
        HIDDEN.iter().any(hides)
    }

    /// Its files, without those that would say nothing. The error is a sentence.
    pub fn files(&self) -> Result<Vec<PlannedFile>, String> {
        self.check()?;
        let file = |path, content| PlannedFile { path, content };
        let mut files = vec![file(self.instance.listen_file(), self.listen_text()?)];
        if let Some(text) = self.service_text() {
            files.push(file(self.instance.service_file(), text));
        }
        files.push(file(
            self.instance.environment_file(),
            self.environment_text()?,
        ));
        Ok(files)
    }

    fn listen_text(&self) -> Result<String, String> {
        let mut text = format!("{MARK}\n[Socket]\n");
        for listen in &self.listen {
            let address = unit_value(&listen.to_string())?;
            text += &format!("ListenStream={address}\n");
        }
        if self.listen.iter().any(ListenAddress::is_path) {
            text += "RemoveOnStop=yes\n";
        }
        Ok(text + &lines(&self.carried.socket))
    }

    /// `None` if the shipped unit needs nothing.
    fn service_text(&self) -> Option<String> {
        let Relations {
            wants,
            upholds,
            groups,
        } = &self.relations;
        let mut unit = String::new();
        for (key, names) in [("Wants", wants), ("Upholds", upholds)] {
            for name in names {
                unit += &format!("{key}={name}\nAfter={name}\n");
            }
        }
        unit += &lines(&self.carried.unit);
        let mut service = String::new();
        for group in groups {
            service += &format!("SupplementaryGroups={group}\n");
        }
        match self.target {
            // May send to the handover socket of a service.
            Address::Handover(_) => service += "SupplementaryGroups=disnix-tcp-proxy-handover\n",
            Address::Vsock { .. } => service += "RestrictAddressFamilies=AF_VSOCK\n",
            _ => {}
        }
        service += &lines(&self.carried.service);
        let sections = [("[Unit]\n", unit), ("[Service]\n", service)];
        let sections = sections.iter().filter(|(_, text)| !text.is_empty());
        let sections: Vec<_> = sections
            .map(|(head, text)| format!("{head}{text}"))
            .collect();
        (!sections.is_empty()).then(|| format!("{MARK}\n{}", sections.join("\n")))
    }

    fn environment_text(&self) -> Result<String, String> {
        let service = self.instance.service();
        let mut text = format!(
            "{MARK}\n\
             # An option --foo-bar of disnix-tcp-proxy is the variable DISNIX_TCP_PROXY_FOO_BAR. After a change:\n\
             # systemctl restart {service}\n"
        );
        if self.fixed {
            let target = self.target.to_string();
            let ProxyVariable { name, value } = ProxyVariable::new("target", target);
            text += &environment_line(&name, &value)?;
        }
        for (index, ProxyVariable { name, value }) in self.variables.iter().enumerate() {
            // Of several the last counts.
            let later = &self.variables[index + 1..];
            if !later.iter().any(|variable| variable.name == *name) {
                text += &environment_line(name, value)?;
            }
        }
        Ok(text)
    }

    /// The files and the commands. The error is a sentence.
    pub fn plan(&self, beginning: Beginning<'_>) -> Result<InstancePlan, String> {
        let files = self.files()?;
        let reload = PlanCommand::systemctl(&["daemon-reload"], &[]);
        let sockets = [self.instance.socket(), self.instance.control_socket()];
        let mut start = vec![
            PlanCommand::systemctl(&["enable", "--now"], &sockets),
            PlanCommand::systemctl(&["start"], &[self.instance.service()]),
        ];
        if !self.fixed {
            start.push(PlanCommand::SetTarget {
                instance: self.instance.name().to_owned(),
                target: self.target.to_string(),
            });
        }
        let stop = |units: &[String]| PlanCommand::systemctl(&["disable", "--now"], units);
        let (now, later) = match beginning {
            Beginning::Started => ([vec![reload], start].concat(), Vec::new()),
            Beginning::Replacing(units) => {
                ([vec![reload, stop(units)], start].concat(), Vec::new())
            }
            Beginning::Later(units) => (vec![reload], [vec![stop(units)], start].concat()),
            Beginning::Enabled if !self.fixed => {
                return Err(
                    "nothing runs below --root that could be told the target: add --fixed, which \
                     writes it into the environment file"
                        .to_owned(),
                );
            }
            Beginning::Enabled => (
                vec![PlanCommand::systemctl(&["enable"], &sockets)],
                Vec::new(),
            ),
        };
        Ok(InstancePlan { files, now, later })
    }
}

impl PlanCommand {
    /// A command of systemctl(1) for these units.
    pub fn systemctl(words: &[&str], units: &[String]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned());
        Self::Systemctl(words.chain(units.iter().cloned()).collect())
    }

    /// Whether it does more than have systemd read files again.
    pub fn starts(&self) -> bool {
        !matches!(self, Self::Systemctl(words) if words[..] == ["daemon-reload"])
    }
}

fn lines(texts: &[String]) -> String {
    texts.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests;
