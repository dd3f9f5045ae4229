//! Whether connections are kept, and beginning to.

use std::os::fd::{AsFd, OwnedFd};

use super::limits;
use crate::proxy::assembly::last_will;
use crate::proxy::event;
use crate::proxy::keep::{self, KeepError, KeepOptions, Started};
use crate::proxy::options::ProxyOptions;
use crate::proxy::relay;
use crate::service::activation::Inherited;
use crate::service::descriptor_store;
use crate::service::listener::Listener;
use crate::service::notify;
use crate::service::plural::count;
use crate::service::program::Failure;

/// Keeps connections if that is wanted and possible, and finds those that another process has left. Returns what
/// they are kept with. Fails if keeping is demanded and not possible, or if what is kept needs more descriptors.
pub fn begin(
    options: &ProxyOptions,
    stored: Vec<OwnedFd>,
    respawn: Option<Vec<Inherited>>,
    listeners: &[Listener],
    connections: usize,
    threads: usize,
) -> Result<Option<Started>, Failure> {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let keep_options = KeepOptions {
        connections: number(connections),
        // One for each direction whose receiver is slow, and one for each thread to receive into.
        buffers: number(2 * connections + threads + 1),
        listeners: listeners.iter().map(AsFd::as_fd).collect(),
        is_heir: keep::heir_of().is_some(),
    };
    let is_wanted = options
        .keep_connections
        .unwrap_or_else(|| !options.take_over && notify::is_systemd());
    let kept = match is_wanted {
        true if is_hopeless(options, &stored) => Err(Some(KeepError::Refused)),
        true => keep::start(stored, &keep_options, respawn).map_err(Some),
        false => {
            discard(stored, "they are not to be kept");
            Err(None)
        }
    };
    let kept = match kept {
        Ok(started) => {
            relay::keep_with(started.keep);
            log_kept(&started);
            Some(started)
        }
        // Another process can try: they are still kept.
        Err(Some(error @ KeepError::Descriptors)) => return Err(error.into()),
        Err(Some(error)) if options.keep_connections == Some(true) => {
            let sentence =
                format!("connections cannot be kept as --keep-connections=yes says: {error}");
            return Err(sentence.into());
        }
        Err(why) => {
            why.iter().for_each(log_not_kept);
            relay::allow_buffers(keep_options.buffers)?;
            None
        }
    };
    limits::log(
        options.runtime_directory().as_deref(),
        limits::Limits {
            asked: options.connections_max,
            open: connections,
            kept: kept.as_ref().map(|kept| kept.keep.connections()),
        },
    );
    Ok(kept)
}

/// Whether systemd would refuse, and log a warning for the attempt.
fn is_hopeless(options: &ProxyOptions, stored: &[OwnedFd]) -> bool {
    stored.is_empty() && options.keep_connections.is_none() && !descriptor_store::is_possible()
}

fn log_kept(started: &Started) {
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
        last_will::log_missing(error);
    }
}

fn log_not_kept(why: &KeepError) {
    match why {
        KeepError::Refused => tracing::info!(
            MESSAGE_ID = event::KEEPS, REASON = %why,
            "connections end with this process: {why}"
        ),
        _ => tracing::warn!(
            MESSAGE_ID = event::KEEPS, REASON = %why,
            "connections end with this process, and those that were kept were reset: {why}"
        ),
    }
}

/// Resets the connections that another process has left, because this one cannot start: the next one might
/// not either, and no peer should wait in vain.
pub fn give_up(stored: Vec<OwnedFd>) {
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
