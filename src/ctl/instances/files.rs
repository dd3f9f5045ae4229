//! Files below the root of a system: written, recognised and removed.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::plan::{MARK, PlannedFile};
use crate::service::directory::{Directory, if_there};

/// The root of a system.
#[derive(Clone, Debug)]
pub struct SystemRoot(PathBuf);

/// What is at the path of a file that `add` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundFile {
    Nothing,
    /// With the mark.
    Ours,
    /// Of somebody else.
    Foreign,
}

/// What was made, so that it can be taken back.
#[derive(Debug)]
pub struct MadeFiles {
    root: SystemRoot,
    files: Vec<String>,
    /// Outer ones first.
    directories: Vec<PathBuf>,
}

impl SystemRoot {
    pub fn new(root: Option<&Path>) -> Self {
        Self(root.unwrap_or(Path::new("/")).to_owned())
    }

    /// The place of an absolute path in it.
    pub fn place(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// Opens a directory in it. A link that leads out of it, such as an absolute one in an image, is refused.
    fn open(&self, path: &Path) -> io::Result<Directory> {
        let directory = Directory::open(path)?;
        let not_there = |error| io::Error::other(format!("{}: {error}", self.0.display()));
        let (found, root) = (directory.path(), self.0.canonicalize().map_err(not_there)?);
        if found.starts_with(&root) {
            return Ok(directory);
        }
        Err(io::Error::other(format!(
            "{} leads to {}, which is not below {}",
            path.display(),
            found.display(),
            root.display()
        )))
    }

    /// What is at this path.
    pub fn find(&self, path: &str) -> io::Result<FoundFile> {
        let place = self.place(path);
        let (directory, name) = split(&place)?;
        let Some(directory) = if_there(self.open(directory))? else {
            return Ok(FoundFile::Nothing);
        };
        match if_there(directory.read(name)) {
            Ok(None) => Ok(FoundFile::Nothing),
            Ok(Some(content)) if content.starts_with(MARK.as_bytes()) => Ok(FoundFile::Ours),
            Ok(Some(_)) => Ok(FoundFile::Foreign),
            // A link or a directory.
            Err(_) if place.symlink_metadata().is_ok() => Ok(FoundFile::Foreign),
            Err(error) => Err(error),
        }
    }

    /// Writes the files, and the directories that they need. On an error nothing of it stays.
    pub fn write(&self, files: &[PlannedFile]) -> io::Result<MadeFiles> {
        let mut made = MadeFiles {
            root: self.clone(),
            files: Vec::new(),
            directories: Vec::new(),
        };
        for file in files {
            if let Err(error) = made.add(file) {
                made.take_back();
                return Err(error);
            }
        }
        Ok(made)
    }

    /// Removes a file of ours, and its directory if that is one of drop-ins and has no other. Returns what has stayed.
    pub fn remove(&self, path: &str) -> io::Result<Option<String>> {
        if self.find(path)? != FoundFile::Ours {
            return Ok(None);
        }
        let place = self.place(path);
        let (parent, name) = split(&place)?;
        self.open(parent)?.remove(name)?;
        if parent.extension() != Some(OsStr::new("d")) {
            return Ok(None);
        }
        let (above, own_name) = split(parent)?;
        let is_gone = self.open(above)?.remove_empty(own_name)?;
        Ok((!is_gone).then(|| parent.display().to_string()))
    }

    /// Removes a directory if it is empty.
    pub fn remove_empty(&self, path: &str) -> io::Result<bool> {
        let place = self.place(path);
        let (above, name) = split(&place)?;
        self.open(above)?.remove_empty(name)
    }
}

impl MadeFiles {
    fn add(&mut self, file: &PlannedFile) -> io::Result<()> {
        let place = self.root.place(&file.path);
        let (parent, name) = split(&place)?;
        let directory = self.open_or_make(parent)?;
        directory.create(name, file.content.as_bytes())?;
        self.files.push(file.path.clone());
        Ok(())
    }

    fn open_or_make(&mut self, path: &Path) -> io::Result<Directory> {
        match if_there(self.root.open(path))? {
            Some(directory) => Ok(directory),
            None => {
                let (above, name) = split(path)?;
                let directory = self.open_or_make(above)?.make(name)?;
                self.directories.push(path.to_owned());
                Ok(directory)
            }
        }
    }

    /// Removes all of it that is still as it was written. Returns the paths that have stayed.
    pub fn take_back(self) -> Vec<String> {
        let mut stayed = Vec::new();
        for path in self.files {
            if self.root.remove(&path).is_err() {
                stayed.push(self.root.place(&path).display().to_string());
            }
        }
        for path in self.directories.iter().rev() {
            let removed =
                split(path).and_then(|(above, name)| self.root.open(above)?.remove_empty(name));
            if removed.is_err() {
                stayed.push(path.display().to_string());
            }
        }
        stayed
    }
}

/// A path's directory and its name in it.
fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(OsStr::to_str);
    match (path.parent(), name) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(io::Error::other(format!("{} has no name", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const LISTEN: &str = "/etc/systemd/system/p@web.socket.d/listen.conf";
    const OPTIONS: &str = "/etc/proxy/web.env";

    fn system() -> (tempfile::TempDir, SystemRoot) {
        let directory = tempfile::tempdir().unwrap();
        let root = SystemRoot::new(Some(directory.path()));
        fs::create_dir_all(root.place("/etc/systemd/system")).unwrap();
        (directory, root)
    }

    /// The names in a directory; none if it is not there.
    fn names(root: &SystemRoot, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(root.place(directory)).into_iter().flatten();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        entries.map(|entry| name(entry.unwrap())).collect()
    }

    fn planned() -> [PlannedFile; 2] {
        [LISTEN, OPTIONS].map(|path| PlannedFile {
            path: path.to_owned(),
            content: format!("{MARK}\ntext of {path}\n"),
        })
    }

    #[test]
    fn files_are_written_for_all_to_read_and_taken_back_with_their_directories() {
        let (_directory, root) = system();
        let made = root.write(&planned()).unwrap();
        for path in [LISTEN, OPTIONS] {
            assert_eq!(root.find(path).unwrap(), FoundFile::Ours);
            let mode = fs::metadata(root.place(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o644);
        }
        assert_eq!(names(&root, "/etc/proxy"), ["web.env"]);
        assert_eq!(made.take_back(), [""; 0]);
        assert_eq!(names(&root, "/etc/systemd/system"), [""; 0]);
        assert_eq!(names(&root, "/etc"), ["systemd"]);
        assert_eq!(names(&root, "/none"), [""; 0]);
    }

    #[test]
    fn a_file_that_is_there_is_left_alone_and_nothing_else_is_written() {
        let (_directory, root) = system();
        let victim = root.place("/victim");
        fs::write(&victim, "precious").unwrap();
        fs::create_dir_all(root.place("/etc/proxy")).unwrap();
        symlink(&victim, root.place(OPTIONS)).unwrap();
        let error = root.write(&planned()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
        assert!(error.to_string().contains("web.env"), "{error}");
        assert_eq!(names(&root, "/etc/systemd/system"), [""; 0]);
        assert_eq!(names(&root, "/etc/proxy"), ["web.env"]);
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn a_link_out_of_the_root_is_not_followed() {
        let (_directory, root) = system();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.place("/etc/proxy")).unwrap();
        let error = root.write(&planned()).unwrap_err();
        assert!(error.to_string().contains("which is not below"), "{error}");
        assert!(root.find(OPTIONS).is_err());
        assert_eq!(names(&root, "/etc/systemd/system"), [""; 0]);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        // One that leads to another place in it is.
        fs::remove_file(root.place("/etc/proxy")).unwrap();
        fs::create_dir(root.place("/srv")).unwrap();
        symlink("../srv", root.place("/etc/proxy")).unwrap();
        root.write(&planned()).unwrap();
        assert_eq!(names(&root, "/srv"), ["web.env"]);
        let none = outside.path().join("none");
        let error = SystemRoot::new(Some(&none)).write(&planned()).unwrap_err();
        assert!(error.to_string().contains("none: No such file"), "{error}");
        assert!(!none.exists());
    }

    #[test]
    fn only_files_with_the_mark_are_removed() {
        let (_directory, root) = system();
        root.write(&planned()).unwrap();
        let beside = root.place("/etc/systemd/system/p@web.socket.d/override.conf");
        fs::write(&beside, "[Socket]\nBacklog=7\n").unwrap();
        let left = root.remove(LISTEN).unwrap().unwrap();
        assert!(left.ends_with("p@web.socket.d"), "{left}");
        assert!(beside.exists() && !root.place(LISTEN).exists());
        // An administrator has made it theirs.
        fs::write(root.place(OPTIONS), "DISNIX_TCP_PROXY_THREADS=1\n").unwrap();
        assert_eq!(root.find(OPTIONS).unwrap(), FoundFile::Foreign);
        assert_eq!(root.remove(OPTIONS).unwrap(), None);
        assert!(root.place(OPTIONS).exists());
        assert_eq!(root.remove("/etc/none/none.env").unwrap(), None);
    }

    #[test]
    fn a_link_or_a_directory_in_its_place_is_of_somebody_else() {
        let (_directory, root) = system();
        fs::create_dir_all(root.place(LISTEN)).unwrap();
        fs::create_dir_all(root.place("/etc/proxy")).unwrap();
        symlink("nowhere", root.place(OPTIONS)).unwrap();
        for path in [LISTEN, OPTIONS] {
            assert_eq!(root.find(path).unwrap(), FoundFile::Foreign);
            assert_eq!(root.remove(path).unwrap(), None);
            assert!(root.place(path).symlink_metadata().is_ok());
        }
        assert_eq!(root.find("/etc/none").unwrap(), FoundFile::Nothing);
    }
}
