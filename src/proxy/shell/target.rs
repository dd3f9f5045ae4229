//! Where new connections go, and changing it.

use std::io;
use std::sync::{Arc, PoisonError};

use super::{Proxy, Settings};
use crate::proxy::event;
use crate::service::address::Address;
use crate::service::ending;
use crate::service::leads_to;
use crate::service::listener::{Arrival, Listener};
use crate::service::program::{self, Failure};

/// Why the target was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetTargetError {
    /// It is given on the command line.
    #[error("the target {0} is given on the command line or by the environment")]
    Fixed(Address),
    /// It does not go together with an option.
    #[error("{0}")]
    Contradiction(&'static str),
    /// It leads back to this listener of ours.
    #[error("it leads back to this proxy, which listens on {0} itself")]
    LeadsBack(String),
    /// It could not be written down.
    #[error("the target could not be saved: {0}")]
    NotSaved(#[from] io::Error),
}

/// The target that a process begins with. One that was saved and leads back to the proxy is left out, so that
/// another one can be set.
///
/// # Errors
///
/// When the proxy cannot lead to the one that it was started with, or not as it was started.
pub(in crate::proxy) async fn first_target(
    target: Option<Address>,
    settings: &Settings,
    listeners: &[Listener],
) -> Result<Option<Address>, Failure> {
    let Some(target) = target else {
        return Ok(None);
    };
    let why = match settings.contradiction(&target) {
        Some(why) if !settings.target_fixed => return Err(why.into()),
        Some(why) => why.to_owned(),
        None => match leads_to::listener_at_name(&target, listeners).await {
            None => return Ok(Some(target)),
            Some(listener) => {
                let why = SetTargetError::LeadsBack(listener.to_string());
                format!("the target {target} makes no sense: {why}")
            }
        },
    };
    if settings.target_fixed {
        return Err(program::wrong_usage(&why));
    }
    tracing::error!(
        MESSAGE_ID = event::LEADS_BACK, UPSTREAM = %target,
        "{why}; clients wait until another one is set"
    );
    Ok(None)
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
        self.check_target(&target)?;
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
            self.check_target(&target).map_err(io::Error::other)?;
            self.use_target(target);
        }
        Ok(())
    }

    /// Whether the proxy can lead there, as far as that can be told without looking up a name.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_target(&self, target: &Address) -> Result<(), SetTargetError> {
        if let Some(why) = self.settings.contradiction(target) {
            return Err(SetTargetError::Contradiction(why));
        }
        match leads_to::listener_at(target, &self.listeners()) {
            Some(listener) => Err(SetTargetError::LeadsBack(listener.to_string())),
            None => Ok(()),
        }
    }

    /// As [`Self::check_target`], but a name is looked up if it may lead back.
    ///
    /// # Errors
    ///
    /// As [`Self::check_target`].
    pub async fn check_target_name(&self, target: &Address) -> Result<(), SetTargetError> {
        self.check_target(target)?;
        match leads_to::listener_at_name(target, &self.listeners()).await {
            Some(listener) => Err(SetTargetError::LeadsBack(listener.to_string())),
            None => Ok(()),
        }
    }

    /// If all places are taken, ends the connections to earlier targets on which nobody has said anything. A
    /// target that leads back by way of another proxy takes all places like that.
    fn make_room(&self) {
        let is_full = {
            let gate = self.gate();
            gate.0.open() >= gate.0.connections_max()
        };
        if let (true, Some(target)) = (is_full, self.target()) {
            self.connections.abort_unused(&target);
        }
    }

    /// A client was accepted that is this proxy itself. It is reset, and that goes through all connections by
    /// which it came.
    pub(in crate::proxy) fn refuse_own(&self, client: &Arrival) {
        ending::reset_on_close(&client.socket);
        if self.connector.loops.tells() {
            let target = self.target().map(|target| target.to_string());
            let target = target.unwrap_or_default();
            tracing::error!(
                MESSAGE_ID = event::LEADS_BACK, PEER = %client.peer, UPSTREAM = target,
                "the target {target} leads back to this proxy: clients are reset until another one is set"
            );
        }
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
        let may_lead_back = leads_to::may_lead_to_one(&target, &self.listeners());
        self.connector.loops.expect(may_lead_back);
        *current = Some(Arc::new(target));
        drop(current);
        self.make_room();
        self.gate().0.set_has_target(true);
        self.woken.notify_one();
        self.changes.send_replace(());
    }
}
