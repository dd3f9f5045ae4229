//! Where new connections go, and changing it.

use std::io;
use std::sync::{Arc, PoisonError};

use super::Proxy;
use crate::proxy::event;
use crate::service::address::Address;

/// Why the target was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetTargetError {
    /// It is given on the command line.
    #[error("the target {0} is given on the command line or by the environment")]
    Fixed(Address),
    /// It does not go together with an option.
    #[error("{0}")]
    Contradiction(&'static str),
    /// It could not be written down.
    #[error("the target could not be saved: {0}")]
    NotSaved(#[from] io::Error),
}

impl Proxy {
    /// Where new connections go.
    pub fn target(&self) -> Option<Arc<Address>> {
        self.target
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Has new connections go somewhere else, and keeps that across restarts.
    ///
    /// # Errors
    ///
    /// When the target is fixed, or could not be saved.
    pub fn set_target(&self, target: Address) -> Result<(), SetTargetError> {
        if let (true, Some(fixed)) = (self.settings.target_fixed, self.target()) {
            // Asking for what is so already is no error: deployment tools do it at every run.
            return if *fixed == target {
                Ok(())
            } else {
                Err(SetTargetError::Fixed((*fixed).clone()))
            };
        }
        if let Some(why) = self.settings.contradiction(&target) {
            return Err(SetTargetError::Contradiction(why));
        }
        self.target_file.save(&target)?;
        self.use_target(target);
        Ok(())
    }

    /// Reads the target again.
    ///
    /// # Errors
    ///
    /// When the file cannot be read; the target stays as it is.
    pub fn reload_target(&self) -> io::Result<()> {
        if !self.settings.target_fixed
            && let Some(target) = self.target_file.load()?
        {
            if let Some(why) = self.settings.contradiction(&target) {
                return Err(io::Error::other(why));
            }
            self.use_target(target);
        }
        Ok(())
    }

    fn use_target(&self, target: Address) {
        let mut current = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_deref() == Some(&target) {
            return;
        }
        tracing::info!(
            MESSAGE_ID = event::TARGET_CHANGED, UPSTREAM = %target,
            "new connections go to {target} from now on"
        );
        *current = Some(Arc::new(target));
        drop(current);
        self.gate().0.set_has_target(true);
        self.woken.notify_one();
        self.changes.send_replace(());
    }
}
