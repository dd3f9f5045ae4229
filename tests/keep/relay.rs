//! The process that is killed: a relay that keeps its connections, as small as it can be.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use disnix_proxy_example::proxy::keep::account::Place;
use disnix_proxy_example::proxy::keep::{
    self, Buffer, InHand, Keep, KeepOptions, ParkedPipe, Restored, Slot, Stage, Way,
};
use disnix_proxy_example::service::clock::Uptime;
use disnix_proxy_example::service::{activation, ending, notify};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
    acceptfrom_with, connect, recv, send, shutdown, socket_with, sockopt,
};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use crate::cost;
use crate::manager::{ROLE, THREADS};

struct Connection {
    slot: Slot,
    client: OwnedFd,
    upstream: Option<OwnedFd>,
    connected: bool,
    ways: [Direction; 2],
}

struct Direction {
    in_hand: InHand,
    /// The source has said everything.
    ended: bool,
    finished: bool,
    broken: bool,
    /// By pipe next time.
    bulk: bool,
}

impl Default for Direction {
    fn default() -> Self {
        Self {
            in_hand: InHand::Nothing,
            ended: false,
            finished: false,
            broken: false,
            bulk: false,
        }
    }
}

/// The connection is over.
struct Over;

struct Thread {
    keep: Keep,
    listener: Arc<OwnedFd>,
    target: String,
    scratch: Option<Buffer>,
    spare: Option<ParkedPipe>,
    connections: Vec<Connection>,
}

/// Runs until it is killed, or until nobody is connected and it is told to end.
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
    for given_up in &started.given_up {
        eprintln!("{given_up:?}");
    }
    let status = format!(
        "{} go on, {} foreign, found in {:?}",
        started.restored.len(),
        started.foreign,
        begin.elapsed()
    );
    if std::env::var_os(cost::MEASURE).is_some() {
        cost::measure(started.keep);
    }
    let count: usize = std::env::var(THREADS).unwrap().parse().unwrap();
    let mut threads: Vec<Thread> = (0..count)
        .map(|_| Thread {
            keep: started.keep,
            listener: listener.clone(),
            target: std::env::var(ROLE).unwrap(),
            scratch: None,
            spare: None,
            connections: Vec::new(),
        })
        .collect();
    for (number, restored) in started.restored.drain(..).enumerate() {
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

/// Has `ENDS` be set by SIGTERM.
fn on_term() {
    extern "C" fn set(_: libc::c_int) {
        ENDS.store(true, Relaxed);
    }
    // SAFETY: the handler stores to an atomic, which is all that it may do.
    unsafe { libc::signal(libc::SIGTERM, set as *const () as libc::sighandler_t) };
}

impl Thread {
    fn adopt(&mut self, restored: Restored) {
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

    /// How many connections are left when it is told to end.
    fn run(mut self) -> usize {
        loop {
            self.wait();
            if ENDS.load(Relaxed) {
                // As they are: whoever comes next goes on with them.
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
                // It is tried again at once.
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
                    (false, InHand::Nothing) => fds.push(PollFd::new(source, PollFlags::IN)),
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
            // Nothing comes between accepting and parking.
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

    /// Whether it goes on.
    fn work(&mut self, connection: &mut Connection) -> bool {
        if !connection.connected && !self.connect(connection) {
            return true;
        }
        for way in Way::BOTH {
            if self.carry(connection, way).is_err() {
                connection.slot.ending();
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

    /// Whether it is connected by now.
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

    fn carry(&mut self, connection: &mut Connection, way: Way) -> Result<(), Over> {
        let Some(upstream) = &connection.upstream else {
            return Ok(());
        };
        let (source, sink) = match way {
            Way::Up => (connection.client.as_fd(), upstream.as_fd()),
            Way::Down => (upstream.as_fd(), connection.client.as_fd()),
        };
        let flow = connection.slot.flow(way);
        let direction = &mut connection.ways[way as usize];
        for _ in 0..16 {
            if direction.finished {
                return Ok(());
            }
            if !matches!(direction.in_hand, InHand::Nothing) {
                flow.sending();
                let sent = give(&direction.in_hand, sink);
                match sent {
                    Ok(bytes) => flow.sent(bytes),
                    Err(Errno::AGAIN | Errno::INTR) => {
                        flow.sent(0);
                        return Ok(());
                    }
                    Err(_) => return Err(Over),
                }
                self.take_away(&mut direction.in_hand, sent.unwrap_or(0));
                continue;
            }
            if direction.broken {
                return Err(Over);
            }
            if direction.ended {
                flow.finish();
                let _ = shutdown(sink, Shutdown::Write);
                direction.finished = true;
                return Ok(());
            }
            let by_pipe = direction.bulk || self.target.starts_with('/');
            match self.receive(flow, source, by_pipe) {
                Ok(in_hand) => {
                    direction.ended = matches!(in_hand, InHand::Nothing);
                    direction.bulk = match &in_hand {
                        InHand::Buffer(_, range) => range.len() == keep::BUFFER,
                        InHand::Pipe(_, bytes) => *bytes > 8192,
                        InHand::Nothing => false,
                    };
                    direction.in_hand = in_hand;
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    flow.received(0);
                    return Ok(());
                }
                Err(_) => return Err(Over),
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        flow: keep::Flow,
        source: BorrowedFd<'_>,
        by_pipe: bool,
    ) -> Result<InHand, Errno> {
        if by_pipe {
            let pipe = match self.spare.take() {
                Some(pipe) => pipe,
                None => {
                    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
                    self.keep.pipe(read, write).ok_or(Errno::NFILE)?
                }
            };
            flow.receiving(Place::Pipe(pipe.number()));
            let how = SpliceFlags::NONBLOCK;
            let spliced = splice(source, None, pipe.write_end(), None, keep::BUFFER, how);
            return match spliced {
                Ok(bytes) if bytes > 0 => {
                    flow.received(bytes);
                    Ok(InHand::Pipe(pipe, bytes))
                }
                spliced => {
                    self.spare = Some(pipe);
                    spliced.map(|_| {
                        flow.received(0);
                        InHand::Nothing
                    })
                }
            };
        }
        let mut buffer = match self.scratch.take() {
            Some(buffer) => buffer,
            None => self.keep.buffers().take().ok_or(Errno::NOMEM)?,
        };
        flow.receiving(Place::Buffer(buffer.number()));
        let received = recv(source, &mut *buffer, RecvFlags::DONTWAIT);
        match received {
            Ok((bytes, _)) if bytes > 0 => {
                flow.received(bytes);
                Ok(InHand::Buffer(buffer, 0..bytes))
            }
            received => {
                self.scratch = Some(buffer);
                received.map(|_| {
                    flow.received(0);
                    InHand::Nothing
                })
            }
        }
    }

    /// So many bytes are not in hand any more.
    fn take_away(&mut self, in_hand: &mut InHand, bytes: usize) {
        match std::mem::replace(in_hand, InHand::Nothing) {
            InHand::Buffer(buffer, range) if range.len() == bytes => self.scratch = Some(buffer),
            InHand::Buffer(buffer, range) => {
                *in_hand = InHand::Buffer(buffer, range.start + bytes..range.end);
            }
            InHand::Pipe(pipe, held) if held == bytes => self.spare = Some(pipe),
            InHand::Pipe(pipe, held) => *in_hand = InHand::Pipe(pipe, held - bytes),
            InHand::Nothing => {}
        }
    }
}

fn give(in_hand: &InHand, sink: BorrowedFd<'_>) -> Result<usize, Errno> {
    match in_hand {
        InHand::Buffer(buffer, range) => {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            send(sink, &buffer[range.clone()], flags)
        }
        InHand::Pipe(pipe, bytes) => {
            let how = SpliceFlags::NONBLOCK;
            splice(pipe.read_end(), None, sink, None, *bytes, how)
        }
        InHand::Nothing => Ok(0),
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
