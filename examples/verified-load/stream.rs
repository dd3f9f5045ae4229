//! A stream: each side sends the data of its plan, checks the received data, and shuts down its side.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use tokio::task::consume_budget;
use tokio::time::sleep;

use crate::connection::{Connection, Role};
use crate::end::{End, Hearing};
use crate::event::Event;
use crate::failure::Failure;
use crate::load::Load;
use crate::plan::{Plan, Side};

/// A stream, started by its client.
pub async fn run(load: Rc<Load>, plan: Plan) {
    let carried = load.carry(
        "streams",
        Role::Stream(Box::new(plan)),
        async |connection| {
            let Role::Stream(plan) = &connection.role else {
                unreachable!("it was made a stream above")
            };
            let end = load.connect(connection, plan.client.receive_buffer).await?;
            client(end, connection, plan).await
        },
    );
    carried.await;
}

async fn client(end: End, connection: &Connection, plan: &Plan) -> Result<(), Failure> {
    let party = Party::new(
        &end,
        &plan.client,
        &plan.upstream,
        connection,
        &connection.down,
    );
    let Some(after) = plan.reset_after else {
        return party.talk().await;
    };
    let until = async {
        party.say(after).await?;
        // A client that is reset before it is accepted does not count.
        connection.heard.wait().await;
        Ok(())
    };
    tokio::select! {
        result = until => result?,
        result = party.hear() => {
            result?;
            party.say(after).await?;
            connection.heard.wait().await;
        }
    }
    end.reset()
}

/// The upstream's end of it.
pub async fn upstream(
    end: End,
    connection: &Connection,
    plan: &Plan,
    first: &[u8],
) -> Result<(), Failure> {
    if let Some(size) = plan.upstream.receive_buffer {
        end.has_receive_buffer(size);
    }
    let party = Party::new(
        &end,
        &plan.upstream,
        &plan.client,
        connection,
        &connection.up,
    );
    party.hearing.take(first, Instant::now())?;
    match (party.talk().await, plan.reset_after) {
        // Whether as an end or a reset.
        (Err(Failure::Lost(..)), Some(_)) => Ok(()),
        (result, _) => result,
    }
}

struct Party<'a> {
    end: &'a End,
    side: &'a Side,
    other: &'a Side,
    hearing: Hearing<'a>,
    said: Cell<u64>,
    has_heard_all: Event,
}

impl<'a> Party<'a> {
    fn new(
        end: &'a End,
        side: &'a Side,
        other: &'a Side,
        connection: &'a Connection,
        counter: &'a Cell<u64>,
    ) -> Self {
        let hearing = Hearing {
            connection,
            says: other.says,
            counter,
            whose: end.whose,
        };
        Self {
            end,
            side,
            other,
            hearing,
            said: Cell::new(0),
            has_heard_all: Event::default(),
        }
    }

    /// Performs its plan.
    async fn talk(&self) -> Result<(), Failure> {
        let say = async {
            self.say(self.side.amount).await?;
            if self.side.ends_last {
                self.hearing.connection.complete.wait().await;
            }
            sleep(self.side.before_end).await;
            self.end.finish()
        };
        tokio::try_join!(say, self.hear()).map(|_| ())
    }

    async fn say(&self, until: u64) -> Result<(), Failure> {
        if self.side.answers {
            self.has_heard_all.wait().await;
        }
        let mut pauses = self.side.write_pauses.iter().peekable();
        while self.said.get() < until {
            let said = self.said.get();
            if let Some((_, time)) = pauses.next_if(|(offset, _)| *offset <= said) {
                sleep(*time).await;
                continue;
            }
            let next_pause = pauses.peek().map_or(until, |(offset, _)| *offset);
            let most = next_pause.min(until) - said;
            let most = usize::try_from(most)
                .unwrap_or(usize::MAX)
                .min(self.side.piece);
            let sent = self.end.send(self.side.says.at(said, most)).await?;
            self.said.set(said + sent as u64);
            consume_budget().await;
        }
        Ok(())
    }

    async fn hear(&self) -> Result<(), Failure> {
        let heard = self.hearing.counter;
        let mut pauses = self.side.read_pauses.iter().peekable();
        loop {
            self.hearing.connection.may_be_complete();
            if let Some((_, time)) = pauses.next_if(|(offset, _)| *offset <= heard.get()) {
                sleep(*time).await;
                continue;
            }
            let taken = self.end.receive(|bytes| match bytes {
                [] => Ok(true),
                bytes => self.hearing.take(bytes, Instant::now()).map(|()| false),
            });
            if taken.await?? {
                break;
            }
            if heard.get() > self.other.amount {
                let text = format!(
                    "more than {} bytes at the {}",
                    self.other.amount, self.end.whose
                );
                return Err(Failure::Corrupt(text));
            }
            consume_budget().await;
        }
        self.has_heard_all.tell();
        match heard.get() == self.other.amount {
            true => Ok(()),
            false => Err(self.end.ended(heard.get(), self.other.amount)),
        }
    }
}
