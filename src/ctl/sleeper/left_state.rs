//! The files that the last process of a proxy has left: its lock and its target, where its unit has them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::arguments::arguments;
use crate::ctl::systemd::UnitProperties;
use crate::interface::metrics::SurvivalCounts;
use crate::interface::saved::{
    LOCK_FILE, LockFile, LockRecord, SURVIVED_FILE, SurvivedFile, TARGET_FILE, boot_id,
};
use crate::interface::{GateState, LeaseEnd, LockStatus, is_default};
use crate::service::address::Address;
use crate::service::clock::{Uptime, micros};
use crate::service::directory::{if_there, parent};

/// The most bytes that are read. These files have a few hundred.
const FILE_MAX: u64 = 1 << 16;

/// A file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unread {
    pub file: PathBuf,
    pub reason: String,
}

/// Where a service has its files, by its unit.
#[derive(Debug, PartialEq, Eq)]
pub struct FilePlaces {
    lock: PathBuf,
    survived: PathBuf,
    target: PathBuf,
    /// A target that cannot be changed, instead of the file.
    fixed_target: Option<String>,
}

impl FilePlaces {
    /// As the proxy finds them: its command line comes before a variable, and an empty variable counts as not set.
    pub fn of(service: &UnitProperties, control: &Path) -> Self {
        let mut variables = variables(service);
        variables.retain(|_, value| !value.is_empty());
        let mut options: BTreeMap<_, _> = arguments(service).into_iter().collect();
        let mut variable = |name: &str| {
            let option = options.remove(name);
            option.or_else(|| variables.remove(&format!("DISNIX_TCP_PROXY_{name}")))
        };
        let of_systemd = |root: &str, property: &str| {
            let name = service.get(property).split_whitespace().next()?;
            Some(Path::new(root).join(name))
        };
        let runtime = variable("RUNTIME_DIRECTORY")
            .map(PathBuf::from)
            .or_else(|| of_systemd("/run", "RuntimeDirectory"))
            .unwrap_or_else(|| parent(control).to_owned());
        let state = variable("STATE_DIRECTORY")
            .map(PathBuf::from)
            .or_else(|| of_systemd("/var/lib", "StateDirectory"));
        Self {
            target: state.as_ref().unwrap_or(&runtime).join(TARGET_FILE),
            lock: runtime.join(LOCK_FILE),
            survived: runtime.join(SURVIVED_FILE),
            fixed_target: variable("TARGET"),
        }
    }

    /// The boot that the files have to be of; `None` if they cannot be of another one, because /run is empty after a
    /// boot. (In a container the proxy may know its boot by another name: its sandbox mounts /proc anew.)
    fn boot(&self) -> Option<String> {
        (!self.lock.starts_with("/run")).then(boot_id)
    }
}

/// The environment of a service, as far as its unit has it.
fn variables(service: &UnitProperties) -> BTreeMap<String, String> {
    let words = service.get("Environment").split_whitespace();
    let mut variables: BTreeMap<_, _> = words.filter_map(assignment).collect();
    for file in service.all("EnvironmentFiles") {
        let path = file.rsplit_once(" (").map_or(file, |(path, _)| path);
        // The unit says that it may be missing.
        let text = fs::read_to_string(path).unwrap_or_default();
        variables.extend(text.lines().filter_map(assignment));
    }
    variables
}

/// `NAME=VALUE` or `NAME="VALUE"`; a comment is none.
fn assignment(text: &str) -> Option<(String, String)> {
    let (name, value) = text.trim().split_once('=')?;
    let is_comment = name.starts_with(['#', ';']);
    let value = value.trim();
    let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    (!is_comment).then(|| (name.trim_end().to_owned(), value.to_owned()))
}

/// What the files say. The fields are called as in the status of a proxy that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftState {
    /// As the next process will have it; absent: the lock could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    pub target_fixed: bool,
    /// What could not be read, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
    /// What connections have survived since the boot; `None` if it could not be read.
    #[serde(skip_serializing_if = "is_nothing")]
    pub survived: Option<SurvivalCounts>,
}

fn is_nothing(survived: &Option<SurvivalCounts>) -> bool {
    survived.is_none_or(|counts| is_default(&counts))
}

impl LeftState {
    pub fn read(places: &FilePlaces) -> Self {
        let mut left = Self {
            target_fixed: places.fixed_target.is_some(),
            ..Self::default()
        };
        let boot = places.boot();
        let survived = if_there(read(&places.survived)).ok();
        left.survived = survived.map(|text| survived_in(text, boot.as_deref()));
        match if_there(read(&places.lock)) {
            Ok(text) => {
                left.lock = text.and_then(|text| lock_in(&text, boot.as_deref(), Uptime::now()));
                left.gate = Some(match left.lock {
                    Some(_) => GateState::Locked,
                    None => GateState::Open,
                });
            }
            Err(error) => left.unread(&places.lock, error),
        }
        match (&places.fixed_target, if_there(read(&places.target))) {
            (Some(target), _) => left.target = Some(target.clone()),
            (None, Ok(text)) => match text.map(|text| text.trim().parse::<Address>()).transpose() {
                Ok(target) => left.target = target.map(|target| target.to_string()),
                Err(error) => left.unread(&places.target, error),
            },
            (None, Err(error)) => left.unread(&places.target, error),
        }
        left
    }

    fn unread(&mut self, file: &Path, error: impl std::fmt::Display) {
        self.unread.push(Unread {
            file: file.to_owned(),
            reason: error.to_string(),
        });
    }
}

/// Reads a file, also one of another user's, who may have put something else there.
fn read(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// What was counted in this boot; without a file there was nothing to count.
fn survived_in(text: Option<String>, boot: Option<&str>) -> SurvivalCounts {
    let file = text.and_then(|text| serde_json::from_str::<SurvivedFile>(&text).ok());
    file.map(|file| file.counted_in(boot.unwrap_or(&file.boot_id)))
        .unwrap_or_default()
}

/// The lock as the next process will find it; what cannot be understood is one.
fn lock_in(text: &str, boot: Option<&str>, now: Uptime) -> Option<LockStatus> {
    let lock = match serde_json::from_str::<LockFile>(text) {
        Ok(file) if boot.is_some_and(|boot| boot != file.boot_id) => return None,
        Ok(file) => file.lock,
        Err(error) => LockRecord {
            reason: Some(format!("the lock cannot be read: {error}")),
            since_usec: 0, // it is not known
            lease_until: None,
            at_lease_end: LeaseEnd::Open,
            kept: true,
        },
    };
    let is_over = lock.lease_until.is_some_and(|until| until <= now);
    (!is_over).then(|| LockStatus {
        reason: lock.reason,
        since_usec: lock.since_usec,
        lease_left_usec: lock.lease_until.map(|until| micros(until.since(now))),
        at_lease_end: lock.at_lease_end,
        callers: 0,
        kept: lock.kept,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::systemd::tests::unit;
    use crate::service::clock::at;

    fn saved(lease_until: Option<Uptime>) -> String {
        let file = LockFile {
            boot_id: "this".to_owned(),
            lock: LockRecord {
                reason: Some("upgrade".to_owned()),
                since_usec: 7,
                lease_until,
                at_lease_end: LeaseEnd::Open,
                kept: true,
            },
        };
        serde_json::to_string(&file).unwrap()
    }

    #[test]
    fn a_lock_lasts_until_its_lease_or_the_boot_is_over() {
        let left = |lease, boot, now| lock_in(&saved(lease), Some(boot), at(now));
        let lock = left(None, "this", 1).unwrap();
        assert_eq!(
            (lock.reason.as_deref(), lock.since_usec),
            (Some("upgrade"), 7)
        );
        let lease = left(Some(at(9)), "this", 8).unwrap().lease_left_usec;
        assert_eq!(lease, Some(1_000_000));
        assert_eq!(left(Some(at(9)), "this", 9), None);
        assert_eq!(left(None, "another", 1), None);
        assert_eq!(lock_in(&saved(None), None, at(1)), Some(lock));
    }

    #[test]
    fn a_lock_that_cannot_be_understood_is_one() {
        let lock = lock_in("garbage", Some("this"), at(1)).unwrap();
        assert!(lock.reason.unwrap().contains("cannot be read"));
    }

    #[test]
    fn the_files_are_where_the_unit_has_them() {
        let control = Path::new("/run/disnix-tcp-proxy/web/control");
        let service = unit(
            "RuntimeDirectory=disnix-tcp-proxy-gate/web other\nStateDirectory=disnix-tcp-proxy/web",
        );
        let places = FilePlaces::of(&service, control);
        assert_eq!(
            places.lock,
            Path::new("/run/disnix-tcp-proxy-gate/web/lock")
        );
        assert_eq!(
            places.target,
            Path::new("/var/lib/disnix-tcp-proxy/web/target")
        );
        assert_eq!(places.boot(), None);

        let places = FilePlaces::of(&unit("RuntimeDirectory=\nStateDirectory="), control);
        assert_eq!(places.lock, Path::new("/run/disnix-tcp-proxy/web/lock"));
        assert_eq!(places.target, Path::new("/run/disnix-tcp-proxy/web/target"));

        let variables =
            "Environment=A=1 DISNIX_TCP_PROXY_STATE_DIRECTORY=/s DISNIX_TCP_PROXY_TARGET=a:1";
        let places = FilePlaces::of(&unit(variables), control);
        assert_eq!(places.target, Path::new("/s/target"));
        assert_eq!(places.fixed_target.as_deref(), Some("a:1"));
    }

    #[test]
    fn the_command_line_comes_before_variables_and_an_empty_variable_is_none() {
        let control = Path::new("/run/disnix-tcp-proxy/web/control");
        let variables = "Environment=DISNIX_TCP_PROXY_TARGET= DISNIX_TCP_PROXY_RUNTIME_DIRECTORY=\nStateDirectory=web";
        let places = FilePlaces::of(&unit(variables), control);
        assert_eq!(places.fixed_target, None);
        assert_eq!(places.lock, Path::new("/run/disnix-tcp-proxy/web/lock"));

        let line = "ExecStart={ path=/p ; argv[]=/usr/bin/disnix-tcp-proxy --runtime-directory=/r a:1 ; pid=0 }\n\
                    Environment=DISNIX_TCP_PROXY_TARGET=b:2";
        let places = FilePlaces::of(&unit(line), control);
        assert_eq!(places.fixed_target.as_deref(), Some("a:1"));
        assert_eq!(places.lock, Path::new("/r/lock"));
    }

    #[test]
    fn a_file_of_variables_is_read_after_the_unit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines =
            "# DISNIX_TCP_PROXY_TARGET=c:3\n DISNIX_TCP_PROXY_TARGET = \"b:2\" \nno assignment\n";
        fs::write(&file, lines).unwrap();
        let path = file.path().display();
        let service = unit(&format!(
            "Environment=DISNIX_TCP_PROXY_TARGET=a:1\nEnvironmentFiles=/nonexistent (ignore_errors=yes)\n\
             EnvironmentFiles={path} (ignore_errors=yes)"
        ));
        let places = FilePlaces::of(&service, Path::new("/c"));
        assert_eq!(places.fixed_target.as_deref(), Some("b:2"));
    }

    #[test]
    fn what_the_files_say_is_what_the_next_process_will_begin_with() {
        let directory = tempfile::tempdir().unwrap();
        let places = FilePlaces {
            lock: directory.path().join("lock"),
            survived: directory.path().join("survived"),
            target: directory.path().join("target"),
            fixed_target: None,
        };
        let none = LeftState::read(&places);
        assert_eq!((none.gate, none.target), (Some(GateState::Open), None));
        assert_eq!(none.survived, Some(SurvivalCounts::default()));

        let text = saved(None).replace("this", &boot_id());
        fs::write(&places.lock, text).unwrap();
        fs::write(&places.target, "127.0.0.1:80\n").unwrap();
        let counts = SurvivalCounts {
            kills: 1,
            restored: 2,
            given_up: 3,
        };
        let file = SurvivedFile {
            boot_id: boot_id(),
            counts,
        };
        fs::write(&places.survived, serde_json::to_vec(&file).unwrap()).unwrap();
        let left = LeftState::read(&places);
        assert_eq!(left.gate, Some(GateState::Locked));
        assert_eq!(left.target.as_deref(), Some("127.0.0.1:80"));
        assert_eq!(left.survived, Some(counts));

        fs::write(&places.target, "nowhere").unwrap();
        let left = LeftState::read(&places);
        assert_eq!((left.target, left.unread.len()), (None, 1));
    }

    #[test]
    fn a_link_is_not_followed_and_a_lock_that_is_not_read_is_no_open_gate() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, "127.0.0.1:80").unwrap();
        let [lock, target] = ["lock", "target"].map(|name| directory.path().join(name));
        for link in [&lock, &target] {
            std::os::unix::fs::symlink(&secret, link).unwrap();
        }
        let left = LeftState::read(&FilePlaces {
            survived: lock.clone(),
            lock,
            target,
            fixed_target: None,
        });
        assert_eq!((left.gate, left.lock, left.target), (None, None, None));
        assert_eq!((left.unread.len(), left.survived), (2, None));
    }
}
