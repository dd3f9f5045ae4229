//! Messages of all four programs about their command lines and the environment.

use std::fs::File;
use std::process::{Command, Output};

const PROGRAMS: [&str; 4] = [
    env!("CARGO_BIN_EXE_disnix-tcp-proxy"),
    env!("CARGO_BIN_EXE_disnix-tcp-proxyctl"),
    env!("CARGO_BIN_EXE_hello-world-server"),
    env!("CARGO_BIN_EXE_hello-world-client"),
];

/// Turns red, and begins a line of its own.
const EVIL: &str = "\x1b[31mx\nERROR forged";

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_that_cannot_be_written_is_an_error() {
    for program in PROGRAMS {
        for word in ["--help", "--version"] {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let output = Command::new(program).arg(word).stdout(full).output();
            let output = output.unwrap();
            let said = errors(&output);
            assert_eq!(output.status.code(), Some(1), "{program} {word}: {said}");
            assert!(said.contains("could not be written"), "{said}");
        }
    }
}

#[test]
fn a_word_that_makes_no_sense_is_on_one_line() {
    for program in PROGRAMS {
        let words: [&[&str]; 2] = [&[EVIL, EVIL], &["--help-me", EVIL]];
        for words in words {
            let output = Command::new(program).args(words).output().unwrap();
            let said = errors(&output);
            assert_eq!(output.status.code(), Some(2), "{program}: {said}");
            assert!(
                !said.contains("\nERROR") && !said.contains('\x1b'),
                "{said}"
            );
        }
    }
}

#[test]
fn a_variable_is_named_and_its_value_is_on_one_line() {
    let proxy = || {
        let mut command = Command::new(PROGRAMS[0]);
        command.env("DISNIX_TCP_PROXY_TARGET", EVIL);
        command
    };
    let output = proxy().output().unwrap();
    let said = errors(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("for 'DISNIX_TCP_PROXY_TARGET'"), "{said}");
    assert!(
        !said.contains("\nERROR") && !said.contains('\x1b'),
        "{said}"
    );
    let output = proxy().arg("--help").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !said.contains("ERROR"), "{said}");
}

#[test]
fn a_value_that_makes_no_sense_is_blamed_on_what_has_it() {
    let proxy = |words: &[&str]| {
        let output = Command::new(PROGRAMS[0])
            .args(words)
            .env("DISNIX_TCP_PROXY_THREADS", "many")
            .env("DISNIX_TCP_PROXY_IDLE_TIMEOUT", "soon")
            .env("DISNIX_TCP_PROXY_LISTEN", "1 nowhere")
            .output();
        errors(&output.unwrap())
    };
    for (words, blamed) in [
        (&["--threads=few"][..], "'few' for '--threads <N>'"),
        (&["--threads=many"], "'many' for '--threads <N>'"),
        (
            &["--listen=1", "--threads=1"],
            "'soon' for 'DISNIX_TCP_PROXY_IDLE_TIMEOUT'",
        ),
        (
            &["--listen=1", "--idle-timeout=1"],
            "'many' for 'DISNIX_TCP_PROXY_THREADS'",
        ),
        (
            &["--idle-timeout=1", "--threads=1"],
            "'nowhere' for 'DISNIX_TCP_PROXY_LISTEN'",
        ),
    ] {
        let said = proxy(words);
        assert!(said.contains(blamed), "{words:?}: {said}");
    }
}
