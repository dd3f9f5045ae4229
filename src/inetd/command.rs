//! Which program serves a client, and what it gets to know.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::service::listener::Peer;

/// The variables with the client's address, as systemd names them for `Accept=yes` (systemd.socket(5)).
const ADDRESS: &str = "REMOTE_ADDR";
const PORT: &str = "REMOTE_PORT";

/// Variables that are for this program alone, or whose values are not true of its children.
const NOT_FOR_CHILDREN: [&str; 9] = [
    ADDRESS,
    PORT,
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientCommand {
    /// The path of the program: sshd(8), for one, wants to be called by it.
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// Why a program cannot be run.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error("there is no program “{name}” in PATH ({path}): give its whole path")]
    NotInPath { name: String, path: String },
    #[error("{} cannot be run: {source}", .program.display())]
    NotExecutable { program: PathBuf, source: io::Error },
}

impl ClientCommand {
    /// Finds the program of these words, which are not empty, as a shell would: in `PATH` unless it has a slash.
    pub(super) fn find(words: &[OsString], path: &OsStr) -> Result<Self, CommandError> {
        let (name, arguments) = match words {
            [name, arguments @ ..] => (name.as_os_str(), arguments),
            [] => (OsStr::new(""), words),
        };
        let program = match name.as_encoded_bytes().contains(&b'/') {
            true => executable(Path::new(name))?,
            false => in_path(name, path)?,
        };
        Ok(Self {
            program,
            arguments: arguments.to_vec(),
        })
    }

    /// The name of the program, for people.
    pub(super) fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The command for a client.
    pub(super) fn for_client(&self, peer: &Peer) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments);
        for variable in NOT_FOR_CHILDREN {
            command.env_remove(variable);
        }
        command.envs(variables(peer));
        command
    }
}

/// What a program gets to know of its client. Of a client that has no address it gets nothing.
fn variables(peer: &Peer) -> Vec<(&'static str, String)> {
    match peer {
        Peer::Tcp(address) => vec![
            (ADDRESS, address.ip().to_string()),
            (PORT, address.port().to_string()),
        ],
        Peer::Unix(_) | Peer::Other => Vec::new(),
    }
}

fn in_path(name: &OsStr, path: &OsStr) -> Result<PathBuf, CommandError> {
    let mut directories = env::split_paths(path);
    let found = directories.find_map(|directory| executable(&directory.join(name)).ok());
    found
        .filter(|_| !name.is_empty())
        .ok_or_else(|| CommandError::NotInPath {
            name: name.to_string_lossy().into_owned(),
            path: path.to_string_lossy().into_owned(),
        })
}

/// The absolute path of a file that can be executed now.
fn executable(program: &Path) -> Result<PathBuf, CommandError> {
    let fail = |source| CommandError::NotExecutable {
        program: program.to_owned(),
        source,
    };
    if fs::metadata(program).map_err(fail)?.is_dir() {
        return Err(fail(io::ErrorKind::IsADirectory.into()));
    }
    access(program, Access::EXEC_OK).map_err(|errno| fail(errno.into()))?;
    std::path::absolute(program).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    /// A directory with a program, and a file that is none.
    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, mode) in [("program", 0o755), ("text", 0o644)] {
            let path = directory.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(directory.path().join("directory")).unwrap();
        directory
    }

    #[test]
    fn a_program_is_found_in_the_path_and_called_by_its_own() {
        let directory = directory();
        let path = format!("/nonexistent:{}", directory.path().display());
        let command =
            ClientCommand::find(&words(&["program", "-i", "a b"]), path.as_ref()).unwrap();
        assert_eq!(command.program, directory.path().join("program"));
        assert_eq!(command.arguments, ["-i", "a b"]);
        assert_eq!(command.name(), "program");
        let whole = directory.path().join("program").into_os_string();
        let command = ClientCommand::find(&[whole], "/nonexistent".as_ref()).unwrap();
        assert_eq!(command.program, directory.path().join("program"));
    }

    #[test]
    fn what_cannot_be_run_is_named_with_the_reason() {
        let directory = directory();
        let path = directory.path().to_str().unwrap();
        let refused = |word: &str| {
            let error = ClientCommand::find(&words(&[word]), path.as_ref()).unwrap_err();
            error.to_string()
        };
        for name in ["nothing", "text", "directory", ""] {
            let text = refused(name);
            assert!(
                text.contains(&format!("no program “{name}” in PATH ({path})")),
                "{text}"
            );
        }
        for (name, reason) in [
            ("nothing", "No such file"),
            ("text", "Permission denied"),
            ("directory", "directory"),
            ("text/program", "Not a directory"),
        ] {
            let text = refused(&format!("{path}/{name}"));
            assert!(
                text.starts_with(&format!("{path}/{name} cannot be run: ")),
                "{text}"
            );
            assert!(text.contains(reason), "{text}");
        }
    }

    #[test]
    fn a_program_knows_the_address_of_its_client_and_nothing_of_our_systemd() {
        let command = ClientCommand {
            program: "/bin/program".into(),
            arguments: Vec::new(),
        };
        let changes = |peer: Peer| -> BTreeMap<String, Option<String>> {
            let command = command.for_client(&peer);
            let text = |text: &OsStr| text.to_string_lossy().into_owned();
            let changes = command.as_std().get_envs();
            changes
                .map(|(name, value)| (text(name), value.map(text)))
                .collect()
        };
        for (address, host) in [
            ("192.0.2.7:4711", "192.0.2.7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
        ] {
            let changes = changes(Peer::Tcp(address.parse().unwrap()));
            assert_eq!(changes["REMOTE_ADDR"].as_deref(), Some(host));
            assert_eq!(changes["REMOTE_PORT"].as_deref(), Some("4711"));
            assert_eq!(changes["NOTIFY_SOCKET"], None);
            assert_eq!(changes["LISTEN_FDS"], None);
        }
        for peer in [Peer::Unix(Some(1)), Peer::Unix(None), Peer::Other] {
            let changes = changes(peer);
            assert_eq!(
                (&changes["REMOTE_ADDR"], &changes["REMOTE_PORT"]),
                (&None, &None)
            );
        }
    }
}
