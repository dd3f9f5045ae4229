//! Puts the results into the documentation.

use std::fs;
use std::path::Path;

use crate::load::when;

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->";

/// Replaces what is between the marks in `directory/benchmark.md`, and `directory/benchmark.svg`.
pub fn write(directory: &Path, table: &str, plot: &str) -> Result<(), String> {
    let path = directory.join("benchmark.md");
    let text = fs::read_to_string(&path).map_err(when("benchmark.md"))?;
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        return Err(format!("{} has no marks for the table", path.display()));
    };
    let text = format!("{before}{BEGIN}\n{table}\n{END}{after}");
    fs::write(&path, text).map_err(when("benchmark.md"))?;
    fs::write(directory.join("benchmark.svg"), plot).map_err(when("benchmark.svg"))
}
