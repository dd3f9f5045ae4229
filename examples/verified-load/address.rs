//! The addresses of clients, and their PROXY headers.

use std::net::{Ipv4Addr, SocketAddr};

/// A header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Header {
    /// Version 1: a line.
    V1,
    /// Version 2: binary.
    V2,
}

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

impl Header {
    /// The client's address and the length of the header, if it is complete.
    ///
    /// # Errors
    ///
    /// If this is no header of a TCP client over IPv4.
    pub fn parse(self, bytes: &[u8]) -> Result<Option<(SocketAddr, usize)>, String> {
        let wrong = || format!("no PROXY header: {:?}", String::from_utf8_lossy(bytes));
        match self {
            Self::V1 => {
                let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else {
                    let is_line = bytes.len() < 108;
                    return if is_line { Ok(None) } else { Err(wrong()) };
                };
                let line = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong())?;
                let words: Vec<_> = line.split(' ').collect();
                let ["PROXY", "TCP4", ip, _, port, _] = words[..] else {
                    return Err(wrong());
                };
                let address = format!("{ip}:{port}").parse().map_err(|_| wrong())?;
                Ok(Some((address, end + 2)))
            }
            Self::V2 => {
                let known = bytes.len().min(V2_SIGNATURE.len());
                if bytes[..known] != V2_SIGNATURE[..known] {
                    return Err(wrong());
                }
                let Some((head, rest)) = bytes.split_at_checked(16) else {
                    return Ok(None);
                };
                if head[12..] != [0x21, 0x11, 0, 12] {
                    return Err(wrong());
                }
                let Some((body, _)) = rest.split_at_checked(12) else {
                    return Ok(None);
                };
                let ip = Ipv4Addr::new(body[0], body[1], body[2], body[3]);
                let port = u16::from_be_bytes([body[8], body[9]]);
                Ok(Some((SocketAddr::from((ip, port)), 28)))
            }
        }
    }
}

#[test]
fn a_header_is_known_when_all_of_it_is_there() {
    let address = "127.0.0.9:1234".parse().unwrap();
    let v1 = b"PROXY TCP4 127.0.0.9 127.0.0.1 1234 80\r\n";
    let mut v2 = V2_SIGNATURE.to_vec();
    v2.extend([0x21, 0x11, 0, 12, 127, 0, 0, 9, 127, 0, 0, 1, 4, 210, 0, 80]);
    for (header, whole) in [(Header::V1, &v1[..]), (Header::V2, &v2)] {
        for length in 0..whole.len() {
            assert_eq!(header.parse(&whole[..length]), Ok(None));
        }
        let more = [whole, b"more"].concat();
        assert_eq!(header.parse(&more), Ok(Some((address, whole.len()))));
        assert!(header.parse(b"HELLO WORLD\r\n").is_err());
    }
}
