//! The head of a request of HTTP/1.0 or 1.1. Pure.

/// The most fields of a request.
const FIELDS_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpMethod {
    Get,
    /// Only the head of the answer is wanted.
    Head,
    Options,
}

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    pub method: HttpMethod,
    /// Without a query.
    pub path: String,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    #[error("this is no HTTP request")]
    Malformed,
    #[error("the request is too long")]
    TooLong,
    #[error("this method is not answered here")]
    Method,
    #[error("nothing is here")]
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
        let method = match request.method {
            Some("GET") => HttpMethod::Get,
            Some("HEAD") => HttpMethod::Head,
            Some("OPTIONS") => HttpMethod::Options,
            _ => return Err(RequestRefusal::Method),
        };
        let path = request.path.unwrap_or_default().split('?').next();
        let path = path.unwrap_or_default().to_owned();
        Ok(Some(Self { method, path }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_has_a_method_and_a_path_without_its_query() {
        let of = |line: &str| HttpRequest::of(format!("{line}\r\nHost: a\r\n\r\n").as_bytes());
        let request = |method, path: &str| {
            Ok(Some(HttpRequest {
                method,
                path: path.to_owned(),
            }))
        };
        for (line, expected) in [
            (
                "GET /metrics HTTP/1.1",
                request(HttpMethod::Get, "/metrics"),
            ),
            ("GET / HTTP/1.0", request(HttpMethod::Get, "/")),
            ("GET /a?name=x HTTP/1.1", request(HttpMethod::Get, "/a")),
            ("HEAD /a HTTP/1.1", request(HttpMethod::Head, "/a")),
            ("OPTIONS / HTTP/1.0", request(HttpMethod::Options, "/")),
            ("OPTIONS * HTTP/1.1", request(HttpMethod::Options, "*")),
            ("POST /metrics HTTP/1.1", Err(RequestRefusal::Method)),
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
