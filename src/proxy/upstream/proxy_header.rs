//! The PROXY protocol: tells the upstream who the client is, before its first byte.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, sections 2.1 and 2.2.

use std::net::SocketAddr;
use std::str::FromStr;

use crate::service::printable::Printable;

/// Which version of the protocol the upstream expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line for people.
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

/// What every header of version 2 begins with.
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, command PROXY.
const V2_PROXY: u8 = 0x21;

impl ProxyProtocol {
    /// The header for a client and the address that it connected to. `None` for clients that have
    /// no such address (AF_UNIX): the upstream then learns that there is a client, not who it is.
    pub fn header(self, addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
        // Both have to be of one family; an IPv4 client of an IPv6 socket is told as IPv4.
        let pair = addresses.map(|(client, local)| (canonical(client), canonical(local)));
        match (self, pair) {
            (Self::V1, Some((SocketAddr::V4(client), SocketAddr::V4(local)))) => {
                v1_line("TCP4", client.ip(), local.ip(), client.port(), local.port())
            }
            (Self::V1, Some((SocketAddr::V6(client), SocketAddr::V6(local)))) => {
                v1_line("TCP6", client.ip(), local.ip(), client.port(), local.port())
            }
            (Self::V1, _) => b"PROXY UNKNOWN\r\n".to_vec(),
            (Self::V2, Some((SocketAddr::V4(client), SocketAddr::V4(local)))) => v2_block(
                0x11,
                &[&client.ip().octets(), &local.ip().octets()],
                [client.port(), local.port()],
            ),
            (Self::V2, Some((SocketAddr::V6(client), SocketAddr::V6(local)))) => v2_block(
                0x21,
                &[&client.ip().octets(), &local.ip().octets()],
                [client.port(), local.port()],
            ),
            (Self::V2, _) => v2_block(0x00, &[], []),
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn v1_line(
    family: &str,
    client: impl std::fmt::Display,
    local: impl std::fmt::Display,
    client_port: u16,
    local_port: u16,
) -> Vec<u8> {
    format!("PROXY {family} {client} {local} {client_port} {local_port}\r\n").into_bytes()
}

fn v2_block<const N: usize>(family: u8, addresses: &[&[u8]], ports: [u16; N]) -> Vec<u8> {
    let body: Vec<u8> = addresses
        .iter()
        .flat_map(|address| address.iter().copied())
        .chain(ports.into_iter().flat_map(u16::to_be_bytes))
        .collect();
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
        assert_eq!(
            ProxyProtocol::V1.header(v4),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\n"
        );
        assert_eq!(
            ProxyProtocol::V1.header(v6),
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"
        );
        assert_eq!(ProxyProtocol::V1.header(None), b"PROXY UNKNOWN\r\n");
        let mapped = pair("[::ffff:192.0.2.1]:1234", "[::ffff:192.0.2.2]:80");
        assert_eq!(
            ProxyProtocol::V1.header(mapped),
            ProxyProtocol::V1.header(v4)
        );
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
