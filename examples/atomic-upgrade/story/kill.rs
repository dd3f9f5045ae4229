//! The scene in which the proxy is killed.

use std::time::Duration;

use disnix_proxy_example::interface::GateState;
use rustix::process::{Signal, kill_process};

use super::{Show, phase};
use crate::Fallible;
use crate::clients::Guest;
use crate::company::Company;
use crate::control::Control;
use crate::narrator::{counted, spoken};
use crate::recorder::Recorder;
use crate::stage::Running;

/// It is killed so often.
const KILLS: usize = 3;

impl Show {
    /// Somebody kills the proxy while everybody is talking, and again. It is told neither before nor
    /// after; the connections go on with its next process.
    pub(super) async fn kill(&mut self, mut guest: Guest, company: Company) -> Fallible<Guest> {
        self.recorder.phase(phase::KILLED, GateState::Open);
        self.narrator
            .scene("Kill: the proxy dies while everybody talks");
        for _ in 0..KILLS {
            self.pause(350).await;
            guest = self.kill_once(guest).await?;
        }
        self.pause(350).await;
        company.leave().await?;
        let after = self.recorder.so_far().aftermath();
        let met = counted(after.held, "long-lived connection");
        match after.cut {
            0 => {
                let what = format!("{met} went through, none was cut");
                self.narrator.tell("unnoticed", what);
                self.narrator.notice(
                    "Their sockets are kept where the listening sockets are, by this example or by",
                );
                self.narrator.notice(
                    "systemd, with a table of what belongs together. The next process goes on.",
                );
            }
            cut => self.narrator.tell("noticed", format!("{cut} of {met} cut")),
        }
        Ok(guest)
    }

    async fn kill_once(&mut self, mut guest: Guest) -> Fallible<Guest> {
        let victim = self.proxy.ready().await?.process;
        let open = Control::connect(&self.control).await?.status().await?.open;
        self.recorder.killed();
        kill_process(victim, Signal::KILL)?;
        self.narrator.tell(
            "KILLED",
            format!(
                "kill -9 {}, with {} open",
                victim.as_raw_nonzero(),
                counted(open, "connection")
            ),
        );
        // It asks while there is no proxy.
        let (answer, again) = tokio::join!(ask(&mut guest, &self.recorder), async {
            let running = self.proxy.ready_again(Some(victim)).await?;
            Fallible::Ok((running, self.recorder.is_back()))
        });
        let (Running { process, kept, .. }, took) = again?;
        self.narrator.tell(
            "goes on",
            format!(
                "process {}, ready {} later; {} had been kept for it",
                process.as_raw_nonzero(),
                spoken(took),
                counted(kept, "descriptor"),
            ),
        );
        match answer {
            Ok((answer, took)) => {
                let took = spoken(took);
                let what = format!("the client that stays has asked: “{answer}”, after {took}");
                self.narrator.tell("hello", what);
                Ok(guest)
            }
            Err(reason) => {
                self.narrator
                    .tell("LOST", format!("{reason}; it comes again"));
                guest.loses_it(&reason).await?;
                let mut guest = Guest::arrive(&self.programs.client, self.address, &self.recorder)?;
                guest.hello().await?;
                Ok(guest)
            }
        }
    }
}

/// Has the client that stays say hello; the answer, and how long it took.
async fn ask(guest: &mut Guest, recorder: &Recorder) -> Result<(String, Duration), String> {
    let asked = recorder.now();
    let answer = guest.hello().await.map_err(|error| error.to_string())?;
    Ok((answer, recorder.now() - asked))
}
