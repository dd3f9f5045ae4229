//! PostgreSQL with the tables of pgbench. It refuses to run as root, and making its files takes longer than
//! a measurement: they are made once.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use tempfile::TempDir;

use crate::load::{PATIENCE, when};
use crate::program::{Invocation, Running, Socket, find, words};

/// Where Debian has a directory for each version: its programs are not in the `PATH`, or are wrappers in Perl.
const VERSIONS: &str = "/usr/lib/postgresql";
/// `nobody` runs it if we are root.
const NOBODY: u32 = 65_534;
/// Everybody may do everything.
const ACCESS: &str = "local all all trust\nhost all all all trust\n";
/// The name of its socket in the directory as long as nobody else reaches it.
const ANY_PORT: u16 = 5432;

/// A program of the newest version.
///
/// # Errors
///
/// What to do to have it.
pub fn program(name: &str) -> Result<PathBuf, String> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin").join(name).is_file())
        .max_by_key(|path| number(path));
    let newest = newest.map(|path| path.join("bin").join(name));
    newest.ok_or_else(|| format!("{name} is missing: apt-get install postgresql"))
}

/// The files of a database.
pub struct Database {
    directory: TempDir,
}

impl Database {
    /// Makes and fills it.
    pub fn make() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(when("a directory"))?;
        if geteuid().is_root() {
            let owner = Some(NOBODY);
            chown(directory.path(), owner, owner).map_err(when("a directory"))?;
        }
        let database = Self { directory };
        let options = "--username=postgres --auth=trust --no-locale --no-sync -D";
        complete(&database.invoke("initdb", options, [database.files().into()])?)?;
        let access = database.files().join("pg_hba.conf");
        fs::write(access, ACCESS).map_err(when("pg_hba.conf"))?;
        let serve = |_: &Path| database.serve("", ANY_PORT, 1);
        let mut server = Running::start(Socket::Own, None, serve)?;
        database.wait_until_ready(&mut server, ANY_PORT)?;
        let options = format!("--initialize --quiet -U postgres -p {ANY_PORT} postgres -h");
        complete(&database.invoke("pgbench", &options, [database.directory.path().into()])?)?;
        Ok(database)
    }

    /// How its server is started.
    pub fn serve(&self, at: &str, port: u16, connections: usize) -> Result<Invocation, String> {
        let connections = connections + 16; // its own, and ours
        let options = format!("-p {port} -c max_connections={connections} -c fsync=off");
        let more = [
            "-c".into(),
            format!("listen_addresses={at}").into(),
            "-k".into(),
            self.directory.path().into(),
            "-D".into(),
            self.files().into(),
        ];
        self.invoke("postgres", &options, more)
    }

    /// Waits until its server, which may have begun to listen, also lets clients in.
    pub fn wait_until_ready(&self, server: &mut Running, port: u16) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let options = format!("--quiet -p {port} -h");
        let question = self.invoke("pg_isready", &options, [self.directory.path().into()])?;
        while complete(&question).is_err() {
            server.check(until, "it lets nobody in")?;
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn files(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// One of its programs, in its directory, and not as root.
    fn invoke<const N: usize>(
        &self,
        name: &str,
        options: &str,
        more: [OsString; N],
    ) -> Result<Invocation, String> {
        let mut arguments = match geteuid().is_root() {
            true => words(&format!(
                "setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups env -C"
            )),
            false => words("env -C"),
        };
        arguments.push(self.directory.path().into());
        arguments.push(program(name)?.into());
        arguments.extend(words(options).into_iter().chain(more));
        let first = arguments.remove(0);
        let first = find(&first.to_string_lossy()).ok_or("setpriv or env is missing")?;
        Ok(Invocation {
            program: first,
            arguments,
        })
    }
}

/// Runs a program to its end.
fn complete(invocation: &Invocation) -> Result<(), String> {
    let output = Command::new(&invocation.program)
        .args(&invocation.arguments)
        .output()
        .map_err(when("PostgreSQL"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{:?}: {said}", invocation.arguments))
        }
    }
}
