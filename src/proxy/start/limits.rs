//! Fewer connections than were asked for, because this host allows no more: told at the first start, and
//! again when it changes. A proxy that ends whenever nobody uses it starts often.

use std::io;
use std::path::Path;

use crate::proxy::event;
use crate::service::directory::Directory;
use crate::service::plural::{clause, count};

/// What was told last, in the runtime directory.
const FILE: &str = "limits";

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// As `--connections-max` says.
    pub asked: usize,
    /// Open at a time.
    pub open: usize,
    /// Of those, how many outlive the process; `None` if none does.
    pub kept: Option<u32>,
}

impl Limits {
    /// What there is to be said, if there is something.
    fn sentences(self) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.open < self.asked {
            sentences.push(format!(
                "at most {} at a time instead of {}: there are not enough descriptors for more (raise \
                 LimitNOFILE=)",
                count(self.open, "connection"),
                self.asked
            ));
        }
        if let Some(kept) = self.kept.filter(|kept| (*kept as usize) < self.open) {
            sentences.push(format!(
                "at most {} this process, not {}: the kernel allows no more descriptors to be kept (raise \
                 LimitNOFILE=)",
                clause(kept, "connection", ("outlives", "outlive")),
                self.open
            ));
        }
        sentences
    }
}

/// Tells it, unless the process before has, which had the same runtime directory.
pub fn tell(directory: Option<&Path>, limits: Limits) {
    let sentences = limits.sentences();
    if is_known(directory, &sentences.join("\n")) {
        return;
    }
    for sentence in sentences {
        tracing::warn!(MESSAGE_ID = event::KEEPS, "{sentence}");
    }
}

/// Whether this was said last; from now on it was. Where that cannot be written down, it is said again.
fn is_known(directory: Option<&Path>, text: &str) -> bool {
    let Some(directory) = directory.and_then(|path| Directory::open(path).ok()) else {
        return false;
    };
    let known = match directory.read(FILE) {
        Ok(known) => known == text.as_bytes(),
        Err(error) => error.kind() == io::ErrorKind::NotFound && text.is_empty(),
    };
    if !known {
        let _ = directory.replace(FILE, text.as_bytes());
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_for_each_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = Some(directory.path());
        for (text, known) in [
            ("", true),
            ("at most 10", false),
            ("at most 10", true),
            ("at most 20", false),
            ("", false),
            ("", true),
            ("at most 10", false),
        ] {
            assert_eq!(is_known(path, text), known, "{text}");
        }
        assert!(!is_known(None, "at most 10"));
    }

    #[test]
    fn nothing_is_said_where_there_is_enough() {
        let limits = Limits {
            asked: 10,
            open: 10,
            kept: Some(10),
        };
        assert_eq!(limits.sentences(), Vec::<String>::new());
        let none_kept = Limits {
            kept: None,
            ..limits
        };
        assert_eq!(none_kept.sentences(), Vec::<String>::new());
        let scarce = Limits {
            open: 8,
            kept: Some(6),
            ..limits
        };
        assert_eq!(scarce.sentences().len(), 2);
    }
}
