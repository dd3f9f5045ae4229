//! From the command line to a running proxy.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;

use super::admission::Admission;
use super::assembly::{Leaving, Proxy};
use super::connections::Sweep;
use super::control::server::ControlServer;
use super::descriptors;
use super::event;
use super::first_target::first_target;
use super::handover::Handover;
use super::keep;
use super::keeping;
use super::limits;
use super::listening::{self, not_taken_over};
use super::options::Options;
use super::restored;
use super::route::{Route, RouteSettings};
use super::running::Running;
use super::state::{self, LockDirectory, TargetFile};
use super::take_over::Predecessor;
use super::workers::Threads;
use crate::service::activation::{self, ActivationError, Inherited};
use crate::service::address::Address;
use crate::service::listener::Listener;
use crate::service::program::{self, Failure};
use crate::service::serve::{Ended, Lifetime, serve};
use crate::service::words::clause;

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
    let options = Options::read();
    program::run(
        "disnix-tcp-proxy",
        options.log_level,
        run(options, inherited),
    )
}

/// Starts a proxy and serves until its end. Each step gives the next one what it needs, so that they can only
/// follow each other.
async fn run(
    options: Options,
    inherited: Result<Vec<Inherited>, ActivationError>,
) -> Result<ExitCode, Failure> {
    let sockets = Sockets::inherit(&options, inherited?)?;
    let claim = Claim::make(&options, sockets).await?;
    let prepared = Prepared::check(&options, claim).await?;
    let place = prepared.take_place().await?;
    let started = place.assemble(&options)?.start()?;
    started.serve(&options).await
}

/// The sockets that systemd gives.
struct Sockets {
    /// What it has kept.
    stored: Vec<OwnedFd>,
    /// Copies for the heir, if there is to be one.
    respawn: Option<Vec<Inherited>>,
    control: Vec<Inherited>,
    clients: Vec<Inherited>,
}

impl Sockets {
    fn inherit(options: &Options, inherited: Vec<Inherited>) -> Result<Self, Failure> {
        let (stored, sockets) = keep::separate(inherited);
        let respawn = match options.respawn {
            true => Some(sockets.iter().map(Inherited::try_clone).collect()),
            false => None,
        };
        let (control, clients) = sockets
            .into_iter()
            .partition(|socket| socket.name == CONTROL_NAME);
        Ok(Self {
            stored,
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
    stored: Vec<OwnedFd>,
    respawn: Option<Vec<Inherited>>,
}

impl Claim {
    async fn make(options: &Options, sockets: Sockets) -> Result<Self, Failure> {
        let Sockets {
            stored,
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
            stored,
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
}

impl Prepared {
    async fn check(options: &Options, claim: Claim) -> Result<Self, Failure> {
        let target_file = TargetFile::new(options.state_directory().as_deref());
        let target = match &options.target {
            Some(target) => Some(target.clone()),
            None => target_file.load()?,
        };
        let settings = RouteSettings {
            target_fixed: options.target.is_some(),
            connect_timeout: options.connect_timeout.finite(),
            keepalive: options.keepalive.finite(),
            proxy_protocol: options.proxy_protocol,
        };
        let target = first_target(target, &settings, &claim.listeners, &claim.control).await?;
        Ok(Self {
            claim,
            settings,
            target,
            target_file,
            lock: LockDirectory::new(options.runtime_directory().as_deref()),
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
    fn assemble(self, options: &Options) -> Result<Assembled, Failure> {
        let Prepared {
            claim,
            settings,
            target,
            target_file,
            lock,
        } = self.prepared;
        let listeners: Arc<[Listener]> = claim.listeners.into();
        let threads = Threads::of_option(options.threads);
        let connections = descriptors::share(options.connections_max, threads.most);
        let handover = Handover::new(options.runtime_directory().as_deref())?;
        let kept = keeping::begin(
            options,
            claim.stored,
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
            Err(error) => {
                kept.into_iter().for_each(restored::give_up);
                return Err(no_thread(&error));
            }
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
        if let Err(error) = proxy.workers.start() {
            kept.into_iter().for_each(restored::give_up);
            return Err(no_thread(&error));
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
            Ok(Ended::Over) => Leaving::Nothing,
            Ok(Ended::Left) => Leaving::ToHeir,
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

fn no_thread(error: &io::Error) -> Failure {
    format!("no thread can be started: {error} (raise TasksMax=, LimitNPROC= or MemoryMax=)").into()
}
