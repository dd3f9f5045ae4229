//! Whether the unit of this process can have a file descriptor store, as far as that is seen from within.
//!
//! systemd logs a warning for descriptors that it does not want. A unit that never asked for a store should not be the
//! cause of one.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The setting of systemd.service(5).
const SETTING: &str = "FileDescriptorStoreMax";

/// Where systemd itself listens. Its instances for users have another path, and so has what only acts like it.
const SYSTEM_MANAGER: &str = "/run/systemd/notify";

/// Where the system's units are: systemd.unit(5), "System Unit Search Path".
const DIRECTORIES: [&str; 12] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/system",
    "/run/systemd/transient",
    "/usr/local/lib/systemd/system",
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/generator.early",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
    "/etc/systemd/system.attached",
];

/// Whether systemd may keep descriptors for this process. `false` only where it surely does not.
///
/// From version 254 on it says so (`$FDSTORE`). Otherwise the files of the unit are looked at: if they are found, and
/// nothing there names the setting, it does not.
pub fn is_possible() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let is_of_system =
        std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| path == OsStr::new(SYSTEM_MANAGER));
    if is_set("FDSTORE") || !is_of_system {
        return true;
    }
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let directories = DIRECTORIES.map(Path::new);
    service_in(&groups).is_none_or(|unit| names_setting(unit, &directories).unwrap_or(true))
}

/// The service in a text like `/proc/self/cgroup`, cgroups(7); the innermost one, where a container is in another.
fn service_in(groups: &str) -> Option<&str> {
    let of_systemd = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let mut paths = groups.lines().filter(of_systemd);
    paths.find_map(|path| path.split('/').rfind(|part| part.ends_with(".service")))
}

/// Whether the files of a unit name the setting. `None` if it has none that can be read.
fn names_setting(unit: &str, directories: &[&Path]) -> Option<bool> {
    let mut is_found = false;
    for directory in directories {
        for name in own_names(unit) {
            match fs::read_to_string(directory.join(name)) {
                Ok(text) if text.contains(SETTING) => return Some(true),
                Ok(_) => is_found = true,
                Err(error) => absent(&error)?,
            }
        }
    }
    for directory in directories {
        for name in drop_in_names(unit) {
            for file in files(&directory.join(name))? {
                match fs::read_to_string(file) {
                    Ok(text) if text.contains(SETTING) => return Some(true),
                    Ok(_) => {}
                    Err(error) => absent(&error)?,
                }
            }
        }
    }
    is_found.then_some(false)
}

/// The files of a directory; none if there is no such directory. `None` if it cannot be read.
fn files(directory: &Path) -> Option<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| entry.ok().map(|entry| entry.path()))
            .collect(),
        Err(error) => absent(&error).map(|()| Vec::new()),
    }
}

fn absent(error: &io::Error) -> Option<()> {
    use io::ErrorKind::{NotADirectory, NotFound};
    [NotFound, NotADirectory]
        .contains(&error.kind())
        .then_some(())
}

/// The name of a unit, and that of its template.
fn own_names(unit: &str) -> Vec<String> {
    let stem = unit.strip_suffix(".service").unwrap_or(unit);
    let template = stem.split_once('@').map(|(name, _)| name);
    let template = template.map(|name| format!("{name}@.service"));
    [Some(unit.to_owned()), template]
        .into_iter()
        .flatten()
        .collect()
}

/// The directories of its drop-ins: its own, its template's, those of each beginning up to a dash, and that of all
/// services.
fn drop_in_names(unit: &str) -> Vec<String> {
    let mut names = own_names(unit);
    let dashes = unit.match_indices('-');
    names.extend(dashes.map(|(at, _)| format!("{}-.service", &unit[..at])));
    names.push("service".to_owned());
    names.iter().map(|name| format!("{name}.d")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_found_in_both_kinds_of_control_groups() {
        for (groups, unit) in [
            ("0::/system.slice/web.service\n", Some("web.service")),
            (
                "2:cpu:/x.service\n1:name=systemd:/outer.service/system.slice/a@b.service/sub\n",
                Some("a@b.service"),
            ),
            ("0::/user.slice/session-1.scope\n", None),
            ("2:cpu:/x.service\n", None),
            ("", None),
        ] {
            assert_eq!(service_in(groups), unit, "{groups}");
        }
    }

    #[test]
    fn drop_ins_of_templates_and_of_beginnings_count_too() {
        let names = drop_in_names("a-b@c-d.service");
        let expected = [
            "a-b@c-d.service.d",
            "a-b@.service.d",
            "a-.service.d",
            "a-b@c-.service.d",
            "service.d",
        ];
        assert_eq!(names, expected);
    }

    /// What is known of `a-b@c.service` with these files in two directories.
    fn known(files: &[(&str, &str)]) -> Option<bool> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let directories = [root.path().join("etc"), root.path().join("lib")];
        let directories = directories.each_ref().map(PathBuf::as_path);
        names_setting("a-b@c.service", &directories)
    }

    #[test]
    fn only_a_unit_whose_files_are_found_and_do_not_name_the_setting_has_no_store() {
        const SET: &str = "[Service]\nFileDescriptorStoreMax=16\n";
        const UNIT: (&str, &str) = ("lib/a-b@.service", "[Service]\nType=notify\n");
        assert_eq!(known(&[]), None);
        assert_eq!(known(&[("etc/other.service", SET)]), None);
        assert_eq!(known(&[("etc/a-b@c.service.d/x.conf", "")]), None);
        assert_eq!(known(&[UNIT]), Some(false));
        assert_eq!(known(&[UNIT, ("etc/other.service", SET)]), Some(false));
        assert_eq!(known(&[("etc/a-b@c.service", SET)]), Some(true));
        for drop_in in [
            "etc/a-b@c.service.d/x.conf",
            "lib/a-b@.service.d/x.conf",
            "etc/a-.service.d/x.conf",
            "lib/service.d/x.conf",
        ] {
            assert_eq!(known(&[UNIT, (drop_in, SET)]), Some(true), "{drop_in}");
            assert_eq!(known(&[UNIT, (drop_in, "")]), Some(false), "{drop_in}");
        }
        // It cannot be read as text.
        assert_eq!(known(&[UNIT, ("etc/a-b@c.service/x", SET)]), None);
    }
}
