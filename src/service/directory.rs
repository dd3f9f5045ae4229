//! Directories to which only root and our user can write.
//!
//! Others could put a link where we are about to write a file, a file where we are about to read one, and a socket
//! where clients look for ours. So a directory is opened name by name, links included, and each is
//! [checked](PathCheck). Files in it are opened relative to its descriptor, by names that are no paths.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, chmodat, fchmod, fstat, linkat, mkdirat, openat,
    readlinkat, renameat, unlinkat,
};
use rustix::io::Errno;

use super::path_check::{PathCheck, PathEntry};

/// The most links that are followed, as by the kernel: path_resolution(7).
const LINKS_MAX: usize = 40;

/// The most bytes that are read. A file of state has a few hundred.
const FILE_MAX: u64 = 1 << 20;

/// Opened only as the start of the next step.
const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory to which only root and our user can write.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory, if only root and our user can change it and the path to it. Fails as open(2), and
    /// with `PermissionDenied` and a sentence that names what others can change.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (way, path) = walk(path, &mut PathCheck::strict())?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd =
            openat(&way, ".", flags, Mode::empty()).map_err(|errno| with_path(&path, errno))?;
        Ok(Self { fd, path })
    }

    /// Where it is, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory `name` in this one. If `make`, makes it for our user alone. Fails as [`Self::open`].
    pub fn subdirectory(&self, name: &str, make: bool) -> io::Result<Self> {
        if make {
            match mkdirat(&self.fd, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(self.with_name(name, errno)),
            }
        }
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty())
            .map_err(|errno| with_path(&path, errno))?;
        PathCheck::strict().end(&path, &entry(&fstat(&fd)?))?;
        Ok(Self { fd, path })
    }

    /// Makes the directory `name` in this one, which all users can read. Fails as mkdir(2), also if it is there.
    pub fn make(&self, name: &str) -> io::Result<Self> {
        mkdirat(&self.fd, name, Mode::RWXU).map_err(|errno| self.with_name(name, errno))?;
        let made = self.subdirectory(name, false)?;
        // Whatever the umask is.
        fchmod(&made.fd, Mode::from_raw_mode(0o755))
            .map_err(|errno| with_path(&made.path, errno))?;
        Ok(made)
    }

    /// Removes the directory `name` in this one, if it is empty. Returns whether it was.
    pub fn remove_empty(&self, name: &str) -> io::Result<bool> {
        match unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(errno) => Err(self.with_name(name, errno)),
        }
    }

    /// Reads the file `name`. Fails as open(2) and read(2), and when it is no file, also if it is a link.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let read = || -> io::Result<Vec<u8>> {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = openat(&self.fd, name, flags, Mode::empty())?;
            if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
                return Err(io::Error::other("it is not a file"));
            }
            let mut content = Vec::new();
            File::from(file).take(FILE_MAX).read_to_end(&mut content)?;
            Ok(content)
        };
        read().map_err(|error| self.with_name(name, error))
    }

    /// Replaces the file `name`; it is on disk when this returns: a new temporary file, fsync, rename, fsync of
    /// the directory. Fails as open(2), write(2), fsync(2) and rename(2); the old file stays then.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}.new");
        self.write(name, &temporary, content, || {
            Ok(renameat(&self.fd, &*temporary, &self.fd, name)?)
        })
    }

    /// Makes the file `name`, which all users can read, as [`Self::replace`] does. Fails also if it is there.
    pub fn create(&self, name: &str, content: &[u8]) -> io::Result<()> {
        // In a directory of the administrator NAME.new may be theirs.
        let temporary = &*format!(".{name}.disnix-tcp-proxy");
        self.write(name, temporary, content, || {
            // Whatever the umask is.
            let mode = Mode::from_raw_mode(0o644);
            chmodat(&self.fd, temporary, mode, AtFlags::empty())?;
            linkat(&self.fd, temporary, &self.fd, name, AtFlags::empty())?;
            self.unlink(temporary)
        })
    }

    /// Writes a temporary file, which `publish` gives its name.
    fn write(
        &self,
        name: &str,
        temporary: &str,
        content: &[u8],
        publish: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let write = || -> io::Result<()> {
            // Left by a killed process.
            self.unlink(temporary)?;
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
            let mut file = File::from(openat(&self.fd, temporary, flags, mode)?);
            file.write_all(content)?;
            file.sync_all()?;
            publish()
        };
        match write() {
            Ok(()) => Ok(rustix::fs::fsync(&self.fd)?),
            Err(error) => {
                let _ = self.unlink(temporary);
                Err(self.with_name(name, error))
            }
        }
    }

    /// Removes the file `name`, if it is there. Fails as unlink(2).
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.unlink(name)
            .map_err(|error| self.with_name(name, error))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn with_name(&self, name: &str, error: impl Into<io::Error>) -> io::Error {
        with_path(&self.path.join(name), error)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Directory> for OwnedFd {
    fn from(directory: Directory) -> Self {
        directory.fd
    }
}

/// Checks that a socket at this path may be one of `user`: root, our user, or a user to whom root or we have
/// given the directory (not one like /tmp). The error is a sentence that says why not.
pub fn is_place_of(socket: &Path, user: u32) -> io::Result<()> {
    if PathCheck::strict().trusts(user) {
        return Ok(());
    }
    walk(parent(socket), &mut PathCheck::allowing(user)).map(drop)
}

/// `None` if what was looked for is not there.
pub fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// The directory of a file.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        parent => parent.unwrap_or(path),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
struct PathError {
    path: PathBuf,
    source: io::Error,
}

fn with_path(path: &Path, error: impl Into<io::Error>) -> io::Error {
    let (path, source) = (path.to_owned(), error.into());
    io::Error::new(source.kind(), PathError { path, source })
}

fn entry(stat: &Stat) -> PathEntry {
    PathEntry {
        owner: stat.st_uid,
        mode: stat.st_mode,
    }
}

/// Opens a directory name by name. Returns it with its path without links.
fn walk(path: &Path, check: &mut PathCheck) -> io::Result<(OwnedFd, PathBuf)> {
    let mut names = reversed(&std::path::absolute(path)?);
    let (mut fd, mut at, mut last) = root()?;
    let mut links = 0;
    while let Some(name) = names.pop() {
        check.directory(&at, &last)?;
        let next = at.join(&name);
        let next_fd =
            openat(&fd, &name, STEP, Mode::empty()).map_err(|errno| with_path(path, errno))?;
        let stat = fstat(&next_fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                fd = next_fd;
                match name.as_encoded_bytes() {
                    b".." => _ = at.pop(),
                    _ => at = next,
                }
                last = entry(&stat);
            }
            FileType::Symlink => {
                check.owner("link", &next, &entry(&stat))?;
                links += 1;
                if links > LINKS_MAX {
                    return Err(with_path(path, Errno::LOOP));
                }
                let target = readlinkat(&next_fd, "", Vec::new())?.into_bytes();
                let target = PathBuf::from(OsString::from_vec(target));
                if target.is_absolute() {
                    (fd, at, last) = root()?;
                }
                names.extend(reversed(&target));
            }
            _ => return Err(with_path(path, Errno::NOTDIR)),
        }
    }
    check.end(&at, &last)?;
    Ok((fd, at))
}

fn root() -> io::Result<(OwnedFd, PathBuf, PathEntry)> {
    let fd = openat(CWD, "/", STEP | OFlags::DIRECTORY, Mode::empty())?;
    let entry = entry(&fstat(&fd)?);
    Ok((fd, PathBuf::from("/"), entry))
}

/// The names of a path, the last one first.
fn reversed(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused_wherever_it_is_on_the_way() {
        let root = tempfile::tempdir().unwrap();
        let (way, end) = (root.path().join("way"), root.path().join("way/end"));
        fs::create_dir_all(&end).unwrap();
        chmod(&end, 0o755);
        let refused = |path: &Path, words: &str| {
            let error = Directory::open(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        };
        for (mode, sticky) in [
            (0o777, false),
            (0o775, false),
            (0o757, false),
            (0o1777, true),
        ] {
            chmod(&way, mode);
            match sticky {
                // As /tmp: users can remove only their own files.
                true => drop(Directory::open(&end).unwrap()),
                false => refused(&end, "others can write to"),
            }
            refused(&way, "others can write to");
            refused(&root.path().join("way/../way"), "others can write to");
        }
        chmod(&way, 0o755);
        Directory::open(&end).unwrap();
    }

    #[test]
    fn links_are_followed_as_the_kernel_does() {
        let root = tempfile::tempdir().unwrap();
        let end = root.path().join("a/end");
        fs::create_dir_all(&end).unwrap();
        symlink("a", root.path().join("relative")).unwrap();
        symlink(root.path().join("relative"), root.path().join("absolute")).unwrap();
        symlink("circle", root.path().join("circle")).unwrap();
        for way in [
            "absolute/end",
            "relative/./end/",
            "a/end/../end",
            "relative/../a/end",
        ] {
            let found = Directory::open(&root.path().join(way)).unwrap();
            assert_eq!(found.path, end.canonicalize().unwrap(), "{way}");
        }
        let error = |way: &str| Directory::open(&root.path().join(way)).unwrap_err();
        assert_eq!(error("circle").raw_os_error(), None);
        assert!(error("circle").to_string().contains("circle"));
        assert_eq!(error("a/none").kind(), io::ErrorKind::NotFound);
        fs::write(root.path().join("file"), "").unwrap();
        assert_eq!(error("file").kind(), io::ErrorKind::NotADirectory);
        assert_eq!(error("file/x").kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn files_are_replaced_and_links_in_their_place_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let victim = root.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let place = root.path().join("place");
        fs::create_dir(&place).unwrap();
        symlink(&victim, place.join("lock.new")).unwrap();
        symlink(&victim, place.join("target")).unwrap();
        let directory = Directory::open(&place).unwrap();
        assert!(directory.read("target").is_err());
        for content in ["one", "two"] {
            directory.replace("lock", content.as_bytes()).unwrap();
            assert_eq!(directory.read("lock").unwrap(), content.as_bytes());
            directory.replace("target", content.as_bytes()).unwrap();
        }
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 2);
        for name in ["lock", "target", "target"] {
            directory.remove(name).unwrap();
        }
        let error = directory.read("lock").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(directory.create("lock", b"").is_ok());
        let error = directory.create("lock", b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(directory.read("lock").unwrap(), b"");
        fs::write(place.join("options.new"), "of somebody else").unwrap();
        directory.create("options", b"x").unwrap();
        assert_eq!(directory.read("options.new").unwrap(), b"of somebody else");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 3);
        let inner = directory.subdirectory("inner", true).unwrap();
        inner.replace("x", b"").unwrap();
        directory.subdirectory("inner", false).unwrap();
        let made = directory.make("made").unwrap();
        made.create("file", b"text").unwrap();
        assert!(!directory.remove_empty("made").unwrap());
        assert!(directory.make("made").is_err());
        let mode = |name: &str| fs::metadata(place.join(name)).unwrap().permissions().mode();
        assert_eq!(mode("made") & 0o777, 0o755);
        assert_eq!(mode("made/file") & 0o777, 0o644);
        made.remove("file").unwrap();
        assert!(directory.remove_empty("made").unwrap());
        chmod(&place.join("inner"), 0o777);
        assert!(directory.subdirectory("inner", true).is_err());
    }
}
