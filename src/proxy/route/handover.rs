//! Direct handover: accepted clients go to the process that serves them, and count here until it is
//! done with them.
//!
//! With each client goes a token (`service::handover`), the writing end of a pipe. We have
//! the reading end, and it hangs up when no process has the token any more: that is the end of the
//! connection. A pipe with its reading end is a *slot* (`slots`), used for
//! one connection after the other. Slots have names in the runtime directory (`pipe_directory`): a process
//! that comes after a kill finds those whose token a receiver has, and counts them.
//!
//! All reading ends are watched by one epoll(7) descriptor of our own, which the first thread watches
//! (`workers::outbox`): it accepts, hands over and is notified of the ends. Their end is the only event, and
//! it comes once (`EPOLLET`, no other event): a receiver that writes to its token wakes no thread.

mod pipe_directory;
mod sender;
mod slots;
mod table;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;

use crate::proxy::admission::{AdmittedClient, log};
use crate::service::address::Address;
use crate::service::ending;
use crate::service::mutex;
use crate::service::poller::{Events, Flags, Poller};
use pipe_directory::PipeDirectory;
pub use sender::{SendPermit, Sender};
use slots::Release;
use table::{SlotTable, Token};

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
pub enum HandoverError {
    /// There is no room for them, and no other client waits for room.
    Full(Arc<Sender>),
    /// Other clients wait for room, or no process receives.
    Wait,
}

/// Connections that have ended.
#[derive(Debug, Default)]
pub struct EndedConnections {
    /// The clients of this process.
    pub connections: Vec<AdmittedClient>,
    /// The number of connections of an earlier process.
    pub orphans: usize,
}

impl Handover {
    /// No client was handed over yet. Fails without descriptors or watches.
    pub fn new(runtime_directory: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            runtime_directory: runtime_directory.map(Path::to_owned),
            table: Mutex::default(),
            sender: Mutex::default(),
            ends: Poller::new()?,
        })
    }

    /// Finds the open connections that an earlier process handed over, and returns the number of those that
    /// were not known. [`Self::take_ended`] reports their end. Fails if they cannot be found or watched: then
    /// some may be open and not counted.
    pub fn adopt(&self) -> io::Result<usize> {
        let mut table = mutex::lock(&self.table);
        let table = &mut *table;
        let pipes = match &table.pipes {
            Some(pipes) => pipes,
            None => match PipeDirectory::find(self.runtime_directory.as_deref())? {
                Some(pipes) => table.pipes.insert(pipes),
                None => return Ok(0),
            },
        };
        let mut count = 0;
        for pipe in pipes.others(|number| table.slots.contains(number))? {
            // Although it may have no writer: a token that is closed right after the check is an event.
            self.watch(pipe.number, &pipe.read)?;
            if !pipe.has_writer {
                pipes.remove(pipe.number);
                continue;
            }
            table.slots.add_orphan(pipe.number);
            table.reads.insert(pipe.number, pipe.read);
            count += 1;
        }
        Ok(count)
    }

    fn watch(&self, number: u32, read: &OwnedFd) -> io::Result<()> {
        self.ends.add(read, number.into(), Flags::ET)
    }

    /// Makes tokens for `count` clients ready, so that they can be handed over once they are accepted. Fails
    /// without descriptors or memory, or if the runtime directory cannot be used.
    pub fn reserve(&self, count: usize) -> io::Result<()> {
        self.have_tokens(&mut mutex::lock(&self.table), count)
    }

    fn have_tokens(&self, table: &mut SlotTable, count: usize) -> io::Result<()> {
        while table.next.len() < count {
            let token = self.token(table)?;
            table.next.push(token);
        }
        Ok(())
    }

    /// Gives up the free slots, because descriptors have run out. Keeps the tokens that are ready: they may
    /// be reserved for a client that is accepted already.
    pub fn shrink(&self) {
        let mut table = mutex::lock(&self.table);
        let free = table.slots.shrink();
        table.discard(&free);
    }

    /// Whether there is something to [`Self::trim`].
    pub fn has_surplus(&self) -> bool {
        mutex::lock(&self.table).slots.free() > slots::SPARE
    }

    /// Gives up the slots that were not needed since the last call.
    pub fn trim(&self) {
        let mut table = mutex::lock(&self.table);
        let unused = table.slots.trim();
        table.discard(&unused);
    }

    /// Gives up the tokens that are ready: no client is accepted any more.
    pub fn stop(&self) {
        let mut table = mutex::lock(&self.table);
        for token in std::mem::take(&mut table.next) {
            table.give_back(token);
        }
    }

    fn token(&self, table: &mut SlotTable) -> io::Result<Token> {
        let number = match table.slots.take() {
            Some(number) => number,
            None => self.new_slot(table)?,
        };
        let write = match (&table.pipes, table.reads.get(&number)) {
            (Some(pipes), Some(read)) => pipes.token(number, read),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        write
            .map(|write| Token { number, write })
            .inspect_err(|_| table.slots.give_back(number))
    }

    fn new_slot(&self, table: &mut SlotTable) -> io::Result<u32> {
        let pipes = match &table.pipes {
            Some(pipes) => pipes,
            None => {
                let directory = self.runtime_directory.as_deref();
                table.pipes.insert(PipeDirectory::make(directory)?)
            }
        };
        let mut number = table.slots.next_number();
        let read = loop {
            match pipes.create(number) {
                // It belongs to the process that was taken over.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                result => break result?,
            }
        };
        self.watch(number, &read)
            .inspect_err(|_| pipes.remove(number))?;
        table.slots.add(number);
        table.reads.insert(number, read);
        Ok(number)
    }

    /// Hands clients over, either all or none of them, if that takes no waiting and overtakes no other
    /// client.
    pub fn hand_over_at_once(
        &self,
        path: &Path,
        clients: &mut Vec<AdmittedClient>,
    ) -> Result<(), HandoverError> {
        // If the process behind the first socket is gone, there may be a new socket.
        for _ in 0..2 {
            let Ok(sender) = self.sender(path) else {
                break;
            };
            let Some(permit) = sender.permit_at_once() else {
                break;
            };
            match self.hand_over(&permit, clients) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(HandoverError::Full(sender));
                }
                Err(_) => {}
            }
        }
        Err(HandoverError::Wait)
    }

    /// Hands clients over without waiting, either all or none of them, at most
    /// [`CLIENTS_MAX`](crate::service::handover::wire::CLIENTS_MAX). Fails with `WouldBlock` if there is no
    /// room.
    pub fn hand_over(
        &self,
        permit: &SendPermit,
        clients: &mut Vec<AdmittedClient>,
    ) -> io::Result<()> {
        // One step: the end may come before the table knows whose end it is.
        let mut table = mutex::lock(&self.table);
        self.have_tokens(&mut table, clients.len())?;
        let sender = &permit.sender;
        let slot = |client: &AdmittedClient| client.connection().slot;
        for (client, token) in clients.iter().zip(&table.next) {
            if let Some(slot) = slot(client) {
                slot.set_text(&sender.name);
                slot.begin_handover(token.number.into());
            }
        }
        let pairs = clients.iter().zip(&table.next);
        let sent = sender.send(pairs.map(|(client, token)| (client.socket(), token.write.as_fd())));
        if let Err(errno) = sent {
            clients
                .iter()
                .filter_map(slot)
                .for_each(|slot| slot.cancel_handover());
            drop(table);
            if errno != Errno::AGAIN {
                self.forget(sender);
            }
            return Err(errno.into());
        }
        let tokens: Vec<Token> = table.next.drain(..clients.len()).collect();
        for (client, token) in clients.drain(..).zip(tokens) {
            if let Some(slot) = slot(&client) {
                slot.complete_handover();
            }
            client.set_handed_over(token.number, &sender.target);
            table.slots.hand_over(token.number, client);
        }
        Ok(())
    }

    /// The way to the process that receives at `path`. Fails if there is none.
    pub fn sender(&self, path: &Path) -> io::Result<Arc<Sender>> {
        let mut current = mutex::lock(&self.sender);
        match &*current {
            Some(sender) if matches!(&*sender.target, Address::Handover(to) if to == path) => {
                Ok(Arc::clone(sender))
            }
            _ => {
                let sender = Arc::new(Sender::connect(path)?);
                *current = Some(Arc::clone(&sender));
                Ok(sender)
            }
        }
    }

    fn forget(&self, sender: &Arc<Sender>) {
        mutex::lock(&self.sender).take_if(|current| Arc::ptr_eq(current, sender));
    }

    /// Returns connections that have ended by now, up to the size of `events`.
    pub fn take_ended(&self, events: &mut Events) -> EndedConnections {
        let mut ended = EndedConnections::default();
        // While the mutex is locked, so that the events are of the slots as they are.
        let mut table = mutex::lock(&self.table);
        if self.ends.wait(events, Some(Duration::ZERO)).is_err() {
            return ended;
        }
        for index in 0..events.len() {
            let Some((number, _)) = events.get(index) else {
                continue;
            };
            match table.slots.release(number as u32) {
                Release::Connection(client) => ended.connections.push(client),
                Release::Orphan => ended.orphans += 1,
                Release::NoConnection => {}
            }
        }
        ended
    }

    /// Takes the client of a connection that an earlier process handed over. Returns the client if no
    /// process serves it any more.
    pub fn reclaim(&self, number: u32, client: AdmittedClient) -> Result<(), AdmittedClient> {
        mutex::lock(&self.table).slots.reclaim(number, client)
    }

    /// Resets the connection of this slot, if it is still open.
    pub fn cut(&self, number: u32) {
        let mut table = mutex::lock(&self.table);
        let Some(client) = table.slots.cut(number) else {
            return;
        };
        table.discard(&[number]);
        drop(table);
        let connection = client.connection();
        connection.end_handover();
        ending::end_by_reset(&connection.client);
        log::aborted(connection);
    }

    /// The number of connections that continue when this process ends, and that the next one finds.
    pub fn lasting_connections(&self) -> usize {
        let table = mutex::lock(&self.table);
        match table.pipes.as_ref().is_some_and(PipeDirectory::is_lasting) {
            true => table.slots.handed_over() + table.slots.orphans(),
            false => 0,
        }
    }

    /// The number of connections that an earlier process handed over.
    pub fn orphans(&self) -> usize {
        mutex::lock(&self.table).slots.orphans()
    }
}

impl AsFd for Handover {
    /// The descriptor becomes readable when connections have ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ends.as_fd()
    }
}
