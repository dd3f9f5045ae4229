//! A proxy that listens by itself, and its successors.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::support::*;

/// What all processes of one proxy share: the directory, the address, the upstream.
pub struct Setup {
    pub directory: tempfile::TempDir,
    pub upstream: TcpListener,
    pub address: SocketAddr,
}

impl Setup {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            upstream: TcpListener::bind("127.0.0.1:0").unwrap(),
            address: free_address(),
        }
    }

    pub fn control(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    /// A process that would take over, and listens at these addresses.
    pub fn unit(&self, addresses: &[String]) -> Unit {
        let target = self.upstream.local_addr().unwrap().to_string();
        self.unit_without_target(addresses).arg(target)
    }

    pub fn unit_without_target(&self, addresses: &[String]) -> Unit {
        let directory = self.directory.path().to_str().unwrap();
        let mut unit = Unit::new(PROXY)
            .env("RUNTIME_DIRECTORY", directory)
            .env("STATE_DIRECTORY", directory)
            .env("DISNIX_TCP_PROXY_TAKE_OVER", "yes")
            .arg("--control")
            .arg(self.control());
        for address in addresses {
            unit = unit.arg("--listen").arg(address);
        }
        unit
    }

    pub fn start(&self) -> Running {
        self.unit(&[self.address.to_string()]).ready()
    }

    /// A client that has passed, and the upstream's side of its connection.
    pub fn pair(&self) -> (TcpStream, TcpStream) {
        let client = connect(self.address);
        (client, self.accept())
    }

    pub fn accept(&self) -> TcpStream {
        let (upstream, _) = self.upstream.accept().unwrap();
        upstream.set_read_timeout(Some(PATIENCE)).unwrap();
        upstream
    }

    /// Serves one client that connects now.
    #[track_caller]
    pub fn serves(&self) {
        let (client, mut upstream) = self.pair();
        upstream.write_all(b"served").unwrap();
        drop(upstream);
        assert_eq!(rest(&client).unwrap(), b"served");
    }

    /// Runs a verb that has to succeed; what it printed.
    #[track_caller]
    pub fn does(&self, arguments: &[&str]) -> String {
        let (status, text) = run_ctl(&self.control(), arguments);
        assert_eq!(status, 0, "{arguments:?}: {text}");
        text
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.does(&["--json", "status"])).unwrap()
    }

    /// A `lock` that waits for the drain.
    pub fn begin_lock(&self, arguments: &[&str]) -> Child {
        let child = ctl(&self.control(), &[&["lock"], arguments].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the lock waits", || self.status()["lock"]["callers"] == 1);
        child
    }

    /// A caller of the control socket without `disnix-tcp-proxyctl`.
    pub fn caller(&self) -> Caller {
        Caller(BufReader::new(UnixStream::connect(self.control()).unwrap()))
    }
}

pub struct Caller(BufReader<UnixStream>);

impl Caller {
    pub fn call(&mut self, method: &str, more: bool) -> Value {
        let method = format!("io.github.disnix-proxy-example.Proxy.{method}");
        let call = json!({ "method": method, "more": more });
        self.0
            .get_mut()
            .write_all(format!("{call}\0").as_bytes())
            .unwrap();
        let mut reply = Vec::new();
        self.0.read_until(0, &mut reply).unwrap();
        assert_eq!(reply.pop(), Some(0), "it hung up");
        serde_json::from_slice(&reply).unwrap()
    }
}

/// The process ends by itself, in an orderly way.
#[track_caller]
pub fn ends_well(mut process: Running) -> String {
    eventually("the process ends", || !process.is_running());
    let (status, log) = process.ends();
    assert!(status.success(), "{status}: {log}");
    log
}

/// The process gives up because it cannot take over.
#[track_caller]
pub fn gives_up(unit: Unit, words: &str) {
    let (status, log) = unit.fails();
    assert_eq!(status.code(), Some(3), "{log}");
    assert!(log.contains(words), "{log}");
}

/// The TCP and AF_UNIX sockets that a process listens on, by their inodes: proc_pid_fd(5),
/// proc_pid_net(5).
pub fn listens(pid: i32) -> Vec<String> {
    let table = |name: &str, column: usize, listens: fn(&[&str]) -> bool| {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap();
        let lines = table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect());
        lines
            .filter(|fields: &Vec<&str>| listens(fields))
            .map(|fields| format!("socket:[{}]", fields[column]))
            .collect::<Vec<_>>()
    };
    // The state TCP_LISTEN, and the flag __SO_ACCEPTCON.
    let listening = [
        table("tcp", 9, |fields| fields[3] == "0A"),
        table("tcp6", 9, |fields| fields[3] == "0A"),
        table("unix", 6, |fields| fields[3] == "00010000"),
    ]
    .concat();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .filter(|link| listening.contains(link))
        .collect()
}

/// Answers `hello` on every connection, as the service behind the proxy.
pub fn answer_all(upstream: &TcpListener) {
    let upstream = upstream.try_clone().unwrap();
    std::thread::spawn(move || {
        for stream in upstream.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                assert_eq!(line(&stream), "hello");
                stream.write_all(b"Hello world!\r\n").unwrap();
            });
        }
    });
}

/// Clients that come all the time, one after the other in each of several threads.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    pub served: Arc<AtomicUsize>,
    lost: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    pub fn at(address: SocketAddr, threads: usize) -> Self {
        let mut crowd = Self {
            stop: Arc::default(),
            served: Arc::default(),
            lost: Arc::default(),
            threads: Vec::new(),
        };
        for _ in 0..threads {
            let (stop, served) = (Arc::clone(&crowd.stop), Arc::clone(&crowd.served));
            let lost = Arc::clone(&crowd.lost);
            crowd.threads.push(std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    match greet(address) {
                        Ok(answer) if answer == b"Hello world!\r\n" => {
                            _ = served.fetch_add(1, Relaxed)
                        }
                        other => lost.lock().unwrap().push(format!("{other:?}")),
                    }
                }
            }));
        }
        crowd
    }

    /// Waits until so many more were served.
    pub fn goes_on(&self, more: usize) {
        let until = self.served.load(Relaxed) + more;
        eventually("more clients are served", || {
            self.served.load(Relaxed) >= until || !self.lost.lock().unwrap().is_empty()
        });
    }

    /// Ends; how many were served.
    #[track_caller]
    pub fn nobody_is_lost(self) -> usize {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        assert_eq!(*self.lost.lock().unwrap(), Vec::<String>::new());
        self.served.load(Relaxed)
    }
}

fn greet(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"hello\n")?;
    rest(&stream)
}
