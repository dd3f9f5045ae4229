//! Both ends of connections whose every byte is known.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A small generator, so that a run can be had again.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// What kind of sockets there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Unix,
    Mptcp,
}

/// Where somebody listens.
#[derive(Clone, Debug)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Mptcp(SocketAddr),
}

impl Kind {
    /// A listener, in this directory if it has a path.
    pub fn listen(self, directory: &Path, name: &str) -> (OwnedFd, Place) {
        match self {
            Self::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                (listener.into(), Place::Tcp(address))
            }
            Self::Unix => {
                let path = directory.join(name);
                let listener = UnixListener::bind(&path).unwrap();
                (listener.into(), Place::Unix(path))
            }
            Self::Mptcp => {
                let listener = mptcp().expect("this kernel has no MPTCP");
                let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
                listener.bind(&anywhere.into()).unwrap();
                listener.listen(128).unwrap();
                let address = listener.local_addr().unwrap().as_socket().unwrap();
                (listener.into(), Place::Mptcp(address))
            }
        }
    }
}

/// A socket of MPTCP, if the kernel has it.
pub fn mptcp() -> io::Result<socket2::Socket> {
    let protocol = Some(socket2::Protocol::MPTCP);
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, protocol)
}

/// What goes over a connection.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    seed: u64,
    up: u64,
    down: u64,
    /// Instead of two streams, so many small messages and their echoes.
    messages: u64,
}

impl Plan {
    pub fn random(random: &mut Random) -> Self {
        let mut length = || match random.below(4) {
            0 => random.below(100),
            1 => random.below(20_000),
            2 => random.below(300_000),
            _ => random.below(3_000_000),
        };
        let (up, down) = (length(), length());
        let messages = match random.below(3) {
            0 => 1 + random.below(3000),
            _ => 0,
        };
        Self {
            seed: random.next(),
            up,
            down,
            messages,
        }
    }

    /// A few bytes, and no more.
    pub fn small(random: &mut Random) -> Self {
        Self {
            seed: random.next(),
            up: random.below(50),
            down: 1 + random.below(50),
            messages: 0,
        }
    }

    fn header(&self) -> Vec<u8> {
        let words = [self.seed, self.up, self.down, self.messages];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn of(header: [u8; 32]) -> Self {
        let word = |index: usize| u64::from_le_bytes(header[index * 8..][..8].try_into().unwrap());
        Self {
            seed: word(0),
            up: word(1),
            down: word(2),
            messages: word(3),
        }
    }
}

/// What announces so many small messages.
pub fn echo_header(messages: u64) -> Vec<u8> {
    let plan = Plan {
        seed: 0,
        up: 0,
        down: 0,
        messages,
    };
    plan.header()
}

/// What came of a connection.
#[derive(Debug)]
#[allow(dead_code, reason = "shown when it fails")]
pub struct Outcome {
    pub plan: Plan,
    pub result: Result<(), String>,
    /// Whether anything came back at all.
    pub answered: bool,
    pub bytes: u64,
    pub longest_pause: Duration,
}

fn fill(seed: u64, from: u64, bytes: &mut [u8]) {
    for (offset, byte) in (from..).zip(bytes) {
        *byte =
            ((seed ^ (offset >> 3)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (offset % 8 * 7)) as u8;
    }
}

fn write_stream(mut to: impl Write, seed: u64, length: u64) -> io::Result<()> {
    let mut at = 0;
    let mut bytes = [0; 16 * 1024];
    while at < length {
        let count = bytes.len().min((length - at) as usize);
        fill(seed, at, &mut bytes[..count]);
        to.write_all(&bytes[..count])?;
        at += count as u64;
    }
    Ok(())
}

/// Reads to the end, and says what is wrong with it.
fn read_stream(
    mut from: impl Read,
    seed: u64,
    length: u64,
    mut each: impl FnMut(),
) -> Result<(), String> {
    let mut at = 0;
    let (mut bytes, mut wanted) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) if at == length => return Ok(()),
            Ok(0) => return Err(format!("end after {at} of {length} bytes")),
            Ok(count) => count,
            Err(error) => return Err(format!("after {at} of {length} bytes: {error}")),
        };
        each();
        fill(seed, at, &mut wanted[..count]);
        if bytes[..count] != wanted[..count] {
            let wrong = bytes.iter().zip(&wanted).position(|(a, b)| a != b);
            return Err(format!(
                "corrupt at {} of {length}",
                at + wrong.unwrap_or(0) as u64
            ));
        }
        at += count as u64;
    }
}

/// A stream socket of either family.
trait Both: Read + Write + Send + Sized + 'static {
    fn copy(&self) -> Self;
    fn end(&self) -> io::Result<()>;
    fn cut(&self);
    fn be_patient(&self);
}

/// So long nothing takes, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

impl Both for TcpStream {
    fn copy(&self) -> Self {
        self.try_clone().unwrap()
    }
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
    fn cut(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
    fn be_patient(&self) {
        self.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

impl Both for UnixStream {
    fn copy(&self) -> Self {
        self.try_clone().unwrap()
    }
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
    fn cut(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
    fn be_patient(&self) {
        self.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

/// Connects, and has everything carried and checked.
pub fn carry(place: &Place, plan: &Plan) -> Outcome {
    let connected = match place {
        Place::Unix(path) => UnixStream::connect(path).map(|stream| carry_over(&stream, plan)),
        Place::Tcp(address) => TcpStream::connect(address).map(|stream| {
            stream.set_nodelay(true).unwrap();
            carry_over(&stream, plan)
        }),
        Place::Mptcp(address) => mptcp().and_then(|stream| {
            stream.connect(&(*address).into())?;
            Ok(carry_over(&TcpStream::from(stream), plan))
        }),
    };
    connected.unwrap_or_else(|error| Outcome::failed(plan, error))
}

impl Outcome {
    fn failed(plan: &Plan, error: io::Error) -> Self {
        Self {
            plan: *plan,
            result: Err(error.to_string()),
            answered: false,
            bytes: 0,
            longest_pause: Duration::ZERO,
        }
    }
}

fn carry_over<S: Both>(stream: &S, plan: &Plan) -> Outcome
where
    for<'a> &'a S: Read + Write,
{
    let mut outcome = Outcome {
        plan: *plan,
        result: Ok(()),
        answered: false,
        bytes: 0,
        longest_pause: Duration::ZERO,
    };
    stream.be_patient();
    let mut last = Instant::now();
    let mut progress = || {
        outcome.answered = true;
        outcome.longest_pause = outcome.longest_pause.max(last.elapsed());
        last = Instant::now();
    };
    outcome.result = match plan.messages {
        0 => streams(stream, plan, &mut progress),
        _ => messages(stream, plan, &mut progress),
    };
    outcome.bytes = match plan.messages {
        0 => plan.up + plan.down,
        count => 2 * count * MESSAGE as u64,
    };
    outcome
}

fn streams<S: Both>(stream: &S, plan: &Plan, progress: &mut impl FnMut()) -> Result<(), String>
where
    for<'a> &'a S: Read + Write,
{
    let (mut writing, plan) = (stream.copy(), *plan);
    let writer = std::thread::spawn(move || {
        writing.write_all(&plan.header())?;
        write_stream(&mut writing, plan.seed, plan.up)?;
        writing.end()
    });
    let result = read_stream(stream, !plan.seed, plan.down, progress);
    if result.is_err() {
        stream.cut();
    }
    let written = writer.join().unwrap();
    result.and(written.map_err(|error| format!("writing: {error}")))
}

const MESSAGE: usize = 100;

fn messages<S: Both>(stream: &S, plan: &Plan, progress: &mut impl FnMut()) -> Result<(), String> {
    let mut stream = stream.copy();
    let explain = |number: u64| move |error: io::Error| format!("message {number}: {error}");
    stream.write_all(&plan.header()).map_err(explain(0))?;
    for number in 0..plan.messages {
        let (mut sent, mut came) = ([0; MESSAGE], [0; MESSAGE]);
        fill(plan.seed, number * MESSAGE as u64, &mut sent);
        stream.write_all(&sent).map_err(explain(number))?;
        stream.read_exact(&mut came).map_err(explain(number))?;
        if sent != came {
            return Err(format!("message {number} came back changed"));
        }
        progress();
    }
    stream.end().map_err(explain(plan.messages))?;
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        other => Err(format!("instead of the end: {other:?}")),
    }
}

/// The other end of all connections.
pub struct Upstream {
    target: String,
    corrupt: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
}

impl Upstream {
    pub fn start(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let corrupt = Arc::<Mutex<Vec<String>>>::default();
        let (listener, place) = kind.listen(directory.path(), "upstream");
        let target = match place {
            Place::Unix(path) => {
                let listener = UnixListener::from(listener);
                serve_all(listener.incoming_forever(), corrupt.clone());
                path.to_string_lossy().into_owned()
            }
            Place::Tcp(address) | Place::Mptcp(address) => {
                let listener = TcpListener::from(listener);
                serve_all(listener.incoming_forever(), corrupt.clone());
                address.to_string()
            }
        };
        Self {
            target,
            corrupt,
            _directory: directory,
        }
    }

    pub fn target(&self) -> String {
        self.target.clone()
    }

    /// What came that should not have.
    pub fn corrupt(&self) -> Vec<String> {
        self.corrupt.lock().unwrap().clone()
    }
}

trait Forever<S> {
    fn incoming_forever(self) -> impl FnMut() -> S + Send + 'static;
}

impl Forever<TcpStream> for TcpListener {
    fn incoming_forever(self) -> impl FnMut() -> TcpStream + Send + 'static {
        move || {
            let (stream, _) = self.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        }
    }
}

impl Forever<UnixStream> for UnixListener {
    fn incoming_forever(self) -> impl FnMut() -> UnixStream + Send + 'static {
        move || self.accept().unwrap().0
    }
}

fn serve_all<S: Both>(
    mut next: impl FnMut() -> S + Send + 'static,
    corrupt: Arc<Mutex<Vec<String>>>,
) {
    std::thread::spawn(move || {
        loop {
            let stream = next();
            let corrupt = corrupt.clone();
            std::thread::spawn(move || {
                if let Err(why) = serve(stream) {
                    corrupt.lock().unwrap().push(why);
                }
            });
        }
    });
}

/// Nothing is wrong with a connection over which nothing comes.
fn serve<S: Both>(mut stream: S) -> Result<(), String> {
    let mut header = [0; 32];
    if stream.read_exact(&mut header).is_err() {
        return Ok(());
    }
    let plan = Plan::of(header);
    if plan.messages > 0 {
        return echo(stream, &plan);
    }
    let writing = stream.copy();
    let writer = std::thread::spawn(move || {
        let mut writing = writing;
        let written = write_stream(&mut writing, !plan.seed, plan.down);
        written.and_then(|()| writing.end())
    });
    let result = read_stream(&mut stream, plan.seed, plan.up, || ());
    let written = writer.join().unwrap();
    let written = written.map_err(|error| format!("upstream: {error}"));
    result.and(written)
}

fn echo<S: Both>(mut stream: S, plan: &Plan) -> Result<(), String> {
    let mut at = 0;
    let mut bytes = [0; MESSAGE];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) if at == plan.messages * MESSAGE as u64 => {
                return stream.end().map_err(|error| error.to_string());
            }
            Ok(0) => return Err(format!("upstream: end after {at} bytes")),
            Ok(count) => {
                at += count as u64;
                let wrote = stream.write_all(&bytes[..count]);
                wrote.map_err(|error| format!("upstream: {error}"))?;
            }
            Err(error) => return Err(format!("upstream: after {at} bytes: {error}")),
        }
    }
}
