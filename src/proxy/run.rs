//! From the command line to a running proxy.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::control::server::ControlServer;
use super::descriptors;
use super::event;
use super::handover::{self, Handover};
use super::keep;
use super::keeping;
use super::limits;
use super::options::{self, Options};
use super::restored;
use super::running::Running;
use super::shell::{Leaving, Proxy, Settings, first_target};
use super::state::{self, LockDirectory, TargetFile};
use super::take_over::{self, Predecessor, TakeOverError};
use super::workers::Threads;
use crate::service::activation::{self, Inherited};
use crate::service::binding;
use crate::service::listener::Listener;
use crate::service::program::{self, Failure};
use crate::service::serve::{Ended, Lifetime, serve};
use crate::service::words::clause;

/// What `FileDescriptorName=` calls control sockets.
const CONTROL_NAME: &str = "varlink";

/// The exit status when the proxy that runs could not be taken over from.
const NOT_TAKEN_OVER: u8 = 3;

/// The exit status of a process that was told to end and has left open connections to the next one:
/// `EX_TEMPFAIL` of sysexits.h. The units have systemd start that one (`RestartForceExitStatus=`), unless it is
/// systemd that stops the service.
const LEFT: u8 = 75;

/// The program `disnix-tcp-proxy`.
pub fn main() -> ExitCode {
    program::keep_memory_private();
    let options = Options::read();
    program::run("disnix-tcp-proxy", options.log_level, run(options))
}

async fn run(options: Options) -> Result<ExitCode, Failure> {
    let (stored, sockets) = keep::separate(activation::inherited()?);
    let respawn = match options.respawn {
        true => Some(sockets.iter().map(Inherited::try_clone).collect()),
        false => None,
    };
    let respawn = respawn.transpose()?;
    let (control_sockets, client_sockets): (Vec<Inherited>, Vec<Inherited>) = sockets
        .into_iter()
        .partition(|socket| socket.name == CONTROL_NAME);
    let inherited = client_sockets.len() + control_sockets.len();
    for directory in directories(&options, control_sockets.is_empty()) {
        state::check(&directory)?;
    }
    let mut predecessor = predecessor(&options, inherited).await?;
    let (mut listeners, control) = match &mut predecessor {
        Some(predecessor) => predecessor
            .sockets(&options.listen)
            .map_err(not_taken_over)?,
        None => (
            listeners(client_sockets, &options).await?,
            control_listeners(control_sockets, &options).await?,
        ),
    };
    let threads = Threads::of_option(options.threads);
    let lock = LockDirectory::new(options.runtime_directory().as_deref());
    let target_file = TargetFile::new(options.state_directory().as_deref());
    let target = match &options.target {
        Some(target) => Some(target.clone()),
        None => target_file.load()?,
    };
    let settings = Settings {
        target_fixed: options.target.is_some(),
        connect_timeout: options.connect_timeout.finite(),
        idle_timeout: options.idle_timeout.finite(),
        stall_timeout: options.stall_timeout.finite(),
        connections_max_per_source: options.connections_max_per_source,
        keepalive: options.keepalive.finite(),
        proxy_protocol: options.proxy_protocol,
    };
    let target = first_target(target, &settings, &listeners).await?;
    // What can fail comes before this; behind it the place is ours.
    let open_before = match &mut predecessor {
        Some(predecessor) => {
            let target_file = (!settings.target_fixed).then_some(&target_file);
            predecessor
                .keeps_its_state_in(&lock, target_file)
                .map_err(not_taken_over)?;
            predecessor.retire().await.map_err(not_taken_over)?
        }
        None => 0,
    };
    for listener in &mut listeners {
        if let Err(error) = listener.set_options(settings.keepalive) {
            tracing::error!(
                ERROR = %error, LISTENER = %listener,
                "clients of {listener} are not probed as --keepalive says: {error}"
            );
        }
    }
    listeners.iter().chain(&control).for_each(Listener::keep);
    let listeners: Arc<[Listener]> = listeners.into();
    let connections = descriptors::share(options.connections_max, threads.most);
    let mut proxy = Proxy::new(
        settings,
        Arc::clone(&listeners),
        connections,
        lock,
        target,
        target_file,
        Handover::new(options.runtime_directory().as_deref())?,
    );
    let kept = keeping::begin(
        &options,
        stored,
        respawn,
        &listeners,
        connections,
        threads.most,
    )?;
    if let Some(started) = &kept {
        proxy.keeps_with(started.keep);
    }
    limits::tell(
        options.runtime_directory().as_deref(),
        limits::Limits {
            asked: options.connections_max,
            open: connections,
            kept: kept.as_ref().map(|started| started.keep.connections()),
        },
    );
    let proxy = Arc::new(proxy);
    match predecessor {
        Some(predecessor) => succeed(predecessor, open_before, &proxy),
        None => proxy.adopt_orphans(),
    }
    tokio::spawn(handover::attend(Arc::clone(&proxy)));
    let control = ControlServer::new(control);
    control.start(&proxy);
    let lifetime = Lifetime {
        exit_idle_time: options.exit_idle_time.finite(),
        drain_timeout: options.drain_timeout.finite(),
    };
    if let Err(error) = proxy.start(threads) {
        kept.into_iter().for_each(restored::give_up);
        return Err(format!(
            "no thread can be started: {error} (raise TasksMax=, LimitNPROC= or MemoryMax=)"
        )
        .into());
    }
    if let Some(started) = kept {
        restored::go_on(&proxy, started);
    }
    proxy.open_doors();
    if let Some(keep) = proxy.keep() {
        keep.serves();
    }
    let running = Arc::new(Running::new(Arc::clone(&proxy), control));
    let served = serve(running, listeners, lifetime).await;
    let leaving = match served {
        Ok(Ended::Over) => Leaving::Nothing,
        Ok(Ended::Left) => Leaving::ToHeir,
        // As one that is killed does; but systemd judges one that cannot go on.
        Err(_) => Leaving::ToNext,
    };
    let has_left = proxy.end(leaving);
    served.map(|_| match has_left {
        true => LEFT.into(),
        false => ExitCode::SUCCESS,
    })
}

/// Goes on with what the process before has left: its open connections, and a target that was set
/// while we made ourselves ready.
fn succeed(predecessor: Predecessor, open: usize, proxy: &Arc<Proxy>) {
    proxy.took_over(open);
    if let Err(error) = proxy.reload_target() {
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

/// Where files are kept, and where the control socket is if it is made here.
fn directories(options: &Options, makes_control: bool) -> Vec<PathBuf> {
    let control = options.control.as_deref().filter(|_| makes_control);
    let all = [
        options.runtime_directory(),
        options.state_directory(),
        control.map(options::directory_of),
    ];
    let mut all: Vec<_> = all.into_iter().flatten().collect();
    all.dedup();
    all
}

/// The process whose place is to be taken, if there is one.
async fn predecessor(options: &Options, inherited: usize) -> Result<Option<Predecessor>, Failure> {
    match (options.take_over, &options.control) {
        (true, Some(_)) if inherited > 0 => Err(
            "--take-over is for a proxy that listens by itself, and systemd gives sockets: leave \
             one of them away"
                .into(),
        ),
        (true, Some(control)) => {
            // There may be many sockets.
            program::raise_descriptor_limit();
            take_over::ask(control).await.map_err(not_taken_over)
        }
        _ => Ok(None),
    }
}

/// The failure of a process that has changed nothing for the one that runs.
fn not_taken_over(error: TakeOverError) -> Failure {
    let failure = error.into();
    program::WithStatus {
        status: NOT_TAKEN_OVER,
        failure,
    }
    .into()
}

/// The client listeners: systemd's, or those of `--listen`.
async fn listeners(inherited: Vec<Inherited>, options: &Options) -> Result<Vec<Listener>, Failure> {
    match (inherited.is_empty(), options.listen.is_empty()) {
        (true, true) => Err(nowhere_to_listen().into()),
        (false, false) => Err("both systemd and --listen give sockets: use one of them".into()),
        (false, true) => Ok(Listener::inherit_all(inherited)?),
        (true, false) => Ok(binding::bind_all(&options.listen, options.bind_timeout).await?),
    }
}

fn nowhere_to_listen() -> String {
    let why = activation::elsewhere();
    let why = why.unwrap_or_else(|| "start it by a .socket unit, or give --listen".to_owned());
    format!("nowhere to listen: {why}")
}

async fn control_listeners(
    inherited: Vec<Inherited>,
    options: &Options,
) -> Result<Vec<Listener>, Failure> {
    match (&options.control, inherited.is_empty()) {
        (Some(path), true) => {
            let listener = binding::bind_private(path, options.bind_timeout).await?;
            Ok(vec![listener])
        }
        _ => Ok(Listener::inherit_all(inherited)?),
    }
}
