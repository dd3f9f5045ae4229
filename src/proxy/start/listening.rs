//! The listeners: systemd's, new ones, or those of a predecessor.

use std::path::PathBuf;

use super::take_over::{self, Predecessor, TakeOverError};
use crate::proxy::options::ProxyOptions;
use crate::service::activation::{self, Inherited};
use crate::service::binding;
use crate::service::listener::Listener;
use crate::service::program::{self, Failure};

/// The exit status when a take-over has failed.
const NOT_TAKEN_OVER: u8 = 3;

/// The directories of files, and of the control socket if it is made here.
pub fn directories(options: &ProxyOptions, makes_control: bool) -> Vec<PathBuf> {
    let all = [
        options.runtime_directory(),
        options.state_directory(),
        options.control_directory().filter(|_| makes_control),
    ];
    let mut all: Vec<_> = all.into_iter().flatten().collect();
    all.dedup();
    all
}

/// The process that `--take-over` replaces, if there is one.
pub async fn predecessor(
    options: &ProxyOptions,
    inherited: usize,
) -> Result<Option<Predecessor>, Failure> {
    match (options.take_over, &options.control) {
        (true, Some(_)) if inherited > 0 => Err(
            "--take-over is for a proxy that listens by itself, and systemd gives sockets: leave \
             one of them away"
                .into(),
        ),
        (true, Some(control)) => take_over::ask(control).await.map_err(not_taken_over),
        _ => Ok(None),
    }
}

/// A failed take-over, which has changed nothing for the proxy that runs.
pub fn not_taken_over(error: TakeOverError) -> Failure {
    let failure = error.into();
    program::WithStatus {
        status: NOT_TAKEN_OVER,
        failure,
    }
    .into()
}

/// The client listeners: systemd's, or those of `--listen`.
pub async fn clients(
    inherited: Vec<Inherited>,
    options: &ProxyOptions,
) -> Result<Vec<Listener>, Failure> {
    match (inherited.is_empty(), options.listen.is_empty()) {
        (true, true) => Err(no_listener().into()),
        (false, false) => Err("both systemd and --listen give sockets: use one of them".into()),
        (false, true) => Ok(Listener::inherit_all(inherited)?),
        (true, false) => Ok(binding::bind_all(&options.listen, options.bind_timeout).await?),
    }
}

fn no_listener() -> String {
    let why = activation::elsewhere();
    let why = why.unwrap_or_else(|| "start it by a .socket unit, or give --listen".to_owned());
    format!("nowhere to listen: {why}")
}

/// Takes those of systemd's sockets that listen where `--health` says. Fails if that address cannot be looked up.
pub fn take_health(
    inherited: &mut Vec<Inherited>,
    options: &ProxyOptions,
) -> Result<Vec<Inherited>, Failure> {
    let Some(address) = &options.health else {
        return Ok(Vec::new());
    };
    let taken = binding::take_at(address, inherited)?;
    if taken.is_empty() && !inherited.is_empty() {
        // Clients matter more.
        tracing::error!(
            "no load balancer is answered: systemd passes no socket that listens at {address}, as --health says \
             (its .socket unit is missing, masked or has another address)"
        );
    }
    Ok(taken)
}

/// The listener of `--health`: systemd's, or one that is made here. With sockets from systemd none is made: it would be
/// closed whenever the proxy ends.
pub async fn health(
    inherited: Vec<Inherited>,
    options: &ProxyOptions,
) -> Result<Vec<Listener>, Failure> {
    match &options.health {
        Some(address) if !options.listen.is_empty() => {
            let address = std::slice::from_ref(address);
            Ok(binding::bind_all(address, options.bind_timeout).await?)
        }
        _ => Ok(Listener::inherit_all(inherited)?),
    }
}

pub async fn control(
    inherited: Vec<Inherited>,
    options: &ProxyOptions,
) -> Result<Vec<Listener>, Failure> {
    match (&options.control, inherited.is_empty()) {
        (Some(path), true) => {
            let listener = binding::bind_private(path, options.bind_timeout).await?;
            Ok(vec![listener])
        }
        _ => Ok(Listener::inherit_all(inherited)?),
    }
}
