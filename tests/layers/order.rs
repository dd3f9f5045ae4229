//! The layers, as the map in `src/lib.rs` lists them.

use crate::graph::{Edge, Graph};
use crate::imports::Module;

/// Modules from the top to the bottom. What is on one line does not import from each other.
#[derive(Debug)]
pub struct Layers {
    parent: Module,
    lines: Vec<Vec<Module>>,
}

/// The lists of a text: its blocks of plain text. A line is the names of modules with a `|` between
/// them, then two spaces, then what they are for; lines that begin with a space continue that.
pub fn layers(text: &str) -> Vec<Layers> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("//!"));
    let text: Vec<_> = lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let blocks = text.split(|line| line.starts_with("```"));
    blocks
        .skip(1)
        .step_by(2)
        .map(|block| {
            let entries = block.iter().filter(|line| !line.starts_with(' '));
            let lines: Vec<_> = entries.map(|line| modules(line)).collect();
            let mut parent = lines[0][0].clone();
            parent.pop();
            Layers { parent, lines }
        })
        .collect()
}

fn modules(line: &str) -> Vec<Module> {
    let names = line.split("  ").next().unwrap_or_default().split('|');
    let path = |name: &str| name.trim().split("::").map(str::to_owned).collect();
    names.map(path).collect()
}

impl Layers {
    /// What is wrong with an import, in a sentence.
    pub fn objection(&self, (from, to): &Edge) -> Option<String> {
        let (Some(importer), Some(imported)) = (self.member(from), self.member(to)) else {
            return None;
        };
        if importer == imported {
            return None;
        }
        let (above, below) = (self.line(importer)?, self.line(imported)?);
        let why = match above.cmp(&below) {
            std::cmp::Ordering::Less => return None,
            std::cmp::Ordering::Equal => "beside it",
            std::cmp::Ordering::Greater => "above it",
        };
        Some(format!(
            "{} imports from {}, {why}",
            from.join("::"),
            to.join("::")
        ))
    }

    /// Modules that have no place in the list, and names in the list that are no modules.
    pub fn strays<'a>(&'a self, graph: &'a Graph) -> impl Iterator<Item = &'a [String]> {
        let unlisted = graph.files.iter().filter_map(|file| self.member(file));
        let unlisted = unlisted.filter(|member| self.line(member).is_none());
        let unknown = self
            .lines
            .iter()
            .flatten()
            .filter(|name| !graph.files.contains(*name));
        unlisted.chain(unknown.map(Vec::as_slice))
    }

    /// The module next to the top that a module is in.
    fn member<'a>(&self, module: &'a [String]) -> Option<&'a [String]> {
        let is_below = module.starts_with(&self.parent);
        is_below.then(|| module.get(..=self.parent.len())).flatten()
    }

    fn line(&self, member: &[String]) -> Option<usize> {
        self.lines
            .iter()
            .position(|line| line.iter().any(|name| name == member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "//! The map.\n//!\n//! ```text\n//! x | y  above\n//!        all\n//! z  below\n//! ```\n//! and\n\
                       //! ```text\n//! z::a  above\n//! z::b\n//! ```\n";

    fn path(name: &str) -> Module {
        name.split("::").map(str::to_owned).collect()
    }

    fn objections(from: &str, to: &str) -> Vec<String> {
        let edge = (path(from), path(to));
        layers(MAP)
            .iter()
            .filter_map(|layers| layers.objection(&edge))
            .collect()
    }

    #[test]
    fn what_runs_down_is_allowed_and_what_runs_up_or_sideways_is_not() {
        for (from, to) in [
            ("x::i", "z"),
            ("y", "z::a"),
            ("x::i", "x::j"),
            ("z::a", "z::b"),
        ] {
            assert_eq!(objections(from, to), [""; 0], "{from} {to}");
        }
        assert_eq!(objections("z::a", "x"), ["z::a imports from x, above it"]);
        assert_eq!(objections("x::i", "y"), ["x::i imports from y, beside it"]);
        assert_eq!(
            objections("z::b::i", "z::a"),
            ["z::b::i imports from z::a, above it"]
        );
    }

    #[test]
    fn a_module_without_a_layer_and_a_layer_without_a_module_are_found() {
        let files = ["lib.rs", "x.rs", "y.rs", "z/mod.rs", "z/a.rs", "z/c.rs"];
        let files = files.map(|file| (file.to_owned(), String::new()));
        let graph = Graph::of(&files.into()).unwrap();
        let lists = layers(MAP);
        let strays = lists.iter().flat_map(|list| list.strays(&graph));
        assert_eq!(strays.collect::<Vec<_>>(), [path("z::c"), path("z::b")]);
    }
}
