//! A client that is to be attached while no descriptor is left.

use std::time::Duration;

use super::peers::*;
use crate::setup::Setup;
use crate::support::*;

/// The time for an upstream passes many times meanwhile.
const OPTIONS: &[&str] = &["--requests=http", "--connect-timeout=50ms"];
/// Fewer than are open: there is none for anything new.
const FEW: u64 = 4;
const POST: &str = "POST /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_client_without_an_upstream_waits_for_a_descriptor_and_loses_nothing() {
    let mut setup = Setup::new();
    let port = setup.upstream.local_addr().unwrap().port();
    for target in [setup.target(), format!("localhost:{port}")] {
        setup.options = vec![target];
        let mut proxy = setup.start_with(OPTIONS);
        let (client, upstream) = setup.pair();
        let (other, other_upstream) = setup.pair();
        exchange(&client, &upstream, "/1");
        exchange(&other, &other_upstream, "/1");
        drop(upstream);
        until_detached(&setup, 1);
        let before = proxy.limit_descriptors(FEW);
        send(&client, POST);
        let log = proxy.until_logged("cannot connect to");
        assert!(
            log.contains("clients that were accepted wait") && log.contains("LimitNOFILE="),
            "{log}"
        );
        // The proxy tries in vain, and there is no event to wait for.
        std::thread::sleep(Duration::from_millis(300));
        exchange(&other, &other_upstream, "/2");
        proxy.limit_descriptors(before);
        let upstream = accept(&setup);
        receive(&upstream, POST);
        send(&upstream, &reply("done"));
        receive(&client, &reply("done"));
    }
}

#[test]
fn a_request_that_is_to_be_sent_again_waits_for_a_descriptor() {
    let setup = Setup::new();
    let mut proxy = setup.start_with(OPTIONS);
    let (client, upstream) = setup.pair();
    send(&client, &get("/1"));
    receive(&upstream, &get("/1"));
    let before = proxy.limit_descriptors(FEW);
    reset(upstream);
    proxy.until_logged("cannot connect to");
    proxy.limit_descriptors(before);
    answer(&accept(&setup), &client, "/1", "1");
}
