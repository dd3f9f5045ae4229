//! The manual pages are sound mdoc(7).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn pages() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/man");
    let pages = fs::read_dir(directory).unwrap();
    let pages: Vec<_> = pages.map(|page| page.unwrap().path()).collect();
    assert_eq!(pages.len(), 6);
    pages
}

#[test]
fn a_page_names_the_project_and_not_the_system_that_shows_it() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        assert_eq!(
            text.lines().nth(2),
            Some(".Os disnix-proxy-example"),
            "{page:?}"
        );
    }
}

#[test]
fn text_after_a_list_is_a_paragraph_of_its_own() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let lines: Vec<_> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == ".El") {
            assert!(pair[1].starts_with('.'), "{page:?}: .Pp before {}", pair[1]);
        }
    }
}

/// The findings of a program about each page, but for how long the lines of its source are and for what depends on
/// which other pages this machine has.
fn complaints(program: &str, arguments: &[&str]) {
    for page in pages() {
        let Ok(said) = Command::new(program)
            .args(arguments)
            .arg(&page)
            .env("LC_ALL", "C.UTF-8")
            .env("MANROFFSEQ", "")
            .output()
        else {
            eprintln!("not tried: this machine has no {program}");
            return;
        };
        // mandoc writes its findings where others write the page.
        let findings = match program {
            "mandoc" => [said.stdout, said.stderr].concat(),
            _ => said.stderr,
        };
        let findings = String::from_utf8_lossy(&findings);
        let own = findings.lines().filter(|line| {
            [
                "referenced manual not found",
                "mandoc.db",
                "longer than 80 bytes",
            ]
            .iter()
            .all(|about| !line.contains(about))
        });
        assert_eq!(own.collect::<Vec<_>>(), Vec::<&str>::new(), "{program}");
    }
}

#[test]
fn mandoc_has_nothing_to_say() {
    complaints("mandoc", &["-T", "lint", "-W", "style"]);
}

#[test]
fn man_has_nothing_to_say() {
    complaints(
        "man",
        &["--warnings=w", "--local-file", "--troff-device=utf8"],
    );
}
