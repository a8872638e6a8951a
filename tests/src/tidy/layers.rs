//! Rules on crates: they import only downwards, the core is pure, all take the workspace's lints.

use super::manifest::{Kind, Package, packages};
use super::problem::Problem;
use super::tokens::{inline_modules, split};
use super::tree::Tree;

/// The layer of each crate, as docs/ARCHITECTURE.md draws them. An edge goes to a lower number, in tests too.
const LAYERS: &[(&str, u8)] = &[
    ("proto", 0),
    ("proto-generate", 0),
    ("store-core", 0),
    ("store-keys", 0),
    ("admission", 0),
    ("feira-lincheck", 0),
    ("store-log", 1),
    ("store-db", 1),
    ("store-client", 1),
    ("store-engine", 2),
    ("portal", 2),
    ("store-cross", 3),
    ("admin-portal", 3),
    ("client-portal", 3),
    ("broker", 3),
    ("store-server", 4),
    ("feira", 5),
    ("feira-tests", 6),
    ("feira-guard", 6),
    ("feira-simulator", 6),
    ("xtask", 6),
    // A workspace of its own, with lints of its own; it runs the binary and imports none of these.
    ("bench-peers", 6),
];

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, layer)| *layer)
}

/// Each edge between our crates goes to a lower layer, whatever table it is in; each crate has a layer.
#[must_use]
pub fn edges(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in packages(tree) {
        let Some(from) = layer(&package.name) else {
            let what = format!(
                "the crate {} has no layer: give it one in tests/src/tidy/layers.rs and docs/ARCHITECTURE.md",
                package.name
            );
            problems.push(Problem::new(&package.manifest, 1, what));
            continue;
        };
        for dependency in &package.dependencies {
            if let Some(to) = layer(&dependency.name).filter(|to| *to >= from) {
                let what = format!(
                    "{} (layer {from}) imports {} (layer {to}): edges go strictly down; move what both need to a \
                     lower layer, or pass it in from above",
                    package.name, dependency.name
                );
                problems.push(Problem::new(&package.manifest, dependency.line, what));
            }
        }
    }
    problems
}

/// `store/core` depends on nothing and has no standard library outside its tests.
#[must_use]
pub fn pure_core(tree: &Tree) -> Vec<Problem> {
    let Some(core) = packages(tree).into_iter().find(|package| package.name == "store-core") else {
        return vec![Problem::new("store/core/Cargo.toml", 1, "the crate store-core is not there")];
    };
    let mut problems: Vec<Problem> = core
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != Kind::Dev)
        .map(|d| {
            Problem::new(&core.manifest, d.line, format!("the core depends on nothing: remove {}", d.name))
        })
        .collect();
    let root = format!("{}/src/lib.rs", core.folder);
    let no_std = tree
        .file(&root)
        .and_then(|file| file.rust.as_ref())
        .is_some_and(|rust| rust.code.lines().any(|line| line.trim() == "#![no_std]"));
    if !no_std {
        problems.push(Problem::new(
            &root,
            1,
            "the core has no clock and no I/O: write #![no_std] below its //!",
        ));
    }
    problems.extend(standard_library(tree, &core));
    problems
}

/// Places where the core's code outside its tests names `std`.
fn standard_library(tree: &Tree, core: &Package) -> Vec<Problem> {
    let source = format!("{}/src/", core.folder);
    let mut problems = Vec::new();
    for (file, text) in tree.rust().filter(|(file, _)| file.path.starts_with(&source)) {
        let tokens = split(&text.code);
        let tests: Vec<_> = inline_modules(&tokens).into_iter().filter(|module| module.for_tests).collect();
        for pair in tokens.windows(2) {
            let for_tests = tests.iter().any(|module| module.span.contains(&pair[0].at));
            if !for_tests && (pair[0].word, pair[1].word) == ("std", "::") {
                let what = "the core knows no std: use core or alloc, or take it as an input";
                problems.push(Problem::new(&file.path, text.line(pair[0].at), what));
            }
        }
    }
    problems
}

/// Each crate says `[lints] workspace = true`.
#[must_use]
pub fn lints(tree: &Tree) -> Vec<Problem> {
    let without = packages(tree).into_iter().filter(|package| !package.workspace_lints);
    without
        .map(|p| {
            Problem::new(
                &p.manifest,
                1,
                "the workspace's lints are not in force: add [lints] workspace = true",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{rest}")
    }

    #[test]
    fn an_upward_or_sideways_edge_fails_in_every_table() {
        for (table, to) in [
            ("dependencies", "store-engine"),
            ("dev-dependencies", "store-server"),
            ("build-dependencies", "store-db"),
        ] {
            let text =
                manifest("store-log", &format!("[{table}]\nproto.workspace = true\n{to}.workspace = true\n"));
            let found = edges(&Tree::of(&[("store/log/Cargo.toml", &text)]));
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].line, found[0].what.contains(to)), (7, true));
        }
    }

    #[test]
    fn a_crate_without_a_layer_fails() {
        let text = manifest("newcomer", "");
        assert_eq!(edges(&Tree::of(&[("newcomer/Cargo.toml", &text)])).len(), 1);
    }

    #[test]
    fn a_core_with_a_dependency_or_with_std_fails() {
        let lib = "//! The core.\n#![no_std]\n#[cfg(test)]\nmod tests { use std::vec; }\n";
        let test_only = manifest("store-core", "[dev-dependencies]\nproptest.workspace = true\n");
        let files = |manifest: &str, lib: &str| {
            pure_core(&Tree::of(&[("store/core/Cargo.toml", manifest), ("store/core/src/lib.rs", lib)]))
        };
        assert_eq!(files(&test_only, lib), []);
        assert_eq!(files(&manifest("store-core", "[dependencies]\nbytes = \"1\"\n"), lib)[0].line, 6);
        assert_eq!(files(&test_only, "//! The core.\nfn f() {}\n")[0].line, 1);
        assert_eq!(
            files(&test_only, "//! The core.\n#![no_std]\nfn f(t: std::time::Instant) {}\n")[0].line,
            3
        );
    }

    #[test]
    fn a_crate_without_the_lints_fails() {
        assert_eq!(lints(&Tree::of(&[("broker/Cargo.toml", "[package]\nname = \"broker\"\n")])).len(), 1);
        assert_eq!(lints(&Tree::of(&[("broker/Cargo.toml", &manifest("broker", ""))])), []);
    }
}
