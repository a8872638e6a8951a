//! The rules of the house on this repository: each is one test, and fails with file, line and what to do.
//!
//! The rules themselves, and tests that show that each can fail, are in `tests/src/tidy/`. `cargo xtask tidy` runs
//! them without building anything else.

use std::path::Path;
use std::sync::LazyLock;

use feira_tests::tidy::{Rule, Tree, layers, links, map, modules, names, requirements, sizes, unfinished};

static TREE: LazyLock<Tree> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tree = Tree::read(&root).expect("the repository can be read");
    assert!(tree.file("Cargo.toml").is_some(), "this is the root of the repository");
    tree
});

fn holds(rule: Rule) {
    let problems: Vec<String> = rule(&TREE).iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{} to mend:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn crates_import_only_downwards() {
    holds(layers::edges);
}

#[test]
fn the_core_is_pure() {
    holds(layers::pure_core);
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    holds(layers::lints);
}

#[test]
fn modules_of_a_crate_form_no_circle() {
    holds(modules::circles);
}

#[test]
fn roles_of_the_core_do_not_import_each_other() {
    holds(modules::roles);
}

#[test]
fn files_are_not_too_long() {
    holds(sizes::files_too_long);
}

#[test]
fn functions_are_not_too_long() {
    holds(sizes::functions_too_long);
}

#[test]
fn every_file_says_what_it_is() {
    holds(sizes::openings);
}

#[test]
fn names_say_what_is_inside() {
    holds(names::forbidden);
}

#[test]
fn code_uses_the_fields_words() {
    holds(names::own_words);
}

#[test]
fn the_code_map_is_the_tree() {
    holds(map::compare);
}

#[test]
fn every_clause_has_its_test_or_its_issue() {
    holds(requirements::check);
}

#[test]
fn no_test_sleeps_for_a_fixed_time() {
    holds(unfinished::sleeps);
}

#[test]
fn nothing_is_left_unfinished() {
    holds(unfinished::marks);
}

#[test]
fn links_lead_somewhere() {
    holds(links::check);
}
