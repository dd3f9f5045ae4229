//! Why a connection is relayed byte for byte.

use std::fmt;

/// Why a connection is relayed byte for byte, for good. Displayed as a part of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opaque {
    /// A WebSocket.
    WebSocket = 1,
    /// Another protocol than HTTP from here on.
    Upgraded,
    /// A tunnel.
    Connect,
    /// A TLS handshake.
    Tls,
    /// The preface of HTTP/2.
    Http2,
    /// NTLM or Negotiate.
    Login,
    /// Two lengths, or one that may be understood in two ways.
    Length,
    /// A head that is not exactly as it should be.
    Malformed,
    /// A chunk that is not exactly as it should be.
    Chunk,
    /// More lines in a head than are looked at.
    ManyFields,
    /// A head that is longer than what is looked at.
    LongHead,
    /// A line that is longer than what is looked at.
    LongLine,
    /// A head that is not whole, and nothing more comes.
    UnfinishedHead,
    /// A line that is not whole, and nothing more comes.
    UnfinishedLine,
    /// The service has sent something before it was asked.
    SpokeFirst,
    /// The service has sent more than a reply.
    Surplus,
    /// The client has sent more after a request or a reply that announces the end of the connection.
    AfterLast,
    /// Urgent data.
    Urgent,
    /// A head that was not whole in time.
    Slow,
    /// What an earlier process has written down makes no sense.
    Unreadable,
    /// An earlier process, which did not tell requests apart, has carried a part of them.
    Earlier,
}

impl Opaque {
    const ALL: [Self; 21] = [
        Self::WebSocket,
        Self::Upgraded,
        Self::Connect,
        Self::Tls,
        Self::Http2,
        Self::Login,
        Self::Length,
        Self::Malformed,
        Self::Chunk,
        Self::ManyFields,
        Self::LongHead,
        Self::LongLine,
        Self::UnfinishedHead,
        Self::UnfinishedLine,
        Self::SpokeFirst,
        Self::Surplus,
        Self::AfterLast,
        Self::Urgent,
        Self::Slow,
        Self::Unreadable,
        Self::Earlier,
    ];

    /// Its number in a word.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The reason with this number.
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.code() == code)
    }
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WebSocket => "upgraded to websocket",
            Self::Upgraded => "upgraded to another protocol",
            Self::Connect => "CONNECT",
            Self::Tls => "TLS",
            Self::Http2 => "HTTP/2",
            Self::Login => "a login that belongs to the connection",
            Self::Length => "an ambiguous length",
            Self::Malformed => "a malformed head",
            Self::Chunk => "a malformed chunk",
            Self::ManyFields => "a head of too many lines",
            Self::LongHead => "a head of more than 63 KiB",
            Self::LongLine => "a line of more than 63 KiB",
            Self::UnfinishedHead => "an unfinished head",
            Self::UnfinishedLine => "an unfinished line",
            Self::SpokeFirst => "the service spoke first",
            Self::Surplus => "surplus bytes",
            Self::AfterLast => "bytes after the last request",
            Self::Urgent => "urgent data",
            Self::Slow => "a head that took too long",
            Self::Unreadable => "an unreadable record",
            Self::Earlier => "connected before --requests was set",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_a_number_and_words_of_its_own() {
        let words: BTreeSet<_> = Opaque::ALL.iter().map(Opaque::to_string).collect();
        assert_eq!(words.len(), Opaque::ALL.len());
        for (index, why) in Opaque::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(why.code()), index + 1);
            assert_eq!(Opaque::of(why.code()), Some(why));
        }
        assert_eq!(Opaque::of(0), None);
        assert_eq!(Opaque::of(Opaque::ALL.len() as u8 + 1), None);
    }
}
