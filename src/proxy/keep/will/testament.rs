//! Whether there is a last will, and who it is to become. It is made once, and again when it has ended
//! before its time: only a kill does that.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::child::Will;
use super::heir::Heir;
use crate::proxy::keep::table::Table;

/// What is known of the last will.
#[derive(Debug, Default)]
pub struct Testament {
    will: Option<Will>,
    heir: Option<&'static Heir>,
}

impl Testament {
    /// Whether the will may become the next process.
    pub fn has_heir(&self) -> bool {
        self.will.as_ref().is_some_and(Will::has_heir)
    }

    /// A will that is made from now on starts the next process when this one is killed.
    pub fn provide_heir(&mut self, heir: &'static Heir) {
        self.heir = Some(heir);
    }

    /// Makes the last will, if there is none, or if it has ended. It sends to `queue`, which has to stay
    /// open.
    ///
    /// # Errors
    ///
    /// When the kernel does not allow one more process, or no descriptor is left.
    pub fn make_will(&mut self, table: &'static Table, queue: BorrowedFd<'_>) -> io::Result<()> {
        match &self.will {
            Some(will) if !will.has_ended() => return Ok(()),
            _ => {}
        }
        if let Some(will) = self.will.take() {
            will.dismiss();
        }
        self.will = Some(Will::make(table, queue, self.heir)?);
        Ok(())
    }

    /// Something that becomes readable when the last will ends; `None` if there is none.
    ///
    /// # Errors
    ///
    /// When no descriptor is left.
    pub fn end_of_will(&self) -> io::Result<Option<OwnedFd>> {
        let will = self.will.as_ref();
        will.map(|will| will.process().try_clone_to_owned())
            .transpose()
    }

    /// The last will, which is not known any more.
    pub fn take_will(&mut self) -> Option<Will> {
        self.will.take()
    }
}
