//! Whose hands a path is in: who could have something else be there. Pure, but for who we are.
//!
//! Root and ourselves are trusted. Each directory on the way has to belong to one of the two, and nobody
//! else may be able to write to it; one that is sticky (as /tmp) may be on the way, for nobody can remove there
//! what belongs to others, but not the end of it. A link has to belong to one of the two.

use std::io;
use std::path::Path;

use rustix::process::geteuid;

/// Writable by the group, or by all. With an access control list the group's bits say what the most is that
/// it allows anybody, acl(5).
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

const ROOT: u32 = 0;

/// A directory or a link on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) owner: u32,
    pub(super) mode: u32,
}

/// Who is trusted, on the way through a path.
#[derive(Clone, Debug)]
pub struct Hands {
    us: u32,
    /// One more user, where root or we have given the place to them.
    guest: Option<u32>,
    /// What is in a user namespace the owner of all that belongs to users outside, if we are in one.
    outside: Option<u32>,
    /// The directory that was looked at last is one that everybody can put something into.
    shared: bool,
}

impl Hands {
    /// Root's and our own.
    pub fn ours() -> Self {
        Self {
            us: geteuid().as_raw(),
            guest: None,
            outside: outside(),
            shared: false,
        }
    }

    /// Those of `guest` as well, for a place that nobody but root or we can have given to them.
    pub fn ours_or(guest: u32) -> Self {
        Self {
            guest: Some(guest),
            ..Self::ours()
        }
    }

    /// Whether it is root or us.
    pub fn are(&self, user: u32) -> bool {
        user == ROOT || user == self.us
    }

    /// A directory on the way.
    pub(super) fn take(&mut self, path: &Path, step: &Step) -> io::Result<()> {
        self.check_owner("directory", path, step)?;
        let writable = step.mode & OTHERS_WRITE != 0;
        if writable && step.mode & STICKY == 0 {
            return Err(writable_by_others(path, step.mode));
        }
        self.shared = writable;
        Ok(())
    }

    /// A link on the way.
    pub(super) fn take_link(&mut self, path: &Path, step: &Step) -> io::Result<()> {
        self.check_owner("link", path, step)
    }

    /// The directory at the end of the way.
    pub(super) fn take_last(&mut self, path: &Path, step: &Step) -> io::Result<()> {
        self.outside = None;
        self.check_owner("directory", path, step)?;
        match step.mode & OTHERS_WRITE {
            0 => Ok(()),
            _ => Err(writable_by_others(path, step.mode)),
        }
    }

    fn check_owner(&self, what: &str, path: &Path, step: &Step) -> io::Result<()> {
        let is_guest = self.guest == Some(step.owner) && !self.shared;
        if self.are(step.owner) || is_guest || self.outside == Some(step.owner) {
            return Ok(());
        }
        Err(denied(format!(
            "the {what} {} belongs to user {}, who could put files and sockets of their own there: use \
             a directory of your own, made with `mkdir -m 0700`, below $XDG_RUNTIME_DIR for example",
            path.display(),
            step.owner
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

/// In a user namespace that does not have all users: who owns what belongs to those that it does not have,
/// root perhaps (user_namespaces(7), `/proc/sys/fs/overflowuid`). Within it nobody can be that user.
fn outside() -> Option<u32> {
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

    fn hands(guest: Option<u32>) -> Hands {
        Hands {
            us: US,
            guest,
            outside: None,
            shared: false,
        }
    }

    /// Goes through directories with these owners and modes.
    fn goes(mut hands: Hands, way: &[(u32, u32)]) -> bool {
        let path = Path::new("/x");
        let step = |(owner, mode): (u32, u32)| Step { owner, mode };
        let (last, before) = way.split_last().unwrap();
        before
            .iter()
            .all(|one| hands.take(path, &step(*one)).is_ok())
            && hands.take_last(path, &step(*last)).is_ok()
    }

    #[test]
    fn it_is_ours_and_roots_and_nobody_else_can_write() {
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
            assert_eq!(goes(hands(None), way), good, "{way:?}");
        }
        let link = Step {
            owner: MALLORY,
            mode: 0o777,
        };
        assert!(hands(None).take_link(Path::new("/x"), &link).is_err());
    }

    #[test]
    fn a_place_is_somebodys_if_root_or_we_have_given_it_to_them() {
        let www = || hands(Some(MALLORY));
        assert!(goes(www(), &[(ROOT, 0o755), (MALLORY, 0o755)]));
        assert!(goes(
            www(),
            &[(ROOT, 0o755), (MALLORY, 0o755), (MALLORY, 0o700)]
        ));
        // Who has made it there nobody knows.
        assert!(!goes(www(), &[(ROOT, 0o1777), (MALLORY, 0o755)]));
        assert!(!goes(www(), &[(ROOT, 0o755), (1002, 0o755)]));
    }

    #[test]
    fn in_a_user_namespace_what_belongs_to_users_outside_is_on_the_way_and_not_its_end() {
        let inside = Hands {
            outside: Some(65534),
            ..hands(None)
        };
        assert!(goes(inside.clone(), &[(65534, 0o755), (US, 0o700)]));
        assert!(!goes(inside, &[(US, 0o755), (65534, 0o755)]));
        assert!(!goes(hands(None), &[(65534, 0o755), (US, 0o700)]));
    }
}
