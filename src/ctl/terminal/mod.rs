//! What a person at a terminal sees, whichever verb prints it.
//!
//! - `display`: numbers, ages, bytes and tables as text (pure); `colour`: where colour means something;
//! - `output`: lines on standard output, and what happens where that fails; `screen`: a live picture of several lines.

pub mod colour;
pub mod display;
pub mod output;
pub mod screen;
