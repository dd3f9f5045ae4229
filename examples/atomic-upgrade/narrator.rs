//! The narration on standard output: a line for each step, with its time.

use std::env;
use std::io::{self, IsTerminal};
use std::time::Duration;

use crate::recorder::Recorder;

/// The longest line, in characters.
pub const WIDTH: usize = 80;

/// The longest word for a step.
pub const WORD: usize = 9;

/// Where what happens begins, behind the time and the word.
const INDENT: usize = 20;

/// Prints the narration.
pub struct Narrator {
    recorder: Recorder,
    style: Style,
}

impl Narrator {
    /// A narrator with the times of the record.
    pub fn new(recorder: &Recorder) -> Self {
        Self {
            recorder: recorder.clone(),
            style: Style::of_stdout(),
        }
    }

    /// The title of a scene.
    pub fn scene(&self, title: &str) {
        println!("\n{}", self.style.bold(title));
    }

    /// A step, with a word for it.
    pub fn tell(&self, word: &str, what: &str) {
        println!("{}", step(self.style, self.recorder.now(), word, what));
    }

    /// An explanation.
    pub fn notice(&self, what: &str) {
        for line in wrapped(what, WIDTH - INDENT) {
            println!("{:INDENT$}{}", "", self.style.dim(&line));
        }
    }
}

/// The lines of a step.
fn step(style: Style, at: Duration, word: &str, what: &str) -> String {
    let time = style.dim(&format!("{:6.2} s", at.as_secs_f64()));
    let what = wrapped(what, WIDTH - INDENT).join(&format!("\n{:INDENT$}", ""));
    format!("{time}  {word:<WORD$} {what}")
}

/// Bold, dim and colours, if standard output is a terminal that wants them.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether there are any.
    pub colour: bool,
}

impl Style {
    /// Colour on a terminal only, unless the user has turned it off: <https://no-color.org>.
    pub fn of_stdout() -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: io::stdout().is_terminal() && !refused && !dumb,
        }
    }

    /// In bold.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Less prominent.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// With the parameters of an SGR sequence.
    pub fn paint(self, parameters: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{parameters}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// A text in lines of at most `width` characters, at least one.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        match line.chars().count() {
            0 => {}
            length if length + 1 + word.chars().count() <= width => line.push(' '),
            _ => lines.push(std::mem::take(&mut line)),
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A time in words: `6 ms`, `1.53 s`.
pub fn spoken(time: Duration) -> String {
    match time.as_micros() {
        0..1_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        1_000..1_000_000 => format!("{:.0} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

/// A number with its noun: `1,040 clients`, `1 client`.
pub fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// A number with thousands separators.
pub fn grouped(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1_000), number % 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(counted(1, "client"), "1 client");
        assert_eq!(counted(0, "client"), "0 clients");
        assert_eq!(counted(1_000_042, "client"), "1,000,042 clients");
        assert_eq!(spoken(Duration::from_micros(300)), "0.3 ms");
        assert_eq!(spoken(Duration::from_millis(31)), "31 ms");
        assert_eq!(spoken(Duration::from_millis(1_534)), "1.53 s");
    }

    #[test]
    fn a_long_text_is_wrapped_between_words() {
        let text = "“Hello world!” said a long client";
        for width in 1..40 {
            let lines = wrapped(text, width);
            assert_eq!(lines.join(" "), text);
            let is_short = |line: &String| line.chars().count() <= width || !line.contains(' ');
            assert!(lines.iter().all(is_short), "{width}: {lines:?}");
        }
        assert_eq!(wrapped("", 10), [""]);
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    }

    #[test]
    fn a_step_fits_80_columns_at_its_widest() {
        let (at, word) = (Duration::from_secs(100), "unnoticed");
        assert_eq!(word.len(), WORD);
        let style = Style { colour: false };
        for letters in 1..=WIDTH - INDENT {
            let what = format!("{} ", "x".repeat(letters)).repeat(9);
            let text = step(style, at, word, &what);
            let widest = text.lines().map(|line| line.trim_end().chars().count());
            assert!(widest.max().is_some_and(|width| width <= WIDTH), "{text}");
            assert!(
                text.lines()
                    .skip(1)
                    .all(|line| line.starts_with(&" ".repeat(INDENT)))
            );
        }
    }

    #[test]
    fn without_colour_nothing_is_added() {
        assert_eq!(Style { colour: false }.bold("a"), "a");
        assert_eq!(Style { colour: true }.bold("a"), "\x1b[1ma\x1b[0m");
    }
}
