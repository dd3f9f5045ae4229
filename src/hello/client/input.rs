//! The source of the requests: a pipe, or a person at a terminal.
//!
//! A thread of its own reads it, because that blocks. The thread ends with the program.

use std::io::{self, Read, Write};
use std::sync::mpsc as turns;
use std::thread;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tokio::sync::mpsc;

use super::failure::ClientFailure;

type Piece = Result<Vec<u8>, String>;

pub struct Input {
    pieces: mpsc::Receiver<Piece>,
    /// Lets the terminal's thread prompt.
    turns: Option<turns::Sender<()>>,
    is_prompted: bool,
}

impl Input {
    /// Standard input as it comes.
    pub fn pipe() -> Self {
        let (sender, pieces) = mpsc::channel(1);
        thread::spawn(move || read_pipe(&sender));
        Self {
            pieces,
            turns: None,
            is_prompted: false,
        }
    }

    /// Prompts for one request at a time.
    pub fn terminal() -> Result<Self, ClientFailure> {
        let unusable = |error: ReadlineError| ClientFailure::Input(error.to_string());
        let mut editor = DefaultEditor::new().map_err(unusable)?;
        let (sender, pieces) = mpsc::channel(1);
        let (turns, prompts) = turns::channel();
        thread::spawn(move || prompt(&mut editor, &prompts, &sender));
        Ok(Self {
            pieces,
            turns: Some(turns),
            is_prompted: false,
        })
    }

    /// The next piece; `None` at the end. Prompts for it. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientFailure> {
        if !self.is_prompted {
            self.is_prompted = true;
            if let Some(turns) = &self.turns {
                // It fails when the thread has ended: then the end is what comes next.
                let _ = turns.send(());
            }
        }
        let piece = self.pieces.recv().await;
        self.is_prompted = false;
        piece.transpose().map_err(ClientFailure::Input)
    }

    /// Whether it prompts: a person wants to see an answer before the next request.
    pub fn is_person(&self) -> bool {
        self.turns.is_some()
    }

    /// Prints a text below the prompt, if there is one.
    ///
    /// The editor could print it above the prompt. But with that `ExternalPrinter`, rustyline before version 19 waits
    /// for the next key whenever it has read several at once.
    pub fn notify(&self, text: &str) {
        if self.is_person() {
            // If it fails, the failure of the session says the same.
            let _ = writeln!(io::stdout(), "\n{text}");
        }
    }
}

fn read_pipe(sender: &mpsc::Sender<Piece>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut input = io::stdin().lock();
    loop {
        let piece = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => Ok(buffer[..count].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error.to_string()),
        };
        if !send(sender, piece) {
            return;
        }
    }
}

/// Sends a piece; returns whether another may follow. A send fails when the program is about to end.
fn send(sender: &mpsc::Sender<Piece>, piece: Piece) -> bool {
    let failed = piece.is_err();
    sender.blocking_send(piece).is_ok() && !failed
}

fn prompt(editor: &mut DefaultEditor, prompts: &turns::Receiver<()>, sender: &mpsc::Sender<Piece>) {
    while prompts.recv().is_ok() {
        let piece = match editor.readline("> ") {
            Ok(line) => {
                // A failure loses the history only.
                let _ = editor.add_history_entry(&line);
                Ok(format!("{line}\n").into_bytes())
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return,
            Err(error) => Err(error.to_string()),
        };
        if !send(sender, piece) {
            return;
        }
    }
}
