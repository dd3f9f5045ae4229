//! Whether there is a last will, and who it is to become. It is made once, and again when it has ended
//! before its time: only a kill does that.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::PoisonError;

use super::heir::Heir;
use super::will::Will;
use super::{Keep, lock};
use crate::service::activation::Inherited;

/// What is known of the last will.
#[derive(Debug, Default)]
pub(super) struct Testament {
    will: Option<Will>,
    heir: Option<&'static Heir>,
}

impl Testament {
    /// Whether the will may become the next process.
    pub(super) fn has_heir(&self) -> bool {
        self.will.as_ref().is_some_and(Will::has_heir)
    }
}

impl Keep {
    /// A will that is made from now on starts the next process when this one is killed, with these
    /// sockets, which systemd has handed to this one.
    pub(super) fn provide_heir(self, sockets: Vec<Inherited>) -> io::Result<()> {
        let lots = &self.core.lots;
        let lots = lots.read().unwrap_or_else(PoisonError::into_inner);
        let heir = Heir::new(sockets, &self.core.parts(&lots))?;
        lock(&self.core.testament).heir = Some(heir);
        Ok(())
    }

    /// Makes the last will, if there is none, or if it has ended. What the process holds of memory is
    /// held by both until either changes it.
    ///
    /// # Errors
    ///
    /// When the kernel does not allow one more process, or no descriptor is left. Connections are kept
    /// all the same, but for a client that is being accepted when this process is killed; and no will
    /// starts the next process.
    pub fn make_will(self) -> io::Result<()> {
        let mut testament = lock(&self.core.testament);
        match &testament.will {
            Some(will) if !will.has_ended() => return Ok(()),
            _ => {}
        }
        if let Some(will) = testament.will.take() {
            will.dismiss();
        }
        let queue = self.core.will_queue[0].as_fd();
        let will = Will::make(&self.core.table, queue, testament.heir)?;
        testament.will = Some(will);
        Ok(())
    }

    /// Something that becomes readable when the last will ends; `None` if there is none.
    ///
    /// # Errors
    ///
    /// When no descriptor is left.
    pub fn end_of_will(self) -> io::Result<Option<OwnedFd>> {
        let testament = lock(&self.core.testament);
        let will = testament.will.as_ref();
        will.map(|will| will.process().try_clone_to_owned())
            .transpose()
    }

    pub(super) fn dismiss_will(self) {
        let will = lock(&self.core.testament).will.take();
        if let Some(will) = will {
            will.dismiss();
        }
    }
}
