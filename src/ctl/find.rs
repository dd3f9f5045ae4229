//! Which proxy is meant.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::client::Proxy;
use super::failure::Failure;
use super::options::Options;
use crate::service::address::socket_path;

/// Who was named, before anything is looked up.
#[derive(Clone, Debug, Default)]
pub struct Named {
    control: Option<PathBuf>,
    instance: Option<String>,
    /// By what.
    by: By,
}

/// What names a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum By {
    #[default]
    Options,
    Environment,
}

/// The longest name of an instance: that of its user is `dtp-NAME`, and has 31 characters.
const NAME_MAX: usize = 27;

impl Named {
    /// From the command line, else from the environment; in each the path is before the name.
    pub fn new(options: &Options, environment: impl Fn(&str) -> Option<OsString>) -> Self {
        if options.control.is_some() || options.instance.is_some() {
            return Self {
                control: options.control.clone(),
                instance: options.instance.clone(),
                by: By::Options,
            };
        }
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        Self {
            control: set("DISNIX_TCP_PROXY_CONTROL").map(PathBuf::from),
            instance: set("DISNIX_TCP_PROXY_INSTANCE")
                .map(|name| name.to_string_lossy().into_owned()),
            by: By::Environment,
        }
    }

    /// From the command line and this process's environment.
    pub fn by(options: &Options) -> Self {
        Self::new(options, |name| env::var_os(name))
    }

    /// The proxies that are meant: the one that was named, else all that are found under
    /// `directory`, by name.
    ///
    /// # Errors
    ///
    /// When the name is none, there is no proxy, or the directory cannot be read.
    pub fn all(&self, directory: &Path) -> Result<Vec<Proxy>, Failure> {
        if let Some(path) = &self.control {
            let control = socket_path(path.clone()).map_err(|why| {
                let given = match self.by {
                    By::Options => "--control",
                    By::Environment => "DISNIX_TCP_PROXY_CONTROL",
                };
                Failure::Usage(format!("{given} makes no sense: {why}"))
            })?;
            let name = path.display().to_string();
            return Ok(vec![Proxy { name, control }]);
        }
        if let Some(name) = &self.instance {
            if !is_name(name) {
                let given = match self.by {
                    By::Options => "",
                    By::Environment => " (DISNIX_TCP_PROXY_INSTANCE)",
                };
                return Err(Failure::Usage(format!(
                    "“{name}”{given} cannot be the name of an instance, which has letters, digits, - \
                     and _, at most {NAME_MAX}: give the NAME of {}/NAME/control, or the whole path \
                     with --control",
                    directory.display()
                )));
            }
            return Ok(vec![proxy(directory, name)]);
        }
        let found = discover(directory).map_err(|error| Failure::Unreachable {
            path: directory.to_owned(),
            error,
        })?;
        match found.is_empty() {
            true => Err(Failure::NoProxy(directory.to_owned())),
            false => Ok(found),
        }
    }

    /// The one proxy that is meant.
    ///
    /// # Errors
    ///
    /// As [`Self::all`], and when there are several.
    pub fn one(&self, directory: &Path) -> Result<Proxy, Failure> {
        let mut found = self.all(directory)?;
        match found.len() {
            1 => Ok(found.remove(0)),
            _ => Err(Failure::Ambiguous(
                found.into_iter().map(|proxy| proxy.name).collect(),
            )),
        }
    }
}

/// Whether units can be called so: the name is part of that of a user too.
fn is_name(name: &str) -> bool {
    let may = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(may)
}

fn proxy(directory: &Path, name: &str) -> Proxy {
    Proxy {
        name: name.to_owned(),
        control: directory.join(name).join("control"),
    }
}

fn discover(directory: &Path) -> io::Result<Vec<Proxy>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let candidate = proxy(directory, &entry?.file_name().to_string_lossy());
        // An instance that goes away in this moment is none.
        if fs::metadata(&candidate.control).is_ok_and(|data| data.file_type().is_socket()) {
            found.push(candidate);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::os::unix::net::UnixListener;

    fn named(words: &[&str], environment: &[(&str, &str)]) -> Named {
        let options = Options::parse_from([&["disnix-tcp-proxyctl"], words].concat());
        Named::new(&options, |name| {
            let (_, value) = environment.iter().find(|(key, _)| *key == name)?;
            Some(value.into())
        })
    }

    fn instance(directory: &Path, name: &str) {
        fs::create_dir(directory.join(name)).unwrap();
        UnixListener::bind(directory.join(name).join("control")).unwrap();
    }

    #[test]
    fn the_only_proxy_needs_no_name_and_several_do() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let nobody = named(&[], &[]);
        assert!(matches!(nobody.one(directory), Err(Failure::NoProxy(_))));
        assert!(matches!(
            nobody.one(&directory.join("gone")),
            Err(Failure::NoProxy(_))
        ));

        fs::create_dir(directory.join("stopped")).unwrap();
        fs::create_dir(directory.join("odd")).unwrap();
        fs::write(directory.join("odd/control"), "not a socket").unwrap();
        instance(directory, "web");
        assert_eq!(nobody.one(directory).unwrap(), proxy(directory, "web"));

        instance(directory, "api");
        let failure = nobody.one(directory).unwrap_err();
        assert_eq!(failure.exit_status(), 2);
        assert!(failure.to_string().contains("(api, web)"), "{failure}");
        assert_eq!(nobody.all(directory).unwrap().len(), 2);
        let chosen = named(&["--instance", "web"], &[]).one(directory).unwrap();
        assert_eq!(chosen.control, directory.join("web/control"));
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let environment = [
            ("DISNIX_TCP_PROXY_CONTROL", "/environment"),
            ("DISNIX_TCP_PROXY_INSTANCE", "environment"),
        ];
        let control = |named: Named| named.one(Path::new("/run/p")).unwrap().control;
        let path = PathBuf::from;
        assert_eq!(
            control(named(&["--control", "/line"], &environment)),
            path("/line")
        );
        assert_eq!(
            control(named(&["--instance", "i"], &environment)),
            path("/run/p/i/control")
        );
        assert_eq!(control(named(&[], &environment)), path("/environment"));
        let set_empty = [("DISNIX_TCP_PROXY_CONTROL", ""), environment[1]];
        assert_eq!(
            control(named(&[], &set_empty)),
            path("/run/p/environment/control")
        );
    }

    #[test]
    fn what_units_cannot_be_called_is_no_instance() {
        let long = "x".repeat(NAME_MAX + 1);
        for name in [
            "", ".", "..", "../x", "a/b", "a.b", "a b", "a@b", "ü", &long,
        ] {
            let failure = named(&["--instance", name], &[])
                .one(Path::new("/run"))
                .unwrap_err();
            assert_eq!(failure.exit_status(), 2, "{failure}");
        }
        let failure = named(&[], &[("DISNIX_TCP_PROXY_INSTANCE", "a.b")])
            .one(Path::new("/run"))
            .unwrap_err();
        assert!(failure.to_string().contains("_INSTANCE"), "{failure}");
        for name in ["hello-world-5000", "A_1", &long[1..]] {
            named(&["--instance", name], &[])
                .one(Path::new("/run"))
                .unwrap();
        }
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_wrong_usage() {
        let long = format!("/{}", "x".repeat(107));
        let environment = [("DISNIX_TCP_PROXY_CONTROL", &*long)];
        for (named, by) in [
            (named(&["--control", &long], &[]), "--control makes"),
            (named(&[], &environment), "DISNIX_TCP_PROXY_CONTROL makes"),
        ] {
            let failure = named.one(Path::new("/run")).unwrap_err();
            assert_eq!(failure.exit_status(), 2, "{failure}");
            assert!(failure.to_string().contains(by), "{failure}");
        }
    }
}
