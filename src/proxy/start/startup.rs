//! From what is prepared to a proxy that accepts.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::preparation::{ListeningSockets, Preparation};
use super::take_over::Predecessor;
use super::{descriptors, keeping, resumption};
use crate::proxy::admission::{Admission, Sweep, survived};
use crate::proxy::assembly::Proxy;
use crate::proxy::control::callers::Callers;
use crate::proxy::control::server;
use crate::proxy::event;
use crate::proxy::health;
use crate::proxy::keep;
use crate::proxy::options::ProxyOptions;
use crate::proxy::route::Route;
use crate::service::exhausted::{self, is_of_descriptors};
use crate::service::listener::Listener;
use crate::service::plural::clause;
use crate::service::program::Failure;

/// A proxy that accepts.
pub struct AssembledProxy {
    pub proxy: Arc<Proxy>,
    pub callers: Arc<Callers>,
}

impl AssembledProxy {
    /// Begins to keep connections, which has those that are `stored`, puts all parts together, and has them serve.
    /// Returns the listeners, too.
    pub fn start(
        preparation: Preparation,
        options: &ProxyOptions,
        stored: Vec<OwnedFd>,
    ) -> Result<(Self, Arc<[Listener]>), Failure> {
        let ListeningSockets {
            predecessor,
            clients,
            control,
            health,
            respawn,
        } = preparation.sockets;
        let listeners: Arc<[Listener]> = clients.into();
        let control: Arc<[Listener]> = control.into();
        let (connections, threads) = (preparation.connections, preparation.threads);
        let most = threads.most;
        let kept = keeping::begin(options, stored, respawn, &listeners, connections, most)?;
        let admission = Admission::new(
            Arc::clone(&listeners),
            connections,
            options.connections_max_per_source,
            preparation.lock,
            kept.as_ref().map(|kept| kept.keep),
        );
        let sweep = Sweep {
            idle: options.idle_timeout.finite(),
            stalled: options.stall_timeout.finite(),
            silent: preparation.settings.keepalive,
            ..Sweep::default()
        };
        let route = Route::new(
            Arc::new(admission),
            preparation.settings,
            preparation.target,
            preparation.target_file,
            preparation.handover,
            &control,
        );
        let directory = route.admission.lock_directory();
        let proxy = match Proxy::new(Arc::new(route), threads, sweep, health) {
            Ok(proxy) => Arc::new(proxy),
            Err(error) => return Err(cannot_carry(kept, directory.as_deref(), error.into())),
        };
        match predecessor {
            Some(predecessor) => succeed(predecessor, preparation.open_in_predecessor, &proxy),
            None => proxy.adopt_orphans(),
        }
        tokio::spawn(Arc::clone(&proxy).look_after_connections());
        let callers = Arc::new(Callers::new(control));
        server::start(&callers, &proxy);
        health::server::start(&proxy);
        serve(&proxy, kept, directory.as_deref())?;
        Ok((Self { proxy, callers }, listeners))
    }
}

/// Continues the connections of the process before, and then opens the doors.
fn serve(
    proxy: &Arc<Proxy>,
    kept: Option<keep::Started>,
    directory: Option<&Path>,
) -> Result<(), Failure> {
    let start = proxy.workers.start().map_err(Failure::from);
    let can_serve = start.and_then(|()| Ok(exhausted::make_sure_of(descriptors::TO_SERVE)?));
    if let Err(failure) = can_serve {
        return Err(cannot_carry(kept, directory, failure));
    }
    let survived = kept.map(|kept| resumption::resume(proxy, kept));
    proxy.workers.open_doors();
    if let Some(keep) = proxy.admission.keep {
        keep.serves();
    }
    // Connections need not wait for that.
    let record = &proxy.admission.survived;
    log_uncounted(record.begin(directory, survived.unwrap_or_default()));
    Ok(())
}

/// Logs why it could not be counted what the connections of the process before have come through.
fn log_uncounted(counted: io::Result<()>) {
    if let Err(error) = counted {
        tracing::warn!(
            ERROR = %error,
            "what connections have survived cannot be written down for the next process: {error}"
        );
    }
}

/// Continues with the open connections of the predecessor, and with a target that was set while this process
/// prepared itself.
fn succeed(predecessor: Predecessor, open: usize, proxy: &Arc<Proxy>) {
    proxy.took_over(open);
    if let Err(error) = proxy.route.reload_target() {
        tracing::error!(ERROR = %error, "the target cannot be read again: {error}");
    }
    tracing::info!(
        MESSAGE_ID = event::TOOK_OVER,
        OPEN = open,
        "took over from {}: {} open there",
        predecessor.name(),
        clause(open, "connection", ("is still", "are still"))
    );
    tokio::spawn(predecessor.follow(Arc::clone(proxy)));
}

/// The failure of a process that cannot carry anything. Resets what is kept, unless descriptors are lacking:
/// then the next process finds the same.
fn cannot_carry(
    kept: Option<keep::Started>,
    directory: Option<&Path>,
    failure: Failure,
) -> Failure {
    if is_of_descriptors(failure.as_ref()) {
        // As in a process that was killed.
        std::mem::forget(kept);
        return failure;
    }
    if let Some(kept) = kept {
        log_uncounted(survived::add(
            directory,
            resumption::nothing_survived(&kept),
        ));
        resumption::give_up(kept);
    }
    format!("no thread can be started: {failure} (raise TasksMax=, LimitNPROC= or MemoryMax=)")
        .into()
}
