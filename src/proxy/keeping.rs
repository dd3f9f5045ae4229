//! Whether connections are kept, and beginning to.

use std::os::fd::{AsFd, OwnedFd};

use super::event;
use super::keep::{self, KeepError, Started};
use super::last_will;
use super::options::Options;
use super::relay;
use crate::service::activation::Inherited;
use crate::service::listener::Listener;
use crate::service::notify;
use crate::service::plural::count;
use crate::service::program::Failure;

/// Keeps connections if that is wanted and possible, and finds those that another process has left;
/// `None` if they end with the process.
///
/// # Errors
///
/// When it is demanded and not possible, or when those that are kept need more descriptors.
pub(super) fn begin(
    options: &Options,
    stored: Vec<OwnedFd>,
    respawn: Option<Vec<Inherited>>,
    listeners: &[Listener],
    connections: usize,
    threads: usize,
) -> Result<Option<Started>, Failure> {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    // One for each direction whose receiver is slow, and one for each thread to receive into.
    let buffers = number(2 * connections + threads + 1);
    let how = keep::KeepOptions {
        connections: number(connections),
        buffers,
        listeners: listeners.iter().map(AsFd::as_fd).collect(),
        is_heir: keep::heir_of().is_some(),
    };
    let wanted = options
        .keep_connections
        .unwrap_or_else(|| !options.take_over && notify::is_systemd());
    let kept = match wanted {
        false => {
            discard(stored, "they are not to be kept");
            Err(None)
        }
        true => keep::start(stored, &how, respawn).map_err(Some),
    };
    match kept {
        Ok(started) => {
            relay::keep_with(started.keep);
            tracing::info!(
                MESSAGE_ID = event::KEEPS,
                "connections outlive this process: systemd keeps them"
            );
            if let Some(error) = &started.no_heir {
                tracing::warn!(
                    MESSAGE_ID = event::KEEPS, ERROR = %error,
                    "if this process is killed, systemd starts the next one, and not its last will as \
                     --respawn=yes says: {error}"
                );
            }
            if let Some(error) = &started.no_will {
                last_will::tell_missing(error);
            }
            Ok(Some(started))
        }
        // Another process can try: they are still kept.
        Err(Some(error @ KeepError::Descriptors)) => Err(error.into()),
        Err(Some(error)) if options.keep_connections == Some(true) => Err(format!(
            "connections cannot be kept as --keep-connections=yes says: {error}"
        )
        .into()),
        Err(why) => {
            match why {
                None => {}
                Some(why @ KeepError::Refused) => tracing::info!(
                    MESSAGE_ID = event::KEEPS, REASON = %why,
                    "connections end with this process: {why}"
                ),
                Some(why) => tracing::warn!(
                    MESSAGE_ID = event::KEEPS, REASON = %why,
                    "connections end with this process, and those that were kept were reset: {why}"
                ),
            }
            relay::allow_buffers(buffers)?;
            Ok(None)
        }
    }
}

/// Resets those that another process has left, for this one cannot start: the next one could not either,
/// perhaps, and nobody waits for what may never come.
pub(super) fn give_up(stored: Vec<OwnedFd>) {
    discard(stored, "this process cannot start");
}

fn discard(stored: Vec<OwnedFd>, why: &str) {
    let sockets = keep::discard(stored, keep::heir_of().is_some());
    if sockets > 0 {
        tracing::warn!(
            MESSAGE_ID = event::NOT_KEPT,
            OPEN = sockets,
            "{} of connections that were kept before {} reset: {why}",
            count(sockets, "socket"),
            if sockets == 1 { "was" } else { "were" }
        );
    }
}
