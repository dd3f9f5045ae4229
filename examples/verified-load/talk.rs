//! Connections that stay: small packets that the upstream echoes, and their times.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use crate::bytes::{Bytes, Random};
use crate::connection::{Connection, Role};
use crate::end::{End, Hearing};
use crate::event::Event;
use crate::failure::Failure;
use crate::load::{Load, UnderWay};
use crate::pauses::Pauses;

/// The number that connects at a time.
const AT_ONCE: usize = 200;

/// The pause before a lost connection is replaced.
const BEFORE_NEXT: Duration = Duration::from_millis(50);

/// Connections that share a rate.
#[derive(Debug)]
pub struct Group {
    pub name: &'static str,
    size: usize,
    /// The connected members.
    pub members: RefCell<Vec<Rc<Talker>>>,
    /// All members are connected.
    pub complete: Event,
    pub pauses: RefCell<Pauses>,
    /// Sent packets, and echoed packets.
    pub packets: Cell<u64>,
    doors: Semaphore,
}

/// The client's end of one of them.
#[derive(Debug)]
pub struct Talker {
    end: End,
    says: Bytes,
    /// The bytes to send, and the bytes that the kernel has accepted.
    said: Cell<u64>,
    sent: Cell<u64>,
    under_way: RefCell<UnderWay>,
    /// It has received an echo.
    echoed: Notify,
}

impl Group {
    pub fn new(name: &'static str, size: usize) -> Rc<Self> {
        let group = Self {
            name,
            size,
            members: RefCell::default(),
            complete: Event::default(),
            pauses: RefCell::default(),
            packets: Cell::new(0),
            doors: Semaphore::new(AT_ONCE),
        };
        if size == 0 {
            group.complete.tell();
        }
        Rc::new(group)
    }

    /// Connects all members, and replaces lost connections.
    pub fn begin(self: &Rc<Self>, load: &Rc<Load>) {
        let mut random = Random::new(load.options.seed ^ self.name.len() as u64);
        for _ in 0..self.size {
            let (load, group) = (Rc::clone(load), Rc::clone(self));
            let mut random = Random::new(random.next());
            tokio::task::spawn_local(async move {
                let mut again = false;
                while !load.ending.has_happened() {
                    group.member(&load, Bytes::new(random.next()), again).await;
                    sleep(BEFORE_NEXT).await;
                    again = true;
                }
            });
        }
    }

    async fn member(&self, load: &Rc<Load>, says: Bytes, again: bool) {
        let carried = load.carry(self.name, Role::Echo(says), async |connection| {
            connection.again.set(again);
            let door = self.doors.acquire().await;
            let end = load.connect(connection, None).await?;
            let talker = Rc::new(Talker {
                end,
                says,
                said: Cell::new(0),
                sent: Cell::new(0),
                under_way: RefCell::default(),
                echoed: Notify::new(),
            });
            talker.say(1, Instant::now());
            self.hear(load, connection, &talker).await?;
            drop(door);
            let _member = self.join(&talker);
            let hear = async {
                while !self.hear(load, connection, &talker).await? {}
                Ok(())
            };
            let finish = async {
                load.ending.wait().await;
                talker.finish(load, connection).await
            };
            tokio::try_join!(hear, finish).map(|_| ())
        });
        carried.await;
    }

    /// The time is over: records the time of missing echoes so far.
    pub fn close(&self, load: &Load) {
        let now = Instant::now();
        let mut pauses = self.pauses.borrow_mut();
        for talker in &*self.members.borrow() {
            if let Some((_, sent)) = talker.under_way.borrow().front() {
                pauses.add(*sent, now, load.beginning.get());
            }
        }
    }

    fn join(&self, talker: &Rc<Talker>) -> Member<'_> {
        let mut members = self.members.borrow_mut();
        members.push(Rc::clone(talker));
        if members.len() == self.size {
            self.complete.tell();
        }
        Member {
            group: self,
            talker: Rc::clone(talker),
        }
    }

    /// Receives a part of the echo, and returns whether the connection is over.
    async fn hear(
        &self,
        load: &Load,
        connection: &Connection,
        talker: &Talker,
    ) -> Result<bool, Failure> {
        let hearing = Hearing {
            connection,
            says: talker.says,
            counter: &connection.down,
            whose: talker.end.whose,
        };
        let taken = talker.end.receive(|bytes| {
            if bytes.is_empty() {
                return Ok(true);
            }
            let now = Instant::now();
            hearing.take(bytes, now)?;
            self.heard(load, talker, connection.down.get(), now);
            Ok(false)
        });
        let is_over = taken.await??;
        let (heard, said) = (connection.down.get(), talker.said.get());
        match is_over {
            _ if heard > said => Err(Failure::Corrupt(format!("{heard} bytes of {said} echoed"))),
            true if heard < said || !load.ending.has_happened() => {
                Err(talker.end.ended(heard, said))
            }
            is_over => Ok(is_over),
        }
    }

    fn heard(&self, load: &Load, talker: &Talker, heard: u64, now: Instant) {
        let mut under_way = talker.under_way.borrow_mut();
        while let Some((end, sent)) = under_way.front().copied() {
            if end > heard {
                break;
            }
            under_way.pop_front();
            if load.ending.has_happened() {
                talker.echoed.notify_one();
                continue;
            }
            self.packets.set(self.packets.get() + 1);
            self.pauses
                .borrow_mut()
                .add(sent, now, load.beginning.get());
        }
    }
}

/// A membership, which ends with the connection.
struct Member<'a> {
    group: &'a Group,
    talker: Rc<Talker>,
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        let mut members = self.group.members.borrow_mut();
        members.retain(|other| !Rc::ptr_eq(other, &self.talker));
    }
}

impl Talker {
    /// Adds a packet. If the socket is full, it is sent with the next one.
    pub fn say(&self, size: u64, now: Instant) {
        self.said.set(self.said.get() + size);
        self.under_way
            .borrow_mut()
            .push_back((self.said.get(), now));
        // The receiver detects a broken connection.
        let _ = self.push();
    }

    /// Sends pending bytes, and returns whether none are left.
    fn push(&self) -> std::io::Result<bool> {
        while self.sent.get() < self.said.get() {
            let left = (self.said.get() - self.sent.get()) as usize;
            match self.end.try_send(self.says.at(self.sent.get(), left)) {
                Ok(count) => self.sent.set(self.sent.get() + count as u64),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn finish(&self, load: &Load, connection: &Connection) -> Result<(), Failure> {
        while self.sent.get() < self.said.get() {
            let left = (self.said.get() - self.sent.get()) as usize;
            let count = self.end.send(self.says.at(self.sent.get(), left)).await?;
            self.sent.set(self.sent.get() + count as u64);
        }
        while load.options.no_half_closes && connection.down.get() < self.said.get() {
            self.echoed.notified().await;
        }
        self.end.finish()
    }
}

/// The upstream's end: echoes received data.
pub async fn echo(
    end: End,
    connection: &Connection,
    says: Bytes,
    first: &[u8],
) -> Result<(), Failure> {
    let hearing = Hearing {
        connection,
        says,
        counter: &connection.up,
        whose: end.whose,
    };
    hearing.take(first, Instant::now())?;
    let mut sent = 0;
    let mut is_over = false;
    while !is_over {
        while sent < connection.up.get() {
            let left = (connection.up.get() - sent) as usize;
            sent += end.send(says.at(sent, left)).await? as u64;
        }
        let taken = end.receive(|bytes| match bytes {
            [] => Ok(true),
            bytes => hearing.take(bytes, Instant::now()).map(|()| false),
        });
        is_over = taken.await??;
    }
    // The client detects an early end: its data was echoed, or not.
    end.finish()
}
