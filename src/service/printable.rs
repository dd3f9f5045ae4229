//! Text from others, made safe for a terminal, a log or JSON.
//!
//! Control characters, which a terminal obeys, line breaks, which begin a new message of a log, and changes of the
//! direction of writing are escaped in everything that this project prints or logs.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Whether a character is invisible or acts on its surroundings: control characters (C0, DEL, C1), line and
/// paragraph separators, those that change the direction of writing (Unicode Standard Annex 9), U+00AD, the
/// zero-width characters, U+FEFF, interlinear anchors, tags. The joiners U+200C and U+200D are part of words and
/// are not hidden.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Displays a text with its hidden characters escaped as in Rust: `\n`, `\u{1b}`.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_printable(f, self.0, |f, c| write!(f, "{}", c.escape_default()))
    }
}

/// The text as [`Printable`] displays it.
pub fn printable(text: &str) -> Cow<'_, str> {
    match text.contains(is_hidden) {
        true => Printable(text).to_string().into(),
        false => text.into(),
    }
}

/// A text for people: as [`printable`], without error numbers as in `Address already in use (os error 98)`.
pub fn sentence(text: &str) -> String {
    without_numbers(&printable(text))
}

/// The text without error numbers. Hidden characters stay.
pub fn without_numbers(text: &str) -> String {
    const NUMBER: &str = " (os error ";
    let mut parts = text.split(NUMBER);
    let mut sentence = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        match part[digits..].strip_prefix(')').filter(|_| digits > 0) {
            Some(rest) => sentence += rest,
            None => sentence.extend([NUMBER, part]),
        }
    }
    sentence
}

/// One line of JSON, with the hidden characters of its strings as `\u` sequences (RFC 8259, section 7).
pub fn printable_json(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    // Writing to a String does not fail.
    let _ = write_printable(&mut safe, text, |safe, c| {
        let mut units = [0; 2];
        let mut units = c.encode_utf16(&mut units).iter();
        units.try_for_each(|unit| write!(safe, "\\u{unit:04x}"))
    });
    safe.into()
}

fn write_printable<W: fmt::Write>(
    writer: &mut W,
    text: &str,
    mut escape: impl FnMut(&mut W, char) -> fmt::Result,
) -> fmt::Result {
    let mut rest = text;
    while let Some((start, c)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
        writer.write_str(&rest[..start])?;
        escape(writer, c)?;
        rest = &rest[start + c.len_utf8()..];
    }
    writer.write_str(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_act_upon_is_written_visibly() {
        for (text, safe) in [
            ("on\ne", r"on\ne"),
            ("\x1b[2J\x7f\r\t\0", r"\u{1b}[2J\u{7f}\r\t\u{0}"),
            ("\u{9b}31m\u{85}", r"\u{9b}31m\u{85}"),
            ("a\u{202e}b\u{2066}c", r"a\u{202e}b\u{2066}c"),
            ("a\u{2028}b\u{2029}", r"a\u{2028}b\u{2029}"),
            ("\u{feff}\u{200b}\u{e0041}", r"\u{feff}\u{200b}\u{e0041}"),
        ] {
            assert_eq!(printable(text), safe);
            assert_eq!(Printable(text).to_string(), safe);
        }
        for text in ["", "upgrade – ü “x” 語 👩\u{200d}🔧 \\ \"", "[::1]:5000"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn people_read_no_numbers_of_errors() {
        for (text, wanted) in [
            (
                "no: Address in use (os error 98): wait",
                "no: Address in use: wait",
            ),
            ("a (os error 1) (os error 22)", "a"),
            (
                "a (os error x) b (os error 5",
                "a (os error x) b (os error 5",
            ),
            ("a\n (os error 5)", r"a\n"),
        ] {
            assert_eq!(sentence(text), wanted);
        }
        let kernel = std::io::Error::from_raw_os_error(98).to_string();
        assert!(kernel.contains("os error") && !sentence(&kernel).contains("os error"));
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left_and_json_means_the_same(text in any::<String>(), more in "\\PC*") {
            let text = text + "\u{202e}\u{9b}\u{e0041}" + &more;
            prop_assert!(!printable(&text).contains(is_hidden));
            let json = serde_json::to_string(&text).unwrap();
            let safe = printable_json(&json);
            prop_assert!(!safe.contains(is_hidden));
            prop_assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
        }
    }
}
