//! A proxy that dies at any moment can be followed by one that serves.
//!
//! It is killed, or stopped by a signal, at every system call that may leave a trace: of a first start, of a start with
//! a store, of one that restores connections, and of its end. After each the next process serves a new
//! client, continues all connections, and nothing useless is left in the store.

mod failing_calls;
mod leftovers;
mod notifications;
mod open;
mod service;
mod tracer;
mod will;

use open::{Open, upstream};
use service::{STORED, Service};
use tracer::{Blow, From};

/// What is traced.
#[derive(Clone, Copy)]
struct Story {
    /// When counting begins, and what the process gets as soon as it is ready.
    from: From,
    when_ready: libc::c_int,
    blow: Blow,
    /// How the process before and the one after end.
    between: libc::c_int,
    /// So many connections are open all the time.
    connections: usize,
}

/// A start, up to the moment when it is ready.
const START: Story = Story {
    from: From::Start,
    when_ready: libc::SIGKILL,
    blow: Blow::Kill,
    between: libc::SIGKILL,
    connections: 0,
};

/// A start with an empty store: the process before has ended in order.
const FIRST_START: Story = Story {
    between: libc::SIGTERM,
    ..START
};

/// A start with connections.
const RESTORE: Story = Story {
    connections: 3,
    ..START
};

/// An end without connections.
const END: Story = Story {
    from: From::Term,
    when_ready: libc::SIGTERM,
    ..START
};

/// An end with connections.
const LEAVE: Story = Story {
    connections: 3,
    ..END
};

impl Story {
    const fn with_term(self) -> Self {
        Self {
            blow: Blow::Terminate,
            ..self
        }
    }

    /// Runs it once for every call.
    fn run(self) {
        let service = Service::new(upstream());
        service.start();
        let mut connections: Vec<Open> =
            (0..self.connections).map(|_| Open::new(&service)).collect();
        service.end(self.between);
        for at in 1.. {
            let struck = service
                .trace(self.from, self.when_ready)
                .strike(at, self.blow);
            service.start();
            let what = || format!("{at}: {}", service.log());
            Open::new(&service);
            connections.iter_mut().for_each(Open::echo);
            let open = connections.len();
            // The new client has left; wait until the service has noticed.
            while service.open() > open {}
            assert_eq!(service.stored(), ["kept-connections"; STORED], "{}", what());
            if !struck {
                assert!(at > AT_LEAST, "only {at} calls");
                break;
            }
            service.end(self.between);
            if self.between == libc::SIGTERM {
                assert_eq!(service.stored(), [""; 0], "{}", what());
            }
        }
        for connection in connections {
            connection.finish();
        }
    }
}

/// Fewer would mean that what is to be traced is not there.
const AT_LEAST: usize = 10;

#[test]
fn killed_in_a_first_start() {
    FIRST_START.run();
}

#[test]
fn stopped_in_a_first_start() {
    FIRST_START.with_term().run();
}

#[test]
fn killed_in_a_start_with_a_store() {
    START.run();
}

#[test]
fn stopped_in_a_start_with_a_store() {
    START.with_term().run();
}

#[test]
fn killed_while_it_restores_connections() {
    RESTORE.run();
}

#[test]
fn stopped_while_it_restores_connections() {
    RESTORE.with_term().run();
}

#[test]
fn killed_while_it_ends() {
    END.run();
}

#[test]
fn stopped_again_while_it_ends() {
    END.with_term().run();
}

#[test]
fn killed_while_it_leaves_connections() {
    LEAVE.run();
}

#[test]
fn stopped_again_while_it_leaves_connections() {
    LEAVE.with_term().run();
}
