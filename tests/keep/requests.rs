//! Clients that stay while their upstreams come and go, and the proxy is killed: every reply names its request.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::manager::{Kill, Manager, Program};
use crate::plan::Random;
use crate::seconds;

const CLIENTS: u64 = 8;

/// A service of HTTP/1.1 that answers each request with its path and the sum of its body, and as many bytes more as
/// the path ends with.
struct HttpService {
    address: String,
    /// Connections that it was given.
    connections: Arc<AtomicUsize>,
    is_closing: bool,
}

impl HttpService {
    /// If it is closing, it ends every third connection after a few replies.
    fn start(is_closing: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let number = count.fetch_add(1, Relaxed);
                let limit = if is_closing && number.is_multiple_of(3) {
                    2
                } else {
                    usize::MAX
                };
                std::thread::spawn(move || serve(&stream.unwrap(), limit));
            }
        });
        Self {
            address,
            connections,
            is_closing,
        }
    }
}

/// Answers up to `limit` requests.
fn serve(stream: &TcpStream, limit: usize) -> io::Result<()> {
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
fn ask(
    address: std::net::SocketAddr,
    seed: u64,
    body_sizes: [usize; 4],
    over: &AtomicBool,
) -> io::Result<u64> {
    let mut random = Random::new(seed);
    let stream = TcpStream::connect(address)?;
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

/// Clients that ask while the proxy is killed and locked again and again. Returns how many requests were answered.
fn requests(service: &HttpService, kills: bool, locks: bool) -> u64 {
    // A request that its upstream may leave unanswered has to be short enough to be sent again.
    let longest = if service.is_closing { 50_000 } else { 200_000 };
    let body_sizes = [0, 10, 3000, longest];
    let mut manager = Manager::of(
        Program::Proxy,
        crate::sockets::Kind::Tcp,
        service.address.clone(),
        2,
    );
    manager.arg("--requests=http");
    manager.arg("--detach-idle=20ms");
    manager.start();
    let address = manager.address();
    let control = manager.directory().join("control");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|seed| {
                scope.spawn({
                    let over = &over;
                    move || ask(address, seed, body_sizes, over)
                })
            })
            .collect();
        if locks {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    // It fails when the proxy is killed meanwhile, and is made anew.
                    let _ = ctl(&control, &["lock"]);
                    let _ = ctl(&control, &["unlock"]);
                }
            });
        }
        let until = Instant::now() + seconds();
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(120));
            if kills {
                manager.kill(Kill::Process);
                manager.start();
            }
        }
        over.store(true, Relaxed);
        let counts = clients.into_iter().map(|client| client.join().unwrap());
        let sum = counts.map(|count| count.expect("a request was lost")).sum();
        println!(
            "{sum} requests over {} connections",
            service.connections.load(Relaxed)
        );
        sum
    })
}

fn ctl(control: &std::path::Path, arguments: &[&str]) -> io::Result<std::process::Output> {
    Command::new(env!("CARGO_BIN_EXE_disnix-tcp-proxyctl"))
        .arg("--control")
        .arg(control)
        .args(arguments)
        .output()
}

#[test]
fn every_request_is_answered_while_the_proxy_is_killed() {
    let service = HttpService::start(false);
    assert!(requests(&service, true, false) > CLIENTS);
}

#[test]
fn every_request_is_answered_while_the_proxy_is_locked_and_clients_change_their_upstreams() {
    let service = HttpService::start(false);
    assert!(requests(&service, false, true) > CLIENTS);
    assert!(service.connections.load(Relaxed) > CLIENTS as usize);
}

#[test]
fn every_request_is_answered_while_the_proxy_is_both_killed_and_locked() {
    let service = HttpService::start(false);
    assert!(requests(&service, true, true) > CLIENTS);
}

#[test]
fn every_request_is_answered_while_the_service_ends_connections_as_it_likes() {
    let service = HttpService::start(true);
    assert!(requests(&service, false, true) > CLIENTS);
}

/// A proxy whose clients stay, with this service.
fn staying(service: &TcpListener, options: &[&str]) -> Manager {
    let target = service.local_addr().unwrap().to_string();
    let mut manager = Manager::of(Program::Proxy, crate::sockets::Kind::Tcp, target, 1);
    options.iter().for_each(|option| manager.arg(option));
    manager.start();
    manager
}

/// A client and its upstream.
fn pair(manager: &Manager, service: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(manager.address()).unwrap();
    (patient(client), accept(service))
}

fn accept(service: &TcpListener) -> TcpStream {
    patient(service.accept().unwrap().0)
}

fn patient(stream: TcpStream) -> TcpStream {
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).unwrap();
    stream
}

/// These bytes go from one to the other.
fn pass((mut from, mut to): (&TcpStream, &TcpStream), text: &str) {
    from.write_all(text.as_bytes()).unwrap();
    let mut bytes = vec![0; text.len()];
    to.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

const ASKS: &str = "GET / HTTP/1.1\r\n\r\n";
const ANSWERS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_detached_client_is_attached_by_the_next_process_when_it_speaks() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut manager = staying(&service, &["--requests=http"]);
    let (client, mut upstream) = pair(&manager, &service);
    pass((&client, &upstream), ASKS);
    pass((&upstream, &client), ANSWERS);
    let control = manager.directory().join("control");
    assert!(ctl(&control, &["lock"]).unwrap().status.success());
    assert_eq!(upstream.read(&mut [0]).unwrap(), 0);
    assert!(ctl(&control, &["unlock"]).unwrap().status.success());
    manager.kill(Kill::Process);
    manager.start();
    (&client).write_all(ASKS.as_bytes()).unwrap();
    let upstream = accept(&service);
    let mut bytes = vec![0; ASKS.len()];
    (&upstream).read_exact(&mut bytes).unwrap();
    pass((&upstream, &client), ANSWERS);
}

/// Requests were not told apart in the process before, so nobody knows whether one is under way.
#[test]
fn a_request_of_a_process_without_the_option_holds_up_the_next_ones_lock() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut manager = staying(&service, &[]);
    let (client, upstream) = pair(&manager, &service);
    pass((&client, &upstream), ASKS);
    manager.kill(Kill::Process);
    manager.arg("--requests=http");
    manager.start();
    let control = manager.directory().join("control");
    let lock = ctl(&control, &["lock", "--timeout", "300ms"]).unwrap();
    assert_eq!(lock.status.code(), Some(3));
    pass((&upstream, &client), ANSWERS);
}

#[test]
fn a_request_is_passed_on_whether_requests_are_told_apart_by_each_process_or_not() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut manager = staying(&service, &[]);
    let (client, upstream) = pair(&manager, &service);
    pass((&client, &upstream), ASKS);
    for kind in ["http", "none", "http", "lines", "http"] {
        manager.kill(Kill::Process);
        manager.env("DISNIX_TCP_PROXY_REQUESTS", kind);
        manager.start();
        pass((&upstream, &client), ANSWERS);
        pass((&client, &upstream), ASKS);
    }
}
