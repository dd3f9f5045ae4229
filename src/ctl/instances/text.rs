//! How unit files and environment files write a value. Pure.

use crate::service::printable::Printable;

/// A value of a unit file in which systemd replaces specifiers, such as `%i`. The error is a sentence.
pub fn unit_value(text: &str) -> Result<String, String> {
    let is_trimmed = text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace);
    if text.contains(char::is_control) || is_trimmed || text.ends_with('\\') {
        return Err(format!(
            "a unit file cannot have “{}”: blanks at its ends, control characters and a \\ at the end \
             would be lost",
            Printable(text)
        ));
    }
    Ok(text.replace('%', "%%"))
}

/// A line of an `EnvironmentFile=`, systemd.exec(5). The error is a sentence.
pub fn environment_line(name: &str, value: &str) -> Result<String, String> {
    if value.contains(char::is_control) {
        return Err(format!(
            "an environment file cannot have a control character, and the value of {name} has one"
        ));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/@[]%+".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return Ok(format!("{name}={value}\n"));
    }
    let mut quoted = String::new();
    for c in value.chars() {
        // As in a shell: within these quotes only these lose their meaning by a \.
        if "\"\\`$".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    Ok(format!("{name}=\"{quoted}\"\n"))
}

/// The full name of a service that is named in a command, as systemctl(1) completes it. The error is a sentence.
pub fn unit_name(text: &str) -> Result<String, String> {
    const KINDS: [&str; 11] = [
        ".service",
        ".socket",
        ".target",
        ".slice",
        ".mount",
        ".automount",
        ".path",
        ".timer",
        ".device",
        ".swap",
        ".scope",
    ];
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let name = match KINDS.iter().any(|kind| text.ends_with(kind)) {
        true => text.to_owned(),
        false => format!("{text}.service"),
    };
    if name.contains("@.") {
        return Err(format!(
            "“{}” is a template, of which systemd starts instances: name one, app@1.service for example",
            Printable(text)
        ));
    }
    match name.starts_with('.') || name.len() > 255 || !name.chars().all(is_allowed) {
        true => Err(format!(
            "“{}” cannot be the name of a unit: write it as `systemctl list-units` does, \
             nginx.service for example",
            Printable(text)
        )),
        false => Ok(name),
    }
}

/// The name of a group, for an option. The error is a sentence.
pub fn group_name(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(is_allowed) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "“{}” cannot be the name of a group",
            Printable(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_unit_file_gets_no_specifier_and_no_line_from_a_value() {
        assert_eq!(
            unit_value("[fe80::1%eth0]:80").unwrap(),
            "[fe80::1%%eth0]:80"
        );
        assert_eq!(unit_value("/run/a b\\c").unwrap(), "/run/a b\\c");
        for text in [
            " /run/a", "/run/a ", "/run/a\\", "/run/\na", "/run/\ta", "/a\u{7f}",
        ] {
            assert!(unit_value(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_environment_file_has_what_needs_it_in_quotes() {
        for (value, line) in [
            ("127.0.0.1:8080", "N=127.0.0.1:8080\n"),
            ("[fe80::1%eth0]:80", "N=[fe80::1%eth0]:80\n"),
            ("1min 30s", "N=\"1min 30s\"\n"),
            ("", "N=\"\"\n"),
            ("/a#b", "N=\"/a#b\"\n"),
            ("a\"b\\c$d`e", "N=\"a\\\"b\\\\c\\$d\\`e\"\n"),
        ] {
            assert_eq!(environment_line("N", value).unwrap(), line);
        }
        assert!(environment_line("N", "a\nN2=b").is_err());
    }

    #[test]
    fn a_unit_is_named_in_full_and_a_name_that_none_can_have_is_refused() {
        assert_eq!(unit_name("nginx").unwrap(), "nginx.service");
        assert_eq!(unit_name("php8.2-fpm").unwrap(), "php8.2-fpm.service");
        for name in [
            "nginx.service",
            "app@1.service",
            "web.target",
            "web.slice",
            "a\\x2db.mount",
        ] {
            assert_eq!(unit_name(name).unwrap(), name);
        }
        for name in ["", "a b", "a/b", "a\nExecStart=x", "%n", ".service", "ü"] {
            assert!(unit_name(name).is_err(), "{name:?}");
        }
        assert!(unit_name(&"x".repeat(300)).is_err());
        for name in ["app@", "app@.service"] {
            let error = unit_name(name).unwrap_err();
            assert!(error.contains("app@1.service"), "{error}");
        }
        assert_eq!(group_name("www-data").unwrap(), "www-data");
        for name in ["", "-x", "a b", "%u", "a\nUser=root"] {
            assert!(group_name(name).is_err(), "{name:?}");
        }
    }

    /// As systemd reads a line: `parse_env_file_internal` in its src/basic/env-file.c.
    fn read(line: &str) -> String {
        let value = line.strip_prefix("N=").unwrap().strip_suffix('\n').unwrap();
        let Some(quoted) = value.strip_prefix('"') else {
            assert!(!value.contains(|c: char| c.is_whitespace() || "\\'\"#;".contains(c)));
            return value.to_owned();
        };
        let (mut read, mut characters) = (String::new(), quoted.chars());
        loop {
            match characters.next().expect("the quote ends") {
                '"' => break,
                '\\' => {
                    let c = characters.next().unwrap();
                    if !"\"\\`$".contains(c) {
                        read.push('\\');
                    }
                    read.push(c);
                }
                c => read.push(c),
            }
        }
        assert_eq!(characters.next(), None);
        read
    }

    proptest! {
        #[test]
        fn systemd_reads_from_an_environment_file_what_was_written(value in "\\PC{0,40}") {
            if let Ok(line) = environment_line("N", &value) {
                prop_assert_eq!(read(&line), value);
            }
        }
    }
}
