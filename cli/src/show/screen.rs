//! The text of an answer, a warning or a failure on a screen of a width. Pure, so that every screen is tested without a
//! terminal.

use nu_ansi_term::{Color, Style};

use super::answer::Answer;
use super::table::{Look, labelled};
use super::wrap::wrapped;
use super::written::{in_line, in_lines};
use crate::failure::{Failure, Kind};

/// An answer: its line, its table or fields, its notes.
#[must_use]
pub fn answer(answer: &Answer, look: Look) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !answer.head.is_empty() {
        parts.push(wrapped(&in_line(&answer.head), look.width));
    }
    if let Some(table) = &answer.table {
        parts.push(table.drawn(look));
        let gone = table.left_out(look);
        if !gone.is_empty() {
            let text = format!("left out: {} (--wide or \\x shows all)", gone.join(", "));
            parts.push(wrapped(&text, look.width));
        }
    }
    if !answer.fields.is_empty() {
        let fields = answer.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        parts.extend(labelled(fields, look.width));
    }
    let width = look.width.filter(|_| !answer.is_verbatim);
    parts.extend(answer.notes.iter().map(|note| wrapped(&in_line(note), width)));
    parts.join("\n")
}

/// A warning beside an answer.
#[must_use]
pub fn warning(text: &str, look: Look) -> String {
    marked("warning", Color::Yellow.bold(), &in_lines(text), look)
}

/// A failure: for a person the sentence, for a script with its class, code and field.
#[must_use]
pub fn failure(failure: &Failure, is_person: bool, look: Look) -> String {
    if !is_person {
        return marked(failure.kind.word(), Color::Red.bold(), &in_lines(&failure.to_string()), look);
    }
    let text = failure.for_people();
    match failure.kind {
        // The sentence says it, and there is nothing to weigh.
        Kind::Refused | Kind::Usage => {
            let text = wrapped(&in_lines(&text), look.width);
            match text.split_once('\n') {
                Some((first, rest)) => format!("{}\n{rest}", painted(look, Color::Red.bold(), first)),
                None => painted(look, Color::Red.bold(), &text),
            }
        }
        kind => marked(kind.word(), Color::Red.bold(), &in_lines(&text), look),
    }
}

fn marked(word: &str, style: Style, text: &str, look: Look) -> String {
    let text = wrapped(&format!("{word}: {text}"), look.width);
    match text.strip_prefix(word) {
        Some(rest) => painted(look, style, word) + rest,
        None => text,
    }
}

fn painted(look: Look, style: Style, text: &str) -> String {
    if look.color { style.paint(text).to_string() } else { text.to_owned() }
}
