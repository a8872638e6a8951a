//! The paths that Rust code writes (`use` trees and `crate::a::b` in the middle of code), as lists of words.
//!
//! Approximation: text, not name resolution. A path is seen if it begins with `crate`, `self`, `super` or with a
//! module that the same file declares by `mod name;`. Paths that a macro makes are not seen.

use super::tokens::{Inline, Token, inline_modules, split};

/// One path as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Its words; `*` at the end of a glob.
    pub words: Vec<String>,
    /// The name it is known by afterwards, if it is in a `use`.
    pub name: Option<String>,
    /// It is in a `use` that is `pub` in some way: another door to the same thing, not a need for it.
    pub exported: bool,
    /// How many inline modules it stands in.
    pub depth: usize,
    /// Its byte offset.
    pub at: usize,
}

/// What one file says of modules.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// Every path outside of test modules.
    pub all: Vec<Path>,
    /// The modules it declares by `mod name;`.
    pub declared: Vec<String>,
    /// The items it defines, by name.
    pub defined: Vec<String>,
}

/// Words after which a name is being defined.
const DEFINES: &[&str] =
    &["struct", "enum", "union", "trait", "type", "const", "static", "fn", "macro_rules"];

/// Reads one file's code (comments and literals blanked).
#[must_use]
pub fn read(code: &str) -> Paths {
    let tokens = split(code);
    let modules = inline_modules(&tokens);
    let mut paths = Paths::default();
    for triple in tokens.windows(3) {
        match (triple[0].word, triple[2].word) {
            ("mod", ";") => paths.declared.push(triple[1].word.to_owned()),
            (word, _) if DEFINES.contains(&word) => {
                let name = if triple[1].word == "!" { triple[2].word } else { triple[1].word };
                paths.defined.push(name.to_owned());
            }
            _ => {}
        }
    }
    let mut at = 0;
    while at < tokens.len() {
        let depth = modules.iter().filter(|m| m.span.contains(&tokens[at].at)).count();
        if in_tests(&modules, tokens[at].at) {
            at += 1;
        } else if tokens[at].word == "use" {
            at = use_tree(&tokens, at, depth, &mut paths.all);
        } else if begins_path(&tokens, at, &paths.declared) {
            at = plain_path(&tokens, at, depth, &mut paths.all);
        } else {
            at += 1;
        }
    }
    paths
}

fn in_tests(modules: &[Inline], at: usize) -> bool {
    modules.iter().any(|module| module.for_tests && module.span.contains(&at))
}

/// A path begins here: a root word or a declared module, then `::`, and no path goes on through it.
fn begins_path(tokens: &[Token<'_>], at: usize, declared: &[String]) -> bool {
    let before = at.checked_sub(1).map(|at| tokens[at].word);
    let after = tokens.get(at + 1).map(|token| token.word);
    let word = tokens[at].word;
    let root = matches!(word, "crate" | "self" | "super") || declared.iter().any(|name| name == word);
    // `pub(in crate::a)` limits who sees something; it needs nothing of `a`.
    root && after == Some("::") && !matches!(before, Some("::" | "in"))
}

/// Reads `a::b::c` and returns where it ends.
fn plain_path(tokens: &[Token<'_>], start: usize, depth: usize, all: &mut Vec<Path>) -> usize {
    let mut words = vec![tokens[start].word.to_owned()];
    let mut at = start + 1;
    while tokens.get(at).is_some_and(|token| token.word == "::") {
        match tokens.get(at + 1) {
            Some(next) if next.word.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                words.push(next.word.to_owned());
            }
            _ => break,
        }
        at += 2;
    }
    all.push(Path { words, name: None, exported: false, depth, at: tokens[start].at });
    at
}

/// Reads `use a::{b, c::*, self as d};` from the word `use` on and returns where it ends.
fn use_tree(tokens: &[Token<'_>], start: usize, depth: usize, all: &mut Vec<Path>) -> usize {
    let exported = is_exported(&tokens[..start]);
    // The words before each open brace, and those since the last comma or brace.
    let mut outer: Vec<Vec<String>> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut name = None;
    let mut at = start + 1;
    while let Some(token) = tokens.get(at) {
        match token.word {
            "::" => {}
            "{" => outer.push(std::mem::take(&mut words)),
            "as" => {
                name = tokens.get(at + 1).map(|token| token.word.to_owned());
                at += 1;
            }
            "," | "}" | ";" => {
                if !words.is_empty() {
                    let mut path: Vec<String> = outer.iter().flatten().cloned().collect();
                    path.append(&mut words);
                    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                        path.pop();
                    }
                    let name = name.take().or_else(|| path.last().cloned());
                    all.push(Path { words: path, name, exported, depth, at: tokens[start].at });
                }
                match token.word {
                    "}" => drop(outer.pop()),
                    ";" => return at + 1,
                    _ => {}
                }
            }
            word => words.push(word.to_owned()),
        }
        at += 1;
    }
    at
}

/// Whether `pub`, `pub(crate)`, `pub(super)` or `pub(in …)` ends `before`.
fn is_exported(before: &[Token<'_>]) -> bool {
    match before.last().map(|token| token.word) {
        Some("pub") => true,
        Some(")") => {
            let open = before.iter().rposition(|token| token.word == "(");
            open.and_then(|at| at.checked_sub(1)).is_some_and(|at| before[at].word == "pub")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(code: &str) -> Vec<String> {
        read(code).all.iter().map(|path| path.words.join("::")).collect()
    }

    #[test]
    fn use_trees_are_spread_out() {
        let found = words("use crate::a::{self, b::{C, D as E}, f::*};\nuse super::g;\nuse std::io;");
        let expected =
            ["crate::a", "crate::a::b::C", "crate::a::b::D", "crate::a::f::*", "super::g", "std::io"];
        assert_eq!(found, expected);
    }

    #[test]
    fn paths_in_the_middle_of_code_are_seen() {
        let code = "mod child;\npub(in crate::x) fn f(y: crate::a::B<u8>) { child::go(); other::child::no(); self.x }";
        assert_eq!(words(code), ["crate::a::B", "child::go"]);
    }

    #[test]
    fn exports_are_marked_and_tests_left_out() {
        let code = "pub use a::B;\npub(crate) use c::D as E;\n#[cfg(test)]\nmod tests { use super::*; }\n\
                    mod m { use super::x; }";
        let found = read(code).all;
        let brief: Vec<_> = found.iter().map(|p| (p.name.as_deref(), p.exported, p.depth)).collect();
        assert_eq!(brief, [(Some("B"), true, 0), (Some("E"), true, 0), (Some("x"), false, 1)]);
    }

    #[test]
    fn what_a_file_declares_and_defines_is_listed() {
        let paths = read("mod a;\npub mod b;\nmod c { }\npub struct D;\nmacro_rules! e { }\nconst fn f() {}");
        assert_eq!(paths.declared, ["a", "b"]);
        for name in ["D", "e", "f"] {
            assert!(paths.defined.iter().any(|defined| defined == name), "{name}");
        }
    }
}
