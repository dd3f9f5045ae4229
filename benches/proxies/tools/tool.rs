//! What a tool does, and with which command lines tool and service are started.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use super::postgres::{self, Database};
use crate::peers;
use crate::program::{BACKLOG, Invocation, Running, find, words};

/// Bytes of a value of Redis.
const VALUE: usize = 512;
/// ab has room for so many requests, and ends earlier.
const MANY: usize = 1_000_000;

/// A program that makes a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// It receives streams from another iperf3.
    Iperf3,
    /// Before nginx. For one request each nginx closes first: the tool asks for that.
    Wrk,
    /// Before nginx. It opens all connections at once, for one request each, and closes them first.
    H2load,
    /// Before nginx. For one request each, and nginx closes first.
    Ab,
    /// Before Redis. For one request each the tool closes first.
    RedisBenchmark,
    /// Before PostgreSQL. For one transaction each the tool closes first.
    Pgbench,
}

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// What makes it.
    pub program: Program,
    /// How many there are at a time.
    pub connections: usize,
    /// Whether they stay open; else each is for one request.
    pub keeps: bool,
}

/// How much a tool does in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// As much as it can in this time.
    Seconds(u64),
    /// So many requests.
    Requests(usize),
}

/// What decides when a tool has done enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It runs for a time.
    Time,
    /// It does a number of requests.
    Count,
    /// It does a request on each of its connections, so it has to run again and again.
    Burst,
}

/// What the services have in common between measurements.
#[derive(Default)]
pub struct Services {
    database: OnceCell<Result<Database, String>>,
}

impl Services {
    /// PostgreSQL's files, which are made when they are first needed.
    fn database(&self) -> Result<&Database, String> {
        let made = self.database.get_or_init(Database::make);
        made.as_ref().map_err(Clone::clone)
    }
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Iperf3,
        Self::Wrk,
        Self::H2load,
        Self::Ab,
        Self::RedisBenchmark,
        Self::Pgbench,
    ];

    /// As it is called, and left away on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iperf3 => "iperf3",
            Self::Wrk => "wrk",
            Self::H2load => "h2load",
            Self::Ab => "ab",
            Self::RedisBenchmark => "redis-benchmark",
            Self::Pgbench => "pgbench",
        }
    }

    /// Where it is.
    ///
    /// # Errors
    ///
    /// What to do to have it.
    pub fn find(self) -> Result<PathBuf, String> {
        let package = match self {
            Self::Iperf3 | Self::Wrk => self.name(),
            Self::H2load => "nghttp2-client",
            Self::Ab => "apache2-utils",
            Self::RedisBenchmark => "redis-tools",
            Self::Pgbench => return postgres::program(self.name()),
        };
        installed(self.name(), package)
    }

    /// Where its service is.
    ///
    /// # Errors
    ///
    /// What to do to have it.
    pub fn find_service(self) -> Result<PathBuf, String> {
        match self {
            Self::Iperf3 => self.find(),
            Self::Wrk | Self::H2load | Self::Ab => installed("nginx", "nginx-light"),
            Self::RedisBenchmark => installed("redis-server", "redis-server"),
            Self::Pgbench => postgres::program("postgres"),
        }
    }
}

fn installed(name: &str, package: &str) -> Result<PathBuf, String> {
    find(name).ok_or_else(|| format!("{name} is missing: apt-get install {package}"))
}

impl Tool {
    /// Connections that stay open.
    pub const fn kept(program: Program, connections: usize) -> Self {
        Self {
            program,
            connections,
            keeps: true,
        }
    }

    /// Connections for one request each.
    pub const fn new(program: Program, connections: usize) -> Self {
        Self {
            program,
            connections,
            keeps: false,
        }
    }

    /// For the tables.
    pub fn name(self) -> String {
        let name = self.program.name();
        match (self.program, self.keeps) {
            (Program::Wrk, false) => format!("{name}, Connection: close"),
            (Program::H2load, _) => format!("{name}, {} at once", self.connections),
            (Program::RedisBenchmark, false) => format!("{name} -k 0"),
            (Program::Pgbench, false) => format!("{name} -C"),
            _ => name.to_owned(),
        }
    }

    /// When it ends.
    pub fn end(self) -> End {
        match self.program {
            Program::H2load => End::Burst,
            Program::RedisBenchmark => End::Count,
            _ => End::Time,
        }
    }

    /// How the service is started, which may write to the directory.
    pub fn serve(
        self,
        services: &Services,
        directory: &Path,
        at: SocketAddrV4,
    ) -> Result<Invocation, String> {
        let (address, port) = (at.ip(), at.port());
        let connections = 2 * self.connections;
        let arguments = match self.program {
            Program::Iperf3 => words(&format!("--server --port={port}")),
            Program::Wrk | Program::H2load | Program::Ab => {
                peers::nginx_service(directory, at, connections)?
            }
            Program::RedisBenchmark => {
                let options = format!(
                    "--bind {address} --port {port} --tcp-backlog {BACKLOG} \
                     --protected-mode no --appendonly no"
                );
                let never = ["--save".into(), OsString::new()];
                never.into_iter().chain(words(&options)).collect()
            }
            Program::Pgbench => {
                let database = services.database()?;
                return database.serve(&address.to_string(), port, connections);
            }
        };
        Ok(Invocation {
            program: self.program.find_service()?,
            arguments,
        })
    }

    /// Waits for what a service does after it has begun to listen.
    pub fn wait_until_ready(
        self,
        services: &Services,
        running: &mut Running,
        port: u16,
    ) -> Result<(), String> {
        match self.program {
            Program::Pgbench => services.database()?.wait_until_ready(running, port),
            _ => Ok(()),
        }
    }

    /// How the tool is started.
    pub fn ask(self, to: SocketAddrV4, amount: Amount) -> Result<Invocation, String> {
        let (address, port) = (to.ip(), to.port());
        let many = self.connections;
        let much = match amount {
            Amount::Seconds(seconds) => seconds.to_string(),
            Amount::Requests(count) => count.to_string(),
        };
        let url = format!("http://{to}/");
        let redis = format!("-h {address} -p {port} -c {many} -n {much} --csv");
        let postgres = format!(
            "--host={address} --port={port} --username=postgres --select-only --no-vacuum \
             --jobs=1 --client={many} --time={much}"
        );
        let options = match (self.program, self.keeps) {
            (Program::Iperf3, _) => format!(
                "--client {address} --port {port} --reverse --parallel {many} --time {much} --json"
            ),
            (Program::Wrk, _) => format!("-t1 -c{many} -d{much}s --latency {url}"),
            (Program::H2load, _) => format!("--h1 -t1 -c{many} -n{many} {url}"),
            (Program::Ab, _) => format!("-q -c {many} -t {much} -n {MANY} {url}"),
            (Program::RedisBenchmark, true) => format!("{redis} -t set -d {VALUE}"),
            (Program::RedisBenchmark, false) => format!("{redis} -t set -d {VALUE} -k 0"),
            (Program::Pgbench, true) => format!("{postgres} postgres"),
            (Program::Pgbench, false) => format!("{postgres} --connect postgres"),
        };
        let mut arguments = words(&options);
        if self.program == Program::Wrk && !self.keeps {
            arguments.extend(["-H", "Connection: close"].map(OsString::from));
        }
        Ok(Invocation {
            program: self.program.find()?,
            arguments,
        })
    }
}
