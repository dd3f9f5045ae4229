//! The files of AF_UNIX sockets: whose they are, and removing the right one.
//!
//! A path may lead somewhere else by the time its socket is removed. So the directory stays open, and only the very
//! file that was there is removed from it: a socket of our user or of root.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::directory::{Directory, parent};
use super::path_check::PathCheck;

#[derive(Debug)]
pub struct SocketFile {
    directory: OwnedFd,
    name: OsString,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// The file of a socket that was just bound to `path`; `None` if it is gone already.
    pub fn bound(path: &Path) -> Option<Self> {
        Self::find(open_parent(path)?, path)
    }

    /// The file of a socket that a predecessor has bound to `path`; `None` if others can write to the directory,
    /// where it may have been replaced since.
    pub fn of_predecessor(path: &Path) -> Option<Self> {
        Self::find(Directory::open(parent(path)).ok()?.into(), path)
    }

    fn find(directory: OwnedFd, path: &Path) -> Option<Self> {
        let stat = socket_at(&directory, path.file_name()?)?;
        let file = Self::new(directory, path, &stat)?;
        PathCheck::strict().trusts(stat.st_uid).then_some(file)
    }

    fn new(directory: OwnedFd, path: &Path, stat: &Stat) -> Option<Self> {
        Some(Self {
            directory,
            name: path.file_name()?.to_owned(),
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    /// Removes it, unless another file is there now.
    pub fn remove(&self) {
        let is_same = socket_at(&self.directory, &self.name)
            .is_some_and(|stat| (stat.st_dev, stat.st_ino) == (self.device, self.inode));
        if is_same {
            // If it fails, the next process that listens there removes it.
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

fn open_parent(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, parent(path), flags, Mode::empty()).ok()
}

/// The socket with this name; a link is none.
fn socket_at(directory: &OwnedFd, name: &OsStr) -> Option<Stat> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::Socket).then_some(stat)
}

/// What is at `path`, if that is no socket. `None` also if nothing is there, or it cannot be seen.
pub fn instead_of_socket(path: &Path) -> Option<&'static str> {
    match statat(CWD, path, AtFlags::empty()) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => None,
            FileType::Directory => Some("a directory"),
            FileType::RegularFile => Some("a file"),
            FileType::Fifo => Some("a pipe"),
            _ => Some("a device"),
        },
        Err(Errno::NOENT) => statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok()
            .then_some("a symbolic link that leads nowhere"),
        Err(_) => None,
    }
}

/// Removes a stream socket without a listener, left by a killed process. Anything else stays, and bind(2) fails.
pub(super) fn remove_stale(path: &Path) {
    remove_if_refused(path, || UnixStream::connect(path).map(drop));
}

/// As [`remove_stale`], for a datagram socket.
pub(super) fn remove_stale_datagram(path: &Path) {
    remove_if_refused(path, || UnixDatagram::unbound()?.connect(path));
}

/// Removes a socket of our user, of root, or of the directory's owner, who could remove it as well.
fn remove_if_refused(path: &Path, connect: impl FnOnce() -> io::Result<()>) {
    let stale = || {
        let directory = open_parent(path)?;
        let stat = socket_at(&directory, path.file_name()?)?;
        let owner = fstat(&directory).ok()?.st_uid;
        let is_known = PathCheck::strict().trusts(stat.st_uid) || stat.st_uid == owner;
        SocketFile::new(directory, path, &stat).filter(|_| is_known)
    };
    let is_refused =
        || connect().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if let Some(file) = stale().filter(|_| is_refused()) {
        file.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_very_socket_is_removed_and_nothing_else_that_has_its_name() {
        let root = tempfile::tempdir().unwrap();
        let (place, elsewhere) = (root.path().join("place"), root.path().join("elsewhere"));
        fs::create_dir(&place).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        let path = place.join("precious");
        let _socket = UnixListener::bind(&path).unwrap();
        let file = SocketFile::bound(&path).unwrap();
        // The path leads somewhere else now.
        fs::rename(&place, root.path().join("old")).unwrap();
        symlink(&elsewhere, &place).unwrap();
        fs::write(elsewhere.join("precious"), "").unwrap();
        assert!(SocketFile::bound(&path).is_none(), "it is no socket");
        file.remove();
        assert!(elsewhere.join("precious").exists());
        assert!(!root.path().join("old/precious").exists());
        // Another socket took its place.
        let path = root.path().join("socket");
        let socket = UnixListener::bind(&path).unwrap();
        let file = SocketFile::of_predecessor(&path).unwrap();
        fs::rename(&path, root.path().join("moved")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        file.remove();
        assert!(path.exists());
        drop(socket);
    }

    #[test]
    fn what_is_there_instead_of_a_socket_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let _socket = UnixListener::bind(path("socket")).unwrap();
        fs::write(path("file"), "").unwrap();
        symlink("gone", path("link")).unwrap();
        symlink("socket", path("name")).unwrap();
        for (name, is) in [
            ("", Some("a directory")),
            ("file", Some("a file")),
            ("link", Some("a symbolic link that leads nowhere")),
            ("socket", None),
            ("name", None),
            ("gone", None),
        ] {
            assert_eq!(instead_of_socket(&path(name)), is, "{name}");
        }
    }

    #[test]
    fn a_socket_without_a_listener_is_removed_and_every_other_file_stays() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let listener = UnixListener::bind(path("live")).unwrap();
        drop(UnixListener::bind(path("stale")).unwrap());
        fs::write(path("file"), "").unwrap();
        symlink("stale", path("link")).unwrap();
        for name in ["live", "file", "link", "none"] {
            remove_stale(&path(name));
        }
        assert!(path("live").exists() && path("file").exists() && path("link").is_symlink());
        assert!(fs::metadata(path("stale")).unwrap().file_type().is_socket());
        remove_stale(&path("stale"));
        assert!(!path("stale").exists());
        drop(listener);
        drop(UnixDatagram::bind(path("datagrams")).unwrap());
        remove_stale_datagram(&path("datagrams"));
        assert!(!path("datagrams").exists());
    }
}
