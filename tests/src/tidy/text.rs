//! Rust source with comments and literals told apart from code, each at its own place and line.
//!
//! Handles line and nested block comments, strings, byte and C strings, raw strings with any number of `#`,
//! characters and lifetimes, raw identifiers. It does not know macros that take unbalanced tokens, since Rust
//! has none.

/// One source text in three forms of equal length and with equal line breaks.
#[derive(Debug, Default)]
pub struct Text {
    /// Code: comments and the insides of literals are spaces.
    pub code: String,
    /// Comments, with their slashes; all else is spaces.
    pub comments: String,
    /// Byte offset of the start of each line.
    lines: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

impl Text {
    /// Reads `source`.
    #[must_use]
    pub fn of(source: &str) -> Text {
        let bytes = source.as_bytes();
        let mut parts = vec![Part::Code; bytes.len()];
        let mut at = 0;
        while at < bytes.len() {
            let (end, part) = next(bytes, at);
            parts[at..end].fill(part);
            at = end;
        }
        let keep = |wanted: Part| -> String {
            let kept = source.char_indices().map(|(at, c)| {
                let stays = c == '\n' || parts[at] == wanted;
                (c, stays)
            });
            kept.fold(String::with_capacity(source.len()), |mut text, (c, stays)| {
                if stays {
                    text.push(c);
                } else {
                    // As many spaces as the character has bytes, so that places stay equal.
                    text.extend(std::iter::repeat_n(' ', c.len_utf8()));
                }
                text
            })
        };
        let starts = source.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Text {
            code: keep(Part::Code),
            comments: keep(Part::Comment),
            lines: std::iter::once(0).chain(starts).collect(),
        }
    }

    /// The line, from 1, of a byte offset.
    #[must_use]
    pub fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }
}

/// What begins at `at`, and where it ends.
fn next(bytes: &[u8], at: usize) -> (usize, Part) {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        return (at + end, Part::Comment);
    }
    if rest.starts_with(b"/*") {
        return (at + block_comment(rest), Part::Comment);
    }
    match rest[0] {
        b'"' => (at + quoted(rest, b'"'), Part::Literal),
        b'r' if raw_may_start(bytes, at) => match raw_string(rest) {
            Some(length) => (at + length, Part::Literal),
            None => (at + 1, Part::Code),
        },
        b'\'' => match character(rest) {
            Some(length) => (at + length, Part::Literal),
            None => (at + 1, Part::Code),
        },
        _ => (at + 1, Part::Code),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a literal between two `quote`s, with backslash escapes.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// An `r` opens a raw string only where a name could begin, or after the `b` or `c` of such a literal.
fn raw_may_start(bytes: &[u8], at: usize) -> bool {
    let is_name = |at: usize| bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_';
    if at == 0 || !is_name(at - 1) {
        return true;
    }
    matches!(bytes[at - 1], b'b' | b'c') && (at == 1 || !is_name(at - 2))
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.extend(std::iter::repeat_n(b'#', hashes));
    let inside = 2 + hashes;
    let length = rest[inside..].windows(end.len()).position(|w| w == end);
    Some(length.map_or(rest.len(), |length| inside + length + end.len()))
}

/// The length of a character literal; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return Some(quoted(rest, b'\''));
    }
    // One character of one to four bytes, then the closing quote.
    (2..=5)
        .find(|end| {
            rest.get(*end) == Some(&b'\'')
                && std::str::from_utf8(&rest[1..*end]).is_ok_and(|s| s.chars().count() == 1)
        })
        .map(|end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        let text = Text::of(source);
        assert_eq!((text.code.len(), text.comments.len()), (source.len(), source.len()));
        text.code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        assert_eq!(code("a(); // b()\nc()"), "a(); c()");
        assert_eq!(code("a /* b /* c */ d */ e"), "a e");
        assert_eq!(code(r#"f("x \" {", 'y', '\'', b'{', "é}")"#), "f( , , , b , )");
        assert_eq!(code("r#\"a \"quoted\" }\"# b br\"}\" r#type"), "b b r#type");
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
        assert_eq!(code("var\"x\" for"), "var for");
        assert_eq!(code("'é' 'static"), "'static");
    }

    #[test]
    fn places_stay_equal_and_lines_count_from_one() {
        let source = "é\n// ü\nx\n";
        let text = Text::of(source);
        assert_eq!(text.code.find('x'), source.find('x'));
        assert_eq!(text.line(text.code.find('x').unwrap()), 3);
        assert_eq!((text.line(0), text.comments.trim()), (1, "// ü"));
    }
}
