//! The words and marks of Rust code, and the shapes that several rules ask for: functions, inline modules,
//! what is compiled only for tests.

use std::ops::Range;

use super::text::Text;

/// One word or mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// A name, a number, `::`, or one other character.
    pub word: &'a str,
    /// Its byte offset.
    pub at: usize,
}

/// Splits code (comments and literals blanked) into tokens.
#[must_use]
pub fn split(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = code.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if c.is_whitespace() {
            continue;
        }
        let mut end = at + c.len_utf8();
        if is_name(c) {
            while let Some((next, _)) = rest.next_if(|(_, c)| is_name(*c)) {
                end = next + code[next..].chars().next().map_or(1, char::len_utf8);
            }
        } else if c == ':' && rest.next_if(|(_, c)| *c == ':').is_some() {
            end += 1;
        }
        tokens.push(Token { word: &code[at..end], at });
    }
    tokens
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of the word `fn`, from 1.
    pub line: usize,
    /// The line of the brace that closes its body.
    pub last_line: usize,
    /// Its attributes name a test (`#[test]`, `#[tokio::test(…)]`).
    pub is_test: bool,
    /// The longest `match` that stands in its body itself, and not in another block.
    pub flat: Option<Flat>,
}

/// A `match` in the body of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flat {
    /// Lines from its opening brace to the one that closes it.
    pub lines: usize,
    /// Lines of its longest arm.
    pub arm_lines_max: usize,
}

/// Every function with a body, nested ones and those in macros too.
///
/// Approximation: the body is the first `{` after the name outside of `(…)` and `[…]`, so a braced constant in
/// the generic arguments of a signature would be taken for it.
#[must_use]
pub fn functions(text: &Text) -> Vec<Function> {
    let tokens = split(&text.code);
    let mut found = Vec::new();
    for (i, pair) in tokens.windows(2).enumerate() {
        let named = pair[1].word.starts_with(is_name) || pair[1].word == "$";
        if pair[0].word != "fn" || !named {
            continue;
        }
        if let Some(open) = body(&tokens, i + 2) {
            let close = closing(&tokens, open);
            found.push(Function {
                name: pair[1].word.to_owned(),
                line: text.line(pair[0].at),
                last_line: text.line(tokens[close].at),
                is_test: is_test(&tokens[..i]),
                flat: flat_match(text, &tokens[open..=close]),
            });
        }
    }
    found
}

/// The longest `match` of a body, which begins and ends with its braces.
fn flat_match(text: &Text, body: &[Token<'_>]) -> Option<Flat> {
    let mut found: Option<Flat> = None;
    let mut i = 1;
    while i < body.len() {
        match body[i].word {
            "match" => {
                let open = i + body[i..].iter().position(|token| token.word == "{")?;
                let close = closing(body, open);
                let lines = text.line(body[close].at) - text.line(body[open].at);
                let arm_lines_max = longest_arm(text, &body[open + 1..close]);
                if found.is_none_or(|found| found.lines < lines) {
                    found = Some(Flat { lines, arm_lines_max });
                }
                i = close + 1;
            }
            "{" => i = closing(body, i) + 1,
            _ => i += 1,
        }
    }
    found
}

/// Lines of the longest arm of a `match`, whose tokens these are.
fn longest_arm(text: &Text, arms: &[Token<'_>]) -> usize {
    let (mut longest, mut depth, mut begun) = (0, 0_i32, 0);
    let mut value = false;
    for (i, token) in arms.iter().enumerate() {
        match token.word {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        value |= depth == 0 && token.word == "=" && arms.get(i + 1).is_some_and(|next| next.word == ">");
        let ends = depth == 0 && value && matches!(token.word, "," | "}");
        if ends || i + 1 == arms.len() {
            longest = longest.max(text.line(token.at) - text.line(arms[begun].at) + 1);
            (begun, value) = ((i + 1).min(arms.len() - 1), false);
        }
    }
    longest
}

/// The token that opens the body of a function whose signature begins at `from`; `None` if it has none.
fn body(tokens: &[Token<'_>], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (i, token) in tokens.iter().enumerate().skip(from) {
        match token.word {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "{" if depth == 0 => return Some(i),
            ";" if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

/// The token that closes the brace at `open`; the last one if nothing does.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.word {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len() - 1
}

/// Whether the attributes that end `before` a function name a test: walks back to the end of the item before.
fn is_test(before: &[Token<'_>]) -> bool {
    let item = before.iter().rposition(|token| matches!(token.word, ";" | "{" | "}"));
    let attributes = &before[item.map_or(0, |at| at + 1)..];
    attributes.windows(2).any(|pair| pair[0].word == "test" && matches!(pair[1].word, "]" | "("))
}

/// An inline module `mod name { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inline {
    /// The bytes between its braces.
    pub span: Range<usize>,
    /// It is compiled only for tests: `#[cfg(test)]` stands before it.
    pub for_tests: bool,
}

/// Every inline module, outer before inner.
#[must_use]
pub fn inline_modules(tokens: &[Token<'_>]) -> Vec<Inline> {
    let opens = |i: usize| tokens.get(i + 2).is_some_and(|token| token.word == "{");
    let found = tokens.iter().enumerate().filter(|(i, token)| token.word == "mod" && opens(*i));
    found
        .map(|(i, _)| {
            let close = closing(tokens, i + 2);
            let item = tokens[..i].iter().rposition(|token| matches!(token.word, ";" | "{" | "}"));
            let attributes = &tokens[item.map_or(0, |at| at + 1)..i];
            let for_tests =
                attributes.windows(3).any(|t| (t[0].word, t[1].word, t[2].word) == ("cfg", "(", "test"));
            Inline { span: tokens[i + 2].at..tokens[close].at, for_tests }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_splits_into_names_paths_and_marks() {
        let words: Vec<_> = split("use crate::a_1;x:y").iter().map(|t| t.word).collect();
        assert_eq!(words, ["use", "crate", "::", "a_1", ";", "x", ":", "y"]);
    }

    #[test]
    fn functions_are_found_with_their_lines_also_inside_macros() {
        let source = "trait T { fn no_body(&self) -> [u8; 3]; }\n#[tokio::test(flavor = \"x\")]\nasync fn a<F: Fn() \
                      -> u8>(f: F) {\n  if x { }\n}\nproptest! {\n  #[test]\n  fn b(x in 0..3) { y }\n}\n#[inline]\nfn c() {}";
        let found = functions(&Text::of(source));
        let brief: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.last_line, f.is_test)).collect();
        assert_eq!(brief, [("a", 3, 5, true), ("b", 8, 8, true), ("c", 11, 11, false)]);
    }

    #[test]
    fn inline_modules_know_whether_they_are_for_tests() {
        let source = "#[cfg(test)]\nmod tests { mod inner { } }\nmod other { }\nmod file;";
        let found: Vec<_> = inline_modules(&split(source)).iter().map(|m| m.for_tests).collect();
        assert_eq!(found, [true, false, false]);
    }
}
