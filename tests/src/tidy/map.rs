//! The rule on the code map: the section "Code map" of docs/ARCHITECTURE.md has one line for each folder, and none for
//! what is not there.
//!
//! A line is ``- `path/to/folder/`: what it is``. Files have none: [`listed`] makes the list of all Rust files from the
//! first sentence of each, whenever somebody wants it, so that nobody has to keep it. [`mended`] writes the section anew:
//! what is said of folders stays, and a new folder is left for a person to describe, so that the rule still fails.

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

/// The places that have a line: each folder, with a slash.
fn places(tree: &Tree) -> Vec<String> {
    let mut all: Vec<String> = tree.folders().into_iter().map(|folder| format!("{folder}/")).collect();
    all.sort();
    all
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
        if !places.iter().any(|place| place == line.path) {
            problem(format!("`{}` is no folder of the tree: remove the line", line.path));
        } else if let Some(first) = known.insert(line.path, line.number) {
            problem(format!("`{}` stands in line {first} already: keep one", line.path));
        } else if line.meaning.chars().filter(|c| c.is_alphabetic()).count() < MEANING_MIN {
            problem(format!("`{}`: say what it is", line.path));
        }
    }
    let end = architecture.text.lines().count().max(1);
    for place in places.iter().filter(|place| !known.contains_key(place.as_str())) {
        problems.push(Problem::new(
            ARCHITECTURE,
            end,
            format!("missing in the code map: - `{place}`: what it is"),
        ));
    }
    problems
}

/// What a file says of itself: the first sentence of its `//!`, or its first part if it is a long one, with links to
/// items as plain names.
fn meaning(text: &str) -> String {
    let opening = opening(text);
    let sentence = opening.split_once(". ").map_or(opening.as_str(), |(first, _)| first);
    let part = sentence.split([':', ';']).next().filter(|part| part.len() >= MEANING_MIN);
    let short = part.filter(|_| sentence.len() > MEANING_LONG).unwrap_or(sentence);
    short.trim_end_matches(['.', ':']).replace("[`", "`").replace("`]", "`")
}

/// A line for each Rust file, sorted by path: what it says of itself.
#[must_use]
pub fn listed(tree: &Tree) -> Vec<String> {
    let mut all: Vec<String> =
        tree.rust().map(|(file, _)| format!("{}: {}", file.path, meaning(&file.text))).collect();
    all.sort();
    all
}

/// ARCHITECTURE.md with the map's lines equal to the tree, sorted and indented by folder; `None` without a map.
#[must_use]
pub fn mended(tree: &Tree) -> Option<String> {
    let text = &tree.file(ARCHITECTURE)?.text;
    let map = lines(text);
    let (first, last) = (map.first()?.number, map.last()?.number);
    let said: BTreeMap<&str, &str> = map.iter().map(|line| (line.path, line.meaning)).collect();
    let depth = |path: &str| path.trim_end_matches('/').matches('/').count();
    let places = places(tree);
    let new = places.iter().map(|place| {
        let meaning = said.get(place.as_str()).copied().unwrap_or_default();
        format!("{}- `{place}`: {meaning}", "  ".repeat(depth(place)))
    });
    let before = text.lines().take(first - 1).map(str::to_owned);
    let after = text.lines().skip(last).map(str::to_owned);
    let all: Vec<String> =
        before.chain(new).chain(after).map(|line| format!("{}\n", line.trim_end())).collect();
    Some(all.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "# A\n- `not/in/the/section/`: ignored\n\n## Code map\n\n- `a/`: the first letter of all\n\
                       - `docs/`: what people read\n\n## Next\n- `x/`: no\n";

    fn tree(map: &str, more: &[(&str, &str)]) -> Tree {
        let mut files = vec![("a/b.rs", "//! The second letter of all.\n"), ("a/run", ""), ("top.md", "")];
        files.push((ARCHITECTURE, map));
        files.extend(more);
        Tree::of(&files)
    }

    fn whats(problems: &[Problem]) -> Vec<&str> {
        problems.iter().map(|problem| problem.what.as_str()).collect()
    }

    #[test]
    fn a_map_equal_to_the_tree_passes() {
        assert_eq!(compare(&tree(MAP, &[])), []);
    }

    #[test]
    fn a_folder_without_a_line_fails_with_the_line_to_paste() {
        let found = compare(&tree(MAP, &[("c/d.rs", "//! The letter d. And more.\n")]));
        assert_eq!(whats(&found), ["missing in the code map: - `c/`: what it is"]);
    }

    #[test]
    fn the_list_of_files_says_what_each_says_of_itself() {
        let tree = tree(MAP, &[("c/d.rs", "//! Of [`D`]. More.\n")]);
        assert_eq!(listed(&tree), ["a/b.rs: The second letter of all", "c/d.rs: Of `D`"]);
    }

    #[test]
    fn a_mended_map_keeps_what_is_said_and_follows_the_tree() {
        let map =
            MAP.replace("- `docs/`", "- `a/gone/`: was here once before\n  - `a/b.rs`: a file\n- `docs/`");
        let text = mended(&tree(&map, &[("a/c/d.rs", "//! Of [`D`]. More.\n")])).unwrap();
        let lines: Vec<_> = text.lines().skip_while(|line| *line != HEADING).collect();
        let expected = [
            HEADING,
            "",
            "- `a/`: the first letter of all",
            "  - `a/c/`:",
            "- `docs/`: what people read",
            "",
            "## Next",
            "- `x/`: no",
        ];
        assert_eq!(lines, expected);
        assert!(mended(&tree("# A\n", &[])).is_none());
    }

    #[test]
    fn a_line_without_a_folder_a_double_and_an_empty_one_fail() {
        let map = MAP.replace("- `docs/`: what people read", "- `docs/`: ?").replace(
            "\n\n## Next",
            "\n- `a/b.rs`: a file, not a folder\n- `a/`: again the same one\n\n## Next",
        );
        let found = compare(&tree(&map, &[]));
        let what = whats(&found);
        assert_eq!(what.len(), 3, "{what:?}");
        assert!(what[0].contains("say what it is"), "{what:?}");
        assert!(what[1].contains("no folder") && what[2].contains("already"), "{what:?}");
    }
}
