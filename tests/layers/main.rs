//! Imports between the files of the library: they close no circle, and run down the layers that the map
//! in `src/lib.rs` and those of `src/proxy/mod.rs` and `src/proxy/admission/mod.rs` list.

mod graph;
mod imports;
mod order;

use std::collections::BTreeSet;
use std::path::Path;

use graph::{Edge, Graph, by_importer, circles};
use imports::Module;
use order::{Layers, layers};

struct Library {
    graph: Graph,
    layers: Vec<Layers>,
}

fn library() -> Library {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let map = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let layers =
        ["lib.rs", "proxy/mod.rs", "proxy/admission/mod.rs"].map(|file| layers(&map(file)));
    Library {
        graph: Graph::read(&root).unwrap(),
        layers: layers.into_iter().flatten().collect(),
    }
}

impl Library {
    fn objection(&self, edge: &Edge) -> Option<String> {
        self.layers.iter().find_map(|layers| layers.objection(edge))
    }
}

fn shown(modules: &[Module]) -> String {
    let names: Vec<_> = modules.iter().map(|module| module.join("::")).collect();
    names.join(" -> ")
}

#[test]
fn no_circle() {
    let circles = circles(&by_importer(&library().graph.edges));
    let circles: Vec<_> = circles.iter().map(|way| shown(way)).collect();
    assert!(
        circles.is_empty(),
        "circles of imports:\n{}",
        circles.join("\n")
    );
}

#[test]
fn nothing_imports_from_the_file_of_a_module_that_it_is_in() {
    let edges = library().graph.edges;
    let upwards = edges.iter().filter(|(from, to)| from.starts_with(to));
    let upwards: Vec<_> = upwards
        .map(|(from, to)| shown(&[from.clone(), to.clone()]))
        .collect();
    assert!(upwards.is_empty(), "{}", upwards.join("\n"));
}

#[test]
fn imports_run_down_the_layers() {
    let library = library();
    let is_of_parent = |(from, to): &&Edge| from.starts_with(to);
    let of_tests = library
        .graph
        .test_edges
        .iter()
        .filter(|edge| !is_of_parent(edge));
    let objections: BTreeSet<_> = library
        .graph
        .edges
        .iter()
        .chain(of_tests)
        .filter_map(|edge| library.objection(edge))
        .collect();
    let objections: Vec<_> = objections.into_iter().collect();
    assert!(objections.is_empty(), "{}", objections.join("\n"));
}

#[test]
fn every_module_has_a_layer() {
    let library = library();
    let strays = library
        .layers
        .iter()
        .flat_map(|layers| layers.strays(&library.graph));
    let strays: Vec<_> = strays.map(|module| module.join("::")).collect();
    assert!(
        strays.is_empty(),
        "in only one of src/ and the map: {strays:?}"
    );
}
