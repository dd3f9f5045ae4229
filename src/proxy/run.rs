//! From the command line to a running proxy.

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;

use super::admission::Admission;
use super::assembly::{Leaving, Proxy};
use super::connections::Sweep;
use super::control::server::ControlServer;
use super::event;
use super::handover::Handover;
use super::keep;
use super::keeping;
use super::options::Options;
use super::restored;
use super::route::{Route, RouteSettings};
use super::running::Running;
use super::start::first_target::first_target;
use super::start::listening::{self, not_taken_over};
use super::start::{descriptors, limits};
use super::state::{self, LockDirectory, TargetFile};
use super::take_over::Predecessor;
use super::workers::Threads;
use crate::service::activation::{self, ActivationError, Inherited};
use crate::service::address::Address;
use crate::service::exhausted::is_of_descriptors;
use crate::service::listener::Listener;
use crate::service::log;
use crate::service::plural::clause;
use crate::service::program::{self, Failure};
use crate::service::serve::{Lifetime, ServeOutcome, serve};

const NAME: &str = "disnix-tcp-proxy";

/// What `FileDescriptorName=` calls control sockets.
const CONTROL_NAME: &str = "varlink";

/// The exit status of a process that was told to end and has left open connections to the next one:
/// `EX_TEMPFAIL` of sysexits.h. The units have systemd start that one (`RestartForceExitStatus=`), unless it is
/// systemd that stops the service.
const LEFT: u8 = 75;

/// The program `disnix-tcp-proxy`.
pub fn main() -> ExitCode {
    let inherited = activation::inherited();
    program::keep_memory_private();
    match Options::read() {
        Ok(options) => program::run(NAME, options.log_level, run(options, inherited)),
        Err(error) => {
            if let Ok(inherited) = inherited {
                log::start(NAME, log::Level::default());
                keeping::give_up(keep::separate(inherited).0);
            }
            program::refuse(&error)
        }
    }
}

/// Starts a proxy and serves until its end.
async fn run(
    options: Options,
    inherited: Result<Vec<Inherited>, ActivationError>,
) -> Result<ExitCode, Failure> {
    program::raise_descriptor_limit();
    let (stored, sockets) = keep::separate(inherited?);
    let place = match find_place(&options, sockets).await {
        Ok(place) => place,
        Err(failure) => {
            // A process that may have more descriptors goes on with what is kept.
            if !is_of_descriptors(failure.as_ref()) {
                keeping::give_up(stored);
            }
            return Err(failure);
        }
    };
    let started = place.assemble(&options, stored)?.start()?;
    started.serve(&options).await
}

/// Does all that can fail before connections are kept. Each step gives the next one what it needs, so that they
/// can only follow each other.
async fn find_place(options: &Options, sockets: Vec<Inherited>) -> Result<Place, Failure> {
    let sockets = Sockets::of(options, sockets)?;
    let claim = Claim::make(options, sockets).await?;
    let prepared = Prepared::check(options, claim).await?;
    prepared.take_place().await
}

/// The sockets that systemd gives.
struct Sockets {
    /// Copies for the heir, if there is to be one.
    respawn: Option<Vec<Inherited>>,
    control: Vec<Inherited>,
    clients: Vec<Inherited>,
}

impl Sockets {
    fn of(options: &Options, sockets: Vec<Inherited>) -> Result<Self, Failure> {
        let respawn = match options.respawn {
            true => Some(sockets.iter().map(Inherited::try_clone).collect()),
            false => None,
        };
        let (control, clients) = sockets
            .into_iter()
            .partition(|socket| socket.name == CONTROL_NAME);
        Ok(Self {
            respawn: respawn.transpose()?,
            control,
            clients,
        })
    }
}

/// Where the proxy is to listen: nothing has changed yet for a proxy that runs.
struct Claim {
    predecessor: Option<Predecessor>,
    listeners: Vec<Listener>,
    control: Vec<Listener>,
    respawn: Option<Vec<Inherited>>,
}

impl Claim {
    async fn make(options: &Options, sockets: Sockets) -> Result<Self, Failure> {
        let Sockets {
            respawn,
            control,
            clients,
        } = sockets;
        for directory in listening::directories(options, control.is_empty()) {
            state::check(&directory)?;
        }
        let mut predecessor =
            listening::predecessor(options, clients.len() + control.len()).await?;
        let (listeners, control) = match &mut predecessor {
            Some(predecessor) => predecessor
                .sockets(&options.listen)
                .map_err(not_taken_over)?,
            None => (
                listening::clients(clients, options).await?,
                listening::control(control, options).await?,
            ),
        };
        Ok(Self {
            predecessor,
            listeners,
            control,
            respawn,
        })
    }
}

/// What the proxy begins with was read and checked.
struct Prepared {
    claim: Claim,
    settings: RouteSettings,
    target: Option<Address>,
    target_file: TargetFile,
    lock: LockDirectory,
    handover: Handover,
}

impl Prepared {
    async fn check(options: &Options, claim: Claim) -> Result<Self, Failure> {
        let target_file = TargetFile::new(options.state_directory().as_deref());
        let target = match &options.target {
            Some(target) => Ok(Some(target.clone())),
            None => target_file.load(),
        };
        let settings = RouteSettings {
            target_fixed: options.target.is_some(),
            connect_timeout: options.connect_timeout.finite(),
            keepalive: options.keepalive.finite(),
            proxy_protocol: options.proxy_protocol,
        };
        // The proxy that runs has a target.
        let may_wait = claim.predecessor.is_none();
        let ours: [&[Listener]; 2] = [&claim.listeners, &claim.control];
        let target = first_target(target, &settings, ours, may_wait).await?;
        Ok(Self {
            claim,
            settings,
            target,
            target_file,
            lock: LockDirectory::new(options.runtime_directory().as_deref()),
            handover: Handover::new(options.runtime_directory().as_deref())?,
        })
    }

    /// Takes the place of the proxy that runs, if there is one. From here on the listeners are ours.
    async fn take_place(mut self) -> Result<Place, Failure> {
        let open_before = match &mut self.claim.predecessor {
            Some(predecessor) => {
                let target_file = (!self.settings.target_fixed).then_some(&self.target_file);
                predecessor
                    .keeps_its_state_in(&self.lock, target_file)
                    .map_err(not_taken_over)?;
                predecessor.retire().await.map_err(not_taken_over)?
            }
            None => 0,
        };
        let keepalive = self.settings.keepalive;
        for listener in &mut self.claim.listeners {
            if let Err(error) = listener.set_options(keepalive) {
                tracing::error!(
                    ERROR = %error, LISTENER = %listener,
                    "clients of {listener} are not probed as --keepalive says: {error}"
                );
            }
        }
        let all = self.claim.listeners.iter().chain(&self.claim.control);
        all.for_each(Listener::keep);
        Ok(Place {
            prepared: self,
            open_before,
        })
    }
}

/// The listeners are ours.
struct Place {
    prepared: Prepared,
    /// The connections that are open in the process whose place it was.
    open_before: usize,
}

impl Place {
    /// Goes on to keep connections: from here on that is what has those that are `stored`.
    fn assemble(self, options: &Options, stored: Vec<OwnedFd>) -> Result<Assembled, Failure> {
        let Prepared {
            claim,
            settings,
            target,
            target_file,
            lock,
            handover,
        } = self.prepared;
        let listeners: Arc<[Listener]> = claim.listeners.into();
        let threads = Threads::of_option(options.threads);
        let connections = descriptors::share(options.connections_max, threads.most);
        let kept = keeping::begin(
            options,
            stored,
            claim.respawn,
            &listeners,
            connections,
            threads.most,
        )?;
        let keep = kept.as_ref().map(|kept| kept.keep);
        limits::tell(
            options.runtime_directory().as_deref(),
            limits::Limits {
                asked: options.connections_max,
                open: connections,
                kept: keep.map(|keep| keep.connections()),
            },
        );
        let admission = Admission::new(
            Arc::clone(&listeners),
            connections,
            options.connections_max_per_source,
            lock,
            keep,
        );
        let sweep = Sweep::new(
            options.idle_timeout.finite(),
            options.stall_timeout.finite(),
            settings.keepalive,
        );
        let control: Arc<[Listener]> = claim.control.into();
        let route = Route::new(
            Arc::new(admission),
            settings,
            target,
            target_file,
            handover,
            &control,
        );
        let proxy = match Proxy::new(Arc::new(route), threads, sweep) {
            Ok(proxy) => Arc::new(proxy),
            Err(error) => return Err(cannot_carry(kept, error.into())),
        };
        match claim.predecessor {
            Some(predecessor) => succeed(predecessor, self.open_before, &proxy),
            None => proxy.adopt_orphans(),
        }
        tokio::spawn(Arc::clone(&proxy).look_after_connections());
        let control = ControlServer::new(control);
        control.start(&proxy);
        Ok(Assembled {
            proxy,
            control,
            kept,
            listeners,
        })
    }
}

/// All parts are there, and none of them carries anything yet.
struct Assembled {
    proxy: Arc<Proxy>,
    control: ControlServer,
    kept: Option<keep::Started>,
    listeners: Arc<[Listener]>,
}

impl Assembled {
    /// Goes on with what the process before has left, and opens the doors then.
    fn start(self) -> Result<Started, Failure> {
        let Self { proxy, kept, .. } = self;
        let can_serve = match proxy.workers.start() {
            Ok(()) => descriptors::suffice().map_err(Failure::from),
            Err(error) => Err(error.into()),
        };
        if let Err(failure) = can_serve {
            return Err(cannot_carry(kept, failure));
        }
        if let Some(kept) = kept {
            restored::go_on(&proxy, kept);
        }
        proxy.workers.open_doors();
        if let Some(keep) = proxy.admission.keep() {
            keep.serves();
        }
        Ok(Started {
            proxy,
            control: self.control,
            listeners: self.listeners,
        })
    }
}

/// Clients are accepted.
struct Started {
    proxy: Arc<Proxy>,
    control: ControlServer,
    listeners: Arc<[Listener]>,
}

impl Started {
    async fn serve(self, options: &Options) -> Result<ExitCode, Failure> {
        let lifetime = Lifetime {
            exit_idle_time: options.exit_idle_time.finite(),
            drain_timeout: options.drain_timeout.finite(),
        };
        let running = Arc::new(Running::new(Arc::clone(&self.proxy), self.control));
        let served = serve(running, self.listeners, lifetime).await;
        let leaving = match served {
            Ok(ServeOutcome::Over) => Leaving::Nothing,
            Ok(ServeOutcome::Left) => Leaving::ToHeir,
            // As one that is killed does; but systemd judges one that cannot go on.
            Err(_) => Leaving::ToNext,
        };
        let has_left = self.proxy.end(leaving);
        served.map(|_| match has_left {
            true => LEFT.into(),
            false => ExitCode::SUCCESS,
        })
    }
}

/// Goes on with what the process before has left: its open connections, and a target that was set
/// while we made ourselves ready.
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

/// The failure of a process that cannot carry anything. What it has found is reset, unless it is for lack of
/// descriptors: then the next process finds the same.
fn cannot_carry(kept: Option<keep::Started>, failure: Failure) -> Failure {
    if is_of_descriptors(failure.as_ref()) {
        // As in a process that was killed.
        std::mem::forget(kept);
        return failure;
    }
    kept.into_iter().for_each(restored::give_up);
    format!("no thread can be started: {failure} (raise TasksMax=, LimitNPROC= or MemoryMax=)")
        .into()
}
