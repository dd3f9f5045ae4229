//! What outlives the process: the lock in the runtime directory, the target in the state directory.
//!
//! Both are small files that are replaced as a whole, so that a crash at any moment leaves the old
//! one or the new one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::gate::{LockRecord, LockStore};
use crate::interface::LeaseEnd;
use crate::service::address::Address;
use crate::service::clock::{self, Uptime};
use crate::service::directory::Directory;

/// The file with the lock, in the runtime directory.
const LOCK: &str = "lock";

/// The file with the target, in the state directory.
const TARGET: &str = "target";

/// The lock as a file. A lock of another boot counts for nothing: its lease is told in this boot's
/// time, and nobody who asked for it is left.
#[derive(Debug, Serialize, Deserialize)]
struct LockFile {
    boot_id: String,
    reason: Option<String>,
    since_usec: u64,
    lease_until_uptime_usec: Option<u64>,
    #[serde(default)]
    at_lease_end: LeaseEnd,
    kept: bool,
}

/// The lock's place on disk.
#[derive(Debug)]
pub struct LockDirectory {
    directory: Option<PathBuf>,
    /// Looked up when there is a lock: mostly there is none.
    boot_id: OnceLock<String>,
}

impl LockDirectory {
    /// The file `lock` in `directory`; without a directory nothing can be locked.
    pub fn new(directory: Option<&Path>) -> Self {
        Self {
            directory: directory.map(Path::to_owned),
            boot_id: OnceLock::new(),
        }
    }

    fn boot_id(&self) -> &str {
        self.boot_id.get_or_init(|| {
            let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            id.trim().to_owned()
        })
    }

    /// The directory, by its one true name.
    pub fn directory(&self) -> Option<PathBuf> {
        self.directory.as_deref().map(true_name)
    }

    /// The lock that the process before has left.
    ///
    /// A file that cannot be understood counts as a lock: it was one, and it is better to let
    /// clients wait until somebody unlocks than to let them into the middle of an upgrade.
    pub fn load(&self) -> Option<LockRecord> {
        let directory = self.directory.as_ref()?;
        let path = &directory.join(LOCK);
        let text = match Directory::open(directory).and_then(|directory| directory.read(LOCK)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return Some(unreadable(path, &error)),
        };
        match serde_json::from_slice::<LockFile>(&text) {
            Ok(file) if file.boot_id != self.boot_id() => None,
            Ok(file) => Some(LockRecord {
                reason: file.reason,
                since_usec: file.since_usec,
                lease_until: file.lease_until_uptime_usec.map(Uptime::from_micros),
                at_lease_end: file.at_lease_end,
                kept: file.kept,
            }),
            Err(error) => Some(unreadable(path, &error)),
        }
    }
}

fn unreadable(path: &Path, error: &dyn std::error::Error) -> LockRecord {
    let path = path.display();
    tracing::error!(
        ERROR = %error,
        "the lock in {path} cannot be read ({error}); the gate stays closed until somebody unlocks"
    );
    LockRecord {
        reason: Some(format!("the lock in {path} cannot be read")),
        since_usec: clock::realtime_micros(),
        lease_until: None,
        at_lease_end: LeaseEnd::Open,
        kept: true,
    }
}

impl LockStore for LockDirectory {
    fn save(&mut self, lock: Option<&LockRecord>) -> io::Result<()> {
        let Some(directory) = &self.directory else {
            return match lock {
                None => Ok(()),
                Some(_) => Err(io::Error::other(
                    "there is no directory to keep the lock in: set RuntimeDirectory= in the unit, \
                     or --runtime-directory",
                )),
            };
        };
        let Some(lock) = lock else {
            return match Directory::open(directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                directory => directory?.remove(LOCK),
            };
        };
        let file = LockFile {
            boot_id: self.boot_id().to_owned(),
            reason: lock.reason.clone(),
            since_usec: lock.since_usec,
            lease_until_uptime_usec: lock.lease_until.map(Uptime::as_micros),
            at_lease_end: lock.at_lease_end,
            kept: lock.kept,
        };
        Directory::open(directory)?.replace(LOCK, &serde_json::to_vec(&file)?)
    }
}

/// The target's place on disk.
#[derive(Debug)]
pub struct TargetFile {
    directory: Option<PathBuf>,
}

impl TargetFile {
    /// The file `target` in `directory`; without a directory the target cannot be set.
    pub fn new(directory: Option<&Path>) -> Self {
        Self {
            directory: directory.map(Path::to_owned),
        }
    }

    /// The directory, by its one true name.
    pub fn directory(&self) -> Option<PathBuf> {
        self.directory.as_deref().map(true_name)
    }

    /// The target that was saved last; `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or does not hold an address.
    pub fn load(&self) -> io::Result<Option<Address>> {
        let Some(directory) = &self.directory else {
            return Ok(None);
        };
        match Directory::open(directory).and_then(|directory| directory.read(TARGET)) {
            Ok(text) => match String::from_utf8_lossy(&text).trim().parse() {
                Ok(target) => Ok(Some(target)),
                Err(error) => {
                    let path = directory.join(TARGET);
                    Err(io::Error::other(format!("{}: {error}", path.display())))
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the target.
    ///
    /// # Errors
    ///
    /// When it could not be written; the old one is still there.
    pub fn save(&self, target: &Address) -> io::Result<()> {
        let Some(directory) = &self.directory else {
            return Err(io::Error::other(
                "there is no directory to keep the target in: set StateDirectory= in the unit, or \
                 --state-directory",
            ));
        };
        Directory::open(directory)?.replace(TARGET, format!("{target}\n").as_bytes())
    }
}

/// A directory by its one true name: two processes that name it differently find out that they share it.
fn true_name(directory: &Path) -> PathBuf {
    directory
        .canonicalize()
        .unwrap_or_else(|_| directory.to_owned())
}

/// Looks whether files could be kept there; that it is not there yet is told when one is to be.
///
/// # Errors
///
/// When others could put something there, with a sentence that says so.
pub fn check(directory: &Path) -> io::Result<()> {
    match Directory::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn record() -> LockRecord {
        LockRecord {
            reason: Some("upgrade".to_owned()),
            since_usec: 7,
            lease_until: Some(Uptime::from_micros(9)),
            at_lease_end: LeaseEnd::Exit,
            kept: true,
        }
    }

    #[test]
    fn a_lock_is_found_again_by_the_next_process_of_the_same_boot() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = LockDirectory::new(Some(directory.path()));
        assert_eq!(store.load(), None);
        store.save(Some(&record())).unwrap();
        assert_eq!(
            LockDirectory::new(Some(directory.path())).load(),
            Some(record())
        );
        let later = LockDirectory {
            boot_id: "another".to_owned().into(),
            ..store
        };
        assert_eq!(later.load(), None, "a reboot forgets it");
        let mut store = LockDirectory::new(Some(directory.path()));
        store.save(None).unwrap();
        store.save(None).unwrap();
        assert_eq!(store.load(), None);
    }

    #[test]
    fn the_lock_of_a_version_that_knew_no_end_of_the_lease_opens_there() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = LockDirectory::new(Some(directory.path()));
        store.save(Some(&record())).unwrap();
        let path = directory.path().join("lock");
        let text = fs::read_to_string(&path).unwrap();
        let older = text.replace(",\"at_lease_end\":\"exit\"", "");
        assert_ne!(text, older);
        fs::write(&path, older).unwrap();
        assert_eq!(store.load().unwrap().at_lease_end, LeaseEnd::Open);
    }

    #[test]
    fn what_a_crash_leaves_behind_is_the_old_lock_or_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = LockDirectory::new(Some(directory.path()));
        // Killed before the rename, with half of the temporary file written.
        fs::write(directory.path().join("lock.new"), "{\"boot_id\":").unwrap();
        assert_eq!(store.load(), None);
        store.save(Some(&record())).unwrap();
        fs::write(directory.path().join("lock.new"), "{").unwrap();
        assert_eq!(store.load(), Some(record()));
    }

    #[test]
    fn a_lock_that_cannot_be_understood_keeps_the_gate_closed() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("lock"), "garbage").unwrap();
        let lock = LockDirectory::new(Some(directory.path())).load().unwrap();
        assert!(lock.kept && lock.reason.unwrap().contains("cannot be read"));
    }

    #[test]
    fn without_a_place_nothing_is_promised() {
        let error = LockDirectory::new(None)
            .save(Some(&record()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("RuntimeDirectory="), "{error}");
        LockDirectory::new(None).save(None).unwrap();
        let error = TargetFile::new(None)
            .save(&"a:1".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains("StateDirectory="), "{error}");
        let mut gone = LockDirectory::new(Some(Path::new("/nonexistent/directory")));
        let error = gone.save(Some(&record())).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/directory"), "{error}");
    }

    #[test]
    fn a_target_is_found_again_and_a_broken_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = TargetFile::new(Some(directory.path()));
        assert_eq!(file.load().unwrap(), None);
        let target = "unix:/run/app.sock".parse().unwrap();
        file.save(&target).unwrap();
        assert_eq!(file.load().unwrap(), Some(target));
        fs::write(directory.path().join("target"), "nowhere").unwrap();
        assert!(file.load().unwrap_err().to_string().contains("target"));
    }
}
