//! Congestion control: no pacing within one machine.
//!
//! A congestion control that paces, such as bbr, spreads what is sent over time, for the queues of routers; each
//! pause is a timer. Within one machine that only costs: two or three times the processor time per GiB.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use rustix::net::sockopt;

use super::socket::local_address;

/// Never paces, is in every kernel, and is allowed for every user (`tcp_allowed_congestion_control`, tcp(7)).
const UNPACED: &str = "reno";

/// Whether only this machine can reach an address.
pub fn is_this_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Turns pacing off for the clients of a listener that only this machine can reach, whether the machine's default
/// or the unit has turned it on. Clients that wait already stay paced: the kernel does not take that back.
pub fn never_for_local_clients(listener: impl AsFd) {
    if paces(&listener) && is_local(&listener) {
        choose_unpaced(listener);
    }
}

fn is_local(socket: impl AsFd) -> bool {
    local_address(socket).is_some_and(|address| is_this_machine(address.ip()))
}

/// Turns pacing off for a new socket, before it is connected to this machine.
pub fn never(socket: impl AsFd) {
    // Every new socket has the machine's default.
    static DEFAULT_PACES: OnceLock<bool> = OnceLock::new();
    if *DEFAULT_PACES.get_or_init(|| paces(&socket)) {
        choose_unpaced(socket);
    }
}

fn paces(socket: impl AsFd) -> bool {
    sockopt::tcp_congestion(socket).is_ok_and(|name| is_pacing(&name))
}

/// `bbr` and its later versions.
fn is_pacing(name: &str) -> bool {
    name.starts_with("bbr")
}

fn choose_unpaced(socket: impl AsFd) {
    // If it fails, sending only costs more.
    let _ = sockopt::set_tcp_congestion(socket, UNPACED);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn bbr_paces_and_the_usual_ones_do_not() {
        assert!(is_pacing("bbr") && is_pacing("bbr3"));
        assert!(!is_pacing("cubic") && !is_pacing(UNPACED) && !is_pacing("dctcp"));
    }

    #[test]
    fn every_address_of_the_loopback_interface_is_this_machine() {
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_this_machine(address.parse().unwrap()), "{address}");
        }
        for address in ["0.0.0.0", "::", "192.0.2.1", "fe80::1"] {
            assert!(!is_this_machine(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_is_accepted_has_what_was_chosen_for_the_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        choose_unpaced(&listener);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(sockopt::tcp_congestion(&accepted).unwrap(), UNPACED);
    }

    #[test]
    fn no_socket_is_paced_afterwards() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        never_for_local_clients(&listener);
        never(&client);
        assert!(!paces(&listener) && !paces(&client));
        assert!(is_local(&listener));
        assert!(!is_local(TcpListener::bind("0.0.0.0:0").unwrap()));
    }
}
