//! Clients whose every byte is known.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::plan::{MESSAGE, Plan, fill, read_stream, write_stream};
use crate::sockets::{Place, StreamSocket, mptcp};

/// The outcome of a connection.
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

/// Connects, sends and checks everything.
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

fn carry_over<S: StreamSocket>(stream: &S, plan: &Plan) -> Outcome
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

fn streams<S: StreamSocket>(
    stream: &S,
    plan: &Plan,
    progress: &mut impl FnMut(),
) -> Result<(), String>
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

fn messages<S: StreamSocket>(
    stream: &S,
    plan: &Plan,
    progress: &mut impl FnMut(),
) -> Result<(), String> {
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
