//! The answers of one line that operators' commands give. What they say is written down where they are given (`tests/one_line.rs`
//! of the scripts over real processes); here is how it stands on a screen.

use serde_json::json;

use super::answers;
use crate::show::answer::Answer;

const SAID: &str = include_str!("../../../tests/one-line.txt");

#[test]
fn answers_of_one_line() {
    let mut texts = SAID.split("\n\n").filter(|said| !said.trim().is_empty());
    let notes = texts.by_ref().flat_map(|said| {
        let (command, lines) = said.split_once('\n').expect("a command, and what it says");
        std::iter::once(command).chain(lines.lines()).chain(std::iter::once("")).map(str::to_owned)
    });
    answers("one-line", &Answer { notes: notes.collect(), ..Answer::line("", json!(null)) });
}
