use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::carried_connection::CarriedConnection;
use super::worker::Worker;
use super::{Threads, WorkerHandle, WorkerPool, pool};
use crate::proxy::admission::{
    Abort, Admission, AdmittedClient, Attaching, Connection, Gate, LockDirectory, TargetFile,
};
use crate::proxy::requests::RequestKind;
use crate::proxy::route::{Handover, Route, RouteSettings};
use crate::proxy::upstream::{ConnectedUpstream, Spare};
use crate::service::address::Address;
use crate::service::client_socket::ClientSocket;
use crate::service::clock::Uptime;
use crate::service::listener::{Arrival, Listener, Peer};
use crate::service::loopback::pair;
use crate::service::stream::Family;

const PATIENCE: Duration = Duration::from_secs(20);

/// Workers with these threads, the address of their listener, and the service behind them.
fn workers(threads: Threads) -> (Arc<WorkerPool>, Address, TcpListener) {
    recognising(None, threads)
}

/// Workers that recognise such requests.
fn recognising(
    requests: Option<RequestKind>,
    threads: Threads,
) -> (Arc<WorkerPool>, Address, TcpListener) {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = service.local_addr().unwrap().to_string().parse().unwrap();
    let listeners = Listener::bind_all(&[Address::parse_listen("127.0.0.1:0").unwrap()]).unwrap();
    let here = listeners[0].to_string().parse().unwrap();
    let lock = LockDirectory::new(None);
    let admission = Admission::new(listeners.into(), 100, None, lock, None);
    let settings = RouteSettings {
        target_fixed: true,
        connect_timeout: None,
        keepalive: None,
        proxy_protocol: None,
        requests,
        detach_idle: None,
    };
    let route = Route::new(
        Arc::new(admission),
        settings,
        Some(target),
        TargetFile::new(None),
        Handover::new(None).unwrap(),
        &Arc::default(),
    );
    let workers = pool(Arc::new(route), threads).unwrap();
    workers.start().unwrap();
    workers.open_doors();
    (workers, here, service)
}

fn open(workers: &WorkerPool) -> usize {
    workers.route.admission.open_connections()
}

fn client(here: &Address, service: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(here.to_string()).unwrap();
    (client, service.accept().unwrap().0)
}

fn echo((client, service): &mut (TcpStream, TcpStream)) {
    for (from, to) in [(&*client, &*service), (&*service, &*client)] {
        let (mut from, mut to) = (from, to);
        from.write_all(b"x").unwrap();
        to.read_exact(&mut [0]).unwrap();
    }
}

fn given(count: usize) -> Threads {
    Threads::of_option(Some(count))
}

#[test]
fn threads_without_a_connection_each_are_not_allowed_for() {
    assert_eq!(given(9_999_999_999_999).for_connections(100).most, 100);
    assert_eq!(given(2).for_connections(100).most, 2);
}

const IF_IDLE: Threads = Threads {
    most: 2,
    if_idle: true,
};

fn started(workers: &WorkerPool) -> usize {
    workers.members().threads.len()
}

fn eventually(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "{what}");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn one_thread_carries_everything_as_long_as_it_is_not_full() {
    let (workers, here, service) = workers(given(4));
    let mut pairs: Vec<_> = (0..20).map(|_| client(&here, &service)).collect();
    pairs.iter_mut().for_each(echo);
    assert_eq!(started(&workers), 1);
    workers.stop();
}

#[tokio::test]
async fn a_full_thread_gives_new_clients_to_another_one_if_a_processor_is_idle() {
    for (threads, idle, there_are) in [
        (given(1), 1000, 1),
        (given(2), 0, 2),
        (IF_IDLE, 1000, 2),
        (IF_IDLE, 0, 1),
    ] {
        let (workers, here, service) = workers(threads);
        workers.first.load.pretend(1000);
        workers.members().processors.pretend(idle);
        let mut pair = client(&here, &service);
        echo(&mut pair);
        assert_eq!(started(&workers), there_are);
        drop(pair);
        eventually("it has ended", || open(&workers) == 0);
        workers.stop();
    }
}

#[tokio::test]
async fn if_no_processor_is_idle_a_full_thread_keeps_new_clients_though_another_one_has_time() {
    for (threads, is_kept) in [(IF_IDLE, true), (given(2), false)] {
        let (workers, _, _service) = workers(threads);
        workers.members().processors.pretend(0);
        let other = WorkerHandle::new().unwrap();
        workers.members().handles.push(other);
        workers.first.load.pretend(1000);
        let chosen = workers.choose(&workers.first);
        assert_eq!(Arc::ptr_eq(&chosen, &workers.first), is_kept);
        workers.stop();
    }
}

#[tokio::test]
async fn a_client_that_is_to_be_ended_does_not_leave_for_the_successor() {
    let (workers, here, service) = recognising(Some(RequestKind::Lines), given(1));
    let (mut client, mut upstream) = client(&here, &service);
    for (from, to) in [(&client, &upstream), (&upstream, &client)] {
        let (mut from, mut to) = (from, to);
        from.write_all(b"x\n").unwrap();
        to.read_exact(&mut [0; 2]).unwrap();
    }
    let connections = &workers.route.admission.connections;
    let id = connections.list(Uptime::now())[0].id;
    assert!(connections.abort(id, Abort::Asked));
    workers.begin_passing_on();
    let is_connected = || workers.route.admission.read_gate(Gate::connected) > 0;
    eventually("it has ended", || !is_connected());
    assert!(client.read(&mut [0]).is_err());
    assert_eq!(upstream.read(&mut [0]).unwrap(), 0);
    workers.stop();
}

fn connected() -> (OwnedFd, TcpStream) {
    let (theirs, ours) = pair();
    ours.set_nonblocking(true).unwrap();
    (OwnedFd::from(ours), theirs)
}

/// A client that is not counted yet, and its peer.
fn arrived(route: &Route) -> (AdmittedClient, TcpStream) {
    let (socket, theirs) = connected();
    let admission = &route.admission;
    let client = Arrival {
        socket: ClientSocket::accepted(socket),
        peer: Peer::Tcp(theirs.local_addr().unwrap()),
        family: Family::Tcp,
    };
    let connection = admission.connections.add(client, None);
    let client = AdmittedClient::new(connection, Spare::default(), Arc::clone(admission));
    (client, theirs)
}

/// An admitted client whose upstream is connected, and both peers.
fn admitted(route: &Route) -> (AdmittedClient, (TcpStream, TcpStream)) {
    let (client, theirs) = arrived(route);
    let (upstream, service) = connected();
    route.admission.with_gate_silently(Gate::accepted);
    let target = route.target().unwrap();
    client
        .connection()
        .set_upstream(ConnectedUpstream::new(upstream.into(), target));
    (client, (theirs, service))
}

/// Another thread of these workers that carries this number of connections, and their peers.
fn carrying(
    workers: &Arc<WorkerPool>,
    count: usize,
) -> (Arc<WorkerHandle>, Worker, Vec<(TcpStream, TcpStream)>) {
    let handle = WorkerHandle::new().unwrap();
    workers.members().handles.push(Arc::clone(&handle));
    let mut worker = Worker::new(Arc::clone(workers), Arc::clone(&handle));
    let route = &workers.route;
    let pairs = (0..count).map(|_| {
        let (client, pair) = admitted(route);
        let carried = CarriedConnection::relaying(client, route);
        worker.carrier.carry(Box::new(carried)).unwrap();
        pair
    });
    let pairs = pairs.collect();
    (handle, worker, pairs)
}

#[tokio::test]
async fn if_no_processor_is_idle_an_overloaded_thread_gives_away_interactive_connections_only() {
    let (workers, _, _service) = workers(IF_IDLE);
    workers.members().processors.pretend(0);
    let (handle, mut worker, pairs) = carrying(&workers, 8);
    handle.load.pretend(1000);
    worker.carrier.give_away();
    let connections = &worker.carrier.connections;
    assert_eq!(connections.len(), 8, "they may carry one request each");
    // A second later all are active.
    let later = worker.carrier.now.as_micros() + 1_000_000;
    worker.carrier.now = Uptime::from_micros(later);
    let connections = &worker.carrier.connections;
    for key in connections.half_of_active(Uptime::from_micros(0), |_| true) {
        connections
            .get(key)
            .connection()
            .count(1, 1, worker.carrier.now);
    }
    for (part, there_are) in [(799, 8), (800, 6)] {
        handle.load.pretend(part);
        worker.carrier.give_away();
        // Half of the four that are active.
        assert_eq!(worker.carrier.connections.len(), there_are);
    }
    drop(pairs);
    drop(worker);
    workers.stop();
}

#[tokio::test]
async fn a_full_thread_gives_half_of_its_active_connections_away_and_they_continue() {
    let (workers, _, _service) = workers(given(2));
    let (handle, mut worker, mut pairs) = carrying(&workers, 6);
    handle.load.pretend(1000);
    worker.carrier.give_away();
    assert_eq!(worker.carrier.connections.len(), 3);
    let carrying = std::thread::spawn(move || worker.run());
    pairs.iter_mut().for_each(echo);
    drop(pairs);
    eventually("all have ended", || open(&workers) == 0);
    workers.stop();
    carrying.join().unwrap();
}

#[tokio::test]
async fn a_detached_client_of_another_process_or_thread_is_heard_when_it_speaks() {
    let (workers, _, service) = workers(given(1));
    let (client, mut theirs) = arrived(&workers.route);
    workers.route.admission.adopt_detached(client.connection());
    workers.resume_detached(client);
    // The gate was open before, and nothing waits.
    workers.attach(Attaching::Now);
    eventually("the thread has the client", || workers.is_turning());
    theirs.write_all(b"hello\n").unwrap();
    service.set_nonblocking(true).unwrap();
    eventually("it gets an upstream", || service.accept().is_ok());
    workers.stop();
}

#[tokio::test]
async fn what_a_thread_carries_ends_with_it() {
    let (workers, here, service) = workers(given(1));
    let (mut client, mut upstream) = client(&here, &service);
    upstream.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    workers.stop();
    assert_eq!(open(&workers), 0);
    // In the middle of something.
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_connection_is_as_small_as_it_can_be() {
    for size in [size_of::<CarriedConnection>(), size_of::<Connection>()] {
        assert!(size <= 400, "{size}");
    }
}
