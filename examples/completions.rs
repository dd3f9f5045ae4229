//! Writes the shell completions of all four programs.
//!
//! ```text
//! cargo run --example completions -- DIRECTORY
//! ```
//!
//! For bash `PROGRAM.bash`, for zsh `_PROGRAM`, for fish `PROGRAM.fish`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use disnix_proxy_example::{ctl, hello, proxy};

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory] = &arguments[..] else {
        eprintln!("give one DIRECTORY to write the completions to");
        return ExitCode::from(2);
    };
    match write(Path::new(directory)) {
        Ok(written) => {
            for path in written {
                println!("{}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!(
                "cannot write to {}: {error}",
                Path::new(directory).display()
            );
            ExitCode::FAILURE
        }
    }
}

fn programs() -> [Command; 4] {
    [
        proxy::options::Options::command(),
        ctl::options::Options::command(),
        hello::options::Options::command(),
        hello::client::options::Options::command(),
    ]
}

/// Writes all completions to `directory`, which is made if need be; their paths.
fn write(directory: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory)?;
    let mut written = Vec::new();
    for mut program in programs() {
        let name = program.get_name().to_owned();
        for shell in SHELLS {
            written.push(generate_to(shell, &mut program, &name, directory)?);
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The long options of a program and of its verbs.
    fn options(program: &Command) -> Vec<String> {
        let verbs = program.get_subcommands().flat_map(options);
        let own = program
            .get_arguments()
            .filter_map(|option| option.get_long());
        own.map(str::to_owned).chain(verbs).collect()
    }

    #[test]
    fn every_shell_knows_every_option_of_every_program() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("new");
        assert_eq!(write(&directory).unwrap().len(), 12);
        for program in programs() {
            let name = program.get_name();
            let options = options(&program);
            assert!(!options.is_empty());
            for (file, before) in [
                (format!("{name}.bash"), "--"),
                (format!("_{name}"), "--"),
                (format!("{name}.fish"), "-l "),
            ] {
                let text = fs::read_to_string(directory.join(&file)).unwrap();
                assert!(text.contains(name));
                for option in &options {
                    assert!(
                        text.contains(&format!("{before}{option}")),
                        "{file}: {option}"
                    );
                }
            }
        }
        let ctl = fs::read_to_string(directory.join("disnix-tcp-proxyctl.bash")).unwrap();
        assert!(ctl.contains("set-target") && ctl.contains("--at-lease-end"));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(write(file.path()).is_err());
    }
}
