//! A request for the metrics. Pure.

/// The most fields of a request.
const FIELDS_MAX: usize = 64;

/// A request that is answered with the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// Only the head of the answer is wanted.
    pub is_for_head: bool,
}

/// Why a request is not answered with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    #[error("this is no HTTP request")]
    Malformed,
    #[error("the request is too long")]
    TooLong,
    #[error("only GET and HEAD are answered")]
    Method,
    #[error("there is only /metrics")]
    Path,
}

impl RequestRefusal {
    /// The status of HTTP.
    pub fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Method => "405 Method Not Allowed",
            Self::Path => "404 Not Found",
        }
    }
}

impl HttpRequest {
    /// The request that has come until now; `None` if its head has not come completely.
    pub fn of(received: &[u8]) -> Result<Option<Self>, RequestRefusal> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(received) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(RequestRefusal::TooLong),
            Err(_) => return Err(RequestRefusal::Malformed),
        }
        let is_for_head = match request.method {
            Some("GET") => false,
            Some("HEAD") => true,
            _ => return Err(RequestRefusal::Method),
        };
        let path = request.path.unwrap_or_default().split('?').next();
        match path {
            Some("/" | "/metrics") => Ok(Some(Self { is_for_head })),
            _ => Err(RequestRefusal::Path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_metrics_are_asked_for_in_few_ways() {
        let of = |line: &str| HttpRequest::of(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
        let request = |is_for_head| Ok(Some(HttpRequest { is_for_head }));
        for (line, expected) in [
            ("GET /metrics HTTP/1.1", request(false)),
            ("GET / HTTP/1.0", request(false)),
            ("GET /metrics?name=x HTTP/1.1", request(false)),
            ("HEAD /metrics HTTP/1.1", request(true)),
            ("POST /metrics HTTP/1.1", Err(RequestRefusal::Method)),
            ("GET /metrics/x HTTP/1.1", Err(RequestRefusal::Path)),
            ("GET /..%2fmetrics HTTP/1.1", Err(RequestRefusal::Path)),
            ("SSH-2.0-OpenSSH", Err(RequestRefusal::Malformed)),
            ("GET /metrics", Err(RequestRefusal::Malformed)),
        ] {
            assert_eq!(of(line), expected, "{line}");
        }
    }

    #[test]
    fn more_fields_than_anybody_sends_are_too_long() {
        let many = "A: b\r\n".repeat(FIELDS_MAX + 1);
        let text = format!("GET / HTTP/1.1\r\n{many}\r\n");
        assert_eq!(
            HttpRequest::of(text.as_bytes()),
            Err(RequestRefusal::TooLong)
        );
    }

    #[test]
    fn every_beginning_of_a_request_is_waited_for() {
        let whole = b"GET /metrics HTTP/1.1\r\nHost: localhost:9549\r\nAccept: */*\r\n\r\n";
        for length in 0..whole.len() {
            assert_eq!(HttpRequest::of(&whole[..length]), Ok(None), "{length}");
        }
        assert!(matches!(HttpRequest::of(whole), Ok(Some(_))));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = HttpRequest::of(&bytes);
        }
    }
}
