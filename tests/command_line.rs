//! Messages of all programs about their command lines and the environment.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

const PROGRAMS: [&str; 5] = [
    env!("CARGO_BIN_EXE_disnix-tcp-proxy"),
    env!("CARGO_BIN_EXE_disnix-tcp-proxyctl"),
    env!("CARGO_BIN_EXE_hello-world-server"),
    env!("CARGO_BIN_EXE_hello-world-client"),
    env!("CARGO_BIN_EXE_disnix-tcp-proxy-inetd"),
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

/// What the program says when it is refused.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = errors(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    said
}

#[test]
fn a_variable_of_no_option_is_named_with_the_one_that_was_meant_before_anything_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clients");
    let listen = format!("--listen=unix:{}", path.display());
    for (program, wrong, meant) in [
        (
            PROGRAMS[0],
            "DISNIX_TCP_PROXY_EXIT_IDLE_TIMEOUT",
            "DISNIX_TCP_PROXY_EXIT_IDLE_TIME",
        ),
        (
            PROGRAMS[2],
            "HELLO_WORLD_SERVER_GREETINGS",
            "HELLO_WORLD_SERVER_GREETING",
        ),
    ] {
        let mut command = Command::new(program);
        let said = refused(command.arg(&listen).env(wrong, "5min"));
        let words = format!("no option has the variable {wrong}: {meant} was probably meant\n");
        assert!(said.contains(&words), "{said}");
        assert!(!path.exists());
    }
}

#[test]
fn everything_that_is_wrong_with_the_environment_is_named_at_once() {
    let proxy = |words: &[&str]| {
        let mut command = Command::new(PROGRAMS[0]);
        let command = command
            .args(words)
            .env("DISNIX_TCP_PROXY_THREADS", "many")
            .env("DISNIX_TCP_PROXY_TAKE_OVER", "perhaps")
            .env("DISNIX_TCP_PROXY_LISTEN", "nowhere 1 elsewhere")
            .env("DISNIX_TCP_PROXY_LOGLEVEL", "debug")
            .env("DISNIX_TCP_PROXY_X", "1");
        refused(command)
    };
    for words in [&["--check"][..], &[]] {
        let said = proxy(words);
        for wrong in [
            "'many' for 'DISNIX_TCP_PROXY_THREADS'",
            "'perhaps' for 'DISNIX_TCP_PROXY_TAKE_OVER'",
            "'nowhere' for 'DISNIX_TCP_PROXY_LISTEN'",
            "'elsewhere' for 'DISNIX_TCP_PROXY_LISTEN'",
            "DISNIX_TCP_PROXY_LOGLEVEL: DISNIX_TCP_PROXY_LOG_LEVEL was",
            "DISNIX_TCP_PROXY_X: remove it",
        ] {
            assert_eq!(said.matches(wrong).count(), 1, "{wrong} in {said}");
        }
        assert_eq!(said.matches("error: ").count(), 6, "{said}");
    }
    let said = proxy(&["--check", "--threads=1", "--listen=1"]);
    assert_eq!(said.matches("error: ").count(), 3, "{said}");
}

#[test]
fn any_blanks_stand_between_the_words_of_a_list_in_a_variable() {
    // It needs --listen.
    let check = |listen: &str| {
        let mut command = Command::new(PROGRAMS[0]);
        command.args(["--check", "--take-over", "--control=/run/control"]);
        command.env("DISNIX_TCP_PROXY_LISTEN", listen);
        command
    };
    for listen in ["1 2", "1  2", " 1", "1 ", "\t1 \n 2\t\t3 "] {
        let output = check(listen).output().unwrap();
        assert!(output.status.success(), "{listen:?}: {}", errors(&output));
    }
    let said = refused(&mut check("  "));
    assert!(said.contains("--listen"), "{said}");
    let said = refused(&mut check("1  nowhere   2"));
    assert!(
        said.contains("'nowhere' for 'DISNIX_TCP_PROXY_LISTEN'"),
        "{said}"
    );
    assert_eq!(said.matches("error: ").count(), 1, "{said}");

    let mut inetd = Command::new(PROGRAMS[4]);
    let long = format!("/{}", "x".repeat(200));
    let handover = format!("/run/a  {long}");
    let said = refused(
        inetd
            .arg("true")
            .env("DISNIX_TCP_PROXY_INETD_HANDOVER", handover),
    );
    assert!(
        said.contains("for 'DISNIX_TCP_PROXY_INETD_HANDOVER'"),
        "{said}"
    );
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

#[test]
fn what_is_no_text_is_named_with_its_variable_and_so_is_all_the_rest() {
    let proxy = |words: &[&[u8]]| {
        let mut command = Command::new(PROGRAMS[0]);
        command
            .args(words.iter().map(|word| OsStr::from_bytes(word)))
            .env("DISNIX_TCP_PROXY_THREADS", OsStr::from_bytes(b"2\xff"))
            .env("DISNIX_TCP_PROXY_IDLE_TIMEOUT", "soon")
            .env("DISNIX_TCP_PROXY_LISTEN", OsStr::from_bytes(b"\xc3 1"));
        refused(&mut command)
    };
    let said = proxy(&[b"--check"]);
    for wrong in [
        "invalid value '2\\xff' for 'DISNIX_TCP_PROXY_THREADS': it is not UTF-8",
        "'soon' for 'DISNIX_TCP_PROXY_IDLE_TIMEOUT'",
        "invalid value '\\xc3 1' for 'DISNIX_TCP_PROXY_LISTEN': it is not UTF-8",
    ] {
        assert_eq!(said.matches(wrong).count(), 1, "{wrong} in {said}");
    }
    assert_eq!(said.matches("error: ").count(), 3, "{said}");
    let said = proxy(&[
        b"--check",
        b"--threads=1",
        b"--listen=1",
        b"--idle-timeout=1\xff",
    ]);
    let word = "invalid value '--idle-timeout=1\\xff': it is not UTF-8";
    assert!(said.contains(word), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

#[test]
fn a_check_opens_nothing_and_says_that_all_is_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clients");
    let output = Command::new(PROGRAMS[0])
        .args(["--check", "localhost:80"])
        .env(
            "DISNIX_TCP_PROXY_LISTEN",
            format!("unix:{}", path.display()),
        )
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    assert!(String::from_utf8_lossy(&output.stdout).contains("make sense"));
    assert!(!path.exists());
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut unheard = Command::new(PROGRAMS[0]);
    let status = unheard.arg("--check").stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_check_finds_options_that_contradict_each_other() {
    let mut proxy = Command::new(PROGRAMS[0]);
    let said = refused(proxy.args(["--check", "--detach-idle=1s"]));
    assert!(said.contains("needs --requests"), "{said}");
    for option in ["--requests=http", "--proxy-protocol=v2"] {
        let mut proxy = Command::new(PROGRAMS[0]);
        let said = refused(proxy.args(["--check", option, "handover:/run/service"]));
        assert!(said.contains("handed over cannot be"), "{said}");
    }
}

#[test]
fn variables_that_are_no_options_or_are_empty_are_not_refused() {
    let output = Command::new(PROGRAMS[0])
        .arg("--check")
        .env("DISNIX_TCP_PROXY_INSTANCE", "web")
        .env("DISNIX_TCP_PROXY_CONTROL", "/run/control")
        .env("DISNIX_TCP_PROXY_HEIR_OF", "7")
        .env("DISNIX_TCP_PROXY_TARGT", "")
        .env("DISNIX_TCP_PROXYCTL", "1")
        .env("HELLO_WORLD_SERVER_X", "1")
        .output();
    assert!(output.unwrap().status.success());
}
