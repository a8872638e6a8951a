//! From a line to words: several commands on a line are parted by `;`, words are quoted as in a shell.
//!
//! Promises: a line that is too long, or whose quotes do not close, is an error that says so; `#` begins a
//! comment only at the start of a line.

use crate::failure::Failure;

/// A command is typed or scripted by people; more is a mistake (a document may have 64 KiB).
pub const LINE_BYTES_MAX: usize = 256 << 10;

/// The commands of a line, each still as text. Empty ones and comments are left out.
///
/// # Errors
/// The line is too long.
pub fn commands(line: &str) -> Result<Vec<&str>, Failure> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Failure::usage(format!("the line has {} bytes; at most {LINE_BYTES_MAX}", line.len())));
    }
    if line.trim_start().starts_with('#') {
        return Ok(Vec::new());
    }
    let mut parts = Vec::new();
    let (mut from, mut quote, mut escaped) = (0, None, false);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            (None, ';') => {
                parts.push(&line[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&line[from..]);
    Ok(parts.into_iter().map(str::trim).filter(|part| !part.is_empty() && !part.starts_with('#')).collect())
}

/// The words of a command.
///
/// # Errors
/// A quote that does not close.
pub fn words(command: &str) -> Result<Vec<String>, Failure> {
    shlex::split(command).ok_or_else(|| {
        Failure::usage(format!("a quote does not close, or the line ends in a backslash: {command}"))
            .next("quote JSON with single quotes: '{\"name\":\"Ana\"}'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_parted_by_semicolons_outside_quotes() {
        assert_eq!(commands("get 1; set 2 'a;b' ;; # no\n").unwrap(), ["get 1", "set 2 'a;b'"]);
        assert_eq!(commands("set 1 \"a\\\";b\"; del 1").unwrap(), ["set 1 \"a\\\";b\"", "del 1"]);
        assert!(commands("   ").unwrap().is_empty());
        assert!(commands(" # a comment; with a semicolon").unwrap().is_empty());
        assert!(commands(&"x".repeat(LINE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn words_are_quoted_as_in_a_shell() {
        assert_eq!(words("a 'b c' \"d\\\"e\"").unwrap(), ["a", "b c", "d\"e"]);
        assert!(words("a 'b").unwrap_err().to_string().contains("quote"));
    }
}
