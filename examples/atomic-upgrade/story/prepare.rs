//! Before the first scene: the sockets, and the programs that are going to play.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use super::{IDLE, Script, Show};
use crate::Fallible;
use crate::clients;
use crate::narrator::Narrator;
use crate::programs::Programs;
use crate::record::{Version, Who};
use crate::recorder::Recorder;
use crate::stage::{self, Program, Socket, Unit};

impl Show {
    /// Binds the sockets. No program is started.
    pub(super) fn prepare(script: Script) -> Fallible<Self> {
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
        let (server_address, server_socket) = stage::listen()?;
        let (address, client_socket) = stage::listen()?;
        let control = directory.path().join("control");
        let control_socket = Arc::new(OwnedFd::from(UnixListener::bind(&control)?));
        let socket = |name, descriptor| Socket { name, descriptor };
        let server = Unit::load(
            server(&programs, Version::One),
            vec![socket("hello-world-server.socket", server_socket)],
            directory.path(),
            logs,
            &recorder,
        )?;
        let proxy = Program {
            who: Who::Proxy,
            path: programs.proxy.clone(),
            arguments: vec![
                server_address.to_string(),
                "--runtime-directory".to_owned(),
                directory.path().to_string_lossy().into_owned(),
                "--exit-idle-time".to_owned(),
                IDLE.to_owned(),
                // Unasked it keeps them for a systemd only.
                "--keep-connections".to_owned(),
                if keep_connections { "yes" } else { "no" }.to_owned(),
            ],
        };
        let sockets = vec![
            socket("clients", client_socket),
            socket("varlink", control_socket),
        ];
        let proxy = Unit::load(proxy, sockets, directory.path(), logs, &recorder)?;

        narrator.scene("The sockets come first");
        narrator.tell(
            "bound",
            format!("{address} for clients, {server_address} for the server"),
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
            control,
            sampler: None,
            _directory: directory,
        })
    }
}

/// A version of the server: the same program that greets differently.
pub(super) fn server(programs: &Programs, version: Version) -> Program {
    Program {
        who: Who::Server(version),
        path: programs.server.clone(),
        arguments: vec![
            "--greeting".to_owned(),
            clients::greeting(version),
            "--exit-idle-time".to_owned(),
            IDLE.to_owned(),
        ],
    }
}
