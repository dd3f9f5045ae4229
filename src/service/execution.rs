//! What the process and its children can execute, restricted by landlock(7).
//!
//! `NoExecPaths=` of systemd.exec(5) does the same by a mount for each path, which takes about 20 ms of a start, while
//! open connections wait (`doc/measurements.md`, "Cold start").

use std::path::Path;

use landlock::{
    AccessFs, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus,
};

use super::program::Failure;

/// Directories of programs and of the dynamic linker, which executes them (ld.so(8)).
const SYSTEM: [&str; 4] = ["/usr", "/lib", "/lib64", "/nix/store"];

/// Restricts the calling thread, and the threads and children that it starts from now on, to executing what is
/// below the directory of this program and those of the system. That lasts over execve(2). Without Landlock (Linux
/// before 5.13, or a container that denies it) nothing is restricted.
pub fn restrict() {
    let program = std::env::current_exe().ok();
    let directory = program.as_deref().and_then(Path::parent);
    let directories = directory.into_iter().chain(SYSTEM.map(Path::new));
    match restrict_to(directories).map(|status| status.ruleset) {
        Ok(RulesetStatus::NotEnforced) => {
            tracing::debug!(
                "any file can be executed: there is no Landlock (Linux 5.13; systemd-nspawn denies it)"
            );
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(ERROR = %error, "execution cannot be restricted: {error}");
        }
    }
}

/// Restricts execution to these directories; one that does not exist is left out. Fails, and restricts nothing, when
/// one cannot be opened: an heir might need it.
fn restrict_to<'a>(
    directories: impl IntoIterator<Item = &'a Path>,
) -> Result<RestrictionStatus, Failure> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::Execute)?
        .create()?;
    for directory in directories.into_iter().filter(|path| path.exists()) {
        let rule = PathBeneath::new(PathFd::new(directory)?, AccessFs::Execute);
        rules = rules.add_rule(rule)?;
    }
    Ok(rules.restrict_self()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::process::Command;

    #[test]
    fn a_file_outside_of_these_directories_cannot_be_executed() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("true");
        std::fs::copy("/usr/bin/true", &program).unwrap();
        assert!(Command::new(&program).status().unwrap().success());
        // Of this thread and its children only.
        let restricted = std::thread::spawn(move || {
            let status = restrict_to(SYSTEM.map(Path::new)).unwrap().ruleset;
            assert!(status != RulesetStatus::NotEnforced, "needs Landlock");
            assert!(Command::new("/usr/bin/true").status().unwrap().success());
            Command::new(&program).status().unwrap_err().kind()
        });
        assert_eq!(restricted.join().unwrap(), io::ErrorKind::PermissionDenied);
    }
}
