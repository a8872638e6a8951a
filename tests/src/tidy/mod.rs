//! The rules of the house, as functions from the tree of files to a list of problems. `tests/tests/tidy.rs` runs
//! each on this repository; `cargo xtask tidy` and `cargo xtask map` run them without building the workspace.
//!
//! Promises: a problem names file and line and says what to do; no rule has a list of exceptions. Each rule has a
//! unit test on small texts that shows it can fail.
//!
//! **The reading, and its exactness.** Rust is read as text in which comments and literals are blanked ([`text`]),
//! then as tokens ([`tokens`]); it is not parsed by `syn`, for three reasons: bodies inside macros (`proptest!`,
//! `select!`, `macro_rules!`) are opaque to a parser and here count like all others; a file that does not compile
//! yet is still checked; and nothing has to be built. The approximations that follow from it stand at each rule.
//!
//! Leaves out: what rustfmt, clippy, rustdoc and cargo-deny already check.

pub mod layers;
pub mod links;
pub mod manifest;
pub mod map;
pub mod modules;
pub mod names;
pub mod paths;
pub mod problem;
pub mod requirements;
pub mod sizes;
pub mod text;
pub mod tokens;
pub mod tree;
pub mod unfinished;

pub use problem::Problem;
pub use tree::Tree;

/// One rule: from the tree to what is wrong in it.
pub type Rule = fn(&Tree) -> Vec<Problem>;

/// Every rule by its name.
pub const RULES: &[(&str, Rule)] = &[
    ("crates import only downwards", layers::edges),
    ("store/core is pure", layers::pure_core),
    ("every crate takes the workspace's lints", layers::lints),
    ("modules of a crate form no circle", modules::circles),
    ("roles of the core do not import each other", modules::roles),
    ("files have at most 600 lines", sizes::files_too_long),
    ("functions have at most 60 lines", sizes::functions_too_long),
    ("every file says what it is", sizes::openings),
    ("names say what is inside", names::forbidden),
    ("code uses the field's words", names::own_words),
    ("the code map is the tree", map::compare),
    ("every clause has its test or its issue", requirements::check),
    ("no test sleeps for a fixed time", unfinished::sleeps),
    ("nothing is left unfinished", unfinished::marks),
    ("links lead somewhere", links::check),
];
