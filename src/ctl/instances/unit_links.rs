//! The links by which units are enabled, or are units at all: `systemctl disable` removes them, also those that somebody
//! has made by hand.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::files::SystemRoot;
use crate::service::directory::if_there;

/// Where systemctl makes and removes links: for good, and until the next boot.
const PLACES: [&str; 2] = ["/etc/systemd/system", "/run/systemd/system"];

/// What ends the name of a directory with links to what a unit wants, systemd.unit(5).
const KINDS: [&str; 3] = ["wants", "requires", "upholds"];

/// The links that were there, and where they led.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UnitLinks(BTreeMap<PathBuf, PathBuf>);

impl UnitLinks {
    /// All of a system.
    pub fn read(root: &SystemRoot) -> io::Result<Self> {
        let mut links = Self::default();
        for place in PLACES.map(|place| root.place(place)) {
            let directories = links.read_directory(&place)?;
            for directory in directories {
                links.read_directory(&directory)?;
            }
        }
        Ok(links)
    }

    /// Returns the directories in it that have links.
    fn read_directory(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut inner = Vec::new();
        for entry in if_there(fs::read_dir(directory))?.into_iter().flatten() {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let end = path.extension().and_then(|end| end.to_str());
            if kind.is_symlink() {
                // It may go away in this moment.
                let target = if_there(fs::read_link(&path))?;
                self.0.extend(target.map(|target| (path, target)));
            } else if kind.is_dir() && end.is_some_and(|end| KINDS.contains(&end)) {
                inner.push(path);
            }
        }
        Ok(inner)
    }

    /// Makes those again that are gone. Returns why some are not.
    pub fn restore(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (path, target) in &self.0 {
            if let Err(error) = make(path, target) {
                failures.push(format!(
                    "the link {} to {} could not be made again: {error}",
                    path.display(),
                    target.display()
                ));
            }
        }
        failures
    }
}

fn make(path: &Path, target: &Path) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    // systemctl removes a directory with its last link.
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    symlink(target, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_were_removed_are_there_again_and_others_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = SystemRoot::new(Some(directory.path()));
        assert_eq!(UnitLinks::read(&root).unwrap(), UnitLinks::default());
        let links = [
            ("/etc/systemd/system/old.socket", "/srv/old.socket"),
            (
                "/etc/systemd/system/sockets.target.wants/old.socket",
                "/srv/old.socket",
            ),
            (
                "/run/systemd/system/sockets.target.wants/more.socket",
                "/usr/lib/more.socket",
            ),
            ("/etc/systemd/system/kept.service", "/dev/null"),
        ];
        for (path, target) in links {
            make(&root.place(path), Path::new(target)).unwrap();
        }
        let before = UnitLinks::read(&root).unwrap();
        assert_eq!(before.0.len(), links.len());
        for (path, _) in &links[..3] {
            fs::remove_file(root.place(path)).unwrap();
        }
        fs::remove_dir(root.place("/etc/systemd/system/sockets.target.wants")).unwrap();
        // Somebody has made it theirs meanwhile.
        fs::write(root.place(links[0].0), "[Socket]\n").unwrap();
        assert_eq!(before.restore(), [""; 0]);
        for (path, target) in &links[1..] {
            assert_eq!(fs::read_link(root.place(path)).unwrap(), Path::new(target));
        }
        assert_eq!(fs::read(root.place(links[0].0)).unwrap(), b"[Socket]\n");
    }
}
