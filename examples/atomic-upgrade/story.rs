//! The script. Every scene is a method of [`Show`]; [`perform`] calls them in order. [`kill`] is a scene
//! of its own, and [`stays`] has what the client does that stays.
//!
//! Scenes wait for events, never for a time, except [`Show::pause`]: there time passes for the
//! administrator and the audience.

use std::fs;
use std::time::Duration;

use disnix_proxy_example::interface::{GateReply, GateState};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time;

use crate::Fallible;
use crate::clients::{self, Crowd, Guest};
use crate::narrator::{Narrator, WORD, counted, spoken};
use crate::programs::Programs;
use crate::record::{Record, Version, Who};
use crate::recorder::Recorder;
use crate::stage::{self, Program, Socket, Unit};

use proxy_unit::ProxyUnit;

mod kill;
mod proxy_unit;
mod stays;

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

/// The number of clients that talk.
const COMPANY: usize = 20;

/// Waits for the end of the drain.
type Drained = JoinHandle<Fallible<GateReply>>;

/// A line of the narration: `tell!(show, "word", "format", …)`.
macro_rules! tell {
    ($show:expr, $word:literal, $($text:tt)+) => {{
        const { assert!($word.len() <= WORD) };
        $show.narrator.tell($word, &format!($($text)+))
    }};
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
    show.client_that_stays().await?;
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
    proxy: ProxyUnit,
    /// It recognises requests.
    second: ProxyUnit,
    /// The client that stays, while it is connected to the second proxy.
    stays: Option<Guest>,
    sampler: Option<JoinHandle<()>>,
    /// Removed with its contents at the end.
    _directory: TempDir,
}

impl Show {
    /// Binds the sockets. No program is started.
    fn prepare(script: Script) -> Fallible<Self> {
        stage::inherit_children()?;
        let recorder = Recorder::begin();
        let narrator = Narrator::new(&recorder);
        let directory = tempfile::Builder::new()
            .prefix("atomic-upgrade-")
            .tempdir()?;
        let path = directory.path();
        let (target, descriptor) = stage::listen()?;
        let name = "hello-world-server.socket";
        let sockets = vec![Socket { name, descriptor }];
        let version = server(&script.programs, Version::One);
        let server = Unit::load(version, sockets, path, script.logs, &recorder)?;
        let proxy = |who, requests, name| {
            let directory = path.join(name);
            fs::create_dir(&directory)?;
            ProxyUnit::load(who, &script, (target, requests), &directory, &recorder)
        };
        let second = proxy(Who::SecondProxy, "lines", "second")?;
        let proxy = proxy(Who::Proxy, "none", "first")?;

        narrator.scene("The sockets come first");
        let address = proxy.address;
        narrator.tell(
            "bound",
            &format!("{address} for clients, {target} for the server"),
        );
        narrator.notice(
            "No program runs. The sockets belong neither to the proxy nor to the server, which are \
             going to be killed and upgraded: this example has them, in real life systemd.",
        );
        Ok(Self {
            recorder,
            narrator,
            every: script.every,
            programs: script.programs,
            server,
            proxy,
            second,
            stays: None,
            sampler: None,
            _directory: directory,
        })
    }

    /// The first client starts the proxy, whose connection starts the server.
    async fn first_client(&mut self) -> Fallible<Guest> {
        self.recorder.phase(phase::BEFORE, GateState::Open);
        self.narrator.scene("The first client starts everything");
        let began = self.recorder.now();
        let (program, address) = (&self.programs.client, self.proxy.address);
        let mut guest = Guest::arrive(Who::First, program, address, &self.recorder)?;
        tell!(
            self,
            "arrives",
            "hello-world-client connects; it is not going to leave soon"
        );
        let took = spoken(self.proxy.unit.ready().await?.took);
        tell!(
            self,
            "starts",
            "disnix-tcp-proxy, for this client; ready after {took}"
        );
        let took = spoken(self.server.ready().await?.took);
        tell!(
            self,
            "starts",
            "hello-world-server, version 1; ready after {took}"
        );
        let answer = guest.hello().await?;
        let took = self.since(began);
        tell!(self, "answered", "“{answer}”, after {took}");
        let sampling = self.proxy.control.clone().sample(self.recorder.clone());
        self.sampler = Some(tokio::spawn(sampling));
        Ok(guest)
    }

    /// Many short clients, and some that stay and talk.
    async fn steady_stream(&mut self) -> Fallible<(Crowd, Crowd)> {
        let stream = Crowd::stream(self.proxy.address, self.every, &self.recorder);
        let every = spoken(self.every);
        tell!(
            self,
            "stream",
            "from now on a client comes every {every}: hello, answer, quit"
        );
        let company = Crowd::company(COMPANY, self.proxy.address, &self.recorder).await?;
        let (more, every) = (counted(COMPANY, "more client"), spoken(clients::EVERY));
        tell!(
            self,
            "company",
            "{more} hold a connection: hello every {every}"
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
        let (drain, reply) = self.proxy.control.lock("upgrade to version 2").await?;
        self.recorder.phase(phase::DRAINING, GateState::Draining);
        let open = counted(reply.open, "connection");
        tell!(self, "LOCKED", "over Varlink; {open} still open");
        self.narrator
            .notice("From now on new clients wait in the socket's accept queue.");
        let recorder = self.recorder.clone();
        let drained = tokio::spawn(async move {
            let reply = drain.complete().await?;
            recorder.phase(phase::LOCKED, GateState::Locked);
            Ok(reply)
        });
        self.lock_second().await?;
        self.pause(500).await;
        Ok(drained)
    }

    /// The status of the drain; the first client is served as before.
    async fn look_at_the_drain(&mut self, guest: &mut Guest) -> Fallible<()> {
        let status = self.proxy.control.status().await?;
        let gate = match status.gate {
            GateState::Open => "open",
            GateState::Draining => "draining",
            GateState::Locked => "locked",
        };
        let queued = counted(status.queued as usize, "client");
        tell!(self, "status", "{gate}, {queued} in the queue");
        for connection in self.proxy.control.connections().await? {
            let age = spoken(Duration::from_micros(connection.age_usec));
            tell!(self, "blocks", "{}, connected for {age}", connection.peer);
        }
        let answer = guest.hello().await?;
        tell!(
            self,
            "hello",
            "the first client is still served: “{answer}”"
        );
        self.pause(800).await;
        Ok(())
    }

    /// The first client leaves, and the drain is complete.
    async fn guest_leaves(&mut self, guest: Guest, drained: Drained) -> Fallible<()> {
        tell!(self, "leaves", "the first client goes, because it wants to");
        guest.leave().await?;
        let reply = drained.await??;
        let open = counted(reply.open, "connection");
        let queued = counted(reply.queued as usize, "client");
        tell!(
            self,
            "DRAINED",
            "{open} open, {queued} in the queue, none refused"
        );
        Ok(())
    }

    /// A new version of the server replaces the old one, which has no connection.
    async fn upgrade(&mut self) -> Fallible<()> {
        self.narrator
            .scene("The upgrade: nobody is connected to the server, nobody can be");
        let began = self.recorder.now();
        let next = server(&self.programs, Version::Two);
        self.server.replace(next).await?;
        let took = self.since(began);
        tell!(
            self,
            "upgraded",
            "version 2 has replaced version 1 on its socket, in {took}"
        );
        self.narrator
            .notice("The administrator takes some time to check it.");
        self.stays_asks_meanwhile().await;
        self.pause(800).await;
        Ok(())
    }

    /// The administrator unlocks the proxy; all waiting clients are served.
    async fn unlock(&mut self) -> Fallible<()> {
        self.narrator
            .scene("Unlock: the waiting clients are served, in the order they came");
        let waiting = counted(self.proxy.control.status().await?.queued as usize, "client");
        self.recorder.phase(phase::AFTER, GateState::Open);
        let began = self.recorder.now();
        self.proxy.control.unlock().await?;
        self.second.control.unlock().await?;
        tell!(self, "UNLOCKED", "{waiting} had been waiting");
        self.stays_is_answered().await?;
        self.recorder.all_served().await;
        let took = self.since(began);
        tell!(self, "served", "all of them, by version 2, within {took}");
        self.pause(600).await;
        self.stays_asks().await;
        self.stays_hears().await?;
        self.pause(600).await;
        Ok(())
    }

    /// No more clients arrive.
    async fn last_clients(&mut self, stream: Crowd) -> Fallible<()> {
        stream.leave().await?;
        self.stays_leaves().await?;
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
        tell!(self, "quiet", "the last client has gone");
        self.proxy.unit.gone().await?;
        self.second.unit.gone().await?;
        self.server.gone().await?;
        tell!(
            self,
            "idle exit",
            "proxies and server have ended, after {IDLE}; the sockets stay"
        );
        self.pause(400).await;
        let began = self.recorder.now();
        if clients::visit(self.proxy.address, &self.recorder).await {
            let took = self.since(began);
            tell!(
                self,
                "awake",
                "one more client: proxy and server start, answer after {took}"
            );
        }
        self.pause(300).await;
        Ok(())
    }

    /// Stops the programs.
    async fn end(self) -> Fallible<Record> {
        self.proxy.unit.stop().await?;
        self.second.unit.stop().await?;
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
