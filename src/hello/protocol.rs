//! The protocol of `hello-world-server`: lines in, lines out. Pure, no I/O.
//!
//! A request is a line that ends in LF or CRLF, or in the half-close of the client. Each gets one line as its
//! answer, except `quit`, which the server answers by closing.

use std::fmt;

/// The longest line, in bytes without its end.
pub const MAX_LINE: usize = 1024;

/// Cuts a stream of bytes into lines, however the stream was cut into pieces.
///
/// It holds at most one unfinished line and the last piece, provided that the lines are taken before the next
/// piece is pushed. After an error, it holds nothing and yields nothing: the start of the next line is unknown.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// The end of the last line that was returned.
    start: usize,
    /// The number of bytes from there on that are known to have no line end among them.
    scanned: usize,
    is_failed: bool,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is longer than [`MAX_LINE`].
    #[error("a line has more than {MAX_LINE} bytes")]
    TooLong,
    /// It is not UTF-8.
    #[error("a line is not UTF-8")]
    NotUtf8,
}

impl Lines {
    /// Appends the next piece of the stream.
    pub fn push(&mut self, piece: &[u8]) {
        if self.is_failed {
            return;
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(piece);
    }

    /// The next line, without its end; `None` while it is not complete.
    pub fn next_line(&mut self) -> Option<Result<String, LineError>> {
        let rest = &self.buffer[self.start..];
        match rest[self.scanned..].iter().position(|byte| *byte == b'\n') {
            Some(position) => {
                let end = self.scanned + position;
                let line = read(&rest[..end]);
                self.start += end + 1;
                self.scanned = 0;
                Some(self.check(line))
            }
            None => {
                self.scanned = rest.len();
                // A CR may belong to the line's end.
                let too_long = without_cr(rest).len() > MAX_LINE;
                too_long.then(|| self.check(Err(LineError::TooLong)))
            }
        }
    }

    /// The last line, if the stream has ended without a line end.
    pub fn finish(&mut self) -> Option<Result<String, LineError>> {
        let rest = &self.buffer[self.start..];
        if rest.is_empty() {
            return None;
        }
        let line = read(rest);
        *self = Self::default();
        Some(self.check(line))
    }

    fn check(&mut self, line: Result<String, LineError>) -> Result<String, LineError> {
        if line.is_err() {
            *self = Self {
                is_failed: true,
                ..Self::default()
            };
        }
        line
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn read(line: &[u8]) -> Result<String, LineError> {
    let line = without_cr(line);
    if line.len() > MAX_LINE {
        return Err(LineError::TooLong);
    }
    let text = std::str::from_utf8(line).map_err(|_| LineError::NotUtf8)?;
    Ok(text.to_owned())
}

/// A request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `hello`
    Hello,
    /// `quit`
    Quit,
    /// Anything else.
    Other,
}

impl Request {
    /// Reads a line. Case matters; blanks around the word do not.
    pub fn parse(line: &str) -> Self {
        match line.trim_ascii() {
            "hello" => Self::Hello,
            "quit" => Self::Quit,
            _ => Self::Other,
        }
    }
}

/// An answer of the server; it prints as a line with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// To `hello`: the greeting, a single line.
    Greeting(&'a str),
    /// To any other request.
    Unknown,
    /// To an invalid line. The server closes after it: the client may speak another protocol.
    Refusal(LineError),
}

impl fmt::Display for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Greeting(text) => write!(f, "{text}\r\n"),
            Self::Unknown => f.write_str("Not understood: I know hello and quit\r\n"),
            Self::Refusal(error) => write!(f, "Not understood: {error}; goodbye\r\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Line = Result<String, LineError>;

    fn lines_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut result = Vec::new();
        for piece in pieces {
            lines.push(piece);
            while let Some(line) = lines.next_line() {
                result.push(line);
            }
            assert!(lines.buffer.len() <= MAX_LINE + 1 + piece.len());
        }
        result.extend(lines.finish());
        assert_eq!(lines.finish(), None);
        result
    }

    fn lines(bytes: &[u8]) -> Vec<Line> {
        lines_of([bytes])
    }

    fn text(line: &str) -> Line {
        Ok(line.to_owned())
    }

    #[test]
    fn lines_end_in_lf_or_crlf_or_with_the_stream() {
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\n"), [text("")]);
        assert_eq!(
            lines(b"a\nb\r\n\r\nc"),
            [text("a"), text("b"), text(""), text("c")]
        );
        assert_eq!(lines(b"a\r\r\nb\r"), [text("a\r"), text("b")]);
    }

    #[test]
    fn a_line_may_have_1024_bytes_and_no_more() {
        let longest = "x".repeat(MAX_LINE);
        for end in ["", "\r", "\n", "\r\n"] {
            assert_eq!(
                lines(format!("{longest}{end}").as_bytes()),
                [text(&longest)]
            );
            assert_eq!(
                lines(format!("hello\n{longest}x{end}quit\n").as_bytes())[1],
                Err(LineError::TooLong)
            );
        }
    }

    #[test]
    fn a_line_that_never_ends_is_refused_before_it_has_ended() {
        let mut lines = Lines::default();
        lines.push(&[b'x'; MAX_LINE + 1]);
        assert_eq!(lines.next_line(), Some(Err(LineError::TooLong)));
        lines.push(b"more\n");
        assert_eq!((lines.next_line(), lines.finish()), (None, None));
        assert_eq!(lines.buffer.capacity(), 0);
    }

    #[test]
    fn what_is_not_utf_8_is_refused_and_what_follows_is_not_read() {
        assert_eq!(
            lines(b"hello\n\xff\xfe\nhello\n"),
            [text("hello"), Err(LineError::NotUtf8)]
        );
    }

    #[test]
    fn a_request_is_a_word_with_or_without_blanks_around_it() {
        for (line, request) in [
            ("hello", Request::Hello),
            (" hello\t", Request::Hello),
            ("quit\r", Request::Quit),
            ("Hello", Request::Other),
            ("hello world", Request::Other),
            ("", Request::Other),
        ] {
            assert_eq!(Request::parse(line), request, "{line:?}");
        }
    }

    #[test]
    fn every_answer_is_one_line() {
        assert_eq!(
            Response::Greeting("Hello world!").to_string(),
            "Hello world!\r\n"
        );
        for response in [
            Response::Unknown,
            Response::Refusal(LineError::TooLong),
            Response::Refusal(LineError::NotUtf8),
        ] {
            let answer = response.to_string();
            assert!(answer.ends_with("\r\n") && answer.lines().count() == 1);
        }
    }

    /// Bytes as clients send them, valid and invalid, with lines of every length.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            4 => Just(b"hello\r\n".to_vec()),
            2 => Just(b"\n".to_vec()),
            2 => Just(b"\r".to_vec()),
            1 => (1000usize..1030).prop_map(|length| vec![b'x'; length]),
            2 => prop::collection::vec(any::<u8>(), 0..20),
        ];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_lines(
            bytes in stream(),
            cuts in prop::collection::vec(1usize..700, 1..50),
        ) {
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            prop_assert_eq!(lines_of(pieces), lines(&bytes));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            for line in lines(&bytes).into_iter().flatten() {
                prop_assert!(line.len() <= MAX_LINE);
                Request::parse(&line);
            }
        }
    }
}
