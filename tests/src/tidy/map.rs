//! The rule on the code map: the section "Code map" of docs/ARCHITECTURE.md has one line for each folder and each
//! Rust file, and none for what is not there.
//!
//! A line is ``- `path/to/file.rs`: what it is``; a folder's path ends in a slash. Other files may have a line.
//! Of a Rust file the map says the first sentence of its `//!`, so that the two cannot part. [`mended`] writes the
//! section anew: what is said of folders and other files stays, and a new folder is left for a person to describe, so
//! that the rule still fails.

use std::collections::BTreeMap;

use super::problem::Problem;
use super::sizes::opening;
use super::tree::Tree;

/// Where the map is.
pub const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";

/// The heading of its section.
const HEADING: &str = "## Code map";

/// Letters of what the map says of a place.
const MEANING_MIN: usize = 10;

/// Bytes beyond which only the first part of a file's sentence goes into a line that is written for it.
const MEANING_LONG: usize = 130;

/// One line of the map.
struct Line<'a> {
    number: usize,
    path: &'a str,
    meaning: &'a str,
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let numbered = (1..).zip(text.lines());
    let section = numbered.skip_while(|(_, line)| line.trim() != HEADING).skip(1);
    let section = section.take_while(|(_, line)| !line.starts_with("## "));
    section
        .filter_map(|(number, line)| {
            let (path, rest) = line.trim_start().strip_prefix("- `")?.split_once('`')?;
            Some(Line { number, path, meaning: rest.trim_start_matches(':').trim() })
        })
        .collect()
}

/// What must have a line: each folder with a slash, each Rust file.
fn places(tree: &Tree) -> Vec<String> {
    let folders = tree.folders().into_iter().map(|folder| format!("{folder}/"));
    let files = tree.rust().map(|(file, _)| file.path.clone());
    let mut all: Vec<String> = folders.chain(files).collect();
    all.sort();
    all
}

/// Whether a path of the map is in the tree: one of the places that must have a line, or another file.
fn stands(tree: &Tree, places: &[String], path: &str) -> bool {
    places.iter().any(|place| place == path) || tree.file(path).is_some()
}

fn is_rust(tree: &Tree, path: &str) -> bool {
    path.ends_with(".rs") && tree.file(path).is_some()
}

/// Compares map and tree in both directions.
#[must_use]
pub fn compare(tree: &Tree) -> Vec<Problem> {
    let Some(architecture) = tree.file(ARCHITECTURE) else {
        return vec![Problem::new(ARCHITECTURE, 1, "the file is not there: it holds the code map")];
    };
    let places = places(tree);
    let mut problems = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines(&architecture.text) {
        let mut problem = |what: String| problems.push(Problem::new(ARCHITECTURE, line.number, what));
        if !stands(tree, &places, line.path) {
            problem(format!("`{}` is not in the tree: remove the line", line.path));
        } else if let Some(first) = known.insert(line.path, line.number) {
            problem(format!("`{}` stands in line {first} already: keep one", line.path));
        } else if line.meaning.chars().filter(|c| c.is_alphabetic()).count() < MEANING_MIN {
            problem(format!("`{}`: say what it is", line.path));
        } else if is_rust(tree, line.path) && line.meaning != meaning(tree, line.path) {
            problem(format!("`{}`: the file says \"{}\" of itself", line.path, meaning(tree, line.path)));
        }
    }
    let end = architecture.text.lines().count().max(1);
    for place in places.iter().filter(|place| !known.contains_key(place.as_str())) {
        problems.push(Problem::new(
            ARCHITECTURE,
            end,
            format!("missing in the code map: {}", suggestion(tree, place)),
        ));
    }
    problems
}

/// The line to paste for a place.
fn suggestion(tree: &Tree, place: &str) -> String {
    format!("- `{place}`: {}", meaning(tree, place))
}

/// What a place says of itself: a file the first sentence of its `//!`, or its first part if it is a long one, with
/// links to items as plain names.
fn meaning(tree: &Tree, place: &str) -> String {
    let opening = tree.file(place).map(|file| opening(&file.text)).unwrap_or_default();
    let sentence = opening.split_once(". ").map_or(opening.as_str(), |(first, _)| first);
    let part = sentence.split([':', ';']).next().filter(|part| part.len() >= MEANING_MIN);
    let short = part.filter(|_| sentence.len() > MEANING_LONG).unwrap_or(sentence);
    short.trim_end_matches(['.', ':']).replace("[`", "`").replace("`]", "`")
}

/// The missing lines to paste, sorted by path, and the stale ones to remove.
#[must_use]
pub fn to_paste(tree: &Tree) -> (Vec<String>, Vec<String>) {
    let text = tree.file(ARCHITECTURE).map(|file| file.text.as_str()).unwrap_or_default();
    let map = lines(text);
    let places = places(tree);
    let missing = places.iter().filter(|place| !map.iter().any(|line| line.path == **place));
    let stale = map.iter().filter(|line| !stands(tree, &places, line.path));
    (
        missing.map(|place| suggestion(tree, place)).collect(),
        stale.map(|line| format!("{ARCHITECTURE}:{}: - `{}`", line.number, line.path)).collect(),
    )
}

/// ARCHITECTURE.md with the map's lines equal to the tree, sorted and indented by folder; `None` without a map.
#[must_use]
pub fn mended(tree: &Tree) -> Option<String> {
    let text = &tree.file(ARCHITECTURE)?.text;
    let map = lines(text);
    let (first, last) = (map.first()?.number, map.last()?.number);
    let places = places(tree);
    let mut said: BTreeMap<String, String> =
        places.iter().map(|place| (place.clone(), meaning(tree, place))).collect();
    let says = |line: &&Line<'_>| line.meaning.chars().filter(|c| c.is_alphabetic()).count() >= MEANING_MIN;
    let by_people = |line: &&Line<'_>| stands(tree, &places, line.path) && !is_rust(tree, line.path);
    for line in map.iter().filter(by_people).filter(says) {
        said.insert(line.path.to_owned(), line.meaning.to_owned());
    }
    let depth = |path: &str| path.trim_end_matches('/').matches('/').count();
    let new = said.iter().map(|(path, meaning)| format!("{}- `{path}`: {meaning}", "  ".repeat(depth(path))));
    let before = text.lines().take(first - 1).map(str::to_owned);
    let after = text.lines().skip(last).map(str::to_owned);
    let all: Vec<String> =
        before.chain(new).chain(after).map(|line| format!("{}\n", line.trim_end())).collect();
    Some(all.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "# A\n- `not/in/the/section.rs`: ignored\n\n## Code map\n\n- `a/`: the first letter of all\n\
                       - `a/b.rs`: The second letter of all\n- `a/run`: a file of another kind\n\n## Next\n- `x/`: no\n";

    fn tree(map: &str, more: &[(&str, &str)]) -> Tree {
        let mut files = vec![("a/b.rs", "//! The second letter of all.\n"), ("a/run", ""), ("top.md", "")];
        files.push((ARCHITECTURE, map));
        files.extend(more);
        Tree::of(&files)
    }

    fn with_docs(map: &str) -> String {
        map.replace("- `a/`", "- `docs/`: what people read\n- `a/`")
    }

    #[test]
    fn a_map_equal_to_the_tree_passes() {
        assert_eq!(compare(&tree(&with_docs(MAP), &[])), []);
    }

    #[test]
    fn a_place_without_a_line_fails_with_the_line_to_paste() {
        let new = ("c/d.rs", "//! The letter d. And more.\n");
        let found = compare(&tree(&with_docs(MAP), &[new]));
        let what: Vec<_> = found.iter().map(|p| p.what.as_str()).collect();
        assert_eq!(
            what,
            ["missing in the code map: - `c/`: ", "missing in the code map: - `c/d.rs`: The letter d"]
        );
        let (missing, stale) = to_paste(&tree(&with_docs(MAP), &[new]));
        assert_eq!((missing.len(), stale.len()), (2, 0));
    }

    #[test]
    fn a_mended_map_keeps_what_is_said_and_follows_the_tree() {
        let map = with_docs(MAP).replace("- `a/run`", "- `a/gone.rs`: was here once before\n- `a/run`");
        let text = mended(&tree(&map, &[("a/c/d.rs", "//! Of [`D`]. More.\n")])).unwrap();
        let lines: Vec<_> = text.lines().skip_while(|line| *line != HEADING).collect();
        let expected = [
            HEADING,
            "",
            "- `a/`: the first letter of all",
            "  - `a/b.rs`: The second letter of all",
            "  - `a/c/`:",
            "    - `a/c/d.rs`: Of `D`",
            "  - `a/run`: a file of another kind",
            "- `docs/`: what people read",
            "",
            "## Next",
            "- `x/`: no",
        ];
        assert_eq!(lines, expected);
        assert!(mended(&tree("# A\n", &[])).is_none());
    }

    #[test]
    fn a_line_without_a_place_a_double_and_an_empty_one_fail() {
        let map = with_docs(MAP)
            .replace(
                "- `a/run`",
                "- `a/gone.rs`: was here once before\n- `a/b.rs`: again the same one\n- `a/run`",
            )
            .replace("a file of another kind", "?");
        let found = compare(&tree(&map, &[]));
        let what: Vec<_> = found.iter().map(|p| p.what.as_str()).collect();
        assert_eq!(what.len(), 3, "{what:?}");
        assert!(what[0].contains("not in the tree") && what[1].contains("already"));
        assert!(what[2].contains("say what it is"));
        assert_eq!(to_paste(&tree(&map, &[])).1.len(), 1);
    }

    #[test]
    fn a_line_that_says_other_than_its_file_fails_and_is_mended() {
        let map = with_docs(MAP).replace("The second letter", "The last letter");
        let found = compare(&tree(&map, &[]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("The second letter of all"), "{found:?}");
        assert!(mended(&tree(&map, &[])).unwrap().contains("`a/b.rs`: The second letter of all\n"));
    }
}
