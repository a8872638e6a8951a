//! The rules on names: a file's or folder's name says what is inside, and code uses the field's words.

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

/// Words of our own for things that the field has words for, with those. Names on disk (`fence`) are text, and stay.
const OWN_WORDS: &[(&str, &str)] = &[
    ("Beat", "FreshnessHeartbeat"),
    ("Contested", "Undecided"),
    ("Courier", "PublisherSession"),
    ("Desk", "ResponseRouter"),
    ("Doubt", "Divergence"),
    ("Fence", "Quarantine"),
    ("Founder", "InitialMember"),
    ("HandOver", "TransferLeadership"),
    ("Lack", "Shortage, OutOfSpace"),
    ("LogState", "AppendRejection"),
    ("Pump", "Replicator"),
    ("Sorter", "ResponseBatch"),
    ("Ticket", "RequestId"),
    ("Witness", "Oracle"),
    ("fenced", "quarantined"),
    ("founder", "initial_member"),
    ("founders", "initial_members"),
    ("hand_over", "transfer_leadership"),
    ("let_go", "release"),
    ("read_certain_absence", "read_verifying_absence"),
    ("read_surely", "read_through"),
    ("stamp_ms", "log_time_ms"),
];

/// No code uses one of these words.
#[must_use]
pub fn own_words(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (file, text) in tree.rust() {
        for (line, code) in (1..).zip(text.code.lines()) {
            let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            let found = words.find_map(|word| OWN_WORDS.iter().find(|(own, _)| *own == word));
            if let Some((own, fields)) = found {
                problems.push(Problem::new(&file.path, line, format!("\"{own}\": the field says {fields}")));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_our_own_fails_in_code_and_not_in_text() {
        let found = own_words(&Tree::of(&[(
            "a.rs",
            "// a Ticket\nlet x = \"Ticket\";\nstruct Ticket;\nlet tickets = 1;\n",
        )]));
        assert_eq!(found.iter().map(|p| (p.file.as_str(), p.line)).collect::<Vec<_>>(), [("a.rs", 3)]);
    }

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
