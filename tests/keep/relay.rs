//! The process that is killed: the smallest relay that keeps its connections.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use disnix_proxy_example::proxy::keep::{
    self, InHand, Keep, KeepOptions, RestoredConnection, Stage, Way,
};
use disnix_proxy_example::service::clock::Uptime;
use disnix_proxy_example::service::{activation, ending, notify};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, connect, socket_with,
    sockopt,
};

use crate::carrier::{Carrier, Connection, Direction};
use crate::cost;
use crate::manager::{ROLE, THREADS};

struct Thread {
    keep: Keep,
    listener: Arc<OwnedFd>,
    target: String,
    carrier: Carrier,
    connections: Vec<Connection>,
}

/// Runs until it is killed, or until SIGTERM.
pub fn run() {
    let (stored, mut sockets) = keep::separate(activation::inherited().unwrap());
    let listener = Arc::new(sockets.remove(0).fd);
    rustix::io::ioctl_fionbio(&listener, true).unwrap();
    let options = KeepOptions {
        connections: 16_384,
        buffers: 4096,
        listeners: vec![listener.as_fd()],
        is_heir: false,
    };
    on_term();
    let begin = Instant::now();
    let mut started = match keep::start(stored, &options, None) {
        Ok(started) => started,
        Err(error) => {
            notify::ready(&error.to_string());
            return;
        }
    };
    for lost in &started.lost {
        eprintln!("{lost:?}");
    }
    let status = format!(
        "{} go on, {} foreign, found in {:?}",
        started.connections.len(),
        started.foreign,
        begin.elapsed()
    );
    if std::env::var_os(cost::MEASURE).is_some() {
        cost::measure(started.keep);
    }
    let target = std::env::var(ROLE).unwrap();
    let count: usize = std::env::var(THREADS).unwrap().parse().unwrap();
    let mut threads: Vec<Thread> = (0..count)
        .map(|_| Thread {
            keep: started.keep,
            listener: listener.clone(),
            target: target.clone(),
            carrier: Carrier::new(started.keep, target.starts_with('/')),
            connections: Vec::new(),
        })
        .collect();
    for (number, restored) in started.connections.drain(..).enumerate() {
        threads[number % count].adopt(restored);
    }
    notify::ready(&status);
    let running = threads
        .into_iter()
        .map(|thread| std::thread::spawn(move || thread.run()));
    let left: Vec<usize> = running
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    match left.iter().sum() {
        0 => started.keep.forget().unwrap(),
        1.. => started.keep.leave(false),
    }
    std::process::exit(0);
}

static ENDS: AtomicBool = AtomicBool::new(false);

/// Sets `ENDS` at SIGTERM.
fn on_term() {
    extern "C" fn set(_: libc::c_int) {
        ENDS.store(true, Relaxed);
    }
    // SAFETY: the handler stores to an atomic, which is all that it may do.
    unsafe { libc::signal(libc::SIGTERM, set as *const () as libc::sighandler_t) };
}

impl Thread {
    fn adopt(&mut self, restored: RestoredConnection) {
        let mut connection = Connection {
            slot: restored.slot,
            client: restored.client,
            upstream: None,
            connected: false,
            ways: Default::default(),
        };
        if let Stage::Connected { upstream, flows } = restored.stage {
            connection.upstream = Some(upstream);
            connection.connected = true;
            connection.ways = flows.map(|flow| Direction {
                in_hand: flow.in_hand,
                finished: flow.finished,
                broken: flow.source_broken,
                ..Direction::default()
            });
        }
        self.connections.push(connection);
    }

    /// Runs until SIGTERM; returns the number of connections that are left.
    fn run(mut self) -> usize {
        loop {
            self.wait();
            if ENDS.load(Relaxed) {
                // They stay open: the next process continues them.
                return std::mem::ManuallyDrop::new(self.connections).len();
            }
            self.accept();
            let mut connections = std::mem::take(&mut self.connections);
            connections.retain_mut(|connection| self.work(connection));
            self.connections = connections;
        }
    }

    fn wait(&self) {
        let mut fds = vec![PollFd::new(&*self.listener, PollFlags::IN)];
        for connection in &self.connections {
            let [up, down] = &connection.ways;
            let Some(upstream) = &connection.upstream else {
                // It is being tried again.
                return std::thread::sleep(std::time::Duration::from_millis(1));
            };
            if !connection.connected {
                fds.push(PollFd::new(upstream, PollFlags::OUT));
                continue;
            }
            for (way, source, sink) in [
                (up, &connection.client, upstream),
                (down, upstream, &connection.client),
            ] {
                match (way.finished, &way.in_hand) {
                    (true, _) => {}
                    (false, InHand::None) => fds.push(PollFd::new(source, PollFlags::IN)),
                    (false, _) => fds.push(PollFd::new(sink, PollFlags::OUT)),
                }
            }
        }
        let a_while = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 5_000_000,
        };
        let _ = poll(&mut fds, Some(&a_while));
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _ in 0..8 {
            // Nothing happens between accepting and parking.
            let Some(slot) = self.keep.claim() else {
                return;
            };
            slot.describe(1, Uptime::now());
            slot.set_text(&self.target);
            let Ok((client, _)) = acceptfrom_with(&*self.listener, flags) else {
                return self.keep.release(slot);
            };
            assert!(self.keep.park_client(slot, client.as_fd()));
            let _ = sockopt::set_tcp_nodelay(&client, true);
            self.connections.push(Connection {
                slot,
                client,
                upstream: None,
                connected: false,
                ways: Default::default(),
            });
        }
    }

    /// Returns whether the connection continues.
    fn work(&mut self, connection: &mut Connection) -> bool {
        if !connection.connected && !self.connect(connection) {
            return true;
        }
        for way in Way::BOTH {
            if self.carrier.carry(connection, way).is_err() {
                connection.slot.set_ending();
                ending::end_by_reset(&connection.client);
                if let Some(upstream) = &connection.upstream {
                    ending::end_by_reset(upstream);
                }
                self.keep.release(connection.slot);
                return false;
            }
        }
        if connection.ways.iter().all(|way| way.finished) {
            self.keep.release(connection.slot);
            return false;
        }
        true
    }

    /// Returns whether the upstream is connected by now.
    fn connect(&self, connection: &mut Connection) -> bool {
        let upstream = match connection.upstream.take() {
            None => match dial(&self.target) {
                Ok(upstream) => upstream,
                Err(_) => return false,
            },
            Some(upstream) => upstream,
        };
        let mut fds = [PollFd::new(&upstream, PollFlags::OUT)];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let decided = poll(&mut fds, Some(&now)) == Ok(1);
        if decided && sockopt::socket_error(&upstream) != Ok(Ok(())) {
            return false;
        }
        if decided {
            let client = connection.client.as_fd();
            assert!(self.keep.park(connection.slot, client, upstream.as_fd()));
            connection.connected = true;
        }
        connection.upstream = Some(upstream);
        decided
    }
}

fn dial(target: &str) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, connected) = if target.starts_with('/') {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let connected = connect(&socket, &SocketAddrUnix::new(target)?);
        (socket, connected)
    } else {
        let address: std::net::SocketAddr = target.parse().map_err(|_| Errno::INVAL)?;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        let connected = connect(&socket, &address);
        (socket, connected)
    };
    match connected {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}
