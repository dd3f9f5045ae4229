//! One request over HTTP/1.0, and its answer. Both are bounded in size and time.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use tokio::time::timeout;

use super::http_request::{HttpMethod, HttpRequest, RequestRefusal};
use super::stream::Stream;

/// The longest request.
const REQUEST_MAX: usize = 8 * 1024;

/// The most bytes behind a refused request that are received before the connection is closed.
const REST_MAX: usize = 1024 * 1024;

/// The type of a text for people.
pub const PLAIN: &str = "text/plain; charset=utf-8";

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The number and what it means.
    pub status: &'static str,
    /// The type of the body.
    pub kind: &'static str,
    pub body: String,
}

impl HttpAnswer {
    /// A line of text.
    pub fn line(status: &'static str, text: impl std::fmt::Display) -> Self {
        Self {
            status,
            kind: PLAIN,
            body: format!("{text}\n"),
        }
    }

    /// The answer to what is no request, or none that can be answered.
    pub fn refusal(refusal: RequestRefusal) -> Self {
        Self::line(refusal.status(), refusal)
    }

    /// What is sent.
    fn text(&self, is_for_head: bool, methods: &str) -> String {
        let Self { status, kind, body } = self;
        let length = body.len();
        let body = if is_for_head { "" } else { body };
        // RFC 9110, 15.5.6: a refused method is answered with those that are not.
        let allow = match *status == RequestRefusal::Method.status() {
            true => format!("Allow: {methods}\r\n"),
            false => String::new(),
        };
        format!(
            "HTTP/1.0 {status}\r\n{allow}Content-Type: {kind}\r\nContent-Length: {length}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
        )
    }
}

/// Receives a request, and sends what `answer` says to it; `methods`: those that it does not refuse. The client may take `patience` for the request, and again
/// for the answer. Fails with one that has gone or is too slow.
pub async fn exchange<F, A>(
    stream: &Stream<F>,
    patience: Duration,
    methods: &str,
    answer: impl FnOnce(HttpRequest) -> A,
) -> io::Result<()>
where
    F: AsFd + AsRawFd,
    A: Future<Output = HttpAnswer>,
{
    let request = timeout(patience, receive(stream)).await??;
    let is_for_head = matches!(&request, Ok(request) if request.method == HttpMethod::Head);
    let is_refused = request.is_err();
    let answer = match request {
        Ok(request) => answer(request).await,
        Err(refusal) => HttpAnswer::refusal(refusal),
    };
    let text = answer.text(is_for_head, methods);
    let sent = async {
        stream.send_all(text.as_bytes()).await?;
        match is_refused {
            true => receive_rest(stream).await,
            false => Ok(()),
        }
    };
    timeout(patience, sent).await?
}

/// Sends the end, and receives what the client still sends: closing a socket with unread bytes resets the connection, and
/// the client would lose the answer.
async fn receive_rest<F: AsFd + AsRawFd>(stream: &Stream<F>) -> io::Result<()> {
    stream.shutdown_write()?;
    let mut bytes = vec![0; REQUEST_MAX];
    let mut left = REST_MAX;
    while let count @ 1.. = stream.receive(&mut bytes).await? {
        left = match left.checked_sub(count) {
            Some(left) => left,
            None => break,
        };
    }
    Ok(())
}

async fn receive<F: AsFd + AsRawFd>(
    stream: &Stream<F>,
) -> io::Result<Result<HttpRequest, RequestRefusal>> {
    let mut received = vec![0; REQUEST_MAX];
    let mut length = 0;
    loop {
        match HttpRequest::of(&received[..length]) {
            Ok(None) if length == REQUEST_MAX => return Ok(Err(RequestRefusal::TooLong)),
            Ok(None) => {}
            Ok(Some(request)) => return Ok(Ok(request)),
            Err(refusal) => return Ok(Err(refusal)),
        }
        match stream.receive(&mut received[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => length += count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_length_of_its_body_also_without_it() {
        let answer = HttpAnswer::line("200 OK", "fine");
        let whole = answer.text(false, "GET");
        assert!(whole.starts_with("HTTP/1.0 200 OK\r\n"), "{whole}");
        assert!(whole.contains("\r\nContent-Length: 5\r\n"), "{whole}");
        assert!(whole.ends_with("\r\n\r\nfine\n"), "{whole}");
        assert_eq!(format!("{}fine\n", answer.text(true, "GET")), whole);
        assert!(!whole.contains("Allow"), "{whole}");
    }

    #[test]
    fn a_refused_method_is_answered_with_those_that_are_allowed() {
        let refusal = HttpAnswer::refusal(RequestRefusal::Method);
        let head = refusal.text(true, "GET, HEAD");
        assert!(head.contains("\r\nAllow: GET, HEAD\r\n"), "{head}");
        let other = HttpAnswer::refusal(RequestRefusal::Path);
        assert!(!other.text(true, "GET, HEAD").contains("Allow"));
    }
}
