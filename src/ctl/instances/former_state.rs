//! What a proxy of the same name has left: a failed attempt to make one does not remove it.

use std::fs;

use super::files::SystemRoot;
use super::system::ProxySystem;
use super::systemctl::{Properties, first};
use crate::ctl::failure::CtlFailure;

/// The kinds of state that `systemctl clean` knows: the word for each, the property that names its directories, and
/// where these are (systemd.exec(5)).
const DIRECTORIES: [(&str, &str, &str); 5] = [
    ("runtime", "RuntimeDirectory", "/run"),
    ("state", "StateDirectory", "/var/lib"),
    ("cache", "CacheDirectory", "/var/cache"),
    ("logs", "LogsDirectory", "/var/log"),
    ("configuration", "ConfigurationDirectory", "/etc"),
];

const PROPERTIES: &str = "RuntimeDirectory,StateDirectory,CacheDirectory,LogsDirectory,ConfigurationDirectory,\
    NFileDescriptorStore";

/// The kinds of state that were there before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormerState(Vec<&'static str>);

impl FormerState {
    /// Looks which kinds are there. To be called before anything is started, and after systemd has read the files: it
    /// reads the units for that, and would miss the address in one of them.
    pub async fn read(system: &ProxySystem, service: &str) -> Result<Self, CtlFailure> {
        if !system.is_running {
            return Ok(Self::default());
        }
        let shown = system.systemctl.show(PROPERTIES, service).await?;
        Ok(Self::of(&shown, &system.root))
    }

    fn of(shown: &Properties, root: &SystemRoot) -> Self {
        let has_any = |property: &str, place: &str| {
            let names = first(shown, property).split_whitespace();
            let mut names = names.map(|name| name.split(':').next().unwrap_or(name));
            names.any(|name| is_used(root, &format!("{place}/{name}")))
        };
        let found = DIRECTORIES
            .iter()
            .filter(|(_, property, place)| has_any(property, place));
        let mut kinds: Vec<_> = found.map(|(kind, ..)| *kind).collect();
        if !matches!(first(shown, "NFileDescriptorStore"), "" | "0") {
            kinds.push("fdstore");
        }
        Self(kinds)
    }

    /// The words of `systemctl clean`, for each of its calls: they name all that a failed attempt may have made. An
    /// older systemd does not know each kind, and refuses a call with one of them as a whole.
    pub fn cleaning(&self) -> Vec<String> {
        if self.0.is_empty() {
            return vec!["--what=all".to_owned()];
        }
        let kinds = DIRECTORIES.iter().map(|(kind, ..)| *kind);
        let kinds = kinds.chain(["fdstore"]);
        let made = kinds.filter(|kind| !self.0.contains(kind));
        made.map(|kind| format!("--what={kind}")).collect()
    }
}

/// Whether something is in the directory, or that cannot be told.
fn is_used(root: &SystemRoot, path: &str) -> bool {
    match fs::read_dir(root.place(path)) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: [(&str, &str); 3] = [
        ("RuntimeDirectory", "gate/web"),
        ("StateDirectory", "proxy/web proxy/more:link"),
        ("NFileDescriptorStore", "0"),
    ];

    fn of(shown: &[(&str, &str)], directories: &[&str], files: &[&str]) -> FormerState {
        let directory = tempfile::tempdir().unwrap();
        let root = SystemRoot::new(Some(directory.path()));
        for path in directories {
            fs::create_dir_all(root.place(path)).unwrap();
        }
        for path in files {
            fs::write(root.place(path), "").unwrap();
        }
        let shown = shown.iter();
        let shown = shown.map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]));
        FormerState::of(&shown.collect(), &root)
    }

    #[test]
    fn where_nothing_was_all_is_cleaned() {
        for directories in [&[][..], &["/run/gate/web", "/var/lib/proxy/web"]] {
            let former = of(&SHOWN, directories, &[]);
            assert_eq!(former.cleaning(), ["--what=all"]);
        }
        assert_eq!(of(&[], &[], &[]).cleaning(), ["--what=all"]);
    }

    #[test]
    fn each_kind_that_was_there_stays() {
        let state = of(&SHOWN, &["/var/lib/proxy/more"], &["/var/lib/proxy/more/a"]);
        assert_eq!(
            state.cleaning(),
            [
                "--what=runtime",
                "--what=cache",
                "--what=logs",
                "--what=configuration",
                "--what=fdstore"
            ]
        );
        let lock = of(&SHOWN, &["/run/gate/web"], &["/run/gate/web/lock"]);
        assert_eq!(lock.cleaning()[0], "--what=state");
        let kept = of(&[("NFileDescriptorStore", "13")], &[], &[]);
        assert!(!kept.cleaning().contains(&"--what=fdstore".to_owned()));
        assert_eq!(kept.cleaning().len(), DIRECTORIES.len());
    }
}
