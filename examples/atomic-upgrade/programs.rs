//! Finds the real programs: beside this example's own, where cargo puts them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use std::{env, fs};

use crate::Fallible;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// hello-world-server
    pub server: PathBuf,
    /// disnix-tcp-proxy
    pub proxy: PathBuf,
    /// hello-world-client
    pub client: PathBuf,
}

impl Programs {
    fn in_directory(directory: &Path) -> Self {
        Self {
            server: directory.join("hello-world-server"),
            proxy: directory.join("disnix-tcp-proxy"),
            client: directory.join("hello-world-client"),
        }
    }

    fn all(&self) -> [&PathBuf; 3] {
        [&self.server, &self.proxy, &self.client]
    }

    fn missing(&self) -> Option<&PathBuf> {
        self.all().into_iter().find(|path| !path.is_file())
    }

    /// Whether one of them is missing or older than this example. What only cargo can know, it is
    /// asked by running it.
    fn out_of_date(&self, than: &Path) -> bool {
        let time = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        let example = time(than).unwrap_or(SystemTime::UNIX_EPOCH);
        self.all()
            .into_iter()
            .any(|path| time(path).is_none_or(|built| built < example))
    }
}

/// The programs in `directory` when it is given, else those beside this example, built when they
/// are missing or out of date.
pub fn find(directory: Option<&Path>) -> Fallible<Programs> {
    let programs = match directory {
        Some(directory) => Programs::in_directory(directory),
        None => beside_the_example()?,
    };
    match programs.missing() {
        None => Ok(programs),
        Some(path) => Err(format!(
            "{} is missing; build it with `cargo build --release --bins`",
            path.display()
        )
        .into()),
    }
}

/// `cargo run --example` builds the example alone: the programs of the package are built here.
fn beside_the_example() -> Fallible<Programs> {
    let example = env::current_exe()?;
    let directory = example
        .parent()
        .and_then(Path::parent)
        .ok_or("where is this example?")?;
    let programs = Programs::in_directory(directory);
    if programs.out_of_date(&example) {
        println!("Building the programs themselves first: the first time takes minutes …");
        build(directory)?;
    }
    Ok(programs)
}

/// Runs cargo for the profile in whose directory the programs are.
fn build(directory: &Path) -> Fallible<()> {
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args([
            "build",
            "--bins",
            // With the example, features are what they were for it: nothing is built twice.
            "--example=atomic-upgrade",
            "--profile",
            profile,
            "--manifest-path",
        ])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err("the programs could not be built".into()),
    }
}
