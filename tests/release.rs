//! What a release consists of, and the pictures in its documents.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What builds, installs and tests the programs: the `include` of Cargo.toml.
const INCLUDED: [&str; 10] = [
    "benches",
    "CHANGELOG.md",
    "doc",
    "examples",
    "LICENSE",
    "packaging",
    "README.md",
    "src",
    "systemd-units",
    "tests",
];
/// What cargo adds.
const OF_CARGO: [&str; 4] = [
    ".cargo_vcs_info.json",
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
];

/// The files below `path`. A source that was made for another package may lack some of the folders.
fn files(root: &Path, path: &str) -> Vec<String> {
    let full = root.join(path);
    if full.is_file() {
        return vec![path.to_owned()];
    }
    let Ok(entries) = fs::read_dir(full) else {
        return Vec::new();
    };
    entries
        .flat_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            files(root, &format!("{path}/{name}"))
        })
        .collect()
}

#[test]
fn the_package_of_cargo_has_what_builds_installs_and_tests_the_programs_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut listed: Vec<_> = listed
        .lines()
        .filter(|path| !OF_CARGO.contains(path))
        .collect();
    listed.sort_unstable();
    let mut expected: Vec<_> = INCLUDED.iter().flat_map(|path| files(root, path)).collect();
    expected.sort_unstable();
    assert!(expected.iter().any(|path| path == "src/lib.rs"));
    assert_eq!(listed, expected);
}

/// The version of a changelog's first section.
fn newest<'a>(text: &'a str, before: &str, after: char) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap();
    rest.split_once(after).unwrap().0
}

#[test]
fn the_changelogs_begin_with_this_version() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let version = env!("CARGO_PKG_VERSION");
    // A source that was made for another package may lack them.
    for (path, before, after, expected) in [
        ("CHANGELOG.md", "\n## [", ']', version.to_owned()),
        (
            "packaging/deb/changelog",
            "disnix-tcp-proxy (",
            '-',
            version.replace('-', "~"),
        ),
    ] {
        if let Ok(text) = fs::read_to_string(root.join(path)) {
            assert_eq!(newest(&text, before, after), expected, "{path}");
        }
    }
}

#[test]
fn the_version_of_the_first_section_is_found() {
    let text = "# Changelog\n\n## [2.0.0] - unreleased\n\n## [1.0.0] - 2026-01-01\n";
    assert_eq!(newest(text, "\n## [", ']'), "2.0.0");
}

/// The pictures in the documents: the path and the text of each.
fn pictures() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths = files(root, "doc").into_iter();
    let paths = paths.filter(|path| path.ends_with(".svg"));
    let text = |path: &String| fs::read_to_string(root.join(path)).unwrap();
    paths.map(|path| (path.clone(), text(&path))).collect()
}

#[test]
fn every_picture_fits_light_and_dark_pages() {
    for (path, text) in pictures() {
        let dark = "@media (prefers-color-scheme: dark)";
        assert!(text.contains(dark), "{path} has no colours for dark pages");
        for colour in ["fill=\"#", "stroke=\"#"] {
            assert!(!text.contains(colour), "{path} has a colour for all pages");
        }
    }
}

/// The values of an attribute of all elements that begin like that.
fn values<'a>(text: &'a str, element: &'a str, attribute: &'a str) -> impl Iterator<Item = f64> {
    text.split(element).skip(1).map(move |rest| {
        let (_, rest) = rest.split_once(attribute).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    })
}

#[test]
fn no_line_of_the_benchmark_crosses_a_figure() {
    for (_, text) in pictures()
        .into_iter()
        .filter(|(path, _)| path == "doc/benchmark.svg")
    {
        let panels: Vec<&str> = text.split("<g ").skip(1).collect();
        assert!(!panels.is_empty());
        for panel in panels {
            let lines = values(panel, "<line ", "x1=\"").fold(0.0, f64::max);
            let figures = panel.split("<text class=\"value end\"").skip(1);
            let figures = figures.map(|figure| figure.split(['>', '<']).nth(1).unwrap());
            // A digit is less than 8 wide.
            let widest = figures.map(str::len).max().unwrap() as f64 * 8.0;
            let edges = values(panel, "<text class=\"value end\"", "x=\"");
            assert!(edges.fold(f64::MAX, f64::min) - widest > lines, "{panel}");
        }
    }
}
