//! Writes the shell completions of all programs.
//!
//! ```text
//! cargo run --example completions -- DIRECTORY
//! ```
//!
//! For bash `PROGRAM.bash`, for zsh `_PROGRAM`, for fish `PROGRAM.fish`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate, generate_to};
use disnix_proxy_example::{ctl, hello, inetd, proxy};

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

fn programs() -> [Command; 5] {
    [
        proxy::options::ProxyOptions::command(),
        ctl::options::CtlOptions::command(),
        inetd::options::InetdOptions::command(),
        hello::options::ServerOptions::command(),
        hello::client::options::ClientOptions::command(),
    ]
}

/// Writes all completions to `directory`, which is made if need be; their paths.
fn write(directory: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory)?;
    let mut written = Vec::new();
    for mut program in programs() {
        let name = program.get_name().to_owned();
        for shell in SHELLS {
            let path = generate_to(shell, &mut program, &name, directory)?;
            if shell == Shell::Bash {
                fs::write(&path, for_bash(&mut program))?;
            }
            written.push(path);
        }
    }
    Ok(written)
}

/// What bash sources. clap_complete 4.6 looks for the options of a verb under one name and has them under
/// another where the name of the program has a `-`.
fn for_bash(program: &mut Command) -> String {
    let name = program.get_name().to_owned();
    let mut text = Vec::new();
    generate(Shell::Bash, program, &name, &mut text);
    String::from_utf8_lossy(&text)
        .replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process;

    /// What is typed before an option: the program, and perhaps one of its verbs; and the long options that
    /// it may be.
    fn lines() -> Vec<(String, Vec<String>)> {
        let mut lines = Vec::new();
        for program in programs() {
            let name = program.get_name().to_owned();
            for verb in program.get_subcommands() {
                lines.push((format!("{name} {}", verb.get_name()), options(verb)));
            }
            lines.push((name, options(&program)));
        }
        lines
    }

    fn options(command: &Command) -> Vec<String> {
        let long = command
            .get_arguments()
            .filter_map(|option| option.get_long());
        long.map(|long| format!("--{long}")).collect()
    }

    /// Has a shell complete each line with `script`, which gets a file, the words of the line and `--`, and
    /// prints what the shell offers. Without that shell nothing is tried.
    fn assert_completed(shell: &str, file: impl Fn(&str) -> String, script: &str) {
        if process::Command::new(shell)
            .arg("-c")
            .arg(":")
            .output()
            .is_err()
        {
            eprintln!("not tried: this machine has no {shell}");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        for (line, options) in lines() {
            let words: Vec<_> = line.split(' ').chain(["--"]).collect();
            let tried = process::Command::new(shell)
                .args(["-c", script])
                .args((shell == "bash").then_some(shell))
                .arg(directory.path().join(file(words[0])))
                .args(&words)
                .output()
                .unwrap();
            let offered = String::from_utf8_lossy(&tried.stdout);
            assert_eq!(
                String::from_utf8_lossy(&tried.stderr),
                "",
                "{shell}: {line}"
            );
            for option in options {
                let is_offered = offered.split_whitespace().any(|word| word == option);
                assert!(is_offered, "{shell}: {line} {option}: {offered}");
            }
        }
    }

    #[test]
    fn bash_completes_every_option_of_every_verb() {
        let script = r#"
            source "$1"
            shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            function=$(complete -p "$1" | sed 's/.* -F \([^ ]*\).*/\1/')
            "$function" "$1" -- "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        assert_completed("bash", |program| format!("{program}.bash"), script);
    }

    #[test]
    fn fish_completes_every_option_of_every_verb() {
        let script = r#"
            source $argv[1]
            complete --do-complete "$argv[2..-1]"
        "#;
        assert_completed("fish", |program| format!("{program}.fish"), script);
    }

    #[test]
    fn zsh_has_nothing_to_say_about_what_it_is_given() {
        let directory = tempfile::tempdir().unwrap();
        for path in write(directory.path()).unwrap() {
            let name = path.file_name().unwrap().to_string_lossy();
            let Some(program) = name.strip_prefix('_') else {
                continue;
            };
            let text = fs::read_to_string(&path).unwrap();
            let of_this = lines()
                .into_iter()
                .filter(|(line, _)| line.split(' ').next() == Some(program));
            for option in of_this.flat_map(|(_, options)| options) {
                assert!(text.contains(&option), "{name}: {option}");
            }
            match process::Command::new("zsh").arg("-n").arg(&path).output() {
                Ok(tried) => assert!(
                    tried.status.success() && tried.stderr.is_empty(),
                    "{tried:?}"
                ),
                Err(_) => eprintln!("not tried: this machine has no zsh"),
            }
        }
    }

    #[test]
    fn a_directory_is_made_if_need_be() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(write(&directory.path().join("new")).unwrap().len(), 15);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(write(file.path()).is_err());
    }
}
