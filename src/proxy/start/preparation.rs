//! What can fail before connections are kept: the sockets, the settings, and taking the place of the proxy
//! that runs.

use super::descriptors;
use super::first_target::first_target;
use super::listening::{self, not_taken_over};
use super::take_over::Predecessor;
use crate::proxy::admission::{LockDirectory, TargetFile};
use crate::proxy::options::ProxyOptions;
use crate::proxy::route::{Handover, RouteSettings};
use crate::proxy::workers::Threads;
use crate::service::activation::Inherited;
use crate::service::address::Address;
use crate::service::directory::{Directory, if_there};
use crate::service::listener::Listener;
use crate::service::program::{FailedStep, Failure};

/// What `FileDescriptorName=` calls control sockets.
const CONTROL_NAME: &str = "varlink";

/// The sockets of the proxy. Before [`Preparation::take_place`] a proxy that runs has them, too.
pub struct ListeningSockets {
    pub predecessor: Option<Predecessor>,
    pub clients: Vec<Listener>,
    pub control: Vec<Listener>,
    /// For load balancers.
    pub health: Vec<Listener>,
    /// Copies of systemd's sockets for the heir, if there is to be one.
    pub respawn: Option<Vec<Inherited>>,
}

impl ListeningSockets {
    async fn find(options: &ProxyOptions, inherited: Vec<Inherited>) -> Result<Self, Failure> {
        let respawn = options
            .respawn
            .then(|| inherited.iter().map(Inherited::try_clone).collect())
            .transpose()
            .map_err(FailedStep::of("the sockets cannot be copied for --respawn"))?;
        let count = inherited.len();
        let (control, mut clients): (Vec<_>, Vec<_>) = inherited
            .into_iter()
            .partition(|socket| socket.name == CONTROL_NAME);
        let health = listening::take_health(&mut clients, options)?;
        for directory in listening::directories(options, control.is_empty()) {
            // That one does not exist is reported when a file is to be saved in it.
            if_there(Directory::open(&directory))?;
        }
        let mut predecessor = listening::predecessor(options, count).await?;
        let [clients, control, health] = match &mut predecessor {
            Some(predecessor) => predecessor
                .sockets(&options.listen, options.health.as_ref())
                .map_err(not_taken_over)?,
            None => [
                listening::clients(clients, options).await?,
                listening::control(control, options).await?,
                listening::health(health, options).await?,
            ],
        };
        Ok(Self {
            predecessor,
            clients,
            control,
            health,
            respawn,
        })
    }
}

/// What the proxy begins with, read and checked.
pub struct Preparation {
    /// How many connections may be open.
    pub connections: usize,
    pub threads: Threads,
    pub sockets: ListeningSockets,
    pub settings: RouteSettings,
    pub target: Option<Address>,
    pub target_file: TargetFile,
    pub lock: LockDirectory,
    pub handover: Handover,
    /// The number of connections that are open in the predecessor.
    pub open_in_predecessor: usize,
}

impl Preparation {
    /// Divides the descriptors, finds the sockets, checks the settings, and then takes the place of the proxy that
    /// runs. Until then nothing changes for that one.
    pub async fn new(options: &ProxyOptions, inherited: Vec<Inherited>) -> Result<Self, Failure> {
        let threads = Threads::of_option(options.threads);
        let connections = descriptors::share(options.connections_max, threads.most);
        let threads = threads.for_connections(connections);
        let sockets = ListeningSockets::find(options, inherited).await?;
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
            requests: options.requests,
            detach_idle: options.detach_idle.finite(),
        };
        // The proxy that runs has a target.
        let may_wait = sockets.predecessor.is_none();
        let own: [&[Listener]; 2] = [&sockets.clients, &sockets.control];
        let target = first_target(target, &settings, own, may_wait).await?;
        let mut preparation = Self {
            connections,
            threads,
            sockets,
            settings,
            target,
            target_file,
            lock: LockDirectory::new(options.runtime_directory().as_deref()),
            handover: Handover::new(options.runtime_directory().as_deref())
                .map_err(FailedStep::of("no handover can be watched"))?,
            open_in_predecessor: 0,
        };
        preparation.take_place().await?;
        Ok(preparation)
    }

    /// Takes the place of the proxy that runs, if there is one. From here on the listeners are ours.
    async fn take_place(&mut self) -> Result<(), Failure> {
        let ListeningSockets {
            predecessor,
            clients,
            control,
            health,
            ..
        } = &mut self.sockets;
        if let Some(predecessor) = predecessor {
            let target_file = (!self.settings.target_fixed).then_some(&self.target_file);
            predecessor
                .check_directories(&self.lock, target_file)
                .map_err(not_taken_over)?;
            self.open_in_predecessor = predecessor
                .retire(self.settings.requests)
                .await
                .map_err(not_taken_over)?;
        }
        for listener in &mut *clients {
            if let Err(error) = listener.set_options(self.settings.keepalive) {
                tracing::error!(
                    ERROR = %error, LISTENER = %listener,
                    "clients of {listener} are not probed as --keepalive says: {error}"
                );
            }
        }
        let all = clients.iter().chain(&*control).chain(&*health);
        all.for_each(Listener::own);
        Ok(())
    }
}
