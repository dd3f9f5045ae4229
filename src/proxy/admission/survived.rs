//! What connections have survived since the boot, in a file of the runtime directory: the process that counts is not the
//! one that has died.

use std::io;
use std::path::Path;

use crate::interface::metrics::SurvivalCounts;
use crate::interface::saved::{SURVIVED_FILE, SurvivedFile, boot_id};
use crate::service::directory::{Directory, if_there};

/// What was counted; nothing where there is no directory, or no file that can be understood.
pub fn read(directory: Option<&Path>) -> SurvivalCounts {
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
    let before = read(directory);
    let file = SurvivedFile {
        boot_id: boot_id(),
        counts: SurvivalCounts {
            kills: before.kills + more.kills,
            restored: before.restored + more.restored,
            given_up: before.given_up + more.given_up,
        },
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
