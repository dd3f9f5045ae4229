//! Checks that root and this process alone can change what is at a path. Pure, except for the user of the process.
//!
//! Each directory must belong to root or to our user, and no other user may be able to write to it, except to a sticky
//! one (/tmp) on the way: there users remove only their own files. A link must belong to root or to us.

use std::io;
use std::path::Path;

use rustix::process::geteuid;

/// Writable by the group or by all. The group's bits also limit an access control list: acl(5).
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

const ROOT: u32 = 0;

/// A directory or a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathEntry {
    pub(super) owner: u32,
    pub(super) mode: u32,
}

/// The check of one path, entry by entry.
#[derive(Clone, Debug)]
pub struct PathCheck {
    our_user: u32,
    /// One more trusted user, below a directory that root or we gave to them.
    guest: Option<u32>,
    /// In a user namespace: the owner that stands for all users outside.
    outside: Option<u32>,
    /// Whether everybody can write to the last directory.
    is_shared: bool,
}

impl PathCheck {
    /// Trusts root and our user.
    pub fn strict() -> Self {
        Self {
            our_user: geteuid().as_raw(),
            guest: None,
            outside: overflow_user(),
            is_shared: false,
        }
    }

    /// Trusts `guest` as well, where only root or we can have given them the place.
    pub fn allowing(guest: u32) -> Self {
        Self {
            guest: Some(guest),
            ..Self::strict()
        }
    }

    /// Whether `user` is root or ours.
    pub fn trusts(&self, user: u32) -> bool {
        user == ROOT || user == self.our_user
    }

    /// Checks a directory on the way.
    pub(super) fn directory(&mut self, path: &Path, entry: &PathEntry) -> io::Result<()> {
        self.owner("directory", path, entry)?;
        let is_writable = entry.mode & OTHERS_WRITE != 0;
        if is_writable && entry.mode & STICKY == 0 {
            return Err(writable_by_others(path, entry.mode));
        }
        self.is_shared = is_writable;
        Ok(())
    }

    /// Checks the directory at the end.
    pub(super) fn end(&mut self, path: &Path, entry: &PathEntry) -> io::Result<()> {
        self.outside = None;
        self.owner("directory", path, entry)?;
        match entry.mode & OTHERS_WRITE {
            0 => Ok(()),
            _ => Err(writable_by_others(path, entry.mode)),
        }
    }

    /// Checks the owner of a directory or of a link.
    pub(super) fn owner(&self, kind: &str, path: &Path, entry: &PathEntry) -> io::Result<()> {
        let is_guest = self.guest == Some(entry.owner) && !self.is_shared;
        if self.trusts(entry.owner) || is_guest || self.outside == Some(entry.owner) {
            return Ok(());
        }
        Err(denied(format!(
            "the {kind} {} belongs to user {}, who could put files and sockets of their own there: use \
             a directory of your own, made with `mkdir -m 0700`, below $XDG_RUNTIME_DIR for example",
            path.display(),
            entry.owner
        )))
    }
}

fn writable_by_others(path: &Path, mode: u32) -> io::Error {
    denied(format!(
        "others can write to the directory {} (mode {:04o}), and put files and sockets of their own \
         there: use a directory made with `mkdir -m 0700`, below $XDG_RUNTIME_DIR for example",
        path.display(),
        mode & 0o7777
    ))
}

fn denied(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, sentence)
}

/// In a user namespace that lacks some users: the owner that is shown for their files, also for root's
/// (user_namespaces(7), `/proc/sys/fs/overflowuid`). Nobody within can be that user.
fn overflow_user() -> Option<u32> {
    let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
    let is_whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let number = || {
        let text = std::fs::read_to_string("/proc/sys/fs/overflowuid").ok()?;
        text.trim().parse().ok()
    };
    (!is_whole).then(|| number().unwrap_or(65534))
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u32 = 1000;
    const MALLORY: u32 = 1001;

    fn check(guest: Option<u32>) -> PathCheck {
        PathCheck {
            our_user: US,
            guest,
            outside: None,
            is_shared: false,
        }
    }

    /// Whether directories with these owners and modes pass.
    fn passes(mut check: PathCheck, way: &[(u32, u32)]) -> bool {
        let path = Path::new("/x");
        let entry = |&(owner, mode): &(u32, u32)| PathEntry { owner, mode };
        let (last, before) = way.split_last().unwrap();
        before
            .iter()
            .all(|one| check.directory(path, &entry(one)).is_ok())
            && check.end(path, &entry(last)).is_ok()
    }

    #[test]
    fn only_root_and_we_own_the_way_and_can_write_to_it() {
        let tmp = (ROOT, 0o1777);
        for (way, good) in [
            (&[(ROOT, 0o755), (US, 0o755)][..], true),
            (&[(ROOT, 0o755), tmp, (US, 0o700)], true),
            (&[(ROOT, 0o755), tmp, (ROOT, 0o755)], true),
            (&[(ROOT, 0o755), tmp], false),
            (&[tmp, (MALLORY, 0o755)], false),
            (&[tmp, (MALLORY, 0o755), (US, 0o700)], false),
            (&[(ROOT, 0o755), (US, 0o775)], false),
            (&[(ROOT, 0o777), (US, 0o700)], false),
            (&[(MALLORY, 0o1777), (US, 0o700)], false),
        ] {
            assert_eq!(passes(check(None), way), good, "{way:?}");
        }
        let (owner, mode) = (MALLORY, 0o777);
        let link = PathEntry { owner, mode };
        assert!(check(None).owner("link", Path::new("/x"), &link).is_err());
    }

    #[test]
    fn a_place_belongs_to_a_user_if_root_or_we_have_given_it_to_them() {
        let (dir, own) = ((ROOT, 0o755), (MALLORY, 0o755));
        for (way, good) in [
            (&[dir, own][..], true),
            (&[dir, own, (MALLORY, 0o700)], true),
            // Anybody may have made it there.
            (&[(ROOT, 0o1777), own], false),
            (&[dir, (1002, 0o755)], false),
        ] {
            assert_eq!(passes(check(Some(MALLORY)), way), good, "{way:?}");
        }
    }

    #[test]
    fn in_a_user_namespace_what_belongs_to_users_outside_is_on_the_way_and_not_its_end() {
        let inside = PathCheck {
            outside: Some(65534),
            ..check(None)
        };
        assert!(passes(inside.clone(), &[(65534, 0o755), (US, 0o700)]));
        assert!(!passes(inside, &[(US, 0o755), (65534, 0o755)]));
        assert!(!passes(check(None), &[(65534, 0o755), (US, 0o700)]));
    }
}
