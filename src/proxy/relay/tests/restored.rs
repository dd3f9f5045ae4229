//! A source that was reset, as the next process goes on with it.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use crate::proxy::keep::tests::{Through, first, next};
use crate::proxy::keep::{Stage, Way};
use crate::proxy::relay::{Ending, Meter, Ready, Relay, Turn};
use crate::service::poller::Flags;
use crate::service::stream::Family;

struct NoMeter;

impl Meter for NoMeter {
    fn received(&self, _: usize) {}
    fn sent(&self, _: usize) {}
}

/// The kernel tells of a reset once, and has told the process before.
#[test]
fn what_came_before_a_reset_is_delivered_by_the_next_process_and_then_it_is_a_reset() {
    let keep = first();
    let mut through = Through::new(keep);
    through.client.write_all(b"the rest").unwrap();
    through.client.shutdown(std::net::Shutdown::Write).unwrap();
    through.slot.flow(Way::Up).breaks();
    let (_, mut found) = next(keep);
    let restored = found.restored.remove(0);
    let Stage::Connected { upstream, flows } = restored.stage else {
        panic!("it has no upstream");
    };
    for socket in [&restored.client, &upstream] {
        rustix::io::ioctl_fionbio(socket, true).unwrap();
    }
    let mut ready = Ready::new(Family::Other);
    ready.tell(Flags::IN | Flags::OUT | Flags::RDHUP);
    let mut relay = Relay::restored(ready, ready, restored.slot, flows);
    let turn = relay.turn(restored.client.as_fd(), upstream.as_fd(), &NoMeter);
    assert!(
        matches!(turn, Turn::Ended(Ending::ClientBroken(_))),
        "{turn:?}"
    );
    let mut came = [0; 8];
    through.upstream.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"the rest");
}
