//! The file of a socket that has a path: whose it is, and removing the right one.
//!
//! A path may lead to something else by the time at which it is removed. So the directory stays open from the
//! beginning, and what is removed from it is the very file that was there: a socket, of ours or of root's.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::directory::{Directory, parent};
use super::path_check::PathCheck;

/// The file of a socket.
#[derive(Debug)]
pub struct SocketFile {
    directory: OwnedFd,
    name: OsString,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// That of a socket that was just bound to this path.
    ///
    /// None if there is no socket of ours there any more: then there is nothing to remove.
    pub fn bound(path: &Path) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, parent(path), flags, Mode::empty()).ok()?;
        Self::find(directory, path)
    }

    /// That of a socket which another process has bound to this path: only in a directory to which nobody else
    /// can write, for where it has been since nobody knows.
    pub fn handed(path: &Path) -> Option<Self> {
        Self::find(Directory::of(path).ok()?.into(), path)
    }

    fn find(directory: OwnedFd, path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_owned();
        let stat = socket_at(&directory, &name)?;
        PathCheck::strict().trusts(stat.st_uid).then(|| Self {
            directory,
            name,
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    /// Removes it, unless something else is there now.
    pub fn remove(&self) {
        let is_it = socket_at(&self.directory, &self.name)
            .is_some_and(|stat| (stat.st_dev, stat.st_ino) == (self.device, self.inode));
        if is_it {
            // Nobody can be told, and the next one to listen there removes it.
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// The socket of this name in a directory. A link is none.
fn socket_at(directory: &OwnedFd, name: &OsString) -> Option<Stat> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::Socket).then_some(stat)
}

/// What is at `path`, if that is no socket: nobody can listen there, or be connected to. `None` also if nothing
/// is there, or nobody can see it.
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

/// Removes what a program that was killed left behind: a stream socket that nobody listens on. Anything
/// else stays, and bind(2) says that the address is taken.
pub(super) fn remove_stale(path: &Path) {
    remove_if(path, || UnixStream::connect(path).map(drop));
}

/// As [`remove_stale`], for a datagram socket.
pub(super) fn remove_stale_datagram(path: &Path) {
    remove_if(path, || UnixDatagram::unbound()?.connect(path));
}

/// Ours, root's, or of whoever the directory belongs to, who could remove it as well.
fn remove_if(path: &Path, attempt: impl FnOnce() -> io::Result<()>) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = openat(CWD, parent(path), flags, Mode::empty()) else {
        return;
    };
    let Some(name) = path.file_name().map(ToOwned::to_owned) else {
        return;
    };
    let (Some(there), Ok(place)) = (socket_at(&directory, &name), fstat(&directory)) else {
        return;
    };
    let is_known = PathCheck::strict().trusts(there.st_uid) || there.st_uid == place.st_uid;
    if is_known && attempt().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        let stale = SocketFile {
            directory,
            name,
            device: there.st_dev,
            inode: there.st_ino,
        };
        stale.remove();
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
        // Another one took its place.
        let path = root.path().join("socket");
        let socket = UnixListener::bind(&path).unwrap();
        let file = SocketFile::handed(&path).unwrap();
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
    fn what_nobody_listens_on_is_removed_and_what_is_no_socket_stays() {
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
