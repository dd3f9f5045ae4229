//! The service behind the proxy.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;

use disnix_proxy_example::service::arrival::Accepted;
use disnix_proxy_example::service::handover::{self, Queue};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, UnixDatagram, UnixListener};
use tokio::task::spawn_local;

use crate::connection::{Connection, GREETING, Role, greeted};
use crate::end::End;
use crate::failure::Failure;
use crate::load::Load;
use crate::{stream, talk};

const BACKLOG: u32 = 4096;

/// Listens and serves all clients until the program exits.
///
/// # Errors
///
/// As bind(2).
pub fn begin(load: &Rc<Load>) -> io::Result<()> {
    let told = &load.options.upstream;
    if let Some(path) = told.strip_prefix("handover:") {
        use std::os::unix::fs::PermissionsExt;
        let socket = handover::bind(Path::new(path))?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o666))?;
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        let socket = UnixDatagram::from_std(socket)?;
        spawn_local(receive(Rc::clone(load), socket));
        return Ok(());
    }
    if let Some(path) = told.strip_prefix("unix:") {
        use std::os::unix::fs::PermissionsExt;
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o666))?;
        spawn_local(accept_local(Rc::clone(load), listener));
        return Ok(());
    }
    let address: SocketAddr = told
        .parse()
        .map_err(|_| io::Error::other(format!("{told} is no address")))?;
    let socket = match address.is_ipv4() {
        true => TcpSocket::new_v4(),
        false => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    spawn_local(accept(Rc::clone(load), socket.listen(BACKLOG)?));
    Ok(())
}

async fn accept(load: Rc<Load>, listener: TcpListener) {
    loop {
        let accepted = listener.accept().await;
        match accepted.and_then(|(stream, _)| End::new(stream, "upstream")) {
            Ok(end) => drop(spawn_local(serve(Rc::clone(&load), end))),
            Err(error) => eprintln!("verified-load: accept: {error}"),
        }
    }
}

/// Like [`accept`], at a local socket.
async fn accept_local(load: Rc<Load>, listener: UnixListener) {
    loop {
        let accepted = listener.accept().await;
        match accepted.and_then(|(stream, _)| End::local(stream, "upstream")) {
            Ok(end) => drop(spawn_local(serve(Rc::clone(&load), end))),
            Err(error) => eprintln!("verified-load: accept: {error}"),
        }
    }
}

/// Like [`accept`], for handed-over clients.
async fn receive(load: Rc<Load>, socket: UnixDatagram) {
    let queue = Queue::default();
    loop {
        let received = socket.async_io(Interest::READABLE, || {
            queue.receive(socket.as_fd()).map_err(io::Error::from)
        });
        match received.await {
            Ok(Accepted::Client(client)) => match End::handed_over(client.socket, "upstream") {
                Ok(end) => drop(spawn_local(serve(Rc::clone(&load), end))),
                Err(error) => eprintln!("verified-load: a client that was handed over: {error}"),
            },
            Ok(Accepted::Gone | Accepted::NoClient) => {}
            Ok(Accepted::Exhausted(error)) | Err(error) => {
                eprintln!("verified-load: handover: {error}");
            }
        }
    }
}

async fn serve(load: Rc<Load>, end: End) {
    let (id, header, first) = match greeting(&load, &end).await {
        Ok(Some(greeting)) => greeting,
        // Without data: a probe of the target.
        Ok(None) | Err(Failure::Lost(..)) => {
            load.tally.borrow_mut().wordless += 1;
            return;
        }
        Err(Failure::Corrupt(text)) => {
            load.tally.borrow_mut().is_wrong(text);
            return;
        }
    };
    let Some(connection) = load.connections.borrow().get(&id).cloned() else {
        // Its client has given up.
        load.tally.borrow_mut().strays += 1;
        return;
    };
    if connection.heard.has_happened() {
        let text = "the upstream has heard it begin twice".to_owned();
        connection.is_over(Err(Failure::Corrupt(text)));
        return;
    }
    if header
        != connection
            .client
            .get()
            .filter(|_| load.options.header.is_some())
    {
        let text = format!(
            "the header says {header:?}, not {:?}",
            connection.client.get()
        );
        connection.is_over(Err(Failure::Corrupt(text)));
        return;
    }
    connection.heard.tell();
    let task = spawn_local({
        let connection = Rc::clone(&connection);
        async move {
            let verdict = carry_out(end, &connection, &first).await;
            connection.is_over(verdict);
        }
    });
    connection.is_served_by(task.abort_handle());
}

async fn carry_out(end: End, connection: &Connection, first: &[u8]) -> Result<(), Failure> {
    match &connection.role {
        Role::Stream(plan) => stream::upstream(end, connection, plan, first).await,
        Role::Echo(says) => talk::echo(end, connection, *says, first).await,
    }
}

/// The connection, the client's address in the PROXY header, and the bytes after it.
type Greeting = (u64, Option<SocketAddr>, Vec<u8>);

async fn greeting(load: &Load, end: &End) -> Result<Option<Greeting>, Failure> {
    let mut bytes = Vec::new();
    loop {
        let received = end.receive(|more| {
            bytes.extend_from_slice(more);
            more.len()
        });
        if received.await? == 0 {
            return Ok(None);
        }
        let (address, header) = match load.options.header {
            None => (None, 0),
            Some(header) => match header.parse(&bytes).map_err(Failure::Corrupt)? {
                None => continue,
                Some((address, length)) => (Some(address), length),
            },
        };
        let Some((greeting, first)) = bytes[header..].split_at_checked(GREETING) else {
            continue;
        };
        let Some(id) = greeted(greeting) else {
            let text = format!("a connection begins with {greeting:02x?}");
            return Err(Failure::Corrupt(text));
        };
        return Ok(Some((id, address, first.to_vec())));
    }
}
