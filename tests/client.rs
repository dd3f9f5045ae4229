//! The real `hello-world-client` against scripted servers.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// A server that does `script` with its only client; its port.
fn server(script: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || script(listener.accept().unwrap().0));
    port.to_string()
}

/// Reads lines until the client has shut down its writing side, and answers each.
fn answer_all(stream: TcpStream) {
    let mut output = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines() {
        write!(output, "got {}\r\n", line.unwrap()).unwrap();
    }
}

fn read_line(stream: impl Read) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

/// Closes so that the client sees a reset.
fn reset(stream: TcpStream) {
    let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.unwrap();
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hello-world-client"));
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start(arguments: &[&str]) -> Child {
    command(arguments).spawn().unwrap()
}

/// Runs the client with `input`.
fn client(arguments: &[&str], input: impl Into<Vec<u8>>) -> Output {
    let mut child = start(arguments);
    let (mut pipe, input) = (child.stdin.take().unwrap(), input.into());
    // A client that has failed already does not read it.
    thread::spawn(move || _ = pipe.write_all(&input));
    child.wait_with_output().unwrap()
}

#[track_caller]
fn expect(output: &Output, status: i32, answers: &str, error: &str) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{stdout}{stderr}");
    assert_eq!(stdout, answers, "{stderr}");
    assert!(stderr.contains(error), "{stderr}");
    assert_eq!(stderr.is_empty(), error.is_empty(), "{stderr}");
}

#[test]
fn a_filter_prints_an_answer_for_each_line_and_ends() {
    let port = server(answer_all);
    let output = client(&["127.0.0.1", &port], "hello\nanything\r\nno end");
    expect(&output, 0, "got hello\ngot anything\ngot no end\n", "");
}

#[test]
fn answers_that_come_after_the_input_has_ended_are_not_lost() {
    let port = server(|stream| {
        let mut requests = String::new();
        (&stream).read_to_string(&mut requests).unwrap();
        assert_eq!(requests, "hello\n");
        (&stream).write_all(b"Hello world!\r\n").unwrap();
    });
    expect(
        &client(&["127.0.0.1", &port], "hello\n"),
        0,
        "Hello world!\n",
        "",
    );
}

#[test]
fn more_than_the_sockets_hold_goes_both_ways_at_once() {
    let count = 200_000;
    let port = server(answer_all);
    let output = client(&["127.0.0.1", &port], "hello\n".repeat(count));
    expect(&output, 0, &"got hello\n".repeat(count), "");
}

#[test]
fn quit_ends_it_whatever_else_is_in_the_input() {
    let port = server(|stream| assert_eq!(read_line(&stream), "quit\n"));
    expect(&client(&["127.0.0.1", &port], "quit\nhello\n"), 0, "", "");
}

#[test]
fn a_server_that_closes_after_the_last_answer_without_waiting_for_our_end_is_right() {
    let port = server(|stream| {
        read_line(&stream);
        (&stream).write_all(b"Hello world!\r\n").unwrap();
    });
    expect(
        &client(&["127.0.0.1", &port], "hello\n"),
        0,
        "Hello world!\n",
        "",
    );
}

#[test]
fn a_server_that_closes_without_an_answer_is_an_error_of_its_own() {
    let port = server(|stream| stream.shutdown(Shutdown::Both).unwrap());
    expect(&client(&["127.0.0.1", &port], "hello\n"), 6, "", "closed");

    let port = server(|stream| {
        read_line(&stream);
        (&stream).write_all(b"Hello").unwrap();
    });
    expect(
        &client(&["127.0.0.1", &port], "hello\n"),
        6,
        "Hello\n",
        "closed",
    );
}

#[test]
fn a_reset_is_distinguished_from_an_orderly_end_and_loses_no_answer_before_it() {
    let port = server(|stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        lines.next();
        lines.next();
        (&stream).write_all(b"Hello world!\r\n").unwrap();
        // Once this has been read the answer has arrived.
        lines.next();
        reset(stream);
    });
    let mut child = start(&["127.0.0.1", &port]);
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"hello\nhello\n").unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    assert_eq!(line, "Hello world!\n");
    input.write_all(b"hello\n").unwrap();
    expect(&child.wait_with_output().unwrap(), 6, "", "reset");
}

#[test]
fn a_refused_connection_and_a_missing_socket_have_one_exit_status() {
    // Bound, so that nobody else gets the port, but not listening.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let bound = socket.local_addr().unwrap().as_socket().unwrap();
    let port = bound.port().to_string();
    expect(
        &client(&["127.0.0.1", &port], ""),
        4,
        "",
        &bound.to_string(),
    );
    let directory = tempfile::tempdir().unwrap();
    let path = format!("unix:{}", directory.path().join("gone").display());
    expect(&client(&[&path], ""), 4, "", &path);
}

#[test]
fn an_unknown_host_has_an_exit_status_of_its_own() {
    // RFC 6761 reserves .invalid, so that nobody's resolver knows it.
    let output = client(&["nobody.invalid", "5000", "--wait"], "");
    expect(&output, 3, "", "nobody.invalid is unknown");
}

#[test]
fn wrong_usage_has_an_exit_status_of_its_own() {
    expect(&client(&["localhost"], ""), 2, "", "port is missing");
    expect(
        &client(&["--timeout", "soon", "localhost", "1"], ""),
        2,
        "",
        "soon",
    );
}

#[test]
fn a_silent_server_is_waited_for_until_the_timeout() {
    let (keep, kept) = mpsc::channel();
    let port = server(move |stream| keep.send(stream).unwrap());
    let options = ["127.0.0.1", &port, "--answer-timeout", "50ms"];
    expect(
        &client(&options, "hello\n"),
        5,
        "",
        "did not answer within 50ms",
    );
    drop(kept);
}

#[test]
fn answers_have_no_limit_unless_one_is_given() {
    let (go, gone) = mpsc::channel();
    let port = server(move |stream| {
        gone.recv().unwrap();
        answer_all(stream);
    });
    // Connecting has a limit, the wait in a queue has none.
    let mut child = start(&["127.0.0.1", &port, "--timeout", "10ms"]);
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none());
    go.send(()).unwrap();
    expect(&child.wait_with_output().unwrap(), 0, "got hello\n", "");
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hello");
    let address = format!("unix:{}", path.display());
    expect(&client(&[&address, "--wait=60ms"], ""), 4, "", "refused");

    let mut child = start(&[&address, "--wait"]);
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    read_line(&stream);
    stream.write_all(b"Hello world!\r\n").unwrap();
    drop(stream);
    expect(&child.wait_with_output().unwrap(), 0, "Hello world!\n", "");
}

#[test]
fn a_name_of_the_abstract_namespace_is_an_address() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("hello-world-client-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_line(&stream);
        stream.write_all(b"Hello\n").unwrap();
    });
    expect(
        &client(&[&format!("unix:@{name}")], "hello\n"),
        0,
        "Hello\n",
        "",
    );
}

#[test]
fn a_line_that_the_server_refuses_is_an_error_behind_its_answer() {
    let port = server(|stream| {
        (&stream).read_exact(&mut [0; 2000]).unwrap();
        (&stream).write_all(b"too long\r\n").unwrap();
    });
    let output = client(&["127.0.0.1", &port], "x".repeat(2000));
    expect(&output, 1, "too long\n", "more than 1024 bytes");
}

#[test]
fn what_is_no_hello_world_server_is_named() {
    let port = server(|stream| (&stream).write_all(&[0xff, b'\n']).unwrap());
    expect(
        &client(&["127.0.0.1", &port], "hello\n"),
        1,
        "",
        "no hello-world-server",
    );
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    let port = server(answer_all);
    let mut child = start(&["127.0.0.1", &port]);
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    expect(&child.wait_with_output().unwrap(), 0, "", "");
}

/// A client at a terminal, and its user.
fn at_a_terminal(port: &str) -> (Child, Person) {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let person = openpt(flags).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let terminal = || Stdio::from(ioctl_tiocgptpeer(&person, flags).unwrap());
    let child = command(&["127.0.0.1", port])
        .env("TERM", "xterm")
        .stdin(terminal())
        .stdout(terminal())
        .stderr(terminal())
        .spawn()
        .unwrap();
    let terminal = File::from(person);
    let unread = String::new();
    (child, Person { terminal, unread })
}

/// What a person sees: the other end of a terminal.
struct Person {
    terminal: File,
    unread: String,
}

impl Person {
    /// Reads on until `text` has appeared.
    fn sees(&mut self, text: &str) {
        let mut buffer = [0; 1024];
        loop {
            if let Some(position) = self.unread.find(text) {
                self.unread.drain(..position + text.len());
                return;
            }
            let count = self.terminal.read(&mut buffer).unwrap();
            self.unread += &String::from_utf8_lossy(&buffer[..count]);
        }
    }

    fn types(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }
}

#[test]
fn a_person_is_prompted_and_sees_the_answer_before_the_next_prompt() {
    let port = server(answer_all);
    let (mut child, mut person) = at_a_terminal(&port);
    person.sees("> ");
    for request in ["hello", "there"] {
        person.types(&format!("{request}\r"));
        person.sees(&format!("got {request}\r\n"));
        person.sees("> ");
    }
    person.types("\x04"); // Ctrl-D
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_prompt_reports_that_the_server_has_closed() {
    let (close, closing) = mpsc::channel();
    let port = server(move |_stream| closing.recv().unwrap());
    let (mut child, mut person) = at_a_terminal(&port);
    person.sees("> ");
    close.send(()).unwrap();
    person.sees("The server has closed the connection");
    person.types("\r");
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

#[test]
fn what_a_server_sends_is_made_visible_on_a_terminal_and_passed_on_unchanged_elsewhere() {
    let evil = |mut stream: TcpStream| {
        let mut request = [0; 6];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(b"a\x1b[2Jb\xc2\x9b1m\r\n").unwrap();
    };
    let output = client(&["127.0.0.1", &server(evil)], "hello\n");
    expect(&output, 0, "a\x1b[2Jb\u{9b}1m\n", "");

    let (mut child, mut person) = at_a_terminal(&server(evil));
    person.sees("> ");
    person.types("hello\r");
    person.sees(r"a\u{1b}[2Jb\u{9b}1m");
    person.sees("The server has closed the connection");
    person.types("\r");
    assert_eq!(child.wait().unwrap().code(), Some(6));
}
