//! Heads as nearly all are, in one pass.
//!
//! Such a head is read here with half of the instructions that `httparse` needs. It has visible ASCII and blanks only, and
//! each of its lines ends with a carriage return and a line feed. Every other head is left to `httparse`; tests compare the two.

use super::fields::Fields;
use super::head::FIELDS_MAX;

/// A head that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct PlainHead<'a> {
    /// The first line, without its end.
    pub line: &'a [u8],
    pub fields: Fields,
    /// With the empty line at its end.
    pub length: usize,
}

impl<'a> PlainHead<'a> {
    /// Reads the head at the beginning of the bytes; `None` if it is not whole, or not plain, or if something may be
    /// wrong with it.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let line = text_line(bytes)?;
        let mut length = line.len() + END.len();
        let mut fields = Fields::default();
        // One more turn finds the empty line.
        for _ in 0..=FIELDS_MAX {
            let rest = &bytes[length..];
            if rest.starts_with(END) {
                length += END.len();
                return Some(Self {
                    line,
                    fields,
                    length,
                });
            }
            let name = &rest[..name_length(rest)];
            let value = rest[name.len()..].strip_prefix(b":")?;
            let value = text_line(value)?;
            length += name.len() + 1 + value.len() + END.len();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if name.is_empty() || value.first() == Some(&b' ') || value.last() == Some(&b' ') {
                return None;
            }
            fields.read(name, value).ok()?;
        }
        None
    }

    /// The method of a request of HTTP/1.1.
    pub fn method(&self) -> Option<&'a [u8]> {
        let words = self.line.strip_suffix(b" HTTP/1.1")?;
        let is_upper = |byte: &&u8| byte.is_ascii_uppercase();
        let (method, target) = words.split_at(words.iter().take_while(is_upper).count());
        let target = target.strip_prefix(b" ")?;
        let has_both = !method.is_empty() && !target.is_empty();
        (has_both && !target.contains(&b' ')).then_some(method)
    }

    /// The status of a reply of HTTP/1.1.
    pub fn status(&self) -> Option<u16> {
        let [a, b, c, b' ', ..] = self.line.strip_prefix(b"HTTP/1.1 ")? else {
            return None;
        };
        [a, b, c].into_iter().try_fold(0, |status, byte| {
            let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
            Some(10 * status + digit)
        })
    }
}

/// The end of a line.
const END: &[u8] = b"\r\n";

/// The line at the beginning, without its end, if it is whole and has visible ASCII and blanks only.
fn text_line(bytes: &[u8]) -> Option<&[u8]> {
    let (line, rest) = bytes.split_at(text_length(bytes));
    rest.starts_with(END).then_some(line)
}

/// The number of bytes of visible ASCII and blanks at the beginning.
fn text_length(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk() {
        let others = others(u64::from_le_bytes(*word));
        if others != 0 {
            return bytes.len() - rest.len() + others.trailing_zeros() as usize / 8;
        }
        rest = behind;
    }
    let is_text = |byte: &&u8| matches!(byte, b' '..=b'~');
    bytes.len() - rest.len() + rest.iter().take_while(is_text).count()
}

/// The highest bit of each of eight bytes that is neither visible ASCII nor a blank.
fn others(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let high = EACH * 0x80;
    // Without the highest bits nothing is carried from one byte to the next.
    let low = word & !high;
    let is_delete = low + EACH;
    let is_text = low + EACH * 0x60;
    (word | is_delete | !is_text) & high
}

/// The number of letters, digits and hyphens at the beginning. Heads with other names are left to `httparse`.
fn name_length(bytes: &[u8]) -> usize {
    let is_of_name = |byte: &&u8| OF_NAME[usize::from(**byte)];
    bytes.iter().take_while(is_of_name).count()
}

static OF_NAME: [bool; 256] = {
    let mut of_name = [false; 256];
    let mut byte = 0;
    while byte < of_name.len() {
        of_name[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'-';
        byte += 1;
    }
    of_name
};

#[cfg(test)]
mod tests {
    use super::*;
    use httparse::{EMPTY_HEADER, Header, Request, Response, Status};
    use proptest::prelude::*;

    /// What `httparse` and the fields' reader find, if nothing is wrong.
    fn by_httparse(
        bytes: &[u8],
        parsed: httparse::Result<usize>,
        fields: &[Header<'_>],
    ) -> Option<(usize, Fields)> {
        let Ok(Status::Complete(length)) = parsed else {
            return None;
        };
        let head = String::from_utf8_lossy(&bytes[..length]);
        assert!(!head.replace("\r\n", "").contains('\n'), "{head:?}");
        let mut read = Fields::default();
        for Header { name, value } in fields {
            read.read(name.as_bytes(), value).ok()?;
        }
        Some((length, read))
    }

    /// Compares what is found in these bytes, as a request and as a reply. Returns whether either is found.
    fn compare(bytes: &[u8]) -> bool {
        let Some(plain) = PlainHead::read(bytes) else {
            return false;
        };
        let found = Some((plain.length, plain.fields));
        let mut headers = [EMPTY_HEADER; FIELDS_MAX];
        if let Some(method) = plain.method() {
            let mut request = Request::new(&mut headers);
            let parsed = request.parse(bytes);
            assert_eq!(by_httparse(bytes, parsed, request.headers), found);
            assert_eq!(request.method.map(str::as_bytes), Some(method));
            assert_eq!(request.version, Some(1));
            return true;
        }
        let Some(status) = plain.status() else {
            return false;
        };
        let mut reply = Response::new(&mut headers);
        let parsed = reply.parse(bytes);
        assert_eq!(by_httparse(bytes, parsed, reply.headers), found);
        assert_eq!((reply.code, reply.version), (Some(status), Some(1)));
        true
    }

    fn first_line() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            4 => "[A-Z]{1,9} [!-~]{1,20} HTTP/1\\.1",
            4 => "HTTP/1\\.1 [0-9]{3} [ -~]{0,20}",
            1 => "[A-Za-z!]{0,5} ?[!-~ ]{0,9} ?HTTP/1\\.[01] ?[0-9 ]{0,4}",
        ];
        line.prop_map(String::into_bytes)
    }

    fn field_line() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof![
            3 => "[A-Za-z0-9-]{1,12}",
            2 => prop::sample::select(vec![
                "Content-Length", "content_length", "Transfer-Encoding", "Connection", "upgrade", "Authorization",
            ]).prop_map(str::to_owned),
            1 => "[ -~]{0,8}",
        ];
        let value = prop_oneof![
            3 => "[!-~]([ -~]{0,20}[!-~])?",
            2 => prop::sample::select(vec![
                "0", "17", "+1", "chunked", "close", "keep-alive, close", "websocket", "Basic a", "NTLM b", "",
            ]).prop_map(str::to_owned),
            1 => "[ \\t-~]{0,8}",
        ];
        let colon = prop::sample::select(vec![": ", ":", " :", ":  ", ":\t"]);
        (name, colon, value)
            .prop_map(|(name, colon, value)| [name, colon.to_owned(), value].concat().into_bytes())
    }

    fn head() -> impl Strategy<Value = Vec<u8>> {
        let lines = (first_line(), prop::collection::vec(field_line(), 0..6));
        let ends = prop::collection::vec(
            prop_oneof![20 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")],
            8,
        );
        let damage = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
        (lines, ends, damage).prop_map(|((first, fields), ends, damage)| {
            let mut head = Vec::new();
            let lines = [first].into_iter().chain(fields).chain([Vec::new()]);
            for (line, end) in lines.zip(ends) {
                head.extend([&line, end.as_bytes()].concat());
            }
            head.extend(b"body");
            if let Some((index, byte)) = damage {
                let at = index.index(head.len());
                head[at] = byte;
            }
            head
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_is_found_is_what_httparse_finds(head in head()) {
            compare(&head);
        }

        #[test]
        fn names_and_text_end_where_a_byte_says_so(
            bytes in prop::collection::vec(
                prop_oneof![
                    20 => prop::sample::select(b"azAZ09-".to_vec()),
                    1 => prop::sample::select(b" ~/:@[`{,.\x7f\x1f\x80\xad".to_vec()),
                    1 => any::<u8>(),
                ],
                0..40,
            ),
        ) {
            let leading = |wanted: fn(&u8) -> bool| bytes.iter().take_while(|byte| wanted(byte)).count();
            prop_assert_eq!(text_length(&bytes), leading(|byte| (b' '..=b'~').contains(byte)));
            let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
            prop_assert_eq!(name_length(&bytes), leading(of_name));
        }
    }

    #[test]
    fn ordinary_heads_are_plain() {
        let most = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(FIELDS_MAX));
        for head in [
            "GET / HTTP/1.1\r\nHost: here\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
            "POST /a?b=c HTTP/1.1\r\nContent-Length: 17\r\nConnection: keep-alive\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nA:\r\nB: \r\n\r\n",
            "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 29 Nov 2026 23:04:25 GMT\r\nContent-Length: 512\r\n\r\n",
            "HTTP/1.1 204 \r\n\r\n",
            &most,
        ] {
            assert!(compare(head.as_bytes()), "{head:?}");
            for length in 0..head.len() {
                assert_eq!(
                    PlainHead::read(&head.as_bytes()[..length]),
                    None,
                    "{head:?}"
                );
            }
        }
    }

    #[test]
    fn all_others_are_left_to_httparse() {
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "A: b\r\n".repeat(FIELDS_MAX + 1)
        );
        for head in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / a HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1 \r\n\r\n",
            "get / HTTP/1.1\r\n\r\n",
            " / HTTP/1.1\r\n\r\n",
            "GET  HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\n\r\n",
            "GET / HTTP/1.1\r\nA: b\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n\n",
            "GET / HTTP/1.1\r\nA: b \r\n\r\n",
            "GET / HTTP/1.1\r\nA:  b\r\n\r\n",
            "GET / HTTP/1.1\r\nA:\tb\r\n\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\n: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nA: \u{e9}\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nAuthorization: NTLM a\r\n\r\n",
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            &many,
        ] {
            assert!(!compare(head.as_bytes()), "{head:?}");
        }
    }
}
