//! Direct handover: accepted clients go to the process that serves them, and count here until it is
//! done with them.
//!
//! With each client goes a token (`service::handover`), the writing end of a pipe. We have
//! the reading end, and it hangs up when nobody has the token any more: that is the end of the
//! connection, whatever way it ended. A pipe with its reading end is a *slot* (`slots`), used for
//! one connection after the other. Slots have names in the runtime directory (`place`): a process
//! that comes after a kill finds those whose token somebody has, and counts them.
//!
//! All reading ends are watched by one epoll(7) descriptor of our own, which the first thread watches
//! (`workers::handing`): it accepts, hands over and hears of the ends.
//! They are told of nothing but their end, and that once each time (`EPOLLET`, no other event): a
//! receiver that writes to its token wakes nobody.

mod place;
mod sender;
mod slots;
mod table;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use super::admitted_client::AdmittedClient;
use crate::service::poller::{Events, Flags, Poller};
use place::Place;
pub use sender::{SendPermit, Sender};
use slots::Released;
use table::{SlotTable, Token};

/// The handover of clients.
#[derive(Debug)]
pub struct Handover {
    runtime_directory: Option<PathBuf>,
    table: Mutex<SlotTable>,
    sender: Mutex<Option<Arc<Sender>>>,
    /// The reading ends, by the number of their slot.
    ends: Poller,
}

/// Why clients were not handed over at once.
#[derive(Debug)]
pub enum NotNow {
    /// There is no room for them, and nobody waits for some.
    Full(Arc<Sender>),
    /// They have to stand in line with others, or wait until somebody receives.
    Wait,
}

/// Connections that have ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// Ours.
    pub connections: Vec<AdmittedClient>,
    /// And so many of an earlier process.
    pub orphans: usize,
}

impl Handover {
    /// No client was handed over yet.
    ///
    /// # Errors
    ///
    /// When the kernel has no more descriptors or watches.
    pub fn new(runtime_directory: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            runtime_directory: runtime_directory.map(Path::to_owned),
            table: Mutex::default(),
            sender: Mutex::default(),
            ends: Poller::new()?,
        })
    }

    fn table(&self) -> MutexGuard<'_, SlotTable> {
        // Nobody panics while holding it but for a bug; going on is the better half.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the connections that an earlier process handed over and that are open: how many that we
    /// did not know of. [`Self::ended`] tells of their end.
    ///
    /// # Errors
    ///
    /// When they cannot be looked for or watched: then there may be some that nobody counts.
    pub fn adopt(&self) -> io::Result<usize> {
        let mut table = self.table();
        let table = &mut *table;
        let place = match &table.place {
            Some(place) => place,
            None => match Place::find(self.runtime_directory.as_deref())? {
                Some(place) => table.place.insert(place),
                None => return Ok(0),
            },
        };
        let mut count = 0;
        for found in place.found(|number| table.slots.contains(number))? {
            // Watched first: a token that is closed in between is heard of.
            self.watch(found.number, &found.read)?;
            if !found.has_writer {
                place.remove(found.number);
                continue;
            }
            table.slots.add_orphan(found.number);
            table.reads.insert(found.number, found.read);
            count += 1;
        }
        Ok(count)
    }

    fn watch(&self, number: u32, read: &OwnedFd) -> io::Result<()> {
        self.ends.add(read, number.into(), Flags::ET)
    }

    /// Has tokens for so many clients, so that whoever is accepted can be handed over.
    ///
    /// # Errors
    ///
    /// When no descriptor or memory is left, or the runtime directory cannot be used.
    pub fn reserve(&self, count: usize) -> io::Result<()> {
        self.have_tokens(&mut self.table(), count)
    }

    fn have_tokens(&self, table: &mut SlotTable, count: usize) -> io::Result<()> {
        while table.next.len() < count {
            let token = self.token(table)?;
            table.next.push(token);
        }
        Ok(())
    }

    /// Descriptors have run out: gives up those that are held for clients to come, but not the tokens that
    /// are ready: somebody may have been accepted for whom they were reserved.
    pub fn shrink(&self) {
        let mut table = self.table();
        let free = table.slots.all_free();
        table.discard(&free);
    }

    /// Whether there are many slots that nobody needs now.
    pub fn has_surplus(&self) -> bool {
        self.table().slots.free() > slots::SPARE
    }

    /// Gives up those that nobody has needed since the last call.
    pub fn trim(&self) {
        let mut table = self.table();
        let unused = table.slots.unused();
        table.discard(&unused);
    }

    /// Nobody comes any more.
    pub fn stop(&self) {
        let mut table = self.table();
        for token in std::mem::take(&mut table.next) {
            table.give_back(token);
        }
    }

    fn token(&self, table: &mut SlotTable) -> io::Result<Token> {
        let number = match table.slots.take() {
            Some(number) => number,
            None => self.new_slot(table)?,
        };
        let made = match (&table.place, table.reads.get(&number)) {
            (Some(place), Some(read)) => place.token(number, read),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        match made {
            Ok(write) => Ok(Token { number, write }),
            Err(error) => {
                table.slots.give_back(number);
                Err(error)
            }
        }
    }

    fn new_slot(&self, table: &mut SlotTable) -> io::Result<u32> {
        let place = match &table.place {
            Some(place) => place,
            None => table
                .place
                .insert(Place::make(self.runtime_directory.as_deref())?),
        };
        let mut number = table.slots.next_number();
        let read = loop {
            match place.create(number) {
                // The process that was taken over has it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                result => break result?,
            }
        };
        if let Err(error) = self.watch(number, &read) {
            place.remove(number);
            return Err(error);
        }
        table.slots.add(number);
        table.reads.insert(number, read);
        Ok(number)
    }

    /// Hands clients over if that can be done without waiting, and without getting ahead of others
    /// who wait. They are all gone then, or all still there.
    ///
    /// # Errors
    ///
    /// What they have to wait for.
    pub fn hand_at_once(
        &self,
        path: &Path,
        clients: &mut Vec<AdmittedClient>,
    ) -> Result<(), NotNow> {
        // If the socket was that of a process that is gone, there is a new one perhaps.
        for _ in 0..2 {
            let Ok(sender) = self.sender(path) else {
                break;
            };
            let Some(turn) = sender.at_once() else {
                break;
            };
            match self.hand(&turn, clients) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(NotNow::Full(sender));
                }
                Err(_) => {}
            }
        }
        Err(NotNow::Wait)
    }

    /// Hands clients over without waiting, at most
    /// [`CLIENTS_MAX`](crate::service::handover::wire::CLIENTS_MAX). They are all gone then, or all still
    /// there.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is no room; otherwise why nobody can be handed over.
    pub fn hand(&self, turn: &SendPermit, clients: &mut Vec<AdmittedClient>) -> io::Result<()> {
        // All of it is one step: the end may come before we have written down what it is the end of.
        let mut table = self.table();
        self.have_tokens(&mut table, clients.len())?;
        let slot =
            |client: &AdmittedClient| client.connection().and_then(|connection| connection.slot);
        for (client, token) in clients.iter().zip(&table.next) {
            if let Some(slot) = slot(client) {
                slot.set_text(turn.sender().name());
                slot.handing(token.number.into());
            }
        }
        let sent = turn.sender().send(
            clients
                .iter()
                .zip(&table.next)
                .filter_map(|(client, token)| Some((client.socket()?, token.write.as_fd()))),
        );
        if let Err(errno) = sent {
            clients
                .iter()
                .filter_map(slot)
                .for_each(|slot| slot.not_handed());
            drop(table);
            if errno != Errno::AGAIN {
                self.forget(turn.sender());
            }
            return Err(errno.into());
        }
        let tokens: Vec<Token> = table.next.drain(..clients.len()).collect();
        for (client, token) in clients.drain(..).zip(tokens) {
            if let Some(slot) = slot(&client) {
                slot.handed();
            }
            client.is_handed_over(token.number, turn.sender().target());
            table.slots.hand(token.number, client);
        }
        Ok(())
    }

    /// The way to who receives at `path`.
    ///
    /// # Errors
    ///
    /// When nobody does.
    pub fn sender(&self, path: &Path) -> io::Result<Arc<Sender>> {
        let mut current = self.current_sender();
        match &*current {
            Some(sender) if sender.leads_to(path) => Ok(Arc::clone(sender)),
            _ => {
                let sender = Arc::new(Sender::connect(path)?);
                *current = Some(Arc::clone(&sender));
                Ok(sender)
            }
        }
    }

    fn current_sender(&self) -> MutexGuard<'_, Option<Arc<Sender>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is of no more use.
    fn forget(&self, sender: &Arc<Sender>) {
        let mut current = self.current_sender();
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, sender))
        {
            *current = None;
        }
    }

    /// Connections that have ended by now, as many as are heard of at once.
    pub fn ended(&self, events: &mut Events) -> Ended {
        let mut ended = Ended::default();
        // Under the lock: what the kernel says is of the slots as they are.
        let mut table = self.table();
        if self.ends.wait(events, Some(Duration::ZERO)).is_err() {
            return ended;
        }
        for index in 0..events.len() {
            let Some((number, _)) = events.get(index) else {
                continue;
            };
            match table.slots.released(number as u32) {
                Released::Connection(client) => ended.connections.push(client),
                Released::Orphan => ended.orphans += 1,
                Released::Nothing => {}
            }
        }
        ended
    }

    /// Here is the client of a connection that an earlier process handed over.
    ///
    /// # Errors
    ///
    /// The client, when nobody serves it any more.
    pub fn reclaim(&self, number: u32, client: AdmittedClient) -> Result<(), AdmittedClient> {
        self.table().slots.reclaim(number, client)
    }

    /// Takes a connection back from its receiver, to be ended.
    pub fn cut(&self, number: u32) -> Option<AdmittedClient> {
        let mut table = self.table();
        let client = table.slots.cut(number)?;
        table.discard(&[number]);
        Some(client)
    }

    /// Connections that go on when this process ends, and that the next one finds.
    pub fn lasting(&self) -> usize {
        let table = self.table();
        match table.place.as_ref().is_some_and(Place::is_lasting) {
            true => table.slots.handed() + table.slots.orphan_count(),
            false => 0,
        }
    }

    /// Connections that an earlier process handed over.
    pub fn orphans(&self) -> usize {
        self.table().slots.orphan_count()
    }
}

impl AsFd for Handover {
    /// It becomes readable when connections have ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ends.as_fd()
    }
}
