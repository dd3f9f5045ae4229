//! Lines on a terminal that are drawn again in place.

use std::io::Write;
use std::os::fd::AsFd;

/// Columns and rows where the terminal does not say.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// A terminal, and how many lines of it the next drawing replaces.
pub struct Screen<T: Write + AsFd> {
    terminal: T,
    height: usize,
}

impl<T: Write + AsFd> Screen<T> {
    pub fn new(terminal: T) -> Self {
        let height = 0;
        Self { terminal, height }
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        match rustix::termios::tcgetwinsize(&self.terminal) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            Ok(size) if size.ws_col > 0 => (size.ws_col.into(), USUAL_SIZE.1),
            _ => USUAL_SIZE,
        }
    }

    /// Replaces the last drawing, with as many lines as fit: one that has scrolled away could not be replaced. A failure
    /// is ignored, as the next one would say the same.
    pub fn draw(&mut self, lines: &[String]) {
        self.clear();
        let (_, rows) = self.size();
        // The cursor is below them.
        let lines = &lines[..lines.len().min(rows - 1)];
        for line in lines {
            let _ = writeln!(self.terminal, "{line}");
        }
        let _ = self.terminal.flush();
        self.height = lines.len();
    }

    /// Goes up to the first line of the drawing and clears from there on (ECMA-48: CPL, ED).
    pub fn clear(&mut self) {
        if self.height > 0 {
            let _ = write!(self.terminal, "\x1b[{}F\x1b[J", self.height);
            let _ = self.terminal.flush();
            self.height = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek};

    #[test]
    fn no_more_is_drawn_than_can_be_replaced() {
        let mut file = tempfile::tempfile().unwrap();
        let mut screen: Screen<File> = Screen::new(file.try_clone().unwrap());
        let lines: Vec<_> = (1..100).map(|number| number.to_string()).collect();
        screen.draw(&lines);
        screen.clear();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("\n22\n23\n\x1b[23F\x1b[J"), "{text:?}");
    }

    #[test]
    fn a_drawing_replaces_the_one_before() {
        let mut file = tempfile::tempfile().unwrap();
        let mut screen: Screen<File> = Screen::new(file.try_clone().unwrap());
        assert_eq!(screen.size(), USUAL_SIZE);
        let lines = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        screen.draw(&lines(&["one", "two"]));
        screen.draw(&lines(&["three"]));
        screen.clear();
        screen.clear();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n\x1b[2F\x1b[Jthree\n\x1b[1F\x1b[J");
    }
}
