//! Areas made of block characters: eighths of a line, and two colours in one character.

use super::Ink;

/// An eighth of a line more in each.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One character: what, in which colour, on which.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The character.
    pub character: char,
    /// Its colour.
    pub ink: Option<Ink>,
    /// What it stands on.
    pub paper: Option<Ink>,
}

impl Cell {
    /// Nothing.
    pub const BLANK: Self = Self {
        character: ' ',
        ink: None,
        paper: None,
    };

    /// A character on the terminal's own ground.
    pub fn new(character: char, ink: Ink) -> Self {
        Self {
            character,
            ink: Some(ink),
            paper: None,
        }
    }
}

/// A colour of the 256 that is legible on black and on white.
pub fn colour(ink: Ink) -> u8 {
    match ink {
        Ink::One => 33,
        Ink::Two => 36,
        Ink::Waiting => 214,
        Ink::Failed => 196,
        Ink::Guest => 134,
        Ink::Proxy => 244,
    }
}

/// The same as parameters of an SGR sequence.
pub fn foreground(ink: Ink) -> String {
    format!("38;5;{}", colour(ink))
}

/// The part of some layers, each with its upper edge, that falls into one character of a drawing
/// which is `lines` high and reaches `most`.
pub fn cell(layers: &[(Ink, u32)], most: u32, line: usize, lines: usize, colour: bool) -> Cell {
    let eighth = |value: u32| {
        let eighths = f64::from(value) / f64::from(most.max(1)) * (lines * 8) as f64;
        // In a row of one line, something is never drawn as nothing.
        let least = usize::from(lines == 1 && value > 0);
        let eighths = (eighths.round() as usize).max(least);
        eighths.saturating_sub(line * 8).min(8)
    };
    let mut bottom = 0;
    let mut seen = Vec::new();
    for &(ink, edge) in layers {
        let top = eighth(edge);
        if top > bottom {
            seen.push((ink, top));
            bottom = top;
        }
    }
    match seen.as_slice() {
        [] => Cell::BLANK,
        [.., (_, top)] if !colour => shade(largest(&seen), *top),
        [(ink, top)] => Cell::new(EIGHTHS[*top], *ink),
        // Two colours fill the character: the lower one in front, the upper one behind.
        [(lower, edge), .., (upper, 8)] => Cell {
            paper: Some(*upper),
            ..Cell::new(EIGHTHS[*edge], *lower)
        },
        [.., (upper, top)] => Cell::new(EIGHTHS[*top], *upper),
    }
}

/// The one of some layers, each with its upper edge, that is thickest.
fn largest(seen: &[(Ink, usize)]) -> Ink {
    let mut bottom = 0;
    let mut largest = (0, Ink::Waiting);
    for &(ink, top) in seen {
        if top - bottom > largest.0 {
            largest = (top - bottom, ink);
        }
        bottom = top;
    }
    largest.1
}

/// Where there are no colours, inks are told apart by their shade.
fn shade(ink: Ink, top: usize) -> Cell {
    match (ink, top) {
        (Ink::Waiting, 4..) => Cell::new('░', ink),
        (Ink::Two, 8) => Cell::new('▓', ink),
        (Ink::Waiting, _) => Cell::BLANK,
        _ => Cell::new(EIGHTHS[top], ink),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_shows_the_part_that_falls_into_it() {
        let one = |value, line| cell(&[(Ink::One, value)], 16, line, 2, true).character;
        assert_eq!((one(16, 1), one(12, 1), one(8, 1)), ('█', '▄', ' '));
        assert_eq!((one(16, 0), one(4, 0), one(0, 0)), ('█', '▄', ' '));
        let two = cell(&[(Ink::One, 4), (Ink::Two, 8)], 8, 0, 1, true);
        assert!(
            two == Cell {
                paper: Some(Ink::Two),
                ..Cell::new('▄', Ink::One)
            }
        );
    }

    #[test]
    fn without_colours_the_thickest_layer_is_seen_by_its_shade() {
        let plain = |waiting, two| {
            cell(
                &[(Ink::Two, two), (Ink::Waiting, waiting + two)],
                8,
                0,
                1,
                false,
            )
            .character
        };
        assert_eq!((plain(8, 0), plain(0, 8), plain(5, 3)), ('░', '▓', '░'));
        assert_eq!((plain(1, 3), plain(1, 0)), ('▄', ' '));
    }
}
