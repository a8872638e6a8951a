//! Lines of a CSV file, one at a time, each of bounded length; and the fields of one line.

use std::borrow::Cow;
use std::io::BufRead;

use crate::exchange::lines;
pub use crate::exchange::lines::Raw;

/// Longer lines are refused, and skipped without being kept.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// A line with more fields is refused whatever its format.
pub const FIELDS_MAX: usize = 64;

/// Reads the next line; `None` at the end. A last line without a line's end counts, an empty rest does not.
///
/// # Errors
/// The file cannot be read.
pub fn next(input: &mut impl BufRead) -> std::io::Result<Option<Raw>> {
    lines::next(input, LINE_BYTES_MAX)
}

/// The fields of a line, or why it has none (RFC 4180, but for line ends within quotes).
///
/// # Errors
/// [`BadLine`].
pub fn fields(line: &str) -> Result<Vec<Cow<'_, str>>, BadLine> {
    let mut fields = Vec::with_capacity(8);
    let mut rest = line;
    loop {
        if fields.len() == FIELDS_MAX {
            return Err(BadLine::TooManyFields);
        }
        let (field, after) = field(rest)?;
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// Why a line has no fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadLine {
    /// A quote does not close, or something stands between a closing quote and the comma.
    Quotes,
    /// More than [`FIELDS_MAX`].
    TooManyFields,
}

/// A field and what follows its comma; `None`: it was the last.
type Field<'l> = (Cow<'l, str>, Option<&'l str>);

fn field(rest: &str) -> Result<Field<'_>, BadLine> {
    let Some(quoted) = rest.strip_prefix('"') else {
        let (field, after) = match rest.split_once(',') {
            Some((field, after)) => (field, Some(after)),
            None => (rest, None),
        };
        // A quote inside a field that does not begin with one is a quote out of balance.
        return if field.contains('"') { Err(BadLine::Quotes) } else { Ok((Cow::Borrowed(field), after)) };
    };
    let mut from = 0;
    loop {
        let at = from + quoted[from..].find('"').ok_or(BadLine::Quotes)?;
        let after = &quoted[at + 1..];
        if after.starts_with('"') {
            from = at + 2;
            continue;
        }
        let inside = &quoted[..at];
        let field = if inside.contains('"') {
            Cow::Owned(inside.replace("\"\"", "\""))
        } else {
            Cow::Borrowed(inside)
        };
        return match after.strip_prefix(',') {
            Some(after) => Ok((field, Some(after))),
            None if after.is_empty() => Ok((field, None)),
            None => Err(BadLine::Quotes),
        };
    }
}
