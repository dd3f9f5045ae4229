//! A system to try on: a directory for its root, a stand-in for `systemctl`, and one for the new proxy.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::{self, JoinHandle};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Writes down what it is told, fails or hangs if a file says so, and shows what files say.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >>"$FAKE/calls"
if grep -qxF -e "$*" "$FAKE/failing" 2>/dev/null; then
    echo "Job for a unit failed." >&2
    echo 'See "systemctl status" for details.' >&2
    exit 1
fi
if grep -qxF -e "$*" "$FAKE/hanging" 2>/dev/null; then
    read -r _ <"$FAKE/gate"
fi
for unit; do :; done
[ -n "$unit" ] || exit 1
case $1 in
    disable) [ ! -e "$FAKE/links" ] || (cd "$FAKE/.." && xargs rm <fake/links; rm fake/links) ;;
    show) cat "$FAKE/show-$unit" 2>/dev/null || echo LoadState=bad-setting ;;
    is-enabled) cat "$FAKE/enabled-$unit" 2>/dev/null || echo disabled; exit 1 ;;
    list-units) cat "$FAKE/listed-$unit" 2>/dev/null || true ;;
    cat) cat "$FAKE/cat" ;;
esac
"#;

/// Shows what files say.
const JOURNALCTL: &str = r#"#!/bin/sh
for word; do :; done
cat "$FAKE/journal${word#--unit}" 2>/dev/null
"#;

pub const LISTEN: &str = "/etc/systemd/system/disnix-tcp-proxy@web.socket.d/listen.conf";
pub const SERVICE: &str = "/etc/systemd/system/disnix-tcp-proxy@web.service.d/service.conf";
pub const OPTIONS: &str = "/etc/disnix-tcp-proxy/web.env";

pub const ENABLE: &str =
    "enable --now disnix-tcp-proxy@web.socket disnix-tcp-proxy-control@web.socket";
pub const DISABLE: &str =
    "disable --now disnix-tcp-proxy@web.socket disnix-tcp-proxy-control@web.socket";
pub const START: &str = "start disnix-tcp-proxy@web.service";
pub const CLEAN: &str = "clean --what=all disnix-tcp-proxy@web.service";
pub const RELOAD: &str = "daemon-reload";

pub struct FakeSystem {
    directory: TempDir,
}

impl FakeSystem {
    pub fn new() -> Self {
        let system = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(system.path("/etc/systemd/system")).unwrap();
        fs::create_dir(system.fake("")).unwrap();
        for (name, text) in [("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)] {
            let program = system.fake(name);
            fs::write(&program, text).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        system
    }

    /// A path of the system, outside of it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    fn fake(&self, name: &str) -> PathBuf {
        self.path("fake").join(name)
    }

    /// A file of the system; `None` if it is not there.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What `systemctl show`, `is-enabled` or `list-units` prints about a unit, `systemctl cat`, or `journalctl`.
    pub fn says(&self, what: &str, text: &str) {
        fs::write(self.fake(what), text).unwrap();
    }

    /// `systemctl` fails with these words.
    pub fn fails(&self, words: &str) {
        fs::write(self.fake("failing"), format!("{words}\n")).unwrap();
    }

    /// `systemctl disable` removes these links.
    pub fn removes(&self, links: &[&str]) {
        fs::write(self.fake("links"), links.join("\n")).unwrap();
    }

    /// `systemctl` hangs with these words, and reads from the pipe that is returned.
    pub fn hangs(&self, words: &str) -> PathBuf {
        fs::write(self.fake("hanging"), format!("{words}\n")).unwrap();
        let gate = self.fake("gate");
        mknodat(CWD, &gate, FileType::Fifo, Mode::RWXU, 0).unwrap();
        gate
    }

    /// What `systemctl` was told; it begins anew.
    pub fn all_calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.fake("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.fake("calls"));
        calls.lines().map(str::to_owned).collect()
    }

    /// As [`Self::all_calls`], but for what only looks.
    pub fn calls(&self) -> Vec<String> {
        let looks = ["show ", "cat ", "is-enabled ", "list-units "];
        let mut calls = self.all_calls();
        calls.retain(|line| !looks.iter().any(|word| line.starts_with(word)));
        calls
    }

    /// The files below /etc.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut directories = vec![self.path("/etc")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => directories.push(path),
                    false => {
                        let path = path.strip_prefix(self.directory.path()).unwrap();
                        found.push(format!("/{}", path.display()));
                    }
                }
            }
        }
        found.sort();
        found
    }

    /// The program, with this system's `systemctl`.
    pub fn ctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_disnix-tcp-proxyctl"));
        let path = std::env::var("PATH").unwrap();
        command
            .args(words)
            .env("PATH", format!("{}:{path}", self.fake("").display()))
            .env("FAKE", self.fake(""))
            .env_remove("DISNIX_TCP_PROXY_CONTROL")
            .env_remove("DISNIX_TCP_PROXY_INSTANCE");
        command
    }

    /// The program there.
    pub fn ctl_here(&self, words: &[&str]) -> Command {
        let root = self.directory.path().to_str().unwrap();
        self.ctl(&[words, &["--pretend-root", root]].concat())
    }

    /// Runs it there.
    pub fn run(&self, words: &[&str]) -> Finished {
        self.ctl_here(words).output().unwrap().into()
    }

    /// Runs it for a proxy that answers with these replies, one for each call; returns the calls, too.
    pub fn run_with_proxy(&self, words: &[&str], replies: &[Value]) -> (Finished, Vec<Value>) {
        let proxy = self.proxy(replies.to_vec());
        let finished = self.run(words);
        // One that was never called waits still.
        drop(UnixStream::connect(
            self.path("/run/disnix-tcp-proxy/web/control"),
        ));
        (finished, proxy.join().unwrap())
    }

    /// A stand-in for the proxy. A caller that says nothing ends it.
    fn proxy(&self, replies: Vec<Value>) -> JoinHandle<Vec<Value>> {
        let control = self.path("/run/disnix-tcp-proxy/web/control");
        fs::create_dir_all(control.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&control);
        let listener = UnixListener::bind(control).unwrap();
        thread::spawn(move || {
            let (mut calls, mut replies) = (Vec::new(), replies.into_iter());
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut call = Vec::new();
                BufReader::new(&stream).read_until(0, &mut call).unwrap();
                if call.pop().is_none() {
                    break;
                }
                calls.push(serde_json::from_slice(&call).unwrap());
                let reply = replies.next().expect("a call that was not expected");
                stream.write_all(format!("{reply}\0").as_bytes()).unwrap();
                // Until it hangs up.
                let _ = stream.read(&mut [0; 16]);
            }
            calls
        })
    }
}

/// The reply to `SetTarget`.
pub fn target_reply() -> Value {
    json!({ "parameters": { "target": "127.0.0.1:8080" } })
}

/// The reply to `Lock`.
pub fn lock_reply(detached: usize) -> Value {
    json!({
        "parameters": { "gate": "locked", "open": 0, "queued": 0, "detached": detached },
        "continues": true,
    })
}

pub fn error_reply(name: &str, parameters: &Value) -> Value {
    json!({ "error": format!("io.github.disnix-proxy-example.Proxy.{name}"), "parameters": parameters })
}

/// What the program printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    pub status: Option<i32>,
    pub output: String,
    pub errors: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            output: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Finished {
    /// Fails unless it has succeeded silently.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!((self.status, &*self.errors), (Some(0), ""), "{self:#?}");
        self
    }

    /// Fails unless it has failed with this status and these words.
    #[track_caller]
    pub fn fails(self, status: i32, words: &str) -> Self {
        assert_eq!(self.status, Some(status), "{self:#?}");
        assert!(self.errors.contains(words), "{self:#?}");
        assert_eq!(self.output, "", "{self:#?}");
        self
    }
}
