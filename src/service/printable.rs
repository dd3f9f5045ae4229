//! Words that others have chosen, on their way to a terminal, a log or JSON.
//!
//! A terminal acts upon control characters, a log takes what follows a line's end for a message of its
//! own, and characters that turn the direction of writing make a line read as something else. So all of
//! them are written visibly. Everything that this project prints or logs goes through here.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Whether a character does something other than to be seen.
///
/// Control characters (C0, DEL, C1), the ends of lines and paragraphs, what turns the direction of
/// writing (Unicode Standard Annex 9), and what is there and cannot be seen: U+00AD, the zero-width
/// characters, U+FEFF, the interlinear anchors, tags. Those that join and part letters (U+200C, U+200D)
/// belong to words and stay.
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

/// Prints as a text without hidden characters: each is written as Rust writes it, `\n` or `\u{1b}`.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_printable(f, self.0, |f, c| write!(f, "{}", c.escape_default()))
    }
}

/// The text without hidden characters, as [`Printable`] writes it.
pub fn printable(text: &str) -> Cow<'_, str> {
    match text.contains(is_hidden) {
        true => Printable(text).to_string().into(),
        false => text.into(),
    }
}

/// A text for people: as [`printable`], and without the numbers that the standard library puts behind what the
/// kernel says, as in `Address already in use (os error 98)`.
pub fn sentence(text: &str) -> Cow<'_, str> {
    const NUMBER: &str = " (os error ";
    let mut safe = printable(text);
    let mut from = 0;
    while let Some(start) = safe[from..].find(NUMBER).map(|found| from + found) {
        let number = start + NUMBER.len();
        let digits = safe[number..]
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count();
        let end = number + digits;
        if digits > 0 && safe[end..].starts_with(')') {
            safe.to_mut().replace_range(start..=end, "");
            from = start;
        } else {
            from = number;
        }
    }
    safe
}

/// JSON whose strings have no hidden characters: `\u` sequences stand for them (RFC 8259, section 7).
/// Outside of strings JSON has none, if it is not spread over lines.
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

/// Writes what can be seen as it is, and the rest by `escape`.
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
