//! Rules on modules inside one crate: no circle among them, and the roles of the core apart.
//!
//! A module is a file below `src/`. Module `a` imports module `b` if a path in the file of `a` ([`super::paths`])
//! leads into the file of `b`. `pub use` is another door to a thing, not a need for it, so it makes no edge; a
//! path through such a door leads to where the thing is defined. `mod b;` makes no edge either, and neither does
//! what is under `#[cfg(test)]`. A path through `use …::*` of a module whose items are not found by name in the
//! text is taken to end at the door.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::manifest::packages;
use super::paths::{Path, Paths, read};
use super::problem::Problem;
use super::tree::Tree;

/// The modules of the core that each hold one role. Only `replica` knows them all, and it only dispatches.
const ROLES: &[&str] = &["follower", "election", "leader"];

/// The path of a module from its crate's root; the root is empty.
type Name = Vec<String>;

/// The modules of one crate.
#[derive(Debug, Default)]
pub struct Modules {
    files: BTreeMap<Name, (String, Paths)>,
}

/// One import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The module that imports.
    pub from: Name,
    /// The module imported.
    pub to: Name,
    /// The byte offset in the file of `from`.
    at: usize,
}

impl Modules {
    /// The modules of the crate at `folder`: its library, or its binary if it is only that.
    #[must_use]
    pub fn of(tree: &Tree, folder: &str) -> Modules {
        let source = format!("{folder}/src/");
        let library = tree.file(&format!("{source}lib.rs")).is_some();
        let mut modules = Modules::default();
        for (file, text) in tree.rust() {
            let Some(inside) = file.path.strip_prefix(&source) else { continue };
            if inside.starts_with("bin/") || (library && inside == "main.rs") {
                continue;
            }
            let mut name: Name = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if matches!(name.last().map(String::as_str), Some("mod" | "lib" | "main")) {
                name.pop();
            }
            modules.files.insert(name, (file.path.clone(), read(&text.code)));
        }
        modules
    }

    /// Every import of one module by another.
    #[must_use]
    pub fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (from, (_, paths)) in &self.files {
            for path in paths.all.iter().filter(|path| !path.exported) {
                if let Some(to) = self.target(from, path, 0).filter(|to| to != from) {
                    edges.push(Edge { from: from.clone(), to, at: path.at });
                }
            }
        }
        edges
    }

    /// The module that a path in module `from` leads into; `None` if it leads out of the crate.
    fn target(&self, from: &Name, path: &Path, doors: usize) -> Option<Name> {
        let mut words = path.words.as_slice();
        let supers = words.iter().take_while(|word| *word == "super").count();
        let start = match words.first()?.as_str() {
            "crate" => {
                words = &words[1..];
                Name::new()
            }
            "self" if path.depth == 0 => {
                words = &words[1..];
                from.clone()
            }
            "super" if supers < path.depth => return Some(from.clone()),
            "super" => {
                words = &words[supers..];
                from[..from.len().checked_sub(supers - path.depth)?].to_vec()
            }
            word if path.depth == 0 && self.child(from, word).is_some() => from.clone(),
            _ => return None,
        };
        Some(self.walk(start, words, doors))
    }

    /// Follows `words` from module `at` as far as they name modules or doors.
    fn walk(&self, mut at: Name, words: &[String], doors: usize) -> Name {
        for word in words.iter().take_while(|word| *word != "*") {
            match self.child(&at, word).or_else(|| self.through_door(&at, word, doors)) {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }

    fn child(&self, of: &Name, word: &str) -> Option<Name> {
        let mut name = of.clone();
        name.push(word.to_owned());
        self.files.contains_key(&name).then_some(name)
    }

    /// Where `word`, asked of module `at`, is defined, if `at` has it only by `pub use`.
    fn through_door(&self, at: &Name, word: &str, doors: usize) -> Option<Name> {
        // Doors that lead to each other would not compile; a bound keeps this from turning for ever.
        if doors > 8 {
            return None;
        }
        let (_, paths) = self.files.get(at)?;
        let exports = || paths.all.iter().filter(|path| path.exported && path.depth == 0);
        if let Some(door) = exports().find(|path| path.name.as_deref() == Some(word)) {
            return self.target(at, door, doors + 1);
        }
        exports().filter(|path| path.name.as_deref() == Some("*")).find_map(|glob| {
            let behind = self.target(at, glob, doors + 1)?;
            let defines = self.files.get(&behind)?.1.defined.iter().any(|defined| defined == word);
            if defines { Some(behind) } else { self.through_door(&behind, word, doors + 1) }
        })
    }

    fn place(&self, tree: &Tree, edge: &Edge) -> (String, usize) {
        let file = self.files.get(&edge.from).map(|(file, _)| file.clone()).unwrap_or_default();
        let text = tree.file(&file).and_then(|file| file.rust.as_ref());
        let line = text.map_or(1, |text| text.line(edge.at));
        (file, line)
    }
}

/// The modules of each crate form no circle.
#[must_use]
pub fn circles(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in packages(tree) {
        let modules = Modules::of(tree, &package.folder);
        let mut edges = modules.edges();
        // The first place of each import is enough to name it.
        let mut named: BTreeSet<(Name, Name)> = BTreeSet::new();
        edges.retain(|edge| named.insert((edge.from.clone(), edge.to.clone())));
        let mut seen: BTreeSet<&Name> = BTreeSet::new();
        for edge in &edges {
            if seen.contains(&edge.from) {
                continue;
            }
            let Some(back) = shortest(&edges, &edge.to, &edge.from) else { continue };
            let circle: Vec<&Edge> = std::iter::once(edge).chain(back).collect();
            let steps = circle.iter().map(|edge| {
                let (file, line) = modules.place(tree, edge);
                format!("{file}:{line} imports {}", spoken(&edge.to))
            });
            let steps = steps.collect::<Vec<_>>().join(", ");
            let (file, line) = modules.place(tree, edge);
            let what = format!("a circle: {steps}; move what both need to a module that imports neither");
            problems.push(Problem::new(&file, line, what));
            seen.extend(circle.iter().map(|edge| &edge.from));
        }
    }
    problems
}

fn spoken(name: &Name) -> String {
    if name.is_empty() { "the crate's root".to_owned() } else { name.join("::") }
}

/// The shortest chain of edges from one module to another.
fn shortest<'a>(edges: &'a [Edge], from: &Name, to: &Name) -> Option<Vec<&'a Edge>> {
    let mut came_by: BTreeMap<&Name, &Edge> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        for edge in edges.iter().filter(|edge| edge.from == *at) {
            if edge.to != *from && !came_by.contains_key(&edge.to) {
                came_by.insert(&edge.to, edge);
                queue.push_back(&edge.to);
            }
        }
    }
    let mut chain = Vec::new();
    let mut at = to;
    while at != from {
        let edge = came_by.get(at)?;
        chain.push(*edge);
        at = &edge.from;
    }
    chain.reverse();
    Some(chain)
}

/// The role modules of `store/core` do not import each other.
#[must_use]
pub fn roles(tree: &Tree) -> Vec<Problem> {
    let modules = Modules::of(tree, "store/core");
    let role = |name: &Name| name.first().is_some_and(|first| ROLES.contains(&first.as_str()));
    let apart = modules.edges().into_iter().filter(|e| role(&e.from) && role(&e.to) && e.from[0] != e.to[0]);
    apart
        .map(|edge| {
            let (file, line) = modules.place(tree, &edge);
            let what = format!(
                "the role {} imports the role {}: put what both need into state.rs, or let replica.rs dispatch",
                edge.from[0], edge.to[0]
            );
            Problem::new(&file, line, what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: (&str, &str) = ("c/Cargo.toml", "[package]\nname = \"c\"\n");

    fn edges(files: &[(&str, &str)]) -> Vec<String> {
        let edges = Modules::of(&Tree::of(files), "c").edges();
        edges.iter().map(|e| format!("{} > {}", spoken(&e.from), spoken(&e.to))).collect()
    }

    #[test]
    fn a_circle_of_modules_fails_with_every_step() {
        let found = circles(&Tree::of(&[
            MANIFEST,
            ("c/src/lib.rs", "mod a;\nmod b;\nmod d;\npub use a::A;"),
            ("c/src/a.rs", "\nuse crate::b::B;"),
            ("c/src/b.rs", "use crate::d;\nfn f() { d::x() }"),
            ("c/src/d.rs", "fn f(x: crate::A) {}"),
        ]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].file.as_str(), found[0].line), ("c/src/a.rs", 2));
        for step in ["c/src/a.rs:2 imports b", "c/src/b.rs:1 imports d", "c/src/d.rs:1 imports a"] {
            assert!(found[0].what.contains(step), "{}", found[0].what);
        }
    }

    #[test]
    fn a_child_that_needs_its_parent_while_the_parent_needs_it_is_a_circle() {
        let child = ("c/src/a/child.rs", "use super::Shape;");
        let calls = ("c/src/a/mod.rs", "mod child;\nstruct Shape;\nfn f() { child::go() }");
        let only_declares = ("c/src/a/mod.rs", "mod child;\npub use child::go;\nstruct Shape;");
        let root = ("c/src/lib.rs", "mod a;");
        assert_eq!(circles(&Tree::of(&[MANIFEST, root, calls, child])).len(), 1);
        assert_eq!(circles(&Tree::of(&[MANIFEST, root, only_declares, child])), []);
    }

    #[test]
    fn paths_lead_through_reexports_to_where_things_are_defined() {
        let found = edges(&[
            ("c/src/lib.rs", "mod a;\nmod b;\nmod e;\npub use a::Named;\npub use b::*;\npub struct Here;"),
            ("c/src/a.rs", "pub struct Named;"),
            ("c/src/b.rs", "pub enum Globbed { X }"),
            (
                "c/src/e.rs",
                "use crate::{Named, Globbed};\nmod inner { use super::super::Here; use super::local; }",
            ),
        ]);
        assert_eq!(found, ["e > a", "e > b", "e > the crate's root"]);
    }

    #[test]
    fn tests_and_other_crates_make_no_edges() {
        let found = edges(&[
            ("c/src/lib.rs", "mod a;\nmod b;"),
            ("c/src/a.rs", "use std::fmt;\n#[cfg(test)]\nmod tests { use crate::b::B; }"),
            ("c/src/b.rs", "use crate::a::A;"),
            ("c/src/main.rs", "use crate::b;"),
            ("c/src/bin/tool.rs", "use crate::b;"),
        ]);
        assert_eq!(found, ["b > a"]);
    }

    #[test]
    fn a_role_that_imports_a_role_fails() {
        let found = roles(&Tree::of(&[
            ("store/core/src/lib.rs", "mod leader;\nmod follower;\nmod replica;\nmod state;"),
            ("store/core/src/leader.rs", "use crate::state::State;\nuse crate::follower::accept;"),
            ("store/core/src/follower.rs", "use crate::state::State;"),
            ("store/core/src/replica.rs", "use crate::{leader, follower};"),
            ("store/core/src/state.rs", ""),
        ]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].file.as_str(), found[0].line), ("store/core/src/leader.rs", 2));
    }
}
