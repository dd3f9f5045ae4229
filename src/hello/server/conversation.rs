//! The conversation with one client.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use crate::hello::protocol::{Lines, Request, Response};
use crate::service::server::ServedClient;

/// The size in bytes at which collected answers are sent.
const ANSWERS: usize = 4096;

/// How many bytes, and for how long, are still read from a refused client, so that it can read why: closing a
/// socket with unread bytes resets the connection (RFC 2525, section 2.17).
const FAREWELL_BYTES: usize = 1024 * 1024;
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// Answers a client until its half-close or its `quit`.
pub(super) async fn converse(client: &ServedClient, greeting: &str) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut buffer = [0; 2048];
    loop {
        let count = client.receive(&mut buffer).await?;
        lines.push(&buffer[..count]);
        let mut answers = String::new();
        // At the end of the conversation: whether the client is refused.
        let refused = loop {
            let line = match lines.next_line() {
                None if count == 0 => lines.finish(),
                line => line,
            };
            match line {
                Some(Ok(line)) => match Request::parse(&line) {
                    Request::Hello => answers += &Response::Greeting(greeting).to_string(),
                    Request::Other => answers += &Response::Unknown.to_string(),
                    Request::Quit => break Some(false),
                },
                Some(Err(error)) => {
                    answers += &Response::Refusal(error).to_string();
                    break Some(true);
                }
                None => break (count == 0).then_some(false),
            }
            if answers.len() >= ANSWERS {
                client.send_all(answers.as_bytes()).await?;
                answers.clear();
            }
        };
        client.send_all(answers.as_bytes()).await?;
        match refused {
            None => {}
            Some(false) => return Ok(()),
            Some(true) => return say_farewell(client).await,
        }
    }
}

/// Lets a refused client read why, before the connection is closed.
async fn say_farewell(client: &ServedClient) -> io::Result<()> {
    client.shutdown_write()?;
    let mut left = FAREWELL_BYTES;
    let mut buffer = [0; 2048];
    let reading = async {
        while left > 0 {
            match client.receive(&mut buffer).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    };
    timeout(FAREWELL_TIME, reading).await.unwrap_or(Ok(()))
}
