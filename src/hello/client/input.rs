//! Where the requests come from: a pipe, or a person at a terminal.
//!
//! Both are read by a thread of their own, because neither can be read without blocking. The thread
//! ends with the program.

use std::io::{self, Read};
use std::sync::mpsc as turns;
use std::thread;

use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc;

use super::failure::Failure;

type Piece = Result<Vec<u8>, String>;

/// The requests.
pub struct Input {
    pieces: mpsc::Receiver<Piece>,
    /// Tells the terminal's thread that it may prompt.
    turns: Option<turns::Sender<()>>,
    /// Prints above the prompt.
    printer: Option<Box<dyn ExternalPrinter>>,
    asked: bool,
}

impl Input {
    /// Standard input as it comes.
    pub fn pipe() -> Self {
        let (sender, pieces) = mpsc::channel(1);
        thread::spawn(move || read_pipe(&sender));
        Self {
            pieces,
            turns: None,
            printer: None,
            asked: false,
        }
    }

    /// A person who is prompted for one request at a time.
    ///
    /// # Errors
    ///
    /// When the terminal cannot be used.
    pub fn terminal() -> Result<Self, Failure> {
        let unusable = |error: ReadlineError| Failure::Input(error.to_string());
        let mut editor = DefaultEditor::new().map_err(unusable)?;
        // Terminals that are too simple for it do without.
        let printer = editor.create_external_printer().ok();
        let (sender, pieces) = mpsc::channel(1);
        let (turns, prompts) = turns::channel();
        thread::spawn(move || prompt(&mut editor, &prompts, &sender));
        Ok(Self {
            pieces,
            turns: Some(turns),
            printer: printer.map(|printer| Box::new(printer) as Box<dyn ExternalPrinter>),
            asked: false,
        })
    }

    /// The next piece; `None` at the end. A person is prompted for it. Cancel safe.
    ///
    /// # Errors
    ///
    /// When the input cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        if !self.asked {
            self.asked = true;
            if let Some(turns) = &self.turns {
                // It fails when the thread has ended: then the end is what comes next.
                let _ = turns.send(());
            }
        }
        let piece = self.pieces.recv().await;
        self.asked = false;
        piece.transpose().map_err(Failure::Input)
    }

    /// Whether a person is prompted, who wants to see one answer before they ask on.
    pub fn is_person(&self) -> bool {
        self.turns.is_some()
    }

    /// Tells a person something while they are prompted; nobody else.
    pub fn tell(&mut self, text: &str) {
        if let Some(printer) = &mut self.printer {
            // What cannot be printed there is said again at the end.
            let _ = printer.print(format!("{text}\n"));
        }
    }
}

/// A send fails when the program is about to end.
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
        let failed = piece.is_err();
        if sender.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}

fn prompt(editor: &mut DefaultEditor, prompts: &turns::Receiver<()>, sender: &mpsc::Sender<Piece>) {
    while prompts.recv().is_ok() {
        let piece = match editor.readline("> ") {
            Ok(line) => {
                // Without a history there is none to recall from, and nothing else is lost.
                let _ = editor.add_history_entry(&line);
                Ok(format!("{line}\n").into_bytes())
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return,
            Err(error) => Err(error.to_string()),
        };
        let failed = piece.is_err();
        if sender.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}
