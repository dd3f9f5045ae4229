//! Finds the real programs, and builds them if necessary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use std::{env, fs};

use crate::Fallible;

/// The paths of the programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// hello-world-server
    pub server: PathBuf,
    /// disnix-tcp-proxy
    pub proxy: PathBuf,
    /// hello-world-client
    pub client: PathBuf,
}

/// The programs in `directory`, or else those beside this example, built if they are missing or older
/// than it.
pub fn find(directory: Option<&Path>) -> Fallible<Programs> {
    let example = env::current_exe()?;
    let beside = example.parent().and_then(Path::parent);
    let directory = directory.or(beside).ok_or("where is this example?")?;
    let programs = Programs {
        server: directory.join("hello-world-server"),
        proxy: directory.join("disnix-tcp-proxy"),
        client: directory.join("hello-world-client"),
    };
    let all = [&programs.server, &programs.proxy, &programs.client];
    let time = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let newest = time(&example).unwrap_or(SystemTime::UNIX_EPOCH);
    let is_old = |path: &&PathBuf| time(path).is_none_or(|built| built < newest);
    if Some(directory) == beside && all.iter().any(is_old) {
        println!("Building the programs themselves first: the first time takes minutes …");
        build(directory)?;
    }
    let missing = all.into_iter().find(|path| !path.is_file());
    let missing = missing.map(|path| path.display().to_string());
    match missing {
        None => Ok(programs),
        Some(path) => {
            let advice = "build it with `cargo build --release --bins`";
            Err(format!("{path} is missing; {advice}").into())
        }
    }
}

/// Runs cargo for the profile of this directory: `cargo run --example` builds the example alone.
fn build(directory: &Path) -> Fallible<()> {
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        // With the example the features are those that it was built with, so nothing is built twice.
        .args(["build", "--bins", "--example=atomic-upgrade"])
        .args(["--profile", profile, "--manifest-path", manifest])
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err("the programs could not be built".into()),
    }
}
