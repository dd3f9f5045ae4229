//! What connections cost whose receivers do not read, and that nothing of them is lost.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::bytes::Bytes;
use crate::front::{Front, Path, Wiring};
use crate::process::{memory, need_descriptors, one_at_a_time, pipes, threads};
use crate::support::line;

const CONNECTIONS: usize = 500;

/// The buffer of each socket that the test can give one; the kernel doubles it, socket(7).
const SOCKET_BUFFER: usize = 128 * 1024;

/// Those that are received into at the ends. The smaller they are, the less grows in between.
const RECEIVE_BUFFER: usize = 32 * 1024;

/// The most that the relay may hold of one direction: a full pipe.
const HELD: u64 = 256 * 1024;

/// The most of that in the process's own memory: one buffer.
const HELD_IN_MEMORY: u64 = 64 * 1024;

/// What there is of a connection besides.
const EACH: u64 = 4096;

/// The most pipes for each thread.
const PIPES: usize = 64;

/// One direction of one connection.
struct Stream {
    from: TcpStream,
    to: TcpStream,
    bytes: Bytes,
    sent: u64,
    /// Not every upstream floods its client: the kernel would need gigabytes.
    floods: bool,
}

#[test]
fn stalled_connections_hold_one_buffer_or_pipe_each_way_and_then_go_on() {
    stalled(Path::Usual);
}

#[test]
fn stalled_connections_of_a_user_without_pipe_pages_are_copied_and_then_continue() {
    stalled(Path::Unprivileged);
}

#[test]
fn stalled_connections_without_pipes_go_on_as_well() {
    stalled(Path::NoPipes);
}

/// Pipes do not take the descriptors that are for connections: of 564 the proxy keeps 64 for other
/// things and 14 for pipes.
#[test]
fn stalled_connections_that_leave_few_descriptors_go_on_and_one_more_client_is_served() {
    // A pipe takes two.
    for limit in [564, 565] {
        let front = Front::with(Path::Usual, Wiring::TcpToTcp, |unit| {
            unit.limit_descriptors(limit)
        });
        let mut streams = stall(&front, 242);
        let (mut client, upstream) = front.pair();
        client.write_all(b"one more\n").unwrap();
        assert_eq!(line(&upstream), "one more");
        streams.chunks_mut(2).for_each(goes_on);
    }
}

fn stalled(path: Path) {
    let _turn = one_at_a_time();
    need_descriptors(4 * CONNECTIONS as u64 + 1000);
    let front = Front::new(path, Wiring::TcpToTcp);
    let pid = front.proxy.pid();
    let (pipes_before, memory_before) = (pipes(pid), memory(pid));
    let mut streams = stall(&front, CONNECTIONS);

    for (stream, most) in streams.iter().zip(bounds().into_iter().cycle()) {
        let sent = stream.sent;
        assert!(sent <= most, "{sent} bytes were taken, at most {most} fit");
    }
    let memory = memory(pid).saturating_sub(memory_before) / CONNECTIONS as u64;
    let allowed = 2 * HELD_IN_MEMORY + EACH;
    assert!(memory <= allowed, "{memory} bytes of memory for each");
    let pipes = pipes(pid) - pipes_before;
    let allowed = PIPES * threads(pid);
    assert!(pipes <= allowed, "{pipes} pipes");

    streams.chunks_mut(2).for_each(goes_on);
}

/// So many connections whose writers cannot write any more.
fn stall(front: &Front, count: usize) -> Vec<Stream> {
    front.has_receive_buffers(SOCKET_BUFFER, RECEIVE_BUFFER);
    front.has_small_segments();
    let mut streams: Vec<Stream> = (0..count as u64)
        .flat_map(|number| both_directions(front, number))
        .collect();
    fill(&mut streams);
    streams
}

fn both_directions(front: &Front, number: u64) -> [Stream; 2] {
    let (client, upstream) = front.pair_with(|client| {
        client.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
    });
    for socket in [&client, &upstream] {
        let socket = SockRef::from(socket);
        socket.set_send_buffer_size(SOCKET_BUFFER).unwrap();
        socket.set_nonblocking(true).unwrap();
    }
    let copy = |socket: &TcpStream| socket.try_clone().unwrap();
    let stream = |from: &TcpStream, to: &TcpStream, seed, floods| Stream {
        from: copy(from),
        to: copy(to),
        bytes: Bytes::new(seed),
        sent: 0,
        floods,
    };
    [
        stream(&client, &upstream, 2 * number, true),
        stream(&upstream, &client, 2 * number + 1, number % 5 == 0),
    ]
}

/// What fits between a writer and a reader that does not read, upwards and downwards: four socket
/// buffers and what the relay holds. Of the sockets, those to the upstream are the proxy's own: the
/// kernel lets their buffers grow, up to a limit.
fn bounds() -> [u64; 2] {
    let largest = |name: &str| -> u64 {
        let sizes = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        sizes.split_whitespace().last().unwrap().parse().unwrap()
    };
    let fixed = 3 * 2 * SOCKET_BUFFER as u64 + HELD;
    [
        fixed + largest("tcp_wmem"),
        fixed + largest("tcp_wmem") + largest("tcp_rmem"),
    ]
}

/// Writes until nothing more fits anywhere, for a while.
fn fill(streams: &mut [Stream]) {
    let mut full = 0;
    while full < 10 {
        let wrote = streams.iter_mut().map(Stream::fill).fold(0, u64::max);
        full = if wrote == 0 { full + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Stream {
    /// Writes what fits now; how much did.
    fn fill(&mut self) -> u64 {
        let before = self.sent;
        while self.floods {
            match self.from.write(self.bytes.at(self.sent, usize::MAX)) {
                Ok(count) => self.sent += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("after {} bytes: {error}", self.sent),
            }
        }
        self.sent - before
    }

    /// Reads to the end and checks every byte.
    fn drain(&mut self) {
        self.to.set_nonblocking(false).unwrap();
        let mut buffer = vec![0; 64 * 1024];
        let mut received = 0;
        loop {
            match self.to.read(&mut buffer).expect("it does not go on") {
                0 => break,
                count => {
                    assert_eq!(self.bytes.first_error(received, &buffer[..count]), None);
                    received += count as u64;
                }
            }
        }
        assert_eq!(received, self.sent);
    }
}

fn goes_on(pair: &mut [Stream]) {
    for stream in &*pair {
        stream.from.shutdown(Shutdown::Write).unwrap();
    }
    for stream in pair {
        stream.drain();
    }
}
