//! The answer to one command, as a document and as a table.

use serde_json::{Map, Value, json};

use super::table::Table;
use crate::failure::Failure;

/// What a command answers. People see the lines and the table; `--json` gives the document.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// For programs.
    pub document: Value,
    /// One line above the table; may be empty.
    pub head: String,
    /// For people.
    pub table: Option<Table>,
    /// One thing with its fields, for people: their names and what they say.
    pub fields: Vec<(String, String)>,
    /// Lines below the table.
    pub notes: Vec<String>,
    /// The notes are a file's lines, which do not wrap.
    pub is_verbatim: bool,
    /// What is said beside the answer, with `--json` too: on standard error.
    pub warnings: Vec<String>,
}

/// So many of them, with the right word: "1 order", "2 orders".
#[must_use]
pub fn counted<N: Copy + std::fmt::Display + PartialEq + From<u8>>(count: N, word: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {word}{plural}")
}

impl Answer {
    /// One line.
    pub fn line(head: impl Into<String>, document: Value) -> Answer {
        let (head, table, fields, notes, warnings) = (head.into(), None, Vec::new(), Vec::new(), Vec::new());
        Answer { document, head, table, fields, notes, is_verbatim: false, warnings }
    }

    /// Text of several lines, such as a file.
    #[must_use]
    pub fn text(text: &str, document: Value) -> Answer {
        let notes = text.lines().map(str::to_owned).collect();
        Answer { notes, is_verbatim: true, ..Answer::line("", document) }
    }

    /// A table under a line.
    pub fn table(head: impl Into<String>, document: Value, table: Table) -> Answer {
        Answer { table: Some(table), ..Answer::line(head, document) }
    }

    /// The same with a line below it.
    #[must_use]
    pub fn noting(mut self, note: Option<String>) -> Answer {
        self.notes.extend(note);
        self
    }

    /// The same with these warnings.
    #[must_use]
    pub fn warning(mut self, warnings: impl IntoIterator<Item = String>) -> Answer {
        self.warnings.extend(warnings);
        self
    }

    /// A failed command, for programs.
    #[must_use]
    pub fn of_failure(failure: &Failure) -> Value {
        let mut error = Map::new();
        error.insert("kind".into(), failure.kind.word().into());
        error.insert("exit".into(), failure.kind.exit_code().into());
        error.insert("message".into(), failure.message.clone().into());
        if !failure.code().is_empty() {
            error.insert("code".into(), failure.code().into());
        }
        if !failure.fields().is_empty() {
            let fields = failure.fields().iter().map(|(path, why)| json!({ "field": path, "why": why }));
            error.insert("fields".into(), fields.collect::<Vec<Value>>().into());
        }
        if let Some(next) = &failure.next {
            error.insert("next".into(), next.clone().into());
        }
        if !failure.reason.is_empty() {
            error.insert("reason".into(), failure.reason.clone().into());
        }
        if !failure.by.is_empty() {
            error.insert("from".into(), failure.by.clone().into());
        }
        json!({ "error": error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_in_the_singular() {
        assert_eq!(
            (counted(1_u64, "product"), counted(0_usize, "product")),
            ("1 product".into(), "0 products".into())
        );
        assert_eq!(counted(2_i64, "order"), "2 orders");
    }
}
