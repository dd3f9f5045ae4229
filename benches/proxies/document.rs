//! Puts the results into the documentation.

use std::fs;
use std::path::Path;

use crate::load::when;
use crate::pattern::Protocol;

const END: &str = "<!-- measured: end -->";

/// Replaces what is between the marks in `directory/benchmark.md`, and `directory/benchmark.svg`,
/// which is about the plain protocol.
pub fn write(directory: &Path, protocol: Protocol, table: &str, plot: &str) -> Result<(), String> {
    let begin = match protocol {
        Protocol::Plain => "<!-- measured: begin -->\n",
        Protocol::Http => "<!-- measured in HTTP: begin -->\n",
    };
    let path = directory.join("benchmark.md");
    let text = fs::read_to_string(&path).map_err(when("benchmark.md"))?;
    let parts = text
        .split_once(begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        return Err(format!("{} has no marks for the table", path.display()));
    };
    let text = format!("{before}{begin}\n{table}\n{END}{after}");
    fs::write(&path, text).map_err(when("benchmark.md"))?;
    match protocol {
        Protocol::Plain => {
            fs::write(directory.join("benchmark.svg"), plot).map_err(when("benchmark.svg"))
        }
        Protocol::Http => Ok(()),
    }
}
