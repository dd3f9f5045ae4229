//! The script. Every scene is a method of [`Show`]; [`perform`] is their order. [`prepare`] sets the
//! stage, and [`kill`] is a scene of its own.
//!
//! Scenes wait for events, never for a time, with one exception: [`Show::pause`], where the script
//! says that time passes (an administrator thinks, the audience looks on).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use disnix_proxy_example::interface::{GateReply, GateState};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time;

use crate::Fallible;
use crate::clients::{self, Guest, Stream};
use crate::company::{self, Company};
use crate::control::{self, Control};
use crate::narrator::{Narrator, counted, spoken};
use crate::programs::Programs;
use crate::record::{Record, Version};
use crate::recorder::Recorder;
use crate::stage::Unit;
use prepare::server;

mod kill;
mod prepare;

/// The titles of the phases; the verdict asks for them.
pub mod phase {
    /// Before the upgrade.
    pub const BEFORE: &str = "version 1";
    /// Before the upgrade as well, and the proxy is killed.
    pub const KILLED: &str = "kill -9";
    /// Locked, and somebody is still connected.
    pub const DRAINING: &str = "draining";
    /// Locked, and nobody is connected.
    pub const LOCKED: &str = "locked";
    /// After the upgrade.
    pub const AFTER: &str = "version 2";
    /// Nobody comes.
    pub const QUIET: &str = "idle";
}

/// After so long without connections the programs end by themselves.
const IDLE: &str = "1s";

/// So many clients keep talking over one connection each.
const COMPANY: usize = 20;

/// Whoever waits for the end of the drain.
type Drained = JoinHandle<Fallible<GateReply>>;

/// What is performed, and how.
pub struct Script {
    /// What plays.
    pub programs: Programs,
    /// A new client comes so often.
    pub every: Duration,
    /// Whether the programs log between the lines of the story.
    pub logs: bool,
    /// Whether the proxy is told to keep connections.
    pub keep_connections: bool,
}

/// Performs all scenes and returns what was seen.
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

/// The stage, and who is on it.
struct Show {
    recorder: Recorder,
    narrator: Narrator,
    programs: Programs,
    every: Duration,
    server: Unit,
    proxy: Unit,
    /// Where clients connect.
    address: SocketAddr,
    /// The proxy's control socket.
    control: PathBuf,
    sampler: Option<JoinHandle<()>>,
    /// Removed with everything in it at the end.
    _directory: TempDir,
}

impl Show {
    /// The first client starts the proxy, whose connection starts the server.
    async fn first_client(&mut self) -> Fallible<Guest> {
        self.recorder.phase(phase::BEFORE, GateState::Open);
        self.narrator.scene("The first client starts everything");
        let began = self.recorder.now();
        let mut guest = Guest::arrive(&self.programs.client, self.address, &self.recorder)?;
        self.narrator.tell(
            "arrives",
            "hello-world-client connects; it is going to stay",
        );
        let took = self.proxy.ready().await?.took;
        self.narrator.tell(
            "starts",
            format!(
                "disnix-tcp-proxy, for this client; ready after {}",
                spoken(took)
            ),
        );
        let took = self.server.ready().await?.took;
        self.narrator.tell(
            "starts",
            format!(
                "hello-world-server version 1, for the proxy; ready after {}",
                spoken(took)
            ),
        );
        let answer = guest.hello().await?;
        let took = self.recorder.now() - began;
        self.narrator.tell(
            "answered",
            format!("“{answer}”, {} after the client was started", spoken(took)),
        );
        self.sampler = Some(tokio::spawn(control::sample(
            self.control.clone(),
            self.recorder.clone(),
        )));
        Ok(guest)
    }

    /// Many clients, each short, and some who stay and talk.
    async fn steady_stream(&mut self) -> Fallible<(Stream, Company)> {
        let stream = Stream::begin(self.address, self.every, &self.recorder);
        self.narrator.tell(
            "stream",
            format!(
                "from now on a client comes every {}: says hello, reads the answer, quits",
                spoken(self.every),
            ),
        );
        let company = Company::gather(COMPANY, self.address, &self.recorder).await?;
        self.narrator.tell(
            "company",
            format!(
                "{} connect and stay; each says hello every {}",
                counted(COMPANY, "more client"),
                spoken(company::EVERY),
            ),
        );
        self.pause(1_400).await;
        let record = self.recorder.so_far();
        let longest = record
            .visits
            .iter()
            .filter_map(|visit| visit.waited())
            .max();
        self.narrator.tell(
            "so far",
            format!(
                "{} served, the longest wait for an answer {}",
                counted(
                    record.served(Duration::ZERO, record.length).count(),
                    "client"
                ),
                spoken(longest.unwrap_or_default()),
            ),
        );
        Ok((stream, company))
    }

    /// The administrator locks the proxy. The end of the drain is written down when it comes.
    async fn lock(&mut self) -> Fallible<Drained> {
        self.narrator
            .scene("Lock: nobody new comes in, nobody is thrown out");
        let control = Control::connect(&self.control).await?;
        let (drain, reply) = control.lock("upgrade to version 2").await?;
        self.recorder.phase(phase::DRAINING, GateState::Draining);
        let open = counted(reply.open, "connection");
        self.narrator
            .tell("LOCKED", format!("over Varlink; {open} still open"));
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

    /// Who blocks, who waits, and that the one who stays is served as before.
    async fn look_at_the_drain(&mut self, guest: &mut Guest) -> Fallible<()> {
        let mut control = Control::connect(&self.control).await?;
        let status = control.status().await?;
        self.narrator.tell(
            "status",
            format!(
                "{}, {} in the queue",
                gate(status.gate),
                counted(status.queued as usize, "client")
            ),
        );
        for connection in control.connections().await? {
            let age = spoken(Duration::from_micros(connection.age_usec));
            self.narrator.tell(
                "blocks",
                format!("{}, connected for {age}", connection.peer),
            );
        }
        let answer = guest.hello().await?;
        self.narrator.tell(
            "hello",
            format!("the client that stays still has its server: “{answer}”"),
        );
        self.pause(900).await;
        Ok(())
    }

    /// The client that stays leaves, and the drain is complete.
    async fn guest_leaves(&mut self, guest: Guest, drained: Drained) -> Fallible<()> {
        self.narrator
            .tell("leaves", "the client that stayed goes, because it wants to");
        guest.leave().await?;
        let reply = drained.await??;
        self.narrator.tell(
            "DRAINED",
            format!(
                "{} open, {} in the queue, and none of them refused",
                counted(reply.open, "connection"),
                counted(reply.queued as usize, "client"),
            ),
        );
        Ok(())
    }

    /// A new version of the server, while nobody is connected to the old one.
    async fn upgrade(&mut self) -> Fallible<()> {
        self.narrator
            .scene("The upgrade: nobody is connected, nobody can be");
        let began = self.recorder.now();
        self.server
            .replace(server(&self.programs, Version::Two))
            .await?;
        let took = spoken(self.recorder.now() - began);
        self.narrator.tell(
            "upgraded",
            format!("version 1 has ended, version 2 is ready on the same socket, in {took}"),
        );
        self.narrator
            .notice("The administrator takes some time to check it.");
        self.pause(800).await;
        Ok(())
    }

    /// The administrator unlocks the proxy; everybody who waited is served.
    async fn unlock(&mut self) -> Fallible<()> {
        self.narrator
            .scene("Unlock: those who waited are served, in the order they came");
        let mut control = Control::connect(&self.control).await?;
        let waiting = control.status().await?.queued as usize;
        self.recorder.phase(phase::AFTER, GateState::Open);
        let began = self.recorder.now();
        control.unlock().await?;
        self.narrator.tell(
            "UNLOCKED",
            format!("{} had been waiting", counted(waiting, "client")),
        );
        self.recorder.all_served().await;
        let took = spoken(self.recorder.now() - began);
        self.narrator.tell(
            "served",
            format!("all of them, by version 2, within {took}"),
        );
        self.pause(1_200).await;
        Ok(())
    }

    /// No more clients come.
    async fn last_clients(&mut self, stream: Stream) -> Fallible<()> {
        stream.end().await?;
        if let Some(sampler) = self.sampler.take() {
            sampler.abort(); // its connection would keep the proxy from being idle
            let _ = sampler.await;
        }
        self.recorder.sample(0, 0);
        Ok(())
    }

    /// Without clients the programs end; the next client starts them again.
    async fn idle_exit(&mut self) -> Fallible<()> {
        self.recorder.phase(phase::QUIET, GateState::Open);
        self.narrator.scene("Nobody comes: nothing runs");
        self.narrator
            .tell("quiet", "the last client of the stream has gone");
        self.proxy.gone().await?;
        self.server.gone().await?;
        self.narrator.tell(
            "idle exit",
            format!("proxy and server have ended by themselves, after {IDLE}; the sockets stay"),
        );
        self.pause(400).await;
        let began = self.recorder.now();
        if clients::visit(self.address, &self.recorder).await {
            let took = spoken(self.recorder.now() - began);
            self.narrator.tell(
                "awake",
                format!("one more client came, started both, and was answered after {took}"),
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

    /// Time passes because the script says so.
    async fn pause(&self, milliseconds: u64) {
        time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

fn gate(state: GateState) -> &'static str {
    match state {
        GateState::Open => "open",
        GateState::Draining => "draining",
        GateState::Locked => "locked",
    }
}
