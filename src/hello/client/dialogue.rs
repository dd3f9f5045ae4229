//! What is asked and answered. Pure.

use crate::hello::protocol::{LineError, Lines, Request};

#[derive(Default)]
pub struct Dialogue {
    requests: Lines,
    answers: Lines,
    /// The number of requests without an answer yet.
    pub unanswered: usize,
    /// No request follows: the input has ended, or the server will close.
    pub is_over: bool,
    /// The line of the input that the server will refuse, and close.
    pub refusal: Option<LineError>,
}

impl Dialogue {
    /// Counts the requests in a piece of the input.
    pub fn ask(&mut self, piece: &[u8]) {
        self.requests.push(piece);
        while let Some(line) = self.requests.next_line() {
            self.count(line);
        }
    }

    pub fn end_input(&mut self) {
        if let Some(line) = self.requests.finish() {
            self.count(line);
        }
        self.is_over = true;
    }

    fn count(&mut self, line: Result<String, LineError>) {
        // The server reads nothing after a quit or after a line that it refuses.
        if self.is_over {
            return;
        }
        match line {
            Ok(line) if Request::parse(&line) == Request::Quit => self.is_over = true,
            Ok(_) => self.unanswered += 1,
            Err(error) => {
                self.unanswered += 1;
                self.refusal = Some(error);
                self.is_over = true;
            }
        }
    }

    /// The answers that a received piece completes.
    pub fn answers(&mut self, piece: &[u8]) -> Result<Vec<String>, LineError> {
        self.answers.push(piece);
        let lines: Vec<String> =
            std::iter::from_fn(|| self.answers.next_line()).collect::<Result<_, _>>()?;
        self.unanswered = self.unanswered.saturating_sub(lines.len());
        Ok(lines)
    }

    /// The last answer, if the connection ended before its line did. It is worth showing, but does not count.
    pub fn partial_answer(&mut self) -> Option<String> {
        self.answers.finish()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_waits_for_its_answer_and_quit_for_none() {
        let mut dialogue = Dialogue::default();
        dialogue.ask(b"hello\nnons");
        assert_eq!((dialogue.unanswered, dialogue.is_over), (1, false));
        dialogue.ask(b"ense\nhello");
        assert_eq!(dialogue.unanswered, 2);
        assert_eq!(dialogue.answers(b"Hello wor").unwrap(), [""; 0]);
        let answers = dialogue.answers(b"ld!\r\nW").unwrap();
        assert_eq!(answers, ["Hello world!"]);
        assert_eq!(dialogue.unanswered, 1);
        dialogue.end_input();
        assert_eq!((dialogue.unanswered, dialogue.is_over), (2, true));

        let mut dialogue = Dialogue::default();
        dialogue.ask(b"quit\nhello\n");
        assert_eq!((dialogue.unanswered, dialogue.is_over), (0, true));
    }

    #[test]
    fn a_line_that_the_server_refuses_is_the_last_request() {
        let mut dialogue = Dialogue::default();
        dialogue.ask(b"hello\n\xff\nhello\n");
        assert_eq!(dialogue.refusal, Some(LineError::NotUtf8));
        assert_eq!((dialogue.unanswered, dialogue.is_over), (2, true));
    }

    #[test]
    fn half_an_answer_is_shown_and_is_none() {
        let mut dialogue = Dialogue::default();
        dialogue.ask(b"hello\n");
        dialogue.answers(b"Hello").unwrap();
        assert_eq!(dialogue.partial_answer().as_deref(), Some("Hello"));
        assert_eq!(dialogue.unanswered, 1);
    }
}
