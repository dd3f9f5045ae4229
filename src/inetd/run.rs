//! The program `disnix-tcp-proxy-inetd`.

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::io::{FdFlags, fcntl_setfd};

use super::command::ClientCommand;
use super::options::InetdOptions;
use super::receiver::ClientReceiver;
use crate::service::activation::{self, ActivationError, Inherited};
use crate::service::exhausted;
use crate::service::listener::{ListenError, Listener};
use crate::service::places::ClientPlaces;
use crate::service::program::{self, Failure};
use crate::service::serve::{Lifetime, Service, serve};

/// Descriptors that are not for clients: also those that a start of a process needs for a moment.
const DESCRIPTORS_RESERVED: u64 = 32;

/// Descriptors of each client: its socket, its token, and its process.
const DESCRIPTORS_EACH: u64 = 3;

/// The program.
pub fn main() -> ExitCode {
    let inherited = activation::inherited();
    let options = InetdOptions::read().unwrap_or_else(|error| program::refuse(&error));
    let level = options.log_level;
    program::run("disnix-tcp-proxy-inetd", level, run(options, inherited))
}

async fn run(
    options: InetdOptions,
    inherited: Result<Vec<Inherited>, ActivationError>,
) -> Result<(), Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    let command = ClientCommand::find(&options.command, &path)
        .map_err(|error| program::wrong_usage(&error.to_string()))?;
    let listeners: Arc<[Listener]> = listeners(&options, inherited?)?.into();
    exhausted::make_sure_of(DESCRIPTORS_RESERVED as usize / 2)?;
    let most = processes_max(options.processes_max, program::descriptor_limit());
    let places = Arc::new(ClientPlaces::new(most, status));
    let receiver = ClientReceiver::new(Arc::clone(&places), Arc::clone(&listeners), command)?;
    tokio::spawn(receiver.accept());
    let lifetime = Lifetime {
        exit_idle_time: options.exit_idle_time.finite(),
        drain_timeout: options.drain_timeout.finite(),
    };
    // Processes that are left are cut off with their tasks.
    serve(places, listeners, lifetime).await?;
    Ok(())
}

/// The sentence of `systemctl status`.
fn status(places: &ClientPlaces, _: &[Listener]) -> String {
    format!("{} served, at most {}.", places.open(), places.max())
}

/// How many processes can run with this limit of descriptors. It is not raised: processes inherit it, and some
/// cannot use high ones (select(2)).
fn processes_max(wanted: usize, limit: u64) -> usize {
    let possible = program::share_descriptors(limit, DESCRIPTORS_RESERVED, DESCRIPTORS_EACH).max(1);
    if possible < wanted {
        tracing::warn!(
            "at most {possible} processes instead of {wanted}, for lack of descriptors (raise LimitNOFILE=)"
        );
    }
    wanted.min(possible)
}

/// The inherited sockets, or those of the command line.
fn listeners(options: &InetdOptions, inherited: Vec<Inherited>) -> Result<Vec<Listener>, Failure> {
    let mut listeners = Vec::new();
    for socket in inherited {
        // Not for the processes: a socket that they have would outlive its unit.
        fcntl_setfd(&socket.fd, FdFlags::CLOEXEC)?;
        listeners.push(Listener::inherited_handover(socket.fd)?);
    }
    if listeners.is_empty() {
        let bound = options
            .handover
            .iter()
            .map(|path| Listener::bind_handover(path));
        listeners = bound.collect::<Result<_, ListenError>>()?;
    }
    if listeners.is_empty() {
        let why = activation::elsewhere().unwrap_or_else(|| {
            "there is no socket to take clients from: it comes from a .socket unit with ListenDatagram=, or from \
             --handover"
                .to_owned()
        });
        return Err(program::wrong_usage(&why));
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_descriptors_and_there_is_always_one() {
        for (wanted, limit, most) in [
            (64, u64::MAX, 64),
            (64, 1024, 64),
            (1000, 1024, 330),
            (1000, 35, 1),
            (1000, 0, 1),
            (1, 0, 1),
        ] {
            assert_eq!(processes_max(wanted, limit), most, "{wanted} of {limit}");
        }
    }
}
