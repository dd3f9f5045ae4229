//! What programs get, and how their clients are counted.

use std::io::{Read, Write};
use std::process::Command;

use crate::setup::*;
use crate::support::*;
use crate::{echo, is_silent, script, talk, unit};

#[test]
fn a_program_talks_to_its_client_on_standard_input_and_output() {
    let setup = Setup::new();
    let (_proxy, _inetd) = (setup.proxy(), unit(&setup, &[], &["cat"]).ready());
    let client = setup.connect();
    echo(&client, "one");
    echo(&client, "two");
    let listed = setup.connections();
    assert_eq!(listed[0]["upstream"], setup.target());
    assert_eq!(listed[0]["receivedBytes"], 8);
    drop(client);
    setup.open_becomes(0);
    assert_eq!(talk(&setup, "three"), "three");
}

#[test]
fn a_program_gets_the_address_of_its_client_as_from_systemd_and_nothing_else_of_ours() {
    let setup = Setup::new();
    let words = r#"echo "$REMOTE_ADDR $REMOTE_PORT|$NOTIFY_SOCKET$LISTEN_FDS$WATCHDOG_USEC|$MINE""#;
    let unit = unit(&setup, &[], &["sh", "-c", words]).env("MINE", "kept");
    let (_proxy, _inetd) = (setup.proxy(), unit.ready());
    let client = setup.connect();
    let port = client.local_addr().unwrap().port();
    assert_eq!(line(&client), format!("127.0.0.1 {port}||kept"));
}

#[test]
fn a_program_has_no_other_socket_and_its_own_process_group() {
    let setup = Setup::new();
    let words = "ls -l /proc/self/fd | grep -c socket:
        read -r number name state parent group rest </proc/$$/stat
        [ $group = $$ ] && echo leader";
    let (_proxy, _inetd) = (setup.proxy(), script(&setup, words));
    // Of ls: standard input. Its output is a pipe.
    assert_eq!(talk(&setup, ""), "1\nleader\n");
}

#[test]
fn a_lock_waits_for_the_process_also_after_it_has_closed_its_client() {
    let setup = Setup::new();
    let fifo = setup.path("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let words = format!("echo bye; exec <&- >&-; read line <'{}'", fifo.display());
    let (_proxy, _inetd) = (setup.proxy(), script(&setup, &words));
    let client = setup.connect();
    assert_eq!(line(&client), "bye");
    let mut lock = setup.begin_lock(&[]);
    let waiting = setup.connect();
    assert_eq!(setup.status()["open"], 1);
    assert!(lock.try_wait().unwrap().is_none());
    std::fs::write(&fifo, "go on\n").unwrap();
    assert!(lock.wait().unwrap().success());
    assert_eq!(rest(&client).unwrap(), b"");
    assert_eq!(setup.status()["queued"], 1);
    setup.does(&["unlock"]);
    assert_eq!(line(&waiting), "bye");
    std::fs::write(&fifo, "go on\n").unwrap();
    setup.open_becomes(0);
}

#[test]
fn what_a_program_leaves_in_the_background_does_not_keep_its_client() {
    let setup = Setup::new();
    let (_proxy, _inetd) = (setup.proxy(), script(&setup, "sleep 300 & echo $!"));
    let client = setup.connect();
    let number = line(&client);
    assert_eq!(rest(&client).unwrap(), b"");
    setup.open_becomes(0);
    let killed = Command::new("kill").arg(number).status().unwrap();
    assert!(killed.success(), "it was still there");
}

#[test]
fn beyond_the_limit_clients_wait_and_none_is_refused() {
    let setup = Setup::new();
    let inetd = unit(&setup, &["--processes-max=2"], &["cat"]).ready();
    let _proxy = setup.proxy();
    let mut served: Vec<_> = (0..2).map(|_| setup.connect()).collect();
    served.iter().for_each(|client| echo(client, "served"));
    let waiting: Vec<_> = (0..4).map(|_| setup.connect()).collect();
    for mut client in &waiting {
        client.write_all(b"waiting\n").unwrap();
    }
    setup.open_becomes(6);
    served.iter().for_each(|client| echo(client, "still"));
    assert_eq!(children(&inetd), 2);
    assert!(waiting.iter().all(is_silent));
    for client in waiting {
        drop(served.remove(0));
        assert_eq!(line(&client), "waiting");
        served.push(client);
        assert_eq!(children(&inetd), 2);
    }
    drop(served);
    setup.open_becomes(0);
}

/// The number of processes that it has started and that it has not seen to end.
fn children(inetd: &Running) -> usize {
    let number = inetd.pid();
    let path = format!("/proc/{number}/task/{number}/children");
    let children = std::fs::read_to_string(path).unwrap();
    children.split_whitespace().count()
}

#[test]
fn many_clients_each_have_a_process_and_each_is_counted() {
    let setup = Setup::new();
    let (_proxy, _inetd) = (setup.quiet_proxy(&[]), unit(&setup, &[], &["cat"]).ready());
    let clients: Vec<_> = (0..50).map(|_| setup.connect()).collect();
    for (number, client) in clients.iter().enumerate() {
        echo(client, &number.to_string());
    }
    assert_eq!(setup.status()["open"], 50);
    drop(clients);
    setup.open_becomes(0);
}

#[test]
fn a_client_is_reset_if_the_program_has_not_read_everything() {
    let setup = Setup::new();
    let (_proxy, _inetd) = (setup.proxy(), script(&setup, "read line; echo $line"));
    let mut client = setup.connect();
    client.write_all(b"one\n").unwrap();
    assert_eq!(line(&client), "one");
    assert_eq!(rest(&client).unwrap(), b"");
    let mut client = setup.connect();
    client.write_all(b"one\nand what it does not read").unwrap();
    let mut bytes = Vec::new();
    let error = client.read_to_end(&mut bytes).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
