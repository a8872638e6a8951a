//! The answer to one command, as a document and as a table.

use serde_json::{Map, Value, json};

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
    /// Lines below the table.
    pub notes: Vec<String>,
    /// What is said beside the answer, with `--json` too: on standard error.
    pub warnings: Vec<String>,
}

/// So many of them, with the right word: "1 order", "2 orders".
#[must_use]
pub fn counted<N: Copy + std::fmt::Display + PartialEq + From<u8>>(count: N, word: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {word}{plural}")
}

/// Columns and rows.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Table {
    /// Titles of the columns.
    pub columns: Vec<&'static str>,
    /// As many cells as columns in each.
    pub rows: Vec<Vec<String>>,
    /// Columns of numbers stand to the right.
    pub right: Vec<usize>,
}

impl Answer {
    /// One line.
    pub fn line(head: impl Into<String>, document: Value) -> Answer {
        Answer { document, head: head.into(), table: None, notes: Vec::new(), warnings: Vec::new() }
    }

    /// Text of several lines, such as a file.
    #[must_use]
    pub fn text(text: &str, document: Value) -> Answer {
        let notes = text.lines().map(str::to_owned).collect();
        Answer { notes, ..Answer::line("", document) }
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

impl Table {
    /// An empty table of these columns; those at `right` hold numbers.
    #[must_use]
    pub fn new(columns: &[&'static str], right: &[usize]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new(), right: right.to_vec() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells.into());
    }

    /// Adds a row of which only the first cells are known; dashes stand for the rest.
    pub fn row_begun<const N: usize>(&mut self, cells: [String; N]) {
        let mut row: Vec<String> = cells.into();
        row.resize_with(self.columns.len(), || "-".to_owned());
        self.rows.push(row);
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
