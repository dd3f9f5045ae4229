//! What outlives the process: the lock in the runtime directory, the target in the state directory.
//!
//! Both are small files that are replaced as a whole, so that a crash at any moment leaves the old
//! one or the new one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::gate::{LockRecord, LockStore};
use crate::interface::LeaseEnd;
use crate::interface::saved::{LOCK_FILE, LockFile, TARGET_FILE, boot_id};
use crate::service::address::Address;
use crate::service::clock;
use crate::service::directory::{Directory, if_there};

/// The directory of a file, if there is one.
#[derive(Debug)]
struct FileDirectory(Option<PathBuf>);

impl FileDirectory {
    /// The canonical path, so that two processes that name a directory differently see that they share it.
    fn canonical(&self) -> Option<PathBuf> {
        let directory = self.0.as_ref()?;
        Some(directory.canonicalize().unwrap_or(directory.clone()))
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(directory) = &self.0 else {
            return Ok(None);
        };
        if_there(Directory::open(directory).and_then(|directory| directory.read(name)))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.as_deref().unwrap_or(Path::new("")).join(name)
    }
}

#[derive(Debug)]
pub struct LockDirectory {
    place: FileDirectory,
    /// Read when there is a lock: mostly there is none.
    boot_id: OnceLock<String>,
}

impl LockDirectory {
    /// Without a directory nothing can be locked.
    pub fn new(directory: Option<&Path>) -> Self {
        Self {
            place: FileDirectory(directory.map(Path::to_owned)),
            boot_id: OnceLock::new(),
        }
    }

    fn boot_id(&self) -> &str {
        self.boot_id.get_or_init(boot_id)
    }

    /// The canonical path.
    pub fn directory(&self) -> Option<PathBuf> {
        self.place.canonical()
    }

    /// The lock of the process before. A file that cannot be understood counts as one: it is better to let clients
    /// wait for `Unlock` than to let them into the middle of an upgrade.
    pub fn load(&self) -> Option<LockRecord> {
        let file = match self.place.read(LOCK_FILE) {
            Ok(text) => serde_json::from_slice::<LockFile>(&text?).map_err(io::Error::from),
            Err(error) => Err(error),
        };
        match file {
            Ok(file) => (file.boot_id == self.boot_id()).then_some(file.lock),
            Err(error) => Some(unreadable(&self.place.path(LOCK_FILE), &error)),
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> LockRecord {
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
        match (&self.place.0, lock) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(io::Error::other(
                "there is no directory to keep the lock in: set RuntimeDirectory= in the unit, \
                 or --runtime-directory",
            )),
            (Some(directory), None) => match if_there(Directory::open(directory))? {
                Some(directory) => directory.remove(LOCK_FILE),
                None => Ok(()),
            },
            (Some(directory), Some(lock)) => {
                let file = LockFile {
                    boot_id: self.boot_id().to_owned(),
                    lock: lock.clone(),
                };
                Directory::open(directory)?.replace(LOCK_FILE, &serde_json::to_vec(&file)?)
            }
        }
    }
}

#[derive(Debug)]
pub struct TargetFile(FileDirectory);

impl TargetFile {
    /// Without a directory the target cannot be set.
    pub fn new(directory: Option<&Path>) -> Self {
        Self(FileDirectory(directory.map(Path::to_owned)))
    }

    /// The canonical path of its directory.
    pub fn directory(&self) -> Option<PathBuf> {
        self.0.canonical()
    }

    /// The target that was saved last, if there is one.
    /// Fails if the file cannot be read or is no address.
    pub fn load(&self) -> io::Result<Option<Address>> {
        let Some(text) = self.0.read(TARGET_FILE)? else {
            return Ok(None);
        };
        match String::from_utf8_lossy(&text).trim().parse() {
            Ok(target) => Ok(Some(target)),
            Err(error) => {
                let path = self.0.path(TARGET_FILE);
                Err(io::Error::other(format!("{}: {error}", path.display())))
            }
        }
    }

    /// Fails if the target could not be written; the old one is still there.
    pub fn save(&self, target: &Address) -> io::Result<()> {
        let Some(directory) = &self.0.0 else {
            return Err(io::Error::other(
                "there is no directory to keep the target in: set StateDirectory= in the unit, or \
                 --state-directory",
            ));
        };
        Directory::open(directory)?.replace(TARGET_FILE, format!("{target}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::clock::Uptime;
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

    fn empty() -> (tempfile::TempDir, LockDirectory) {
        let directory = tempfile::tempdir().unwrap();
        let store = LockDirectory::new(Some(directory.path()));
        (directory, store)
    }

    #[test]
    fn a_lock_is_found_again_by_the_next_process_of_the_same_boot() {
        let (directory, mut store) = empty();
        assert_eq!(store.load(), None);
        store.save(Some(&record())).unwrap();
        let next = LockDirectory::new(Some(directory.path()));
        assert_eq!(next.load(), Some(record()));
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
        let (directory, mut store) = empty();
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
        let (directory, mut store) = empty();
        // Killed before the rename, with half of the temporary file written.
        fs::write(directory.path().join("lock.new"), "{\"boot_id\":").unwrap();
        assert_eq!(store.load(), None);
        store.save(Some(&record())).unwrap();
        fs::write(directory.path().join("lock.new"), "{").unwrap();
        assert_eq!(store.load(), Some(record()));
    }

    #[test]
    fn a_lock_that_cannot_be_understood_keeps_the_gate_closed() {
        let (directory, store) = empty();
        fs::write(directory.path().join("lock"), "garbage").unwrap();
        let lock = store.load().unwrap();
        assert!(lock.kept && lock.reason.unwrap().contains("cannot be read"));
    }

    #[test]
    fn without_a_place_nothing_is_promised() {
        LockDirectory::new(None).save(None).unwrap();
        let gone = "/nonexistent/directory";
        let lock_in =
            |path: Option<&str>| LockDirectory::new(path.map(Path::new)).save(Some(&record()));
        let target = TargetFile::new(None).save(&"a:1".parse().unwrap());
        for (result, word) in [
            (lock_in(None), "RuntimeDirectory="),
            (target, "StateDirectory="),
            (lock_in(Some(gone)), gone),
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
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
