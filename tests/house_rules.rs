//! Sizes and names in the code: short files, short functions, small structs, and no two types of one name.
//!
//! The layout of rustfmt is enough to find them: what a line opens is closed at that line's indentation.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;
const FIELDS: usize = 12;

/// Structs that may have more fields, each with the reason.
const WIDE_STRUCTS: [(&str, &str); 3] = [
    (
        "ProxyOptions",
        "a field for each option of the command line",
    ),
    ("RawSlot", "a field for each word of the table"),
    ("Status", "a field for each value that goes over the wire"),
];

struct SourceFile {
    path: String,
    text: String,
}

/// The Rust files of a folder of the project and of all folders in it.
fn sources(folder: &str) -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(SourceFile {
                    text: fs::read_to_string(&path).unwrap(),
                    path: path.strip_prefix(root).unwrap().display().to_string(),
                });
            }
        }
    }
    assert!(!sources.is_empty());
    sources
}

/// An item and the lines from its first to its last.
struct Item<'a> {
    name: &'a str,
    path: &'a str,
    lines: Vec<&'a str>,
}

/// The items of these kinds, without associated types.
fn items<'a>(sources: &'a [SourceFile], kinds: &[&str]) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some((kind, name)) = declaration(line) else {
                continue;
            };
            if !kinds.contains(&kind) || kind == "type" && line.starts_with(' ') {
                continue;
            }
            let length = length(&lines[start..]);
            items.push(Item {
                name,
                path: &source.path,
                lines: lines[start..start + length].to_vec(),
            });
        }
    }
    items
}

/// The kind and the name of the item that a line declares.
fn declaration(line: &str) -> Option<(&str, &str)> {
    const QUALIFIERS: [&str; 5] = ["const", "async", "unsafe", "extern", "\"C\""];
    let mut words = line.split_whitespace().peekable();
    if words.next_if(|word| word.starts_with("pub(in")).is_some() {
        words.next();
    }
    words.next_if(|word| word.starts_with("pub"));
    while words.next_if(|word| QUALIFIERS.contains(word)).is_some() {}
    let kind = words.next()?;
    let is_kind = ["fn", "struct", "enum", "union", "trait", "type"].contains(&kind);
    let name = words.next().filter(|_| is_kind)?;
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    Some((kind, name.split(|c| !is_part(c)).next()?))
}

/// The number of lines of the item that begins with the first of these lines.
fn length(lines: &[&str]) -> usize {
    let indentation = indentation(lines[0]);
    let is_end = |line: &&str| {
        let rest = &line[indentation.min(line.len())..];
        rest == "}" || rest.starts_with(')') && rest.ends_with(';')
    };
    let is_whole = lines[0].ends_with([';', '}']);
    match lines.iter().position(is_end).filter(|_| !is_whole) {
        Some(end) => end + 1,
        None => 1,
    }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The number of named fields of a struct.
fn fields(item: &Item<'_>) -> usize {
    let first = item.lines[0];
    let is_field = |line: &&&str| {
        let mut words = line.split_whitespace();
        let is_name = words
            .find(|word| !word.starts_with("pub"))
            .is_some_and(|word| word.ends_with(':') && !word.starts_with('/'));
        indentation(line) == indentation(first) + 4 && is_name
    };
    item.lines.iter().filter(is_field).count()
}

fn long_files(sources: &[SourceFile]) -> Vec<String> {
    let lengths = sources
        .iter()
        .map(|source| (source.text.lines().count(), &source.path));
    lengths
        .filter(|(lines, _)| *lines > FILE_LINES)
        .map(|(lines, path)| format!("{path} has {lines} lines"))
        .collect()
}

fn long_functions(sources: &[SourceFile]) -> Vec<String> {
    let functions = items(sources, &["fn"]);
    let long = functions
        .iter()
        .filter(|item| item.lines.len() > FUNCTION_LINES);
    long.map(|item| {
        format!(
            "{}: {} has {} lines",
            item.path,
            item.name,
            item.lines.len()
        )
    })
    .collect()
}

fn namesakes(sources: &[SourceFile]) -> Vec<String> {
    let mut paths = BTreeMap::<&str, Vec<&str>>::new();
    for item in items(sources, &["struct", "enum", "union", "trait", "type"]) {
        paths.entry(item.name).or_default().push(item.path);
    }
    paths.retain(|_, paths| paths.len() > 1);
    let sentence = |(name, paths): (_, Vec<&str>)| format!("{name} is in {}", paths.join(", "));
    paths.into_iter().map(sentence).collect()
}

fn wide_structs(sources: &[SourceFile]) -> Vec<String> {
    let structs = items(sources, &["struct"]);
    structs
        .iter()
        .map(|item| (item, fields(item)))
        .filter(|(item, fields)| {
            let is_allowed = WIDE_STRUCTS.iter().any(|(name, _)| *name == item.name);
            *fields > FIELDS && !is_allowed
        })
        .map(|(item, fields)| format!("{}: {} has {fields} fields", item.path, item.name))
        .collect()
}

fn expect_none(objections: Vec<String>) {
    assert!(objections.is_empty(), "{}", objections.join("\n"));
}

#[test]
fn no_file_is_longer_than_400_lines() {
    expect_none(long_files(&sources("src")));
    expect_none(long_files(&sources("tests")));
}

#[test]
fn no_function_is_longer_than_60_lines() {
    expect_none(long_functions(&sources("src")));
}

#[test]
fn the_service_that_is_made_with_the_library_has_at_most_30_lines() {
    let examples = sources("examples");
    let example = |source: &&SourceFile| source.path == "examples/echo-server.rs";
    let lines = examples.iter().find(example).unwrap().text.lines().count();
    assert!(lines <= 30, "{lines}");
}

#[test]
fn no_two_types_have_the_same_name() {
    expect_none(namesakes(&sources("src")));
}

#[test]
fn no_struct_has_more_than_12_fields_without_a_reason() {
    let sources = sources("src");
    expect_none(wide_structs(&sources));
    let structs = items(&sources, &["struct"]);
    for (name, reason) in WIDE_STRUCTS {
        let is_wide = |item: &Item<'_>| item.name == name && fields(item) > FIELDS;
        assert!(structs.iter().any(is_wide), "{name} is not wide: {reason}");
    }
}

fn source(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

#[test]
fn a_long_file_is_found() {
    let files = [400, 401].map(|lines| source(&format!("{lines}.rs"), &"\n".repeat(lines)));
    assert_eq!(long_files(&files), ["401.rs has 401 lines"]);
}

#[test]
fn a_long_function_is_found_wherever_it_is_and_its_neighbours_do_not_count() {
    let function = |head: &str, lines: usize| {
        let indentation = " ".repeat(indentation(head));
        let body = format!("{indentation}    work();\n").repeat(lines - 2);
        format!("{head} {{\n{body}{indentation}}}\n")
    };
    let text = [
        function("pub(crate) async fn short()", 60),
        function("fn long<T>()", 61),
        "trait Work {\n    fn declared(\n        &self,\n    ) -> u8;\n    fn whole() {}\n"
            .to_owned(),
        function("    pub(in crate::a) const unsafe fn method(&self)", 62),
        "}\n".to_owned(),
    ];
    let found = long_functions(&[source("a.rs", &text.concat())]);
    let expected = ["a.rs: long has 61 lines", "a.rs: method has 62 lines"];
    assert_eq!(found, expected);
}

#[test]
fn namesakes_are_found_whatever_they_are() {
    let files = [
        source(
            "a.rs",
            "pub struct Name(u8);\ntrait Work {\n    type Err;\n}\n",
        ),
        source(
            "b.rs",
            "mod tests {\n    enum Name {}\n}\ntype Work = u8;\n",
        ),
        source(
            "c.rs",
            "// struct Name\nimpl Other {\n    type Err = u8;\n}\n",
        ),
    ];
    let expected = ["Name is in a.rs, b.rs", "Work is in a.rs, b.rs"];
    assert_eq!(namesakes(&files), expected);
}

#[test]
fn a_wide_struct_is_found_and_only_its_fields_count() {
    let wide = |name: &str, fields: usize| {
        let field = "    /// What: it is.\n    pub field: u8,\n".repeat(fields);
        format!("pub struct {name} {{\n{field}}}\n")
    };
    let text = [wide("Narrow", 12), wide("Wide", 13), wide("Status", 13)].concat();
    let found = wide_structs(&[source("a.rs", &text)]);
    assert_eq!(found, ["a.rs: Wide has 13 fields"]);
}
