//! The PROXY protocol, which sends the upstream the address of the client before its first byte.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, sections 2.1 and 2.2.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::service::printable::Printable;

/// The version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// A binary header.
    V2,
}

impl FromStr for ProxyProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => Err(format!(
                "“{}” is not a version of the PROXY protocol: v1 and v2 are",
                Printable(text)
            )),
        }
    }
}

/// The beginning of every header of version 2.
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, command PROXY.
const V2_PROXY: u8 = 0x21;

impl ProxyProtocol {
    /// The header for the addresses of a client and of the listener. Without addresses (AF_UNIX) the
    /// upstream learns that there is a client, but not its address.
    pub fn header(self, addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
        // Both have to be of one family: an IPv4 client of an IPv6 socket is one of IPv4.
        let addresses = addresses
            .map(|(client, local)| (canonical(client), canonical(local)))
            .filter(|(client, local)| client.is_ipv4() == local.is_ipv4());
        match self {
            Self::V1 => v1(addresses),
            Self::V2 => v2(addresses),
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn v1(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((client, local)) = addresses else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (client_ip, local_ip) = (client.ip(), local.ip());
    let (client_port, local_port) = (client.port(), local.port());
    format!("PROXY {family} {client_ip} {local_ip} {client_port} {local_port}\r\n").into_bytes()
}

fn v2(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut body = Vec::new();
    let family = match addresses {
        Some((client, local)) => {
            for address in [client, local] {
                match address.ip() {
                    IpAddr::V4(ip) => body.extend(ip.octets()),
                    IpAddr::V6(ip) => body.extend(ip.octets()),
                }
            }
            for address in [client, local] {
                body.extend(address.port().to_be_bytes());
            }
            if client.is_ipv4() { 0x11 } else { 0x21 }
        }
        None => 0x00,
    };
    let mut header = V2_SIGNATURE.to_vec();
    header.extend([V2_PROXY, family]);
    header.extend((body.len() as u16).to_be_bytes()); // 36 bytes at most
    header.extend(body);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(client: &str, local: &str) -> Option<(SocketAddr, SocketAddr)> {
        Some((client.parse().unwrap(), local.parse().unwrap()))
    }

    #[test]
    fn version_1_is_one_line() {
        let v4 = pair("192.0.2.1:1234", "192.0.2.2:80");
        let v6 = pair("[2001:db8::1]:1", "[2001:db8::2]:2");
        let header = |addresses| ProxyProtocol::V1.header(addresses);
        assert_eq!(header(v4), b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n");
        assert_eq!(header(v6), b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n");
        assert_eq!(header(None), b"PROXY UNKNOWN\r\n");
        let mapped = pair("[::ffff:192.0.2.1]:1234", "[::ffff:192.0.2.2]:80");
        assert_eq!(header(mapped), header(v4));
    }

    #[test]
    fn version_2_is_binary() {
        let header = ProxyProtocol::V2.header(pair("192.0.2.1:258", "192.0.2.2:80"));
        assert_eq!(header[..12], *b"\r\n\r\n\0\r\nQUIT\n");
        assert_eq!(
            header[12..],
            [0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 0, 80]
        );
        let header = ProxyProtocol::V2.header(pair("[2001:db8::1]:1", "[2001:db8::2]:2"));
        assert_eq!(
            (header.len(), &header[12..16]),
            (52, &[0x21, 0x21, 0, 36][..])
        );
        assert_eq!(ProxyProtocol::V2.header(None)[12..], [0x21, 0x00, 0, 0]);
    }
}
