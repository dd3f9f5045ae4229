//! Clients that send requests as fast as they are answered.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crate::bytes::{Bytes, Random};
use crate::connection::{Connection, Role};
use crate::end::Hearing;
use crate::failure::Failure;
use crate::load::Load;

/// The counts of the workers.
#[derive(Debug, Default)]
pub struct Done {
    pub connections: Cell<u64>,
    pub requests: Cell<u64>,
}

/// Runs a worker to the end.
pub async fn run(load: Rc<Load>, done: Rc<Done>, seed: u64) {
    let mut random = Random::new(seed);
    while !load.ending.has_happened() {
        let says = Bytes::new(random.next());
        let carried = load.carry("workers", Role::Echo(says), async |connection| {
            connected(&load, &done, connection, says, &mut random).await
        });
        if carried.await && !load.ending.has_happened() {
            done.connections.set(done.connections.get() + 1);
        } else {
            // Without a listener: lets others run.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

async fn connected(
    load: &Load,
    done: &Done,
    connection: &Connection,
    says: Bytes,
    random: &mut Random,
) -> Result<(), Failure> {
    let end = load.connect(connection, None).await?;
    let hearing = Hearing {
        connection,
        says,
        counter: &connection.down,
        whose: "client",
    };
    let hear = || {
        end.receive(|bytes| match bytes {
            [] => Ok(true),
            bytes => hearing.take(bytes, Instant::now()).map(|()| false),
        })
    };
    let (least, most) = load.options.packet_sizes.clone().into_inner();
    let (mut sent, mut asked) = (0, 0);
    while asked < load.options.requests || load.options.requests == 0 {
        if load.ending.has_happened() {
            break;
        }
        let until = sent + least + random.below(most - least + 1);
        while sent < until {
            sent += end.send(says.at(sent, (until - sent) as usize)).await? as u64;
        }
        while connection.down.get() < until {
            if hear().await?? {
                return Err(end.ended(connection.down.get(), until));
            }
        }
        asked += 1;
        if !load.ending.has_happened() {
            done.requests.set(done.requests.get() + 1);
        }
    }
    end.finish()?;
    match hear().await?? && connection.down.get() == sent {
        true => Ok(()),
        false => Err(Failure::Corrupt("more than was said is echoed".to_owned())),
    }
}
