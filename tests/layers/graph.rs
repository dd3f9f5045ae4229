//! The files of a crate, and which of them import from which.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::{fs, io};

use crate::imports::{Module, imports};

/// An importer, and the file that it imports from.
pub type Edge = (Module, Module);

/// The files of a crate and their imports. A file is called by its module.
#[derive(Debug, Default)]
pub struct Graph {
    /// What the program imports.
    pub edges: BTreeSet<Edge>,
    /// What only tests import.
    pub test_edges: BTreeSet<Edge>,
    /// Every file.
    pub files: BTreeSet<Module>,
}

impl Graph {
    /// The files of the library whose root is in this folder; programs in `bin` are left out.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or is not Rust.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        collect(root, Path::new(""), &mut files)?;
        Self::of(&files).map_err(io::Error::other)
    }

    /// Files with these paths and texts.
    ///
    /// # Errors
    ///
    /// When one is not Rust.
    pub fn of(texts: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut graph = Self {
            files: texts.keys().map(|path| module(path)).collect(),
            ..Self::default()
        };
        for (path, text) in texts {
            let from = module(path);
            let found = imports(&from, text, &|module| graph.files.contains(module))
                .map_err(|error| format!("{path}: {error}"))?;
            for import in found {
                let to = graph.file_of(&import.path);
                let edges = match import.is_test || from.iter().any(|name| name == "tests") {
                    true => &mut graph.test_edges,
                    false => &mut graph.edges,
                };
                if to != from {
                    edges.insert((from.clone(), to));
                }
            }
        }
        Ok(graph)
    }

    /// The file that a path leads into.
    fn file_of(&self, path: &[String]) -> Module {
        let mut module = path;
        while !self.files.contains(module) {
            let Some((_, parent)) = module.split_last() else {
                break;
            };
            module = parent;
        }
        module.to_vec()
    }
}

/// What each file imports from.
pub type Imported<'a> = BTreeMap<&'a Module, Vec<&'a Module>>;

/// These edges by their importers.
pub fn by_importer<'a>(edges: impl IntoIterator<Item = &'a Edge>) -> Imported<'a> {
    let mut imported = Imported::new();
    for (from, to) in edges {
        imported.entry(from).or_default().push(to);
    }
    imported
}

/// The shortest circles: for each import that closes any, one of them.
pub fn circles(imported: &Imported<'_>) -> Vec<Vec<Module>> {
    let mut circles = BTreeMap::new();
    for (from, targets) in imported {
        for way in targets.iter().filter_map(|to| way(imported, to, from)) {
            let mut members = way.clone();
            members.sort();
            circles.entry(members).or_insert(way);
        }
    }
    circles.into_values().collect()
}

/// The shortest way along imports.
pub fn way(imported: &Imported<'_>, from: &Module, to: &Module) -> Option<Vec<Module>> {
    let mut reached = BTreeMap::from([(from, None)]);
    let mut waiting = VecDeque::from([from]);
    while let Some(file) = waiting.pop_front() {
        if file == to {
            let files = std::iter::successors(Some(file), |file| reached[file]);
            let mut way: Vec<_> = files.cloned().collect();
            way.reverse();
            return Some(way);
        }
        for next in imported.get(file).into_iter().flatten() {
            reached.entry(next).or_insert_with(|| {
                waiting.push_back(next);
                Some(file)
            });
        }
    }
    None
}

fn collect(root: &Path, below: &Path, files: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if path != Path::new("bin") {
                collect(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(entry.path())?;
            files.insert(path.to_string_lossy().into_owned(), text);
        }
    }
    Ok(())
}

/// The module of a file.
fn module(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod");
    match path {
        "lib" => Vec::new(),
        _ => path.split('/').map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(files: &[(&str, &str)]) -> Graph {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Graph::of(&files.iter().map(owned).collect()).unwrap()
    }

    fn shown(circles: &[Vec<Module>]) -> Vec<String> {
        let names = |circle: &Vec<Module>| {
            let names: Vec<_> = circle.iter().map(|module| module.join("::")).collect();
            names.join(" ")
        };
        circles.iter().map(names).collect()
    }

    #[test]
    fn an_import_leads_to_the_file_that_is_meant() {
        let graph = graph(&[
            ("lib.rs", "pub mod a;"),
            ("a/mod.rs", "mod b; pub use b::B;"),
            ("a/b.rs", "use super::c::C; use super::D;"),
            ("a/c.rs", "use crate::a::b::inner::E;"),
        ]);
        let edges = graph.edges.iter();
        let edges: Vec<_> = edges
            .map(|(from, to)| [from.join("::"), to.join("::")].join(" "))
            .collect();
        assert_eq!(edges, ["a a::b", "a::b a", "a::b a::c", "a::c a::b"]);
    }

    #[test]
    fn a_circle_is_found_whatever_its_length() {
        let graph = graph(&[
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "fn f() { crate::c::c() }"),
            ("c/mod.rs", "mod d; pub use d::D;"),
            ("c/d.rs", "use super::C; use crate::a::A;"),
            ("e.rs", "use crate::a::A;"),
        ]);
        assert_eq!(
            shown(&circles(&by_importer(&graph.edges))),
            ["b c c::d a", "c::d c"]
        );
    }

    #[test]
    fn a_test_closes_no_circle() {
        let graph = graph(&[
            (
                "a.rs",
                "mod tests; #[cfg(test)] mod inner { use crate::b::B; use super::*; }",
            ),
            ("a/tests.rs", "use super::*; use crate::b::B;"),
            ("b.rs", "use crate::a::A;"),
        ]);
        assert!(circles(&by_importer(&graph.edges)).is_empty());
        assert_eq!(graph.test_edges.len(), 3);
    }
}
