//! Puts the results into the documentation.

use std::fs;
use std::path::Path;

use crate::load::when;
use crate::pattern::Protocol;

/// Where the results begin.
pub const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->";

/// Replaces what is between the marks in `directory/benchmark.md`, and `directory/benchmark.svg`,
/// which is about the plain protocol.
pub fn write(directory: &Path, protocol: Protocol, table: &str, plot: &str) -> Result<(), String> {
    let begin = match protocol {
        Protocol::Plain => BEGIN,
        Protocol::Http => "<!-- measured in HTTP: begin -->\n",
    };
    replace(&directory.join("benchmark.md"), begin, table)?;
    match protocol {
        Protocol::Plain => {
            fs::write(directory.join("benchmark.svg"), plot).map_err(when("benchmark.svg"))
        }
        Protocol::Http => Ok(()),
    }
}

/// Replaces what is between the mark `begin` and the next mark of an end.
///
/// # Errors
///
/// When there are no marks, or the file cannot be written.
pub fn replace(path: &Path, begin: &str, results: &str) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(when("the document"))?;
    let parts = text
        .split_once(begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        return Err(format!("{} has no marks for the table", path.display()));
    };
    let text = format!("{before}{begin}\n{results}\n{END}{after}");
    fs::write(path, text).map_err(when("the document"))
}
