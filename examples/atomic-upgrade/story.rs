//! The script. Every scene is a method of [`Show`]; [`perform`] calls them in order. [`kill`] is a scene
//! of its own.
//!
//! Scenes wait for events, never for a time, except [`Show::pause`]: there time passes for the
//! administrator and the audience.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use disnix_proxy_example::interface::{GateReply, GateState};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time;

use crate::Fallible;
use crate::clients::{self, Crowd, Guest};
use crate::control::Control;
use crate::narrator::{Narrator, counted, spoken};
use crate::programs::Programs;
use crate::record::{Record, Version, Who};
use crate::recorder::Recorder;
use crate::stage::{self, Program, Socket, Unit};

mod kill;

/// The titles of the phases, which the verdict refers to.
pub mod phase {
    /// Before the upgrade.
    pub const BEFORE: &str = "version 1";
    /// Before the upgrade; the proxy is killed.
    pub const KILLED: &str = "kill -9";
    /// Locked, with open connections.
    pub const DRAINING: &str = "draining";
    /// Locked, without open connections.
    pub const LOCKED: &str = "locked";
    /// After the upgrade.
    pub const AFTER: &str = "version 2";
    /// Without clients.
    pub const QUIET: &str = "idle";
}

/// The idle time of the programs.
const IDLE: &str = "1s";

/// The number of clients that stay and talk.
const COMPANY: usize = 20;

/// Waits for the end of the drain.
type Drained = JoinHandle<Fallible<GateReply>>;

/// A line of the narration: `tell!(show, "word", "format", …)`.
macro_rules! tell {
    ($show:expr, $word:literal, $($text:tt)+) => {
        $show.narrator.tell($word, &format!($($text)+))
    };
}
use tell;

/// The settings of a performance.
pub struct Script {
    /// The programs.
    pub programs: Programs,
    /// The interval of short clients.
    pub every: Duration,
    /// Whether the programs log between the lines of the story.
    pub logs: bool,
    /// Whether the proxy keeps connections.
    pub keep_connections: bool,
}

/// Performs all scenes and returns the record.
pub async fn perform(script: Script) -> Fallible<Record> {
    let mut show = Show::prepare(script)?;
    let guest = show.first_client().await?;
    let (stream, company) = show.steady_stream().await?;
    let mut guest = show.kill(guest, company).await?;
    let drained = show.lock().await?;
    show.look_at_the_drain(&mut guest).await?;
    show.guest_leaves(guest, drained).await?;
    show.upgrade().await?;
    show.unlock().await?;
    show.last_clients(stream).await?;
    show.idle_exit().await?;
    show.end().await
}

/// The stage and its equipment.
struct Show {
    recorder: Recorder,
    narrator: Narrator,
    programs: Programs,
    every: Duration,
    server: Unit,
    proxy: Unit,
    /// The address for clients.
    address: SocketAddr,
    control: Control,
    sampler: Option<JoinHandle<()>>,
    /// Removed with its contents at the end.
    _directory: TempDir,
}

impl Show {
    /// Binds the sockets. No program is started.
    fn prepare(script: Script) -> Fallible<Self> {
        let Script {
            programs,
            every,
            logs,
            keep_connections,
        } = script;
        stage::inherit_children()?;
        let recorder = Recorder::begin();
        let narrator = Narrator::new(&recorder);
        let directory = tempfile::Builder::new()
            .prefix("atomic-upgrade-")
            .tempdir()?;
        let path = directory.path();
        let (server_address, server_socket) = stage::listen()?;
        let (address, client_socket) = stage::listen()?;
        let control = path.join("control");
        let control_socket = Arc::new(OwnedFd::from(UnixListener::bind(&control)?));
        let socket = |name, descriptor| Socket { name, descriptor };
        let server_sockets = vec![socket("hello-world-server.socket", server_socket)];
        let proxy_sockets = vec![
            socket("clients", client_socket),
            socket("varlink", control_socket),
        ];
        let server = server(&programs, Version::One);
        let target = server_address.to_string();
        let runtime_directory = path.to_string_lossy();
        let arguments = [
            target.as_str(),
            "--runtime-directory",
            &runtime_directory,
            "--exit-idle-time",
            IDLE,
            "--keep-connections", // the default depends on systemd
            if keep_connections { "yes" } else { "no" },
        ];
        let proxy = Program {
            who: Who::Proxy,
            path: programs.proxy.clone(),
            arguments: arguments.map(str::to_owned).to_vec(),
        };
        let server = Unit::load(server, server_sockets, path, logs, &recorder)?;
        let proxy = Unit::load(proxy, proxy_sockets, path, logs, &recorder)?;

        narrator.scene("The sockets come first");
        narrator.tell(
            "bound",
            &format!("{address} for clients, {server_address} for the server"),
        );
        narrator
            .notice("No program runs. The sockets belong to nobody who could be upgraded or die:");
        narrator.notice("here to this example, in real life to systemd.");
        Ok(Self {
            recorder,
            narrator,
            programs,
            every,
            server,
            proxy,
            address,
            control: Control::at(control),
            sampler: None,
            _directory: directory,
        })
    }

    /// The first client starts the proxy, whose connection starts the server.
    async fn first_client(&mut self) -> Fallible<Guest> {
        self.recorder.phase(phase::BEFORE, GateState::Open);
        self.narrator.scene("The first client starts everything");
        let began = self.recorder.now();
        let mut guest = Guest::arrive(&self.programs.client, self.address, &self.recorder)?;
        tell!(
            self,
            "arrives",
            "hello-world-client connects; it is going to stay"
        );
        let took = spoken(self.proxy.ready().await?.took);
        tell!(
            self,
            "starts",
            "disnix-tcp-proxy, for this client; ready after {took}"
        );
        let took = spoken(self.server.ready().await?.took);
        tell!(
            self,
            "starts",
            "hello-world-server version 1, for the proxy; ready after {took}"
        );
        let answer = guest.hello().await?;
        let took = self.since(began);
        tell!(
            self,
            "answered",
            "“{answer}”, {took} after the client was started"
        );
        let sampling = self.control.clone().sample(self.recorder.clone());
        self.sampler = Some(tokio::spawn(sampling));
        Ok(guest)
    }

    /// Many short clients, and some that stay and talk.
    async fn steady_stream(&mut self) -> Fallible<(Crowd, Crowd)> {
        let stream = Crowd::stream(self.address, self.every, &self.recorder);
        let every = spoken(self.every);
        tell!(
            self,
            "stream",
            "from now on a client comes every {every}: says hello, reads the answer, quits"
        );
        let company = Crowd::company(COMPANY, self.address, &self.recorder).await?;
        let (more, every) = (counted(COMPANY, "more client"), spoken(clients::EVERY));
        tell!(
            self,
            "company",
            "{more} connect and stay; each says hello every {every}"
        );
        self.pause(1_400).await;
        let record = self.recorder.so_far();
        let served = record.served(Duration::ZERO, record.length).count();
        let (served, longest) = (counted(served, "client"), spoken(record.longest_wait()));
        tell!(
            self,
            "so far",
            "{served} served, the longest wait for an answer {longest}"
        );
        Ok((stream, company))
    }

    /// The administrator locks the proxy. The end of the drain is recorded when it comes.
    async fn lock(&mut self) -> Fallible<Drained> {
        self.narrator
            .scene("Lock: nobody new comes in, nobody is thrown out");
        let (drain, reply) = self.control.lock("upgrade to version 2").await?;
        self.recorder.phase(phase::DRAINING, GateState::Draining);
        let open = counted(reply.open, "connection");
        tell!(self, "LOCKED", "over Varlink; {open} still open");
        self.narrator
            .notice("Whoever comes from now on waits in the accept queue of the socket.");
        let recorder = self.recorder.clone();
        let drained = tokio::spawn(async move {
            let reply = drain.complete().await?;
            recorder.phase(phase::LOCKED, GateState::Locked);
            Ok(reply)
        });
        self.pause(500).await;
        Ok(drained)
    }

    /// The status of the drain; the client that stays is served as before.
    async fn look_at_the_drain(&mut self, guest: &mut Guest) -> Fallible<()> {
        let status = self.control.status().await?;
        let gate = match status.gate {
            GateState::Open => "open",
            GateState::Draining => "draining",
            GateState::Locked => "locked",
        };
        let queued = counted(status.queued as usize, "client");
        tell!(self, "status", "{gate}, {queued} in the queue");
        for connection in self.control.connections().await? {
            let age = spoken(Duration::from_micros(connection.age_usec));
            tell!(self, "blocks", "{}, connected for {age}", connection.peer);
        }
        let answer = guest.hello().await?;
        tell!(
            self,
            "hello",
            "the client that stays still has its server: “{answer}”"
        );
        self.pause(900).await;
        Ok(())
    }

    /// The client that stays leaves, and the drain is complete.
    async fn guest_leaves(&mut self, guest: Guest, drained: Drained) -> Fallible<()> {
        tell!(
            self,
            "leaves",
            "the client that stayed goes, because it wants to"
        );
        guest.leave().await?;
        let reply = drained.await??;
        let open = counted(reply.open, "connection");
        let queued = counted(reply.queued as usize, "client");
        tell!(
            self,
            "DRAINED",
            "{open} open, {queued} in the queue, and none of them refused"
        );
        Ok(())
    }

    /// A new version of the server replaces the old one, which has no connection.
    async fn upgrade(&mut self) -> Fallible<()> {
        self.narrator
            .scene("The upgrade: nobody is connected, nobody can be");
        let began = self.recorder.now();
        let next = server(&self.programs, Version::Two);
        self.server.replace(next).await?;
        let took = self.since(began);
        tell!(
            self,
            "upgraded",
            "version 1 has ended, version 2 is ready on the same socket, in {took}"
        );
        self.narrator
            .notice("The administrator takes some time to check it.");
        self.pause(800).await;
        Ok(())
    }

    /// The administrator unlocks the proxy; all waiting clients are served.
    async fn unlock(&mut self) -> Fallible<()> {
        self.narrator
            .scene("Unlock: those who waited are served, in the order they came");
        let waiting = counted(self.control.status().await?.queued as usize, "client");
        self.recorder.phase(phase::AFTER, GateState::Open);
        let began = self.recorder.now();
        self.control.unlock().await?;
        tell!(self, "UNLOCKED", "{waiting} had been waiting");
        self.recorder.all_served().await;
        let took = self.since(began);
        tell!(self, "served", "all of them, by version 2, within {took}");
        self.pause(1_200).await;
        Ok(())
    }

    /// No more clients arrive.
    async fn last_clients(&mut self, stream: Crowd) -> Fallible<()> {
        stream.leave().await?;
        if let Some(sampler) = self.sampler.take() {
            sampler.abort(); // its calls would keep the proxy from being idle
            let _ = sampler.await;
        }
        self.recorder.sample(0, 0);
        Ok(())
    }

    /// Without clients the programs exit; the next client starts them again.
    async fn idle_exit(&mut self) -> Fallible<()> {
        self.recorder.phase(phase::QUIET, GateState::Open);
        self.narrator.scene("Nobody comes: nothing runs");
        tell!(self, "quiet", "the last client of the stream has gone");
        self.proxy.gone().await?;
        self.server.gone().await?;
        tell!(
            self,
            "idle exit",
            "proxy and server have ended by themselves, after {IDLE}; the sockets stay"
        );
        self.pause(400).await;
        let began = self.recorder.now();
        if clients::visit(self.address, &self.recorder).await {
            let took = self.since(began);
            tell!(
                self,
                "awake",
                "one more client came, started both, and was answered after {took}"
            );
        }
        self.pause(300).await;
        Ok(())
    }

    /// Stops the programs.
    async fn end(self) -> Fallible<Record> {
        self.proxy.stop().await?;
        self.server.stop().await?;
        Ok(self.recorder.so_far())
    }

    /// The time since then, in words.
    fn since(&self, began: Duration) -> String {
        spoken(self.recorder.now() - began)
    }

    /// Time passes because the script says so.
    async fn pause(&self, milliseconds: u64) {
        time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// A version of the server: the same program with another greeting.
fn server(programs: &Programs, version: Version) -> Program {
    let greeting = clients::greeting(version);
    let arguments = ["--greeting", &greeting, "--exit-idle-time", IDLE];
    Program {
        who: Who::Server(version),
        path: programs.server.clone(),
        arguments: arguments.map(str::to_owned).to_vec(),
    }
}
