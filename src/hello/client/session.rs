//! Requests out, answers in, until both are complete.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::dialogue::Dialogue;
use super::failure::ClientFailure;
use super::input::Input;
use crate::service::address::Address;
use crate::service::printable::printable;
use crate::service::stream::Stream;

struct Session<'a> {
    stream: &'a Stream,
    address: &'a Address,
    /// The time limit for an answer.
    limit: Option<Duration>,
    dialogue: Dialogue,
    /// Bytes of the input that are not sent yet.
    outgoing: Vec<u8>,
    /// When bytes were last read, sent or received.
    progress: Instant,
}

/// Talks to the server until the input has ended and everything is answered, each request within `limit`.
pub async fn run(
    stream: &Stream,
    address: &Address,
    mut input: Input,
    limit: Option<Duration>,
) -> Result<(), ClientFailure> {
    let mut session = Session {
        stream,
        address,
        limit,
        dialogue: Dialogue::default(),
        outgoing: Vec::new(),
        progress: Instant::now(),
    };
    let mut buffer = [0; 4096];
    let reset = loop {
        let deadline = session.deadline();
        tokio::select! {
            piece = input.next(), if session.may_ask(&input) => session.ask(piece?),
            result = stream.send(&session.outgoing), if !session.outgoing.is_empty() => {
                session.advance(result);
            }
            result = stream.receive(&mut buffer) => match result {
                Ok(0) => break false,
                Ok(count) => session.print_answers(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break true,
                Err(error) => return Err(ClientFailure::of_connection(address, error)),
            },
            () = sleep_until(deadline.unwrap_or(session.progress)), if deadline.is_some() => {
                return session.time_out();
            }
        }
    };
    session.close(input, reset).await
}

impl Session<'_> {
    /// Whether to read from the input. A person is prompted only after the last answer.
    fn may_ask(&self, input: &Input) -> bool {
        let is_turn = !input.is_person() || self.dialogue.unanswered == 0;
        self.outgoing.is_empty() && !self.dialogue.is_over && is_turn
    }

    /// When the server has been silent for too long.
    fn deadline(&self) -> Option<Instant> {
        let is_due = self.dialogue.unanswered > 0 || self.dialogue.is_over;
        let limit = self.limit.filter(|_| is_due)?;
        self.progress.checked_add(limit)
    }

    /// The next piece of the input, or its end.
    fn ask(&mut self, piece: Option<Vec<u8>>) {
        match piece {
            Some(piece) => {
                self.dialogue.ask(&piece);
                self.outgoing = piece;
            }
            None => {
                self.dialogue.end_input();
                self.half_close();
            }
        }
        self.progress = Instant::now();
    }

    fn advance(&mut self, result: io::Result<usize>) {
        // Receiving returns the error, after the answers that came before it.
        let Ok(count) = result else {
            return self.outgoing.clear();
        };
        self.outgoing.drain(..count);
        if self.outgoing.is_empty() && self.dialogue.is_over {
            self.half_close();
        }
        self.progress = Instant::now();
    }

    /// An error is that of a broken connection, which receiving returns too.
    fn half_close(&self) {
        let _ = self.stream.shutdown_write();
    }

    fn print_answers(&mut self, piece: &[u8]) -> Result<(), ClientFailure> {
        let foreign = |error| ClientFailure::Foreign(self.address.clone(), error);
        let answers = self.dialogue.answers(piece).map_err(foreign)?;
        self.progress = Instant::now();
        answers.iter().try_for_each(|answer| print(answer))
    }

    fn time_out(&self) -> Result<(), ClientFailure> {
        match self.limit {
            Some(after) if self.dialogue.unanswered > 0 => Err(ClientFailure::AnswerTimedOut {
                address: self.address.clone(),
                after,
            }),
            // Everything is answered; only the server's close is missing.
            _ => Ok(()),
        }
    }

    /// The server has closed or reset the connection.
    async fn close(mut self, mut input: Input, reset: bool) -> Result<(), ClientFailure> {
        if let Some(answer) = self.dialogue.partial_answer() {
            print(&answer)?;
        }
        let address = self.address.clone();
        if self.dialogue.unanswered > 0 {
            return Err(ClientFailure::Closed { address, reset });
        }
        if let Some(error) = self.dialogue.refusal {
            return Err(ClientFailure::Refusal(address, error));
        }
        if self.dialogue.is_over {
            return Ok(());
        }
        // Every request is answered. Whether another was to follow depends on the input.
        input.notify("The server has closed the connection; press Enter to end");
        match input.next().await? {
            None => Ok(()),
            Some(_) => Err(ClientFailure::Closed { address, reset }),
        }
    }
}

/// Prints an answer byte for byte into a pipe or a file; made printable on a terminal, which would act upon it.
fn print(answer: &str) -> Result<(), ClientFailure> {
    let mut output = io::stdout().lock();
    let answer = match output.is_terminal() {
        true => printable(answer),
        false => answer.into(),
    };
    let result = writeln!(output, "{answer}").and_then(|()| output.flush());
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => ClientFailure::ReaderGone,
        _ => ClientFailure::Output(error),
    })
}
