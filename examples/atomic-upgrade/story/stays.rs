//! The client that stays through the upgrade. Its proxy runs with `--requests lines`.

use tokio::time;

use super::{Show, tell};
use crate::Fallible;
use crate::clients::{self, Guest};
use crate::narrator::{WORD, counted};
use crate::record::Who;

impl Show {
    /// A client connects to the second proxy, which recognises its requests.
    pub(super) async fn client_that_stays(&mut self) -> Fallible<()> {
        self.narrator
            .scene("A client that stays, and a second proxy for it");
        let (program, address) = (&self.programs.client, self.second.address);
        let stays = Guest::arrive(Who::Stays, program, address, &self.recorder)?;
        self.stays = Some(stays);
        self.second.unit.ready().await?;
        tell!(
            self,
            "starts",
            "a proxy with --requests lines, before the same server"
        );
        self.stays_asks().await;
        if let Some(answer) = self.stays_hears().await? {
            tell!(self, "stays", "hello-world-client connects: “{answer}”");
        }
        self.narrator.notice(
            "This proxy knows where a request ends. Between two requests it may give its client \
             another server; the first proxy waits until a client has left.",
        );
        self.pause(300).await;
        self.stays_asks().await;
        self.stays_hears().await?;
        Ok(())
    }

    /// The administrator locks the second proxy, too. No client has to leave.
    pub(super) async fn lock_second(&mut self) -> Fallible<()> {
        let (drain, _) = self.second.control.lock("upgrade to version 2").await?;
        let reply = time::timeout(clients::PATIENCE, drain.complete()).await;
        let reply = reply.map_err(|_| "the second proxy waits for the client that stays")??;
        let open = counted(reply.open, "connection");
        let detached = counted(reply.detached, "client");
        tell!(
            self,
            "LOCKED",
            "the second proxy, too: {open} open, {detached} detached"
        );
        self.narrator
            .notice("That client stays; its connection to the server has ended.");
        Ok(())
    }

    /// The client that stays says hello while no server is to be had.
    pub(super) async fn stays_asks_meanwhile(&mut self) {
        self.stays_asks().await;
        tell!(
            self,
            "asks",
            "the client that stays says hello, which waits in the kernel"
        );
    }

    /// Its answer, after the unlock.
    pub(super) async fn stays_is_answered(&mut self) -> Fallible<()> {
        if let Some(answer) = self.stays_hears().await? {
            tell!(self, "hello", "over the connection that stayed: “{answer}”");
        }
        Ok(())
    }

    /// The client that stays leaves after all.
    pub(super) async fn stays_leaves(&mut self) -> Fallible<()> {
        match self.stays.take() {
            Some(stays) => stays.leave().await,
            None => Ok(()),
        }
    }

    /// It types hello. If that fails, there is no answer either.
    pub(super) async fn stays_asks(&mut self) {
        if let Some(stays) = &mut self.stays {
            let _ = stays.ask().await;
        }
    }

    /// Its answer, unless its connection is lost: that is for the verdict.
    pub(super) async fn stays_hears(&mut self) -> Fallible<Option<String>> {
        let Some(mut stays) = self.stays.take() else {
            return Ok(None);
        };
        match stays.answer().await {
            Ok(answer) => {
                self.stays = Some(stays);
                Ok(Some(answer))
            }
            Err(error) => {
                tell!(self, "LOST", "{error}");
                stays.loses_it(&error.to_string()).await?;
                Ok(None)
            }
        }
    }
}
