//! What a file imports, read from its text: `use` in every form, and paths in the code.

use std::collections::BTreeSet;
use std::iter::Peekable;

use proc_macro2::token_stream::IntoIter;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A module, or what is in one, by its path below the crate: `crate::service::printable` is
/// `["service", "text"]`.
pub type Module = Vec<String>;

/// One import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// What is imported.
    pub path: Module,
    /// Whether only a test imports it.
    pub is_test: bool,
}

/// What the text of `module` imports from its own crate. `is_module` distinguishes a module from any other
/// first name of a path, which may be a crate.
///
/// # Errors
///
/// When the text is not Rust.
pub fn imports(
    module: &[String],
    text: &str,
    is_module: &dyn Fn(&[String]) -> bool,
) -> Result<BTreeSet<Import>, String> {
    let tokens: TokenStream = text.parse().map_err(|error| format!("{error}"))?;
    let mut reader = Reader {
        module: module.to_vec(),
        is_test: false,
        is_module,
        found: BTreeSet::new(),
    };
    reader.read(tokens);
    Ok(reader.found)
}

type Tokens = Peekable<IntoIter>;

struct Reader<'a> {
    module: Module,
    is_test: bool,
    is_module: &'a dyn Fn(&[String]) -> bool,
    found: BTreeSet<Import>,
}

impl Reader<'_> {
    fn read(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        let mut item_is_test = false;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(TokenTree::Group(attribute)) = tokens.peek() {
                        item_is_test |= is_cfg_test(attribute);
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => item_is_test = false,
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                TokenTree::Group(group) => {
                    self.within(item_is_test, |reader| reader.read(group.stream()));
                    item_is_test &= group.delimiter() != Delimiter::Brace;
                }
                TokenTree::Ident(word) => {
                    let word = word.to_string();
                    let ends = self.within(item_is_test, |reader| reader.word(&word, &mut tokens));
                    item_is_test &= !ends;
                }
            }
        }
    }

    /// Reads what stands behind a word as far as it belongs to it; whether an item ends there.
    fn word(&mut self, word: &str, tokens: &mut Tokens) -> bool {
        match word {
            "use" => {
                self.tree(Vec::new(), tokens);
                return true;
            }
            "mod" => return self.inline_module(tokens),
            // A `pub(in PATH)` names the module that may use the item.
            "pub" => _ = tokens.next_if(|next| is_group(next, Delimiter::Parenthesis)),
            first => self.path(first, tokens),
        }
        false
    }

    fn path(&mut self, first: &str, tokens: &mut Tokens) {
        let mut path = vec![first.to_owned()];
        while skip_colons(tokens) {
            match tokens.next_if(|next| matches!(next, TokenTree::Ident(_))) {
                Some(name) => path.push(name.to_string()),
                None => break,
            }
        }
        if path.len() > 1 {
            self.add(path);
        }
    }

    /// What stands behind `use`, or within its braces, up to a comma or the end.
    fn tree(&mut self, mut path: Module, tokens: &mut Tokens) {
        loop {
            match tokens.next() {
                Some(TokenTree::Ident(name)) if name == "as" => _ = tokens.next(),
                Some(TokenTree::Ident(name)) => path.push(name.to_string()),
                Some(TokenTree::Group(branches)) => {
                    let mut branches = branches.stream().into_iter().peekable();
                    while branches.peek().is_some() {
                        self.tree(path.clone(), &mut branches);
                    }
                    path.clear();
                }
                Some(TokenTree::Punct(punct)) if ":*".contains(punct.as_char()) => {}
                _ => break,
            }
        }
        if path.len() > 1 && path.last().is_some_and(|name| name == "self") {
            path.pop();
        }
        if !path.is_empty() {
            self.add(path);
        }
    }

    /// Reads the body of a module; whether it has one.
    fn inline_module(&mut self, tokens: &mut Tokens) -> bool {
        let Some(TokenTree::Ident(name)) = tokens.next() else {
            return false;
        };
        let body = tokens.next_if(|next| is_group(next, Delimiter::Brace));
        let Some(TokenTree::Group(body)) = body else {
            return false;
        };
        self.module.push(name.to_string());
        self.read(body.stream());
        self.module.pop();
        true
    }

    fn add(&mut self, path: Module) {
        let mut base = self.module.clone();
        let mut names = path.as_slice();
        match names[0].as_str() {
            "crate" => {
                base.clear();
                names = &names[1..];
            }
            "self" | "super" => {
                while let Some((first @ ("self" | "super"), rest)) = names
                    .split_first()
                    .map(|(first, rest)| (first.as_str(), rest))
                {
                    if first == "super" {
                        base.pop();
                    }
                    names = rest;
                }
            }
            child => {
                base.push(child.to_owned());
                if !(self.is_module)(&base) {
                    return;
                }
                names = &names[1..];
            }
        }
        base.extend_from_slice(names);
        self.found.insert(Import {
            path: base,
            is_test: self.is_test,
        });
    }

    fn within<T>(&mut self, item_is_test: bool, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.is_test;
        self.is_test |= item_is_test;
        let result = read(self);
        self.is_test = before;
        result
    }
}

fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

fn is_cfg_test(attribute: &Group) -> bool {
    let text: String = attribute.stream().to_string();
    text.split_whitespace().collect::<String>() == "cfg(test)"
}

/// Takes a `::`, if that is what comes.
fn skip_colons(tokens: &mut Tokens) -> bool {
    let mut colon =
        || tokens.next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == ':'));
    colon().is_some() && colon().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The imports of the module `a::b`, which has a child `c`; those of tests with a `?` behind them.
    fn found(text: &str) -> Vec<String> {
        let module = ["a".to_owned(), "b".to_owned()];
        let is_module = |path: &[String]| path.join("::") == "a::b::c";
        let found = imports(&module, text, &is_module).unwrap();
        let shown = |import: &Import| {
            let path = import.path.join("::");
            path + if import.is_test { "?" } else { "" }
        };
        found.iter().map(shown).collect()
    }

    #[test]
    fn every_form_of_use_is_read() {
        for (text, expected) in [
            ("use crate::x::Y;", &["x::Y"][..]),
            ("pub(crate) use crate::x::Y as _;", &["x::Y"]),
            ("use super::x;", &["a::x"]),
            ("use super::super::x;", &["x"]),
            ("use self::x::Y;", &["a::b::x::Y"]),
            ("use super::*;", &["a"]),
            ("use c::Y;", &["a::b::c::Y"]),
            ("use std::io; use serde::Serialize;", &[]),
            (
                "use crate::{x::{self, Y as Z, z::*}, w};",
                &["w", "x", "x::Y", "x::z"],
            ),
            ("use super::{self as up, x::Y};", &["a", "a::x::Y"]),
            ("fn f() { use crate::x::Y; }", &["x::Y"]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn paths_in_code_types_attributes_and_macros_are_read() {
        for (text, expected) in [
            ("fn f() { crate::x::y(); }", &["x::y"][..]),
            ("struct S(super::x::Y<crate::z::Z>);", &["a::x::Y", "z::Z"]),
            ("fn f() { c::y() }", &["a::b::c::y"]),
            ("fn f() { g!(\"{}\", super::x::y()); }", &["a::x::y"]),
            ("#[arg(value = crate::x::y)] struct S;", &["x::y"]),
            (
                "mod inner { fn f() { super::super::x::y() } }",
                &["a::x::y"],
            ),
            ("pub(in crate::x) fn f() {}", &[]),
            ("fn f(of: io::Result<T>) { Vec::<u8>::new() }", &[]),
            ("// crate::x::y\nconst S: &str = \"crate::x::y\";", &[]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn imports_of_tests_are_distinguished_from_the_rest() {
        for (text, expected) in [
            (
                "#[cfg(test)] mod tests { use super::*; use crate::x::Y; }\nuse crate::z::Z;",
                &["a::b?", "x::Y?", "z::Z"][..],
            ),
            (
                "#[cfg(test)] use crate::x::Y; use crate::z::Z;",
                &["x::Y?", "z::Z"],
            ),
            (
                "#[cfg(test)] fn f(y: crate::x::Y) { crate::z::z() }",
                &["x::Y?", "z::z?"],
            ),
            ("#[cfg(test)] mod tests; use crate::x::Y;", &["x::Y"]),
            ("#[cfg(not(test))] use crate::x::Y;", &["x::Y"]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }
}
