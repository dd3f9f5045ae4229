//! What stands on the command line of a proxy's unit. Pure.

use std::path::Path;

use crate::ctl::systemd::UnitProperties;
use crate::service::address::Address;

/// The program of a proxy.
const PROGRAM: &str = "disnix-tcp-proxy";

/// Options that no value follows; the first one ends the options.
const FLAGS: [&str; 3] = ["", "take-over", "check"];

/// The options of the command line, called as their variables are, without the prefix. A value with a space in it is not
/// known as a whole: systemd may say where it ends, or not.
pub fn arguments(service: &UnitProperties) -> Vec<(String, String)> {
    let command = service.get("ExecStart");
    let words = command.split_once("argv[]=").map_or("", |(_, words)| words);
    let words = words.split_once(" ;").map_or(words, |(words, _)| words);
    let mut words = words.split_whitespace();
    let program = words.next().map(Path::new).and_then(Path::file_name);
    if program.is_none_or(|name| name != PROGRAM) {
        return Vec::new();
    }
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let option = match word.strip_prefix("--") {
            Some(flag) if FLAGS.contains(&flag) => None,
            Some(option) => option
                .split_once('=')
                .or_else(|| Some((option, words.next()?))),
            None => word.parse::<Address>().ok().map(|_| ("target", word)),
        };
        let known = |(name, value): (&str, &str)| {
            (
                name.to_ascii_uppercase().replace('-', "_"),
                value.to_owned(),
            )
        };
        found.extend(option.map(known));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::systemd::tests::unit;

    fn of(command: &str) -> Vec<(String, String)> {
        let (path, _) = command.split_once(' ').unwrap_or((command, ""));
        let line = format!(
            "ExecStart={{ path={path} ; argv[]={command} ; ignore_errors=no ; start_time=[n/a] ; pid=0 }}"
        );
        arguments(&unit(&line))
    }

    fn found(words: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        words.iter().map(owned).collect()
    }

    #[test]
    fn options_and_the_target_are_found_however_they_are_written() {
        let target = ("TARGET", "127.0.0.1:8080");
        let time = ("EXIT_IDLE_TIME", "5min");
        for (words, expected) in [
            ("", &[][..]),
            ("127.0.0.1:8080", &[target]),
            ("--exit-idle-time=5min 127.0.0.1:8080", &[time, target]),
            ("--exit-idle-time 5min 127.0.0.1:8080", &[time, target]),
            ("--take-over -- 127.0.0.1:8080", &[target]),
            ("--log-level", &[]),
        ] {
            let command = format!("/nix/store/x/bin/disnix-tcp-proxy {words}");
            assert_eq!(of(command.trim_end()), found(expected), "{words}");
        }
    }

    #[test]
    fn what_is_no_address_is_no_target_and_another_program_has_none() {
        for command in [
            "/usr/bin/disnix-tcp-proxy 30s\" ${TARGET} -h",
            "/bin/sh -c exec disnix-tcp-proxy 127.0.0.1:8080",
        ] {
            assert!(of(command).is_empty(), "{command}");
        }
        assert!(arguments(&unit("Type=notify")).is_empty());
    }
}
