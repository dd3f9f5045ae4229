//! Clients and services whose requests are told apart.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::setup::*;
use crate::support::*;

pub const KINDS: [Kind; 2] = [Kind::Lines, Kind::Http];

/// How requests are recognised. A request has a text, which its reply repeats.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Lines,
    Http,
}

impl Kind {
    pub fn option(self) -> &'static str {
        match self {
            Self::Lines => "--requests=lines",
            Self::Http => "--requests=http",
        }
    }

    pub fn request(self, text: &str) -> String {
        match self {
            Self::Lines => format!("{text}\n"),
            Self::Http => format!("GET /{text} HTTP/1.1\r\nHost: here\r\n\r\n"),
        }
    }

    pub fn reply(self, text: &str) -> String {
        match self {
            Self::Lines => format!("{text}\n"),
            Self::Http => format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            ),
        }
    }

    /// Receives a request; returns its text, unless the client has left.
    pub fn receive(self, from: &mut impl BufRead) -> Option<String> {
        let mut lines = from.lines().map_while(Result::ok);
        let first = lines.next()?;
        match self {
            Self::Lines => Some(first),
            Self::Http => {
                lines.find(String::is_empty)?;
                Some(first.split(['/', ' ']).nth(2)?.to_owned())
            }
        }
    }

    pub fn ask(self, client: &TcpStream, text: &str) {
        let mut client = client;
        client.write_all(self.request(text).as_bytes()).unwrap();
    }

    #[track_caller]
    pub fn is_answered(self, client: &TcpStream, text: &str) {
        let expected = self.reply(text);
        let mut bytes = vec![0; expected.len()];
        let mut client = client;
        let result = client.read_exact(&mut bytes);
        let result = result.map(|()| String::from_utf8(bytes).unwrap());
        assert_eq!(result.unwrap(), expected);
    }

    /// A request and its reply.
    #[track_caller]
    pub fn exchange(self, client: &TcpStream, text: &str) {
        self.ask(client, text);
        self.is_answered(client, text);
    }

    /// Answers all requests on all connections.
    pub fn answer_all(self, upstream: &TcpListener) {
        let upstream = upstream.try_clone().unwrap();
        std::thread::spawn(move || {
            for stream in upstream.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut from = BufReader::new(stream.try_clone().unwrap());
                    while let Some(text) = self.receive(&mut from) {
                        let _ = stream.write_all(self.reply(&text).as_bytes());
                    }
                });
            }
        });
    }
}

impl Setup {
    /// A process that would take over, and recognises requests.
    pub fn staying(&self, kind: Kind) -> Unit {
        self.unit(&[self.address.to_string()]).arg(kind.option())
    }

    /// Clients that have had an answer.
    pub fn clients(&self, count: usize, kind: Kind) -> Vec<TcpStream> {
        let clients: Vec<_> = (0..count).map(|_| connect(self.address)).collect();
        for (number, client) in clients.iter().enumerate() {
            kind.exchange(client, &format!("first-{number}"));
        }
        clients
    }

    pub fn count(&self, field: &str) -> u64 {
        self.status()[field].as_u64().unwrap_or(0)
    }
}
