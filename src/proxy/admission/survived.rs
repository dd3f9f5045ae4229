//! What connections have survived since the boot, in a file of the runtime directory: the process that counts is not the
//! one that has died.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use crate::interface::metrics::SurvivalCounts;
use crate::interface::saved::{SURVIVED_FILE, SurvivedFile, boot_id};
use crate::service::directory::{Directory, if_there};

/// What was counted up to the start of this process, which is all that there will be while it runs.
#[derive(Debug, Default)]
pub struct SurvivalRecord(OnceLock<SurvivalCounts>);

impl SurvivalRecord {
    /// Adds what the connections have come through at this start. Fails if the file cannot be written; it is counted all
    /// the same. To be called once.
    pub fn begin(&self, directory: Option<&Path>, more: SurvivalCounts) -> io::Result<()> {
        let _ = self.0.set(sum(read(directory), more));
        add(directory, more)
    }

    /// All of it since the boot.
    pub fn counts(&self) -> SurvivalCounts {
        self.0.get().copied().unwrap_or_default()
    }
}

fn sum(before: SurvivalCounts, more: SurvivalCounts) -> SurvivalCounts {
    SurvivalCounts {
        kills: before.kills + more.kills,
        restored: before.restored + more.restored,
        given_up: before.given_up + more.given_up,
    }
}

/// What was counted; nothing where there is no directory, or no file that can be understood.
fn read(directory: Option<&Path>) -> SurvivalCounts {
    let read = |path: &Path| if_there(Directory::open(path)?.read(SURVIVED_FILE));
    let text = directory.and_then(|path| read(path).ok().flatten());
    let file = text.and_then(|text| serde_json::from_slice::<SurvivedFile>(&text).ok());
    file.map(|file| file.counted_in(&boot_id()))
        .unwrap_or_default()
}

/// Adds to what was counted. Fails if the file cannot be written.
pub fn add(directory: Option<&Path>, more: SurvivalCounts) -> io::Result<()> {
    let Some(path) = directory.filter(|_| more != SurvivalCounts::default()) else {
        return Ok(());
    };
    let file = SurvivedFile {
        boot_id: boot_id(),
        counts: sum(read(directory), more),
    };
    Directory::open(path)?.replace(SURVIVED_FILE, &serde_json::to_vec(&file)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_each_process_adds_is_there_for_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = Some(directory.path());
        let more = SurvivalCounts {
            kills: 1,
            restored: 10,
            given_up: 0,
        };
        for kills in 1..=2 {
            add(path, more).unwrap();
            let expected = SurvivalCounts {
                kills,
                restored: 10 * kills,
                given_up: 0,
            };
            assert_eq!(read(path), expected);
        }
        let file = directory.path().join(SURVIVED_FILE);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace(&boot_id(), "another")).unwrap();
        assert_eq!(read(path), SurvivalCounts::default(), "a reboot forgets it");
        fs::write(&file, "garbage").unwrap();
        assert_eq!(read(path), SurvivalCounts::default());
    }

    #[test]
    fn a_process_knows_what_was_counted_before_and_at_its_start_also_if_it_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = Some(directory.path());
        let more = SurvivalCounts {
            kills: 1,
            restored: 10,
            given_up: 2,
        };
        add(path, more).unwrap();
        let record = SurvivalRecord::default();
        assert_eq!(record.counts(), SurvivalCounts::default());
        record.begin(path, more).unwrap();
        assert_eq!(record.counts(), sum(more, more));
        assert_eq!(read(path), record.counts());
        let record = SurvivalRecord::default();
        record
            .begin(Some(Path::new("/nonexistent")), more)
            .unwrap_err();
        assert_eq!(record.counts(), more);
    }

    #[test]
    fn nothing_is_written_where_nothing_was_survived() {
        let directory = tempfile::tempdir().unwrap();
        add(Some(directory.path()), SurvivalCounts::default()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let one = SurvivalCounts {
            kills: 1,
            ..SurvivalCounts::default()
        };
        add(None, one).unwrap();
        assert!(add(Some(Path::new("/nonexistent")), one).is_err());
    }
}
