//! All figures at one number of connections.

use std::env;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::figures::Values;
use super::restart::{Ended, longest_pause};
use super::room::available_memory;
use super::subject::Subject;
use super::wakeups;
use crate::load::{Destination, when};
use crate::memory::Group;
use crate::network::{self, Setting};
use crate::pattern::Protocol;
use crate::program::{Invocation, Running, Socket, listener};
use crate::service::UPSTREAM;
use crate::window::{Seen, Window};

/// The most connections to one address of the service: each has a port of its own.
const OF_AN_ADDRESS: usize = 30_000;

/// What was measured at one number of connections.
pub struct Measurement {
    /// The figures.
    pub values: Values,
    /// Share of the machine that others used meanwhile.
    pub others: f64,
    /// What was lost that should not be.
    pub losses: Vec<String>,
    /// Bytes of the whole machine for a connection.
    pub of_machine: Option<f64>,
}

/// The service: at all addresses of this machine, so that there are enough ports.
struct Service {
    port: u16,
    _running: Running,
}

impl Service {
    fn start() -> Result<Self, String> {
        let (listener, at) = listener(Ipv4Addr::UNSPECIFIED)?;
        let program = env::current_exe().map_err(when("this program"))?;
        let mut running = Running::start(Socket::Input(listener), None, |directory| {
            let arguments = vec![UPSTREAM.into(), directory.join("handover").into()];
            Ok(Invocation { program, arguments })
        })?;
        let port = at.port();
        running.wait_until_it_serves(plain(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))?;
        Ok(Self {
            port,
            _running: running,
        })
    }

    /// One of its addresses.
    fn target(&self, index: usize) -> String {
        format!("127.0.0.{}:{}", 1 + index, self.port)
    }
}

fn plain(at: SocketAddrV4) -> Destination {
    Destination {
        at,
        clients: Ipv4Addr::LOCALHOST,
        protocol: Protocol::Plain,
    }
}

/// Opens this number of connections, sends requests, lists the connections, and ends the proxy in both ways.
pub fn measure(number: usize, length: Duration) -> Result<Measurement, String> {
    network::enter(Setting::MACHINE)?;
    let service = Service::start()?;
    let mut subject = Subject::new(number + 1)?;
    subject.start()?;
    subject.wait_until_ready()?;
    subject.call(&["set-target", &service.target(0)])?;
    Crowd::new()?.open(plain(subject.at), 1)?;
    let (before, available) = (memory(&subject)?, available_memory());

    let mut crowd = Crowd::new()?;
    let opened = open(&mut crowd, &subject, &service, number)?;
    let of_machine = || Some(available?.saturating_sub(available_memory()?) as f64 / number as f64);
    let of_machine = of_machine();

    let Load {
        seen,
        wakeups,
        memory: with,
    } = load(&subject, &mut crowd, length)?;
    let requests = seen.units as f64;
    let uncharged = subject.group.as_ref().map_or(0, Group::uncharged);
    let with = with.map(|with| (with + uncharged * number as u64) as f64);
    let of_one = before.zip(with);
    let of_one = of_one.map(|(before, with)| (with - before as f64) / number as f64);

    let listed = list(&subject, number)?;
    let killed = longest_pause(&mut subject, &mut crowd, Ended::Process)?;
    let lost = crowd.lost();
    let all_killed = longest_pause(&mut subject, &mut crowd, Ended::All)?;
    crowd.use_each()?;
    let losses = losses(lost, crowd.lost(), &subject);
    Ok(Measurement {
        values: [
            Some(opened.as_secs_f64() * 1e6 / number as f64),
            Some(requests / seen.seconds),
            Some(seen.cpu * 1e6 / requests),
            wakeups.map(|wakeups| wakeups as f64 / requests),
            with.map(|bytes| bytes / f64::from(1 << 20)),
            of_one.map(|bytes| bytes / 1024.0),
            Some(millis(listed)),
            Some(millis(killed)),
            Some(millis(all_killed)),
        ],
        others: seen.others,
        losses,
        of_machine,
    })
}

/// What was seen while requests were sent.
struct Load {
    seen: Seen,
    wakeups: Option<u64>,
    memory: Option<u64>,
}

/// Has the busy half send requests.
fn load(subject: &Subject, crowd: &mut Crowd, length: Duration) -> Result<Load, String> {
    let (tree, process) = (subject.tree(), subject.process());
    let (mut woken, mut with) = (Vec::new(), None);
    let seen = crowd.requests(Window::new(&tree, length), || {
        woken.extend(wakeups::of(process));
        with = Some(memory(subject));
    })?;
    let wakeups = match woken[..] {
        [before, after] => Some(after.saturating_sub(before)),
        _ => None,
    };
    Ok(Load {
        seen,
        wakeups,
        memory: with.transpose()?.flatten(),
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The memory of the proxy, if it is counted.
fn memory(subject: &Subject) -> Result<Option<u64>, String> {
    let group = subject.group.as_ref();
    group.map(|group| group.used()).transpose()
}

/// Opens connections to one address of the service after the other. Returns the time.
fn open(
    crowd: &mut Crowd,
    subject: &Subject,
    service: &Service,
    number: usize,
) -> Result<Duration, String> {
    let mut time = Duration::ZERO;
    for (index, first) in (0..number).step_by(OF_AN_ADDRESS).enumerate() {
        subject.call(&["set-target", &service.target(index)])?;
        let began = Instant::now();
        crowd.open(plain(subject.at), OF_AN_ADDRESS.min(number - first))?;
        time += began.elapsed();
    }
    Ok(time)
}

/// Has them listed. Returns the time.
fn list(subject: &Subject, number: usize) -> Result<Duration, String> {
    let began = Instant::now();
    let output = subject.call(&["connections"])?;
    let time = began.elapsed();
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    // The first line is the head.
    match lines == number + 1 {
        true => Ok(time),
        false => Err(format!("of {number} connections {} were listed", lines - 1)),
    }
}

fn losses(of_process: usize, of_all: usize, subject: &Subject) -> Vec<String> {
    let after = [
        (of_process, "the process was killed"),
        (of_all - of_process, "all processes were killed"),
    ];
    let lost = after.into_iter().filter(|(count, _)| *count > 0);
    lost.map(|(count, when)| {
        let said = subject.said();
        let last = said.lines().next_back().unwrap_or_default();
        format!("{count} were lost when {when}: {last}")
    })
    .collect()
}
