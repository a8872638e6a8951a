//! From a line to words: commands on a line are separated by `;`, words are quoted as in a shell.
//!
//! Promises: a line that is too long, or whose quotes do not close, is an error that says so; nothing that is typed is
//! dropped: a comment is a whole line that begins with `#`, and inside a line `#` is a letter as any other. A word
//! written by [`quoted`] is read as the same word.

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
    let mut from = 0;
    let mut reader = Reader::default();
    for (at, c) in line.char_indices() {
        if reader.read(c) == Read::Plain && c == ';' {
            parts.push(&line[from..at]);
            from = at + 1;
        }
    }
    parts.push(&line[from..]);
    Ok(parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect())
}

/// The words of a command.
///
/// # Errors
/// A quote that does not close.
pub fn words(command: &str) -> Result<Vec<String>, Failure> {
    let split = split(command);
    if split.open {
        return Err(Failure::usage(format!(
            "a quote does not close, or the line ends in a backslash: {command}"
        ))
        .next("quote JSON with single quotes: '{\"name\":\"Ana\"}'"));
    }
    Ok(split.words.into_iter().map(|word| word.text).collect())
}

/// A command in words, as far as it was typed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Split {
    /// In their order.
    pub words: Vec<Word>,
    /// Whether a quote, or what a backslash begins, is still to be closed.
    pub open: bool,
}

/// A word, and where it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// The byte at which it begins, quotes included.
    pub begin: usize,
    /// The byte after its last.
    pub end: usize,
    /// What it says.
    pub text: String,
}

/// Splits a command that may be unfinished.
#[must_use]
pub fn split(command: &str) -> Split {
    let mut words: Vec<Word> = Vec::new();
    let (mut reader, mut in_word) = (Reader::default(), false);
    for (at, c) in command.char_indices() {
        let read = reader.read(c);
        if read == Read::Plain && c.is_whitespace() {
            in_word = false;
            continue;
        }
        if !in_word {
            words.push(Word { begin: at, end: at, text: String::new() });
            in_word = true;
        }
        if let Some(word) = words.last_mut() {
            word.end = at + c.len_utf8();
            match read {
                Read::Plain | Read::Quoted => word.text.push(c),
                Read::Kept => word.text.extend(['\\', c]),
                Read::Mark => {}
            }
        }
    }
    Split { words, open: reader.is_open() }
}

/// Where the last command of a line begins, and its words so far.
#[must_use]
pub fn last_command(line: &str) -> (usize, Split) {
    let mut reader = Reader::default();
    let ends = line.char_indices().filter(|(_, c)| reader.read(*c) == Read::Plain && *c == ';');
    let begin = ends.last().map_or(0, |(at, _)| at + 1);
    (begin, split(&line[begin..]))
}

/// A word as it is to be typed.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '\'' | '"' | '\\' | ';');
    if !word.is_empty() && !word.starts_with('#') && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// What a character is, by what stands before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Read {
    /// Itself: outside quotes.
    Plain,
    /// Itself: inside quotes, or after a backslash.
    Quoted,
    /// Itself, and the backslash before it, which escapes only a few characters between double quotes.
    Kept,
    /// A quote or a backslash, which is no part of the word.
    Mark,
}

/// Where in quotes a line is (POSIX.1-2024, Shell Command Language, 2.2).
#[derive(Clone, Copy, Default)]
struct Reader {
    quote: Option<char>,
    escaped: bool,
}

impl Reader {
    fn read(&mut self, c: char) -> Read {
        if std::mem::take(&mut self.escaped) {
            let keeps = self.quote == Some('"') && !matches!(c, '"' | '\\' | '$' | '`');
            return if keeps { Read::Kept } else { Read::Quoted };
        }
        match (self.quote, c) {
            (Some(quote), c) if c == quote => self.quote = None,
            (None | Some('"'), '\\') => self.escaped = true,
            (None, '\'' | '"') => self.quote = Some(c),
            (Some(_), _) => return Read::Quoted,
            (None, _) => return Read::Plain,
        }
        Read::Mark
    }

    fn is_open(self) -> bool {
        self.quote.is_some() || self.escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands_are_parted_by_semicolons_outside_quotes() {
        assert_eq!(commands("get 1; set 2 'a;b' ;; get 3\n").unwrap(), ["get 1", "set 2 'a;b'", "get 3"]);
        assert_eq!(commands("set 1 \"a\\\";b\"; del 1").unwrap(), ["set 1 \"a\\\";b\"", "del 1"]);
        assert!(commands("   ").unwrap().is_empty());
        assert!(commands(" # a comment; with a semicolon").unwrap().is_empty());
        assert!(commands(&"x".repeat(LINE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn words_are_quoted_as_in_a_shell() {
        assert_eq!(words("a 'b c' \"d\\\"e\"").unwrap(), ["a", "b c", "d\"e"]);
        assert_eq!(words(r#"a\ b "c\d\\" '' e''f"#).unwrap(), ["a b", r"c\d\", "", "ef"]);
        for open in ["a 'b", "a \"b", "a\\"] {
            assert!(words(open).unwrap_err().to_string().contains("quote"), "{open}");
        }
    }

    #[test]
    fn a_number_sign_inside_a_line_is_a_letter_as_any_other() {
        assert_eq!(words("create-order #12=3 b=1").unwrap(), ["create-order", "#12=3", "b=1"]);
        assert_eq!(commands("get 1; # no").unwrap(), ["get 1", "# no"]);
        assert_eq!(words("a # b").unwrap(), ["a", "#", "b"]);
    }

    #[test]
    fn an_unfinished_word_is_known_with_its_place() {
        let split = split("get-client 'ana m");
        assert!(split.open);
        assert_eq!(split.words[1], Word { begin: 11, end: 17, text: "ana m".into() });
    }

    proptest! {
        #[test]
        fn a_word_that_is_quoted_is_read_as_it_was(words_given in prop::collection::vec("[ -~é\n#'\"\\\\;]{0,12}", 1..5)) {
            let line: Vec<String> = words_given.iter().map(|word| quoted(word)).collect();
            let line = line.join(" ");
            prop_assert_eq!(words(&line).unwrap(), words_given);
            prop_assert_eq!(commands(&format!("x {line};y")).unwrap().len(), 2);
        }
    }
}
