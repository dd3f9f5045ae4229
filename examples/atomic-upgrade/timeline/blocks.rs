//! Areas of block characters, with a resolution of 1/8 of a line, and two colours in one character.

use super::Ink;

/// Each is 1/8 of a line higher.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A character with its colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The character.
    pub character: char,
    /// Its colour.
    pub ink: Option<Ink>,
    /// The colour of its background.
    pub paper: Option<Ink>,
}

impl Cell {
    /// Nothing.
    pub const BLANK: Self = Self {
        character: ' ',
        ink: None,
        paper: None,
    };

    /// A character on the terminal's own background.
    pub fn new(character: char, ink: Ink) -> Self {
        Self {
            character,
            ink: Some(ink),
            paper: None,
        }
    }
}

/// One of 256 colours that is legible on black and on white.
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

/// The character of a line, counted from the bottom, of a column with these layers, each with its upper
/// edge. The drawing has `lines` lines and shows values up to `most`.
pub fn cell(layers: &[(Ink, u32)], most: u32, line: usize, lines: usize, colour: bool) -> Cell {
    let eighth = |value: u32| {
        let eighths = f64::from(value) / f64::from(most.max(1)) * (lines * 8) as f64;
        // In a row of one line, a value above 0 is always visible.
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

/// The thickest of these layers, each with its upper edge.
fn largest(seen: &[(Ink, usize)]) -> Ink {
    let bottoms = [0].into_iter().chain(seen.iter().map(|layer| layer.1));
    let layers = seen.iter().zip(bottoms);
    let largest = layers.max_by_key(|((_, top), bottom)| top - bottom);
    largest.map_or(Ink::Waiting, |((ink, _), _)| *ink)
}

/// Without colours the shade distinguishes the inks.
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
    fn without_colours_the_thickest_layer_has_its_shade() {
        let plain = |waiting, two| {
            let layers = [(Ink::Two, two), (Ink::Waiting, waiting + two)];
            cell(&layers, 8, 0, 1, false).character
        };
        assert_eq!((plain(8, 0), plain(0, 8), plain(5, 3)), ('░', '▓', '░'));
        assert_eq!((plain(1, 3), plain(1, 0)), ('▄', ' '));
    }
}
