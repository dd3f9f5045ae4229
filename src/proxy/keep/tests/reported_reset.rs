//! A reset that was reported to the process before, while the kernel's count of the source misleads.

use std::io::Read;

use rustix::net::sockopt;

use super::*;
use crate::service::ending;

/// The client's socket of a connection through a process that has received and sent `length` bytes, behind
/// which there was urgent data.
fn urgent(keep: Keep, length: usize) -> Through {
    let mut through = Through::new(keep);
    let bytes = vec![7; length];
    through.client.write_all(&bytes).unwrap();
    send(&through.client, b"!", SendFlags::OOB).unwrap();
    let flow = through.slot.flow(Way::Up);
    flow.inexact();
    flow.receiving(Place::Buffer(0));
    let mut buffer = vec![0; length];
    recv(&through.sockets[0], &mut *buffer, RecvFlags::WAITALL).unwrap();
    flow.received(length);
    flow.sending();
    send(&through.sockets[1], &bytes, SendFlags::empty()).unwrap();
    flow.sent(length);
    through.upstream.read_exact(&mut buffer).unwrap();
    through
}

fn source_broken(keep: Keep) -> bool {
    let (_, mut found) = next(keep);
    let (_, flows) = found.connections.remove(0).stage.connected();
    flows[0].source_broken
}

#[test]
fn a_reset_that_a_send_reported_is_no_end_behind_urgent_data() {
    let keep = first();
    let through = urgent(keep, 100);
    ending::reset_on_close(&through.client);
    drop(through.client);
    through.slot.flow(Way::Down).sending();
    assert!(send(&through.sockets[0], b"x", SendFlags::NOSIGNAL).is_err());
    assert!(source_broken(keep));
}

#[test]
fn an_end_behind_urgent_data_is_no_reset() {
    let keep = first();
    let through = urgent(keep, 100);
    through.client.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(!source_broken(keep));
}

/// So that an upstream that is silent is not kept for a client that has gone.
#[test]
fn a_client_that_was_reset_behind_its_end_is_found_broken() {
    let keep = first();
    let through = Through::new(keep);
    through.slot.flow(Way::Up).finish();
    through.client.shutdown(std::net::Shutdown::Write).unwrap();
    ending::reset_on_close(&through.client);
    drop(through.client);
    assert!(matches!(
        sockopt::socket_error(&through.sockets[0]),
        Ok(Err(_))
    ));
    through.slot.flow(Way::Up).inexact();
    assert!(source_broken(keep));
}
