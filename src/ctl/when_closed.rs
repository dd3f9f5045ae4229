//! `lock --when-closed COMMAND`: what is done once the gate is closed, before the drain is waited for.

use std::ffi::OsStr;

use super::call::client::NamedProxy;
use super::drain_view::view::View;
use super::failure::CtlFailure;
use super::shell;
use crate::service::signals::Signals;

/// Runs the command and waits for its end. A failure is only reported: the drain can be completed without it. A
/// signal is a failure of the call.
pub async fn run(
    command: &OsStr,
    proxy: &NamedProxy,
    view: &mut View,
    signals: &mut Signals,
) -> Result<(), CtlFailure> {
    view.clear();
    let status = tokio::select! {
        status = shell::run(command, proxy) => status,
        _ = signals.next() => return Err(CtlFailure::Interrupted),
    };
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => view.note(&format!(
            "warning: the command of --when-closed has failed ({status}); the drain goes on"
        )),
        Err(error) => view.note(&format!(
            "warning: the command of --when-closed could not be run ({error}); the drain goes on"
        )),
    }
    Ok(())
}
