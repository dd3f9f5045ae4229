//! Urgent data, and kills: the kernel's counts do not hold where it was received past.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, send};

use crate::manager::{Kill, Manager, Program};
use crate::plan::Random;
use crate::seconds;
use crate::sockets::Kind;

/// Bytes each way.
const LENGTH: u64 = 400_000;

/// A byte of the stream is never one of these.
const URGENT: u8 = 255;

fn byte(position: u64) -> u8 {
    (position % 251) as u8
}

/// Writes a stream with urgent bytes here and there, often near the end, and ends it.
fn say(mut stream: &TcpStream, random: &mut Random) -> io::Result<()> {
    let mut at = 0;
    while at < LENGTH {
        let most = match random.below(3) {
            0 => 100,
            1 => 10_000,
            _ => 150_000,
        };
        let count = (1 + random.below(most)).min(LENGTH - at);
        let bytes: Vec<u8> = (at..at + count).map(byte).collect();
        stream.write_all(&bytes)?;
        at += count;
        send(stream, &[URGENT], SendFlags::OOB)?;
    }
    stream.shutdown(Shutdown::Write)
}

/// How a stream has come.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Whole,
    /// A part of it, and what followed did not look like its end.
    Reset,
    /// This many bytes of it, and what followed looked like its end.
    Short(u64),
}

/// Reads to the end.
fn hear(mut stream: &TcpStream) -> Result<Came, String> {
    let mut at = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) if at == LENGTH => return Ok(Came::Whole),
            Ok(0) => return Ok(Came::Short(at)),
            Ok(count) => {
                // Of several urgent bytes only the last one is out of the stream.
                for came in buffer[..count].iter().filter(|came| **came != URGENT) {
                    if *came != byte(at) {
                        return Err(format!("corrupt at {at}"));
                    }
                    at += 1;
                }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(Came::Reset),
            Err(error) => return Err(format!("at {at}: {error}")),
        }
    }
}

/// Sends and receives at the same time. The kernel reports a reset once: to the writer, perhaps, and
/// then what is read looks like an end.
fn talk(stream: &TcpStream, seed: u64) -> Result<Came, String> {
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).unwrap();
    let (said, came) = std::thread::scope(|scope| {
        let said = scope.spawn(|| say(stream, &mut Random::new(seed)));
        let came = hear(stream);
        (said.join().unwrap(), came)
    });
    match (said, came?) {
        // Behind an end it would be a broken pipe.
        (Err(error), _) if error.kind() == ErrorKind::ConnectionReset => Ok(Came::Reset),
        (_, Came::Short(at)) => Err(format!("cut short at {at}, and it looks whole")),
        (Err(_), _) => Ok(Came::Reset),
        (Ok(()), came) => Ok(came),
    }
}

#[test]
fn a_stream_with_urgent_data_comes_whole_or_is_reset() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = upstream.local_addr().unwrap().to_string();
    let mut manager = Manager::of(Program::Proxy, Kind::Tcp, target, 2);
    manager.start();
    let address = manager.address();
    let wrong = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&wrong);
    std::thread::spawn(move || {
        for seed in 0.. {
            let (stream, _) = upstream.accept().unwrap();
            let told = Arc::clone(&told);
            std::thread::spawn(move || match talk(&stream, seed) {
                Ok(_) => {}
                Err(why) => told.lock().unwrap().push(why),
            });
        }
    });
    let over = AtomicBool::new(false);
    let all: Vec<Result<Came, String>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let over = &over;
                scope.spawn(move || {
                    let mut all = Vec::new();
                    while !over.load(Relaxed) {
                        let stream = TcpStream::connect(address).unwrap();
                        all.push(talk(&stream, number + 1000 * all.len() as u64));
                    }
                    all
                })
            })
            .collect();
        let mut random = Random::new(4711);
        let begin = Instant::now();
        while begin.elapsed() < seconds() {
            std::thread::sleep(Duration::from_micros(20_000 + random.below(60_000)));
            manager.kill(Kill::Process);
            manager.start();
        }
        over.store(true, Relaxed);
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });
    let wrong = wrong.lock().unwrap();
    let failed: Vec<_> = all.iter().filter_map(|came| came.as_ref().err()).collect();
    assert!(
        failed.is_empty() && wrong.is_empty(),
        "{failed:?} {wrong:?}"
    );
    let whole = all.iter().filter(|came| **came == Ok(Came::Whole)).count();
    println!("{whole} of {} came whole, the others were reset", all.len());
    assert!(whole > 0);
}
