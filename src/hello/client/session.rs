//! Requests out, answers in, and when that is over.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::failure::Failure;
use super::input::Input;
use crate::hello::protocol::{LineError, Lines, Request};
use crate::service::address::Address;
use crate::service::printable::printable;
use crate::service::stream::Stream;

/// What was asked and what has been answered. Pure.
#[derive(Debug, Default)]
struct Talk {
    requests: Lines,
    answers: Lines,
    /// Requests without an answer yet.
    unanswered: usize,
    /// Nothing more will be asked: the input has ended, or the server will close.
    over: bool,
    /// The line of ours that the server will refuse, and close.
    refusal: Option<LineError>,
}

impl Talk {
    /// Counts the requests in what is sent.
    fn sent(&mut self, piece: &[u8]) {
        self.requests.push(piece);
        while let Some(line) = self.requests.next_line() {
            self.asked(line);
        }
    }

    /// The input has ended.
    fn input_ended(&mut self) {
        if let Some(line) = self.requests.finish() {
            self.asked(line);
        }
        self.over = true;
    }

    fn asked(&mut self, line: Result<String, LineError>) {
        // The server reads nothing behind a quit or behind a line that it refuses.
        if self.over {
            return;
        }
        match line {
            Ok(line) if Request::parse(&line) == Request::Quit => self.over = true,
            Ok(_) => self.unanswered += 1,
            Err(error) => {
                self.unanswered += 1;
                self.refusal = Some(error);
                self.over = true;
            }
        }
    }

    /// The answers in what was received.
    fn received(&mut self, piece: &[u8]) -> Result<Vec<String>, LineError> {
        self.answers.push(piece);
        let mut found = Vec::new();
        while let Some(line) = self.answers.next_line() {
            found.push(line?);
        }
        self.unanswered = self.unanswered.saturating_sub(found.len());
        Ok(found)
    }

    /// The last answer, if it had no line end. Half an answer is better shown than lost, but it does
    /// not count as one.
    fn closed(&mut self) -> Option<String> {
        self.answers.finish()?.ok()
    }
}

/// Talks to the server until the input has ended and everything is answered.
///
/// # Errors
///
/// When the server goes, or is silent for longer than `limit`, before it has answered; when input
/// or output fail.
pub async fn run(
    stream: &Stream,
    address: &Address,
    mut input: Input,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    let mut talk = Talk::default();
    let mut outgoing = Vec::new();
    let mut buffer = [0; 4096];
    let mut progress = Instant::now();
    let reset = loop {
        // A person is prompted only when they have seen the last answer.
        let may_ask =
            outgoing.is_empty() && !talk.over && !(input.is_person() && talk.unanswered > 0);
        let awaited = talk.unanswered > 0 || talk.over;
        let deadline = limit
            .filter(|_| awaited)
            .and_then(|limit| progress.checked_add(limit));
        tokio::select! {
            piece = input.next(), if may_ask => {
                match piece? {
                    Some(piece) => {
                        talk.sent(&piece);
                        outgoing = piece;
                    }
                    None => {
                        talk.input_ended();
                        half_close(stream);
                    }
                }
                progress = Instant::now();
            }
            sent = stream.send(&outgoing), if !outgoing.is_empty() => match sent {
                Ok(count) => {
                    outgoing.drain(..count);
                    if outgoing.is_empty() && talk.over {
                        half_close(stream);
                    }
                    progress = Instant::now();
                }
                // Receiving tells what has become of the connection, after the answers that came.
                Err(_) => outgoing.clear(),
            },
            received = stream.receive(&mut buffer) => match received {
                Ok(0) => break false,
                Ok(count) => {
                    let foreign = |error| Failure::Foreign { address: address.clone(), error };
                    for answer in talk.received(&buffer[..count]).map_err(foreign)? {
                        print(&answer)?;
                    }
                    progress = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break true,
                Err(error) => return Err(Failure::of_connection(address, error)),
            },
            () = sleep_until(deadline.unwrap_or(progress)), if deadline.is_some() => {
                return match limit {
                    Some(after) if talk.unanswered > 0 => {
                        Err(Failure::AnswerTimedOut { address: address.clone(), after })
                    }
                    // Everything is answered; that the server does not close is its affair.
                    _ => Ok(()),
                };
            }
        }
    };
    if let Some(rest) = talk.closed() {
        print(&rest)?;
    }
    end(&talk, address, input, reset).await
}

/// Fails when the connection is broken, which receiving will tell.
fn half_close(stream: &Stream) {
    let _ = stream.shutdown_write();
}

/// Byte for byte into a pipe or a file; on a terminal, which would act upon what the server has chosen, so
/// that it is seen and nothing else.
fn print(answer: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let answer = match output.is_terminal() {
        true => printable(answer),
        false => answer.into(),
    };
    let written = writeln!(output, "{answer}").and_then(|()| output.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::Output(error),
    })
}

/// The server has closed: whether that was to be expected.
async fn end(talk: &Talk, address: &Address, mut input: Input, reset: bool) -> Result<(), Failure> {
    let address = address.clone();
    if talk.unanswered > 0 {
        return Err(Failure::Closed { address, reset });
    }
    if let Some(error) = talk.refusal {
        return Err(Failure::Refusal { address, error });
    }
    if talk.over {
        return Ok(());
    }
    // All that was asked is answered. Whether there was more to ask only the input can tell.
    input.tell("The server has closed the connection; press Enter to end");
    match input.next().await? {
        None => Ok(()),
        Some(_) => Err(Failure::Closed { address, reset }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_waits_for_its_answer_and_quit_for_none() {
        let mut talk = Talk::default();
        talk.sent(b"hello\nnons");
        assert_eq!((talk.unanswered, talk.over), (1, false));
        talk.sent(b"ense\nhello");
        assert_eq!(talk.unanswered, 2);
        assert_eq!(talk.received(b"Hello wor").unwrap(), [""; 0]);
        assert_eq!(talk.received(b"ld!\r\nW").unwrap(), ["Hello world!"]);
        assert_eq!(talk.unanswered, 1);
        talk.input_ended();
        assert_eq!((talk.unanswered, talk.over), (2, true));

        let mut talk = Talk::default();
        talk.sent(b"quit\nhello\n");
        assert_eq!((talk.unanswered, talk.over), (0, true));
    }

    #[test]
    fn a_line_that_the_server_refuses_is_the_last_request() {
        let mut talk = Talk::default();
        talk.sent(b"hello\n\xff\nhello\n");
        assert_eq!(talk.refusal, Some(LineError::NotUtf8));
        assert_eq!((talk.unanswered, talk.over), (2, true));
    }

    #[test]
    fn half_an_answer_is_shown_and_is_none() {
        let mut talk = Talk::default();
        talk.sent(b"hello\n");
        talk.received(b"Hello").unwrap();
        assert_eq!(talk.closed().as_deref(), Some("Hello"));
        assert_eq!(talk.unanswered, 1);
    }
}
