//! What idle connections cost the proxy.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::front::{Front, Path, Wiring};
use crate::process::{memory, need_descriptors, one_at_a_time, pipes, threads};

const CONNECTIONS: usize = 9000;

/// Bytes of the proxy's own memory for an idle connection: what is to be known of it (peer, times,
/// counters), its task, two registered sockets. A page; no buffer of any use could hide in it.
const EACH: u64 = 4096;

/// Pipes that a thread may keep for the next connection.
const PIPES_KEPT: usize = 4;

/// More than the relay copies at once, so that it has gone over to bulk, and less than what fits
/// between two ends that do not read.
const BULK: usize = 100_000;

#[test]
fn nine_thousand_idle_connections_hold_neither_buffer_nor_pipe_whatever_they_carried_before() {
    let _turn = one_at_a_time();
    need_descriptors(2 * CONNECTIONS as u64 + 1000);
    let front = Front::with(Path::Usual, Wiring::TcpToTcp, |unit| {
        unit.arg("--connections-max=9000")
    });
    let pid = front.proxy.pid();
    let pipes_before = pipes(pid);
    let mut pairs = Vec::new();
    // All threads have begun, and have what they keep.
    add_until(&mut pairs, &front, 100);
    let memory_before = memory(pid);
    add_until(&mut pairs, &front, CONNECTIONS);
    let each = memory(pid).saturating_sub(memory_before) / (CONNECTIONS as u64 - 100);
    assert!(each < EACH, "{each} bytes for each connection");
    let pipes = pipes(pid) - pipes_before;
    let most = PIPES_KEPT * threads(pid);
    assert!(pipes <= most, "{pipes} pipes, {most} would be for the next");
    // They are all there.
    for pair in &pairs {
        carry(pair, 1);
    }
}

fn add_until(pairs: &mut Vec<(TcpStream, TcpStream)>, front: &Front, count: usize) {
    while pairs.len() < count {
        let pair = front.pair();
        carry(&pair, 100);
        carry(&pair, BULK);
        pairs.push(pair);
    }
}

/// Carries so many bytes there and back.
fn carry((client, upstream): &(TcpStream, TcpStream), amount: usize) {
    let mut bytes = vec![7; amount];
    for (mut from, mut to) in [(client, upstream), (upstream, client)] {
        from.write_all(&bytes).unwrap();
        to.read_exact(&mut bytes).unwrap();
    }
}
