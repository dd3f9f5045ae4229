//! HTTP/1.1 as the tests speak it: a service that names the request in each reply, and clients that check that.

use std::io::{self, BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use socket2::Socket;

use crate::plan::Random;
use crate::sockets::{Kind, Place};

/// A service of HTTP/1.1 that answers each request with its path and the sum of its body, and as many bytes more as
/// the path ends with.
pub struct HttpService {
    pub target: String,
    /// Connections that it was given.
    pub connections: Arc<AtomicUsize>,
    pub is_closing: bool,
    _directory: tempfile::TempDir,
}

impl HttpService {
    /// If it is closing, it ends every third connection after a few replies.
    pub fn start(kind: Kind, is_closing: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (listener, place) = kind.listen(directory.path(), "service");
        let listener = Socket::from(listener);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            loop {
                let (stream, _) = listener.accept().unwrap();
                let number = count.fetch_add(1, Relaxed);
                let limit = if is_closing && number % 3 == 0 {
                    2
                } else {
                    usize::MAX
                };
                std::thread::spawn(move || serve(&stream, limit));
            }
        });
        Self {
            target: place.target(),
            connections,
            is_closing,
            _directory: directory,
        }
    }
}

/// Answers up to `limit` requests.
fn serve(stream: &Socket, limit: usize) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    for number in 0..limit {
        let Some((path, body)) = request(&mut reader)? else {
            return Ok(());
        };
        let more: usize = path.rsplit('/').next().unwrap().parse().unwrap();
        let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
        let body = format!("{path} {sum} {}", "y".repeat(more));
        let reply = match number % 2 {
            0 => format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            _ => {
                let (first, last) = body.split_at(body.len() / 2);
                format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{last}\r\n0\r\n\r\n",
                    first.len(),
                    last.len()
                )
            }
        };
        let mut stream = stream;
        stream.write_all(reply.as_bytes())?;
    }
    Ok(())
}

/// The path and the body of the next request.
fn request(reader: &mut impl BufRead) -> io::Result<Option<(String, Vec<u8>)>> {
    let Some((first, body)) = message(reader)? else {
        return Ok(None);
    };
    Ok(Some((first.split(' ').nth(1).unwrap().to_owned(), body)))
}

/// The first line and the body of a message; none at the end.
fn message(reader: &mut impl BufRead) -> io::Result<Option<(String, Vec<u8>)>> {
    let line = |reader: &mut dyn BufRead| {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .map(|_| line.trim_end().to_owned())
    };
    let first = line(reader)?;
    if first.is_empty() {
        return Ok(None);
    }
    let (mut length, mut chunked) = (0, false);
    loop {
        let field = line(reader)?;
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("Content-Length: ") {
            length = value.parse().unwrap();
        }
        chunked |= field == "Transfer-Encoding: chunked";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    while chunked {
        let size = usize::from_str_radix(&line(reader)?, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size];
        reader.read_exact(&mut chunk)?;
        body.append(&mut chunk);
        line(reader)?;
        chunked = size > 0;
    }
    Ok(Some((first, body)))
}

/// Sends requests on one connection until `over`, and checks each reply. Returns how many there were.
pub fn ask(place: &Place, seed: u64, body_sizes: [usize; 4], over: &AtomicBool) -> io::Result<u64> {
    let mut random = Random::new(seed);
    let stream = place.connect()?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut count = 0;
    while !over.load(Relaxed) {
        count += 1;
        let more = [0, 10, 3000, 200_000][random.below(4) as usize];
        let path = format!("/{seed}/{count}/{more}");
        let body = vec![b'x'; body_sizes[random.below(4) as usize]];
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // In two pieces: a kill may come between them.
        let message = [head.as_bytes(), &body].concat();
        let (first, last) = message.split_at(random.below(message.len() as u64) as usize);
        (&stream).write_all(first)?;
        (&stream).write_all(last)?;
        let expected = format!(
            "{path} {} {}",
            body.len() as u64 * u64::from(b'x'),
            "y".repeat(more)
        );
        let Some((_, reply)) = self::message(&mut reader)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if reply != expected.as_bytes() {
            return Err(io::Error::other(format!(
                "the reply to {path} is another one"
            )));
        }
        if random.below(4) == 0 {
            std::thread::sleep(Duration::from_millis(random.below(40)));
        }
    }
    Ok(count)
}
