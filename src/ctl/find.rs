//! Which proxy is meant.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::call::client::NamedProxy;
use super::failure::CtlFailure;
use super::options::CtlOptions;
use super::shell::shell_word;
use crate::service::address::socket_path;
use crate::service::directory::if_there;

/// What names the proxy, before anything is looked up.
#[derive(Clone, Debug)]
pub enum Selection {
    Control {
        path: PathBuf,
        /// The option or the variable.
        source: &'static str,
    },
    Instance {
        name: String,
        /// The variable in parentheses; empty: the option.
        source: &'static str,
    },
    /// All that have a control socket in the usual place.
    All,
}

/// The longest name of an instance: that of its user is `dtp-NAME`, and has 31 characters.
pub const NAME_MAX: usize = 27;

impl Selection {
    /// From the command line and this process's environment.
    pub fn of(options: &CtlOptions) -> Self {
        Self::new(options, |name| env::var_os(name))
    }

    /// From the command line, else from the environment; in each the path is before the name.
    fn new(options: &CtlOptions, environment: impl Fn(&str) -> Option<OsString>) -> Self {
        let control = |path, source| Self::Control { path, source };
        let instance = |name, source| Self::Instance { name, source };
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        if let Some(path) = &options.control {
            control(path.clone(), "--control")
        } else if let Some(name) = &options.instance {
            instance(name.clone(), "")
        } else if let Some(path) = variable("DISNIX_TCP_PROXY_CONTROL") {
            control(path.into(), "DISNIX_TCP_PROXY_CONTROL")
        } else if let Some(name) = variable("DISNIX_TCP_PROXY_INSTANCE") {
            let name = name.to_string_lossy().into_owned();
            instance(name, " (DISNIX_TCP_PROXY_INSTANCE)")
        } else {
            Self::All
        }
    }

    /// The named proxy, else all that are found under `directory`, by name. To find none is a failure.
    pub fn all(&self, directory: &Path) -> Result<Vec<NamedProxy>, CtlFailure> {
        match self {
            Self::Control { path, source } => {
                let control = socket_path(path.clone())
                    .map_err(|why| CtlFailure::Usage(format!("{source} makes no sense: {why}")))?;
                let name = path.display().to_string();
                let options = format!(" --control {}", shell_word(&name));
                Ok(vec![NamedProxy {
                    name,
                    control,
                    options,
                }])
            }
            Self::Instance { name, .. } if is_name(name) => Ok(vec![proxy(directory, name, true)]),
            Self::Instance { name, source } => Err(CtlFailure::Usage(format!(
                "“{name}”{source} cannot be the name of an instance, which has letters, digits, - \
                 and _, at most {NAME_MAX}: give the NAME of {}/NAME/control, or the whole path \
                 with --control",
                directory.display()
            ))),
            Self::All => match discover(directory) {
                Ok(proxies) if proxies.is_empty() => Err(CtlFailure::NoProxy(directory.to_owned())),
                Ok(proxies) => Ok(proxies),
                Err(error) => Err(CtlFailure::Unreachable {
                    path: directory.to_owned(),
                    error,
                }),
            },
        }
    }

    /// The one proxy that is meant; several are a failure.
    pub fn one(&self, directory: &Path) -> Result<NamedProxy, CtlFailure> {
        let mut proxies = self.all(directory)?;
        match proxies.len() {
            1 => Ok(proxies.remove(0)),
            _ => Err(CtlFailure::Ambiguous(
                proxies.into_iter().map(|proxy| proxy.name).collect(),
            )),
        }
    }
}

/// Whether units and a user can have the name in theirs.
pub fn is_name(name: &str) -> bool {
    let is_allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// The proxy with this name, which a command has to have if it `needs_name`.
fn proxy(directory: &Path, name: &str, needs_name: bool) -> NamedProxy {
    let options = match needs_name {
        true => format!(" --instance {name}"),
        false => String::new(),
    };
    NamedProxy {
        name: name.to_owned(),
        control: directory.join(name).join("control"),
        options,
    }
}

fn discover(directory: &Path) -> io::Result<Vec<NamedProxy>> {
    let Some(entries) = if_there(fs::read_dir(directory))? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // It may go away in this moment.
        let control = fs::metadata(entry.path().join("control"));
        if control.is_ok_and(|data| data.file_type().is_socket()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let needs_name = names.len() > 1;
    let proxies = names.iter();
    Ok(proxies
        .map(|name| proxy(directory, name, needs_name))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::os::unix::net::UnixListener;

    fn selection(words: &[&str], environment: &[(&str, &str)]) -> Selection {
        let options = CtlOptions::parse_from([&["disnix-tcp-proxyctl"], words].concat());
        Selection::new(&options, |name| {
            let (_, value) = environment.iter().find(|(key, _)| *key == name)?;
            Some(value.into())
        })
    }

    fn one(words: &[&str], environment: &[(&str, &str)]) -> Result<NamedProxy, CtlFailure> {
        selection(words, environment).one(Path::new("/run/p"))
    }

    fn instance(directory: &Path, name: &str) {
        fs::create_dir(directory.join(name)).unwrap();
        UnixListener::bind(directory.join(name).join("control")).unwrap();
    }

    #[test]
    fn the_only_proxy_needs_no_name_and_several_do() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let unnamed = selection(&[], &[]);
        for empty in [directory, &directory.join("gone")] {
            assert!(matches!(unnamed.one(empty), Err(CtlFailure::NoProxy(_))));
        }

        fs::create_dir(directory.join("stopped")).unwrap();
        fs::create_dir(directory.join("odd")).unwrap();
        fs::write(directory.join("odd/control"), "not a socket").unwrap();
        instance(directory, "web");
        assert_eq!(
            unnamed.one(directory).unwrap(),
            proxy(directory, "web", false)
        );

        instance(directory, "api");
        let failure = unnamed.one(directory).unwrap_err();
        assert_eq!(failure.exit_status(), 2);
        assert!(failure.to_string().contains("(api, web)"), "{failure}");
        assert_eq!(unnamed.all(directory).unwrap().len(), 2);
        let web = selection(&["--instance", "web"], &[]).one(directory);
        assert_eq!(web.unwrap().control, directory.join("web/control"));
    }

    #[test]
    fn a_command_names_the_proxy_that_was_named_or_is_one_of_several() {
        let variable = [("DISNIX_TCP_PROXY_INSTANCE", "web")];
        for (words, environment, command) in [
            (&["--instance", "web"][..], &[][..], "--instance web unlock"),
            (&[], &variable, "--instance web unlock"),
            (&["--control", "/c"], &[], "--control /c unlock"),
            (&["--control", "/a b"], &[], "--control '/a b' unlock"),
        ] {
            let proxy = one(words, environment).unwrap();
            assert_eq!(
                proxy.command("unlock"),
                format!("disnix-tcp-proxyctl {command}")
            );
        }
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let commands = || {
            let found = selection(&[], &[]).all(directory).unwrap();
            let commands = found.iter().map(|proxy| proxy.command("unlock"));
            commands.collect::<Vec<_>>()
        };
        instance(directory, "web");
        assert_eq!(commands(), ["disnix-tcp-proxyctl unlock"]);
        instance(directory, "api");
        assert_eq!(
            commands(),
            [
                "disnix-tcp-proxyctl --instance api unlock",
                "disnix-tcp-proxyctl --instance web unlock",
            ]
        );
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let environment = [
            ("DISNIX_TCP_PROXY_CONTROL", "/environment"),
            ("DISNIX_TCP_PROXY_INSTANCE", "environment"),
        ];
        let set_empty = [("DISNIX_TCP_PROXY_CONTROL", ""), environment[1]];
        for (words, environment, control) in [
            (&["--control", "/line"][..], environment, "/line"),
            (&["--instance", "i"], environment, "/run/p/i/control"),
            (&[], environment, "/environment"),
            (&[], set_empty, "/run/p/environment/control"),
        ] {
            let proxy = one(words, &environment).unwrap();
            assert_eq!(proxy.control, Path::new(control));
        }
    }

    #[test]
    fn what_units_cannot_be_called_is_no_instance() {
        let long = "x".repeat(NAME_MAX + 1);
        for name in [
            "", ".", "..", "../x", "a/b", "a.b", "a b", "a@b", "ü", &long,
        ] {
            let failure = one(&["--instance", name], &[]).unwrap_err();
            assert_eq!(failure.exit_status(), 2, "{failure}");
        }
        let failure = one(&[], &[("DISNIX_TCP_PROXY_INSTANCE", "a.b")]).unwrap_err();
        assert!(failure.to_string().contains("_INSTANCE"), "{failure}");
        for name in ["hello-world-5000", "A_1", &long[1..]] {
            one(&["--instance", name], &[]).unwrap();
        }
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_wrong_usage() {
        let long = format!("/{}", "x".repeat(107));
        let environment = [("DISNIX_TCP_PROXY_CONTROL", &*long)];
        for (result, source) in [
            (one(&["--control", &long], &[]), "--control makes"),
            (one(&[], &environment), "DISNIX_TCP_PROXY_CONTROL makes"),
        ] {
            let failure = result.unwrap_err();
            assert_eq!(failure.exit_status(), 2, "{failure}");
            assert!(failure.to_string().contains(source), "{failure}");
        }
    }
}
