//! Every screen at 100, 80 and 60 columns, against the files in `cli/tests/screens`. After a change,
//! `UPDATE_GOLDENFILES=1 cargo test -p feira --lib show::tests` writes the new ones; read the difference.
//!
//! Promises of each: no line is wider than the screen, and no word or number is broken over lines.

mod bench;
mod cluster;
mod failures;
mod one_line;
mod shop;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use goldenfile::Mint;

use super::answer::Answer;
use super::screen;
use super::table::Look;
use super::wrap::columns;

/// Columns of the terminals that people have.
const WIDTHS: [usize; 3] = [100, 80, 60];
/// Words that only narrow screens have: they say what is left out, or number what is vertical.
const OF_THE_SCREEN: &str = "left out: (--wide or \\x shows all) ── 1 2 3 4 5 6 7";

/// A screen's words; frames part them, too.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, '│' | '┆')).filter(|word| !word.is_empty())
}

/// Whether it is some items of a list without blanks, each whole.
fn is_part_of_a_list(word: &str, list: &str) -> bool {
    list.match_indices(word).any(|(at, _)| {
        let end = at + word.len();
        (at == 0 || list[..at].ends_with(',')) && (end == list.len() || word.ends_with(','))
    })
}

fn is_frame(word: &str) -> bool {
    word.chars().all(|c| ('\u{2500}'..='\u{257f}').contains(&c))
}

/// Checks a screen at all widths, and compares it with its file.
#[track_caller]
fn screens(name: &str, draw: impl Fn(Look) -> String) {
    let whole = draw(Look::default());
    let known: BTreeSet<&str> = words(&whole).chain(words(OF_THE_SCREEN)).collect();
    let mut file = String::new();
    for width in WIDTHS {
        let text = draw(Look { width: Some(width), ..Look::default() });
        for line in text.lines() {
            assert!(columns(line) <= width, "{name}: {} columns of {width}: {line}", columns(line));
        }
        for word in words(&text).filter(|word| !is_frame(word)) {
            // What is cut says so; titles in a list of those left out have a comma behind them.
            let is_whole = known.contains(word)
                || known.contains(word.trim_end_matches(','))
                || known.iter().any(|one| is_part_of_a_list(word, one));
            assert!(
                is_whole || word.ends_with('…'),
                "{name}: {word:?} is broken at {width} columns:\n{text}"
            );
        }
        file.push_str(&format!("── {width} columns\n{text}\n\n"));
    }
    let mut mint = Mint::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens"));
    let mut golden = mint.new_goldenfile(format!("{name}.txt")).expect("the file can be made");
    golden.write_all(file.as_bytes()).expect("the file can be written");
}

/// The screen of an answer, with its warnings below it.
#[track_caller]
fn answers(name: &str, answer: &Answer) {
    screens(name, |look| {
        let warnings = answer.warnings.iter().map(|warning| screen::warning(warning, look));
        let all: Vec<String> = std::iter::once(screen::answer(answer, look)).chain(warnings).collect();
        all.join("\n")
    });
}
