//! A proxy of the demonstration: its sockets, its unit and its control socket.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use super::{IDLE, Script};
use crate::Fallible;
use crate::control::Control;
use crate::record::Who;
use crate::recorder::Recorder;
use crate::stage::{self, Program, Socket, Unit};

/// A proxy before the server.
pub struct ProxyUnit {
    /// Its program.
    pub unit: Unit,
    /// The address for clients.
    pub address: SocketAddr,
    /// For the administrator.
    pub control: Control,
}

impl ProxyUnit {
    /// Binds the sockets of a proxy with this target and this kind of requests. Its files are in `directory`.
    pub fn load(
        who: Who,
        script: &Script,
        (target, requests): (SocketAddr, &str),
        directory: &Path,
        recorder: &Recorder,
    ) -> Fallible<Self> {
        let (address, client_socket) = stage::listen()?;
        let control = directory.join("control");
        let control_socket = Arc::new(OwnedFd::from(UnixListener::bind(&control)?));
        let socket = |name, descriptor| Socket { name, descriptor };
        let sockets = vec![
            socket("clients", client_socket),
            socket("varlink", control_socket),
        ];
        let target = target.to_string();
        let runtime_directory = directory.to_string_lossy();
        let arguments = [
            target.as_str(),
            "--requests",
            requests,
            "--runtime-directory",
            &runtime_directory,
            "--exit-idle-time",
            IDLE,
            "--keep-connections", // the default depends on systemd
            if script.keep_connections { "yes" } else { "no" },
        ];
        let program = Program {
            who,
            path: script.programs.proxy.clone(),
            arguments: arguments.map(str::to_owned).to_vec(),
        };
        Ok(Self {
            unit: Unit::load(program, sockets, directory, script.logs, recorder)?,
            address,
            control: Control::at(control),
        })
    }
}
