//! Connections whose requests cannot be told apart are relayed as ever.

use super::peers::*;
use crate::setup::Setup;
use crate::support::*;

/// Whether a lock is held up by this connection.
fn holds_up(setup: &Setup) -> bool {
    let (status, _) = setup.ctl(&["lock", "--timeout", "300ms"]);
    status == 3
}

#[test]
fn bytes_pass_unchanged_and_the_connection_holds_up_a_lock() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    for text in [
        "\x16\x03\x01 TLS",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\nHost: bare line feeds\n\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "CONNECT there:1 HTTP/1.1\r\nHost: there\r\n\r\n",
        "anything else",
    ] {
        let (client, upstream) = setup.pair();
        send(&client, text);
        receive(&upstream, text);
        send(&upstream, "and back");
        receive(&client, "and back");
        assert!(holds_up(&setup), "{text:?}");
        drop((client, upstream));
        eventually("it has ended", || open(&setup) == 0);
    }
}

#[test]
fn an_upgraded_connection_holds_up_a_lock_and_the_reason_is_shown() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    let ask = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    send(&client, ask);
    receive(&upstream, ask);
    send(&upstream, answer);
    receive(&client, answer);
    send(&client, "frame");
    receive(&upstream, "frame");
    assert!(holds_up(&setup));
    let shown = setup.does(&["connections"]);
    assert!(shown.contains("upgraded to websocket"), "{shown}");
    // Also to the reader of a script's log.
    let (_, log) = setup.ctl(&["lock", "--timeout=100ms"]);
    let words = "1 connection cannot be detached: upgraded to websocket";
    assert_eq!(log.matches(words).count(), 1, "{log}");
}

#[test]
fn a_part_of_a_head_passes_when_its_client_has_ended() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    send(&client, "GET / HT");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest(&upstream).unwrap(), b"GET / HT");
}

#[test]
fn without_the_option_a_silent_client_holds_up_a_lock() {
    let setup = Setup::new();
    let _proxy = setup.start();
    let (client, upstream) = setup.pair();
    exchange(&client, &upstream, "/");
    assert!(holds_up(&setup));
}

/// It waits for as long as the proxy does.
#[test]
fn a_part_of_a_head_passes_after_a_time_also_if_its_client_stays() {
    let setup = Setup::new();
    let _proxy = setup.start_with(HTTP);
    let (client, upstream) = setup.pair();
    send(&client, "GET / HT");
    receive(&upstream, "GET / HT");
    let shown = setup.does(&["connections"]);
    assert!(shown.contains("a head that took too long"), "{shown}");
    assert!(holds_up(&setup));
}
