//! The rule on names of files and folders: a name says what is inside.

use std::collections::BTreeSet;

use super::problem::Problem;
use super::tree::Tree;

/// Words that say nothing of what is inside.
const FORBIDDEN: &[&str] =
    &["common", "helper", "helpers", "manager", "managers", "misc", "util", "utilities", "utils"];

/// No folder and no Rust file has one of these words in its name.
#[must_use]
pub fn forbidden(tree: &Tree) -> Vec<Problem> {
    let files = tree.rust().map(|(file, _)| file.path.as_str());
    let places: BTreeSet<&str> = tree.folders().into_iter().chain(files).collect();
    places
        .into_iter()
        .filter_map(|place| {
            let name = place.rsplit('/').next()?.trim_end_matches(".rs");
            let word =
                name.split(['_', '-', '.']).find(|word| FORBIDDEN.contains(&word.to_lowercase().as_str()))?;
            Some(Problem::new(place, 1, format!("\"{word}\" names nothing: name it after what is inside")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_says_nothing_fails() {
        let found = forbidden(&Tree::of(&[
            ("a/utils.rs", ""),
            ("a/cache_manager.rs", ""),
            ("Helpers/b.rs", ""),
            ("a/commonplace.rs", ""),
            ("docs/helpers.md", ""),
        ]));
        let named: Vec<_> = found.iter().map(|p| p.file.as_str()).collect();
        assert_eq!(named, ["Helpers", "a/cache_manager.rs", "a/utils.rs"]);
    }
}
