//! Where there can be no last will, where the kernel is too old for one, and where it is killed.

use crate::failing_calls::FailingCall;
use crate::open::{Open, upstream};
use crate::service::{STORED, Service};

const NO_PIDFD: FailingCall = FailingCall {
    number: libc::SYS_pidfd_open,
    argument: None,
    errno: libc::ENOSYS,
};

const NO_WAIT_FOR_PIDFD: FailingCall = FailingCall {
    number: libc::SYS_waitid,
    argument: Some(libc::P_PIDFD),
    errno: libc::EINVAL,
};

/// Threads are made by clone3(2).
const NO_CHILD: FailingCall = FailingCall {
    number: libc::SYS_clone,
    argument: None,
    errno: libc::EAGAIN,
};

#[test]
fn an_old_kernel_is_named_and_nothing_is_left_without_an_owner() {
    for (refused, what) in [
        (NO_PIDFD, "pidfd_open(2)"),
        (NO_WAIT_FOR_PIDFD, "P_PIDFD of waitid(2)"),
    ] {
        let mut service = Service::new(upstream());
        service.start();
        let kept = Open::new(&service);
        service.end(libc::SIGKILL);
        service.refuse(&[refused]);
        service.start();
        kept.expect_reset();
        assert_eq!((service.open(), service.stored().len()), (0, 0));
        let log = service.log();
        let warning = log
            .lines()
            .find(|line| line.contains(what))
            .unwrap_or_default();
        assert!(warning.contains("WARN") && warning.contains("5.4"), "{log}");
        Open::new(&service).finish();
    }
}

#[test]
fn without_a_last_will_connections_go_on_and_count() {
    let mut service = Service::new(upstream());
    service.start();
    let mut kept = Open::new(&service);
    service.end(libc::SIGKILL);
    service.refuse(&[NO_CHILD]);
    service.start();
    kept.echo();
    assert_eq!((service.open(), service.stored().len()), (1, STORED));
    let log = service.log();
    assert!(log.contains("WARN there is no last will"), "{log}");
    assert_eq!(service.last_will(), None);
    service.end(libc::SIGKILL);
    service.refuse(&[]);
    service.start();
    kept.echo();
    assert!(service.last_will().is_some());
}

#[test]
fn where_not_even_a_thread_can_be_started_nobody_waits_for_ever() {
    let mut service = Service::new(upstream());
    service.start();
    let kept = Open::new(&service);
    service.end(libc::SIGKILL);
    let no_thread = FailingCall {
        number: libc::SYS_clone3,
        ..NO_CHILD
    };
    service.refuse(&[NO_CHILD, no_thread]);
    service.run_to_end();
    kept.expect_reset();
    assert_eq!(service.stored().len(), 0);
    let log = service.log();
    assert!(log.contains("no thread can be started"), "{log}");
}

#[test]
fn a_last_will_that_is_killed_is_made_again() {
    let service = Service::new(upstream());
    service.start();
    let mut kept = Open::new(&service);
    let will = service.last_will().unwrap();
    // SAFETY: kill(2) on a process that was just seen, and that only this test ends.
    unsafe { libc::kill(will, libc::SIGKILL) };
    service.until_logged("was killed, and was made again");
    assert!(service.last_will().is_some_and(|next| next != will));
    kept.echo();
    service.end(libc::SIGTERM);
    service.start();
    kept.echo();
}
