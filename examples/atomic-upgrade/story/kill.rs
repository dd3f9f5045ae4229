//! The scene in which the proxy is killed.

use disnix_proxy_example::interface::GateState;
use rustix::process::{Signal, kill_process};

use super::{Show, phase, tell};
use crate::Fallible;
use crate::clients::{Crowd, Guest};
use crate::narrator::{WORD, counted, spoken};
use crate::record::Who;

/// The number of kills.
const KILLS: usize = 3;

impl Show {
    /// The proxy is killed several times while its clients talk. Their connections continue in its next
    /// process.
    pub(super) async fn kill(&mut self, mut guest: Guest, company: Crowd) -> Fallible<Guest> {
        self.recorder.phase(phase::KILLED, GateState::Open);
        self.narrator
            .scene("Kill: the proxy dies while everybody talks");
        for _ in 0..KILLS {
            self.pause(250).await;
            guest = self.kill_once(guest).await?;
        }
        self.pause(250).await;
        company.leave().await?;
        let after = self.recorder.so_far().aftermath();
        let met = counted(after.held, "long-lived connection");
        match after.cut {
            0 => {
                tell!(self, "unnoticed", "{met} went through, none was cut");
                self.narrator.notice(
                    "Their sockets are kept where the listening sockets are, by this example or by \
                     systemd, with a table of what belongs together. The next process goes on.",
                );
            }
            cut => tell!(self, "noticed", "{cut} of {met} cut"),
        }
        Ok(guest)
    }

    async fn kill_once(&mut self, mut guest: Guest) -> Fallible<Guest> {
        let victim = self.proxy.unit.ready().await?.process;
        let open = counted(self.proxy.control.status().await?.open, "connection");
        self.recorder.killed();
        kill_process(victim, Signal::KILL)?;
        let number = victim.as_raw_nonzero();
        tell!(self, "KILLED", "kill -9 {number}, with {open} open");
        // The client sends hello while there is no proxy.
        let (recorder, asked) = (self.recorder.clone(), self.recorder.now());
        let (answer, running) = tokio::join!(
            async {
                let answer = guest.hello().await.map_err(|error| error.to_string())?;
                Ok((answer, spoken(recorder.now() - asked)))
            },
            async {
                let running = self.proxy.unit.ready_again(Some(victim)).await?;
                Fallible::Ok((running, spoken(recorder.is_back())))
            }
        );
        let (running, took) = running?;
        let number = running.process.as_raw_nonzero();
        let kept = counted(running.kept, "descriptor");
        tell!(
            self,
            "goes on",
            "process {number}, ready {took} later, with {kept} kept"
        );
        let reason: String = match answer {
            Ok((answer, took)) => {
                tell!(self, "hello", "the first client: “{answer}”, after {took}");
                return Ok(guest);
            }
            Err(reason) => reason,
        };
        tell!(self, "LOST", "{reason}; it comes again");
        guest.loses_it(&reason).await?;
        let (program, address) = (&self.programs.client, self.proxy.address);
        let mut guest = Guest::arrive(Who::First, program, address, &self.recorder)?;
        guest.hello().await?;
        Ok(guest)
    }
}
