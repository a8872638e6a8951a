//! The rows of a table by the names of their columns, and what is wrong with a line.

use std::sync::Arc;

use portal::Error;

use super::number::{Decimal, flag, plain, whole};

/// A line that is not taken.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Refusal {
    /// Its number in the file, from 1.
    pub line: u64,
    /// The column, or the member of a line of JSON; empty: the line as a whole.
    pub column: String,
    /// Why.
    pub reason: String,
}

impl Refusal {
    /// Of a line, because of a column.
    pub fn new(line: u64, column: impl Into<String>, reason: impl Into<String>) -> Refusal {
        Refusal { line, column: column.into(), reason: reason.into() }
    }

    /// What a portal would say of a field of the request that a line makes.
    #[must_use]
    pub fn of(line: u64, error: &Error) -> Refusal {
        match error {
            Error::Invalid { field, why } => Refusal::new(line, column_of(field), why),
            other => Refusal::new(line, "", other.to_string()),
        }
    }
}

/// The column of a field in a request: documents and rules are spread over columns.
#[must_use]
pub fn column_of(field: &str) -> &str {
    field.strip_prefix("data.").or_else(|| field.strip_prefix("rules.")).unwrap_or(field)
}

/// A row of a file.
#[derive(Clone, Debug)]
pub struct Row {
    /// The line on which it begins.
    pub line: u64,
    /// The names of the columns.
    pub header: Arc<[String]>,
    /// As many as there are columns.
    pub cells: csv::StringRecord,
    /// How numbers are written in it.
    pub decimal: Decimal,
}

impl Row {
    /// A cell; `None`: there is no such column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&str> {
        let at = self.header.iter().position(|one| one == column)?;
        self.cells.get(at)
    }

    /// A cell; one of a column that is not there is empty.
    #[must_use]
    pub fn text(&self, column: &str) -> &str {
        self.get(column).unwrap_or_default()
    }

    /// The columns with other names than these, with their cells, in their order.
    pub fn others<'r>(&'r self, known: &'r [&str]) -> impl Iterator<Item = (&'r str, &'r str)> {
        let cells = self.header.iter().map(String::as_str).zip(&self.cells);
        cells.filter(|(name, _)| !known.contains(name))
    }

    fn parsed<T>(&self, column: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Refusal> {
        read(self.text(column)).map_err(|why| Refusal::new(self.line, column, why))
    }

    /// A whole number; an empty cell is 0.
    ///
    /// # Errors
    /// It is none.
    pub fn whole_or_0(&self, column: &str) -> Result<i64, Refusal> {
        match self.text(column).trim() {
            "" => Ok(0),
            _ => self.whole(column),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// It is none.
    pub fn whole(&self, column: &str) -> Result<i64, Refusal> {
        self.parsed(column, |text| whole(text, self.decimal))
    }

    /// A number with a decimal point, digit for digit.
    ///
    /// # Errors
    /// It is none, or it has two readings.
    pub fn decimal(&self, column: &str) -> Result<String, Refusal> {
        self.parsed(column, |text| plain(text, self.decimal))
    }

    /// Yes or no; an empty cell is no.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&self, column: &str) -> Result<bool, Refusal> {
        self.parsed(column, flag)
    }
}

/// JSON text on one line: what is between its members may have been several, and its strings have no such characters.
#[must_use]
pub fn on_one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}
