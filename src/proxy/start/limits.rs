//! Logging that the host allows fewer connections than were asked for: at the first start, and again when
//! that changes, because a proxy with an idle exit starts often.

use std::io;
use std::path::Path;

use crate::proxy::event;
use crate::service::directory::Directory;
use crate::service::plural::{clause, count};

/// What was logged last, in the runtime directory.
const FILE: &str = "limits";

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `--connections-max`.
    pub asked: usize,
    pub open: usize,
    /// How many outlive the process; `None` if connections are not kept.
    pub kept: Option<u32>,
}

impl Limits {
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

/// Logs limits that are too low, unless an earlier process with the same runtime directory has logged the same.
pub fn log(directory: Option<&Path>, limits: Limits) {
    let sentences = limits.sentences();
    if is_known(directory, &sentences.join("\n")) {
        return;
    }
    for sentence in sentences {
        tracing::warn!(MESSAGE_ID = event::KEEPS, "{sentence}");
    }
}

/// Whether `text` was logged last, and writes down that it is now. If that fails, it is logged again.
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
    fn each_change_is_logged_once() {
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
    fn nothing_is_logged_where_there_is_enough() {
        for (open, kept, sentences) in [(10, Some(10), 0), (10, None, 0), (8, Some(6), 2)] {
            let asked = 10;
            let limits = Limits { asked, open, kept };
            assert_eq!(limits.sentences().len(), sentences);
        }
    }
}
