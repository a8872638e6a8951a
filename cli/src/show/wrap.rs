//! Words in lines of a width, counted in columns as terminals draw them.
//!
//! Promises: lines end between words, never inside one; a word that is longer than the width stands on a line of its own and
//! is left to the terminal, so that it can be copied whole, unless it is a list of its own (JSON), which ends a line after a comma. What continues a line is indented as its beginning.

use unicode_width::UnicodeWidthStr;

/// What stands where something was cut off.
pub const CUT: &str = "…";

/// The columns that a text takes.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.width()
}

/// The longest word's columns.
#[must_use]
pub fn longest_word(text: &str) -> usize {
    text.split(' ').map(columns).max().unwrap_or(0)
}

/// The text in lines of at most so many columns; `None`: as it is.
#[must_use]
pub fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let lines: Vec<String> = text.split('\n').flat_map(|line| lines(line, width)).collect();
    lines.join("\n")
}

/// One line as one or several.
#[must_use]
pub fn lines(line: &str, width: usize) -> Vec<String> {
    if columns(line) <= width {
        return vec![line.to_owned()];
    }
    let begin = line.len() - line.trim_start_matches(' ').len();
    let indent = " ".repeat(hanging(line, begin).min(width / 2));
    let (mut all, mut now) = (Vec::new(), line[..begin].to_owned());
    // Blanks that part two words of a line count only while both are on it.
    let (mut blanks, mut fresh) = (0, true);
    for word in line[begin..].split(' ') {
        if word.is_empty() {
            blanks += 1;
            continue;
        }
        let room = width.saturating_sub(columns(&indent));
        for piece in if columns(word) > room { pieces(word) } else { vec![word] } {
            if !fresh && columns(&now) + blanks + columns(piece) > width {
                all.push(std::mem::replace(&mut now, indent.clone()));
                fresh = true;
            }
            if !fresh {
                now.push_str(&" ".repeat(blanks));
            }
            now.push_str(piece);
            (blanks, fresh) = (0, false);
        }
        blanks = 1;
    }
    all.push(now);
    all
}

/// The items of a list without blanks, each with its comma; one between digits is part of a number.
fn pieces(word: &str) -> Vec<&str> {
    let (mut all, mut from) = (Vec::new(), 0);
    for (at, _) in word.match_indices(',') {
        if word[at + 1..].starts_with(|next: char| !next.is_ascii_digit()) {
            all.push(&word[from..=at]);
            from = at + 1;
        }
    }
    all.push(&word[from..]);
    all
}

/// Where what continues a line begins: below its first word, which an arrow or a mark goes before.
fn hanging(line: &str, begin: usize) -> usize {
    match line[begin..].starts_with(['→', '✓', '•']) {
        true => begin + 2,
        false => begin,
    }
}

/// The text cut so that it takes at most so many columns, with a mark where it was.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if columns(&kept) + columns(CUT) > width {
            kept.pop();
            break;
        }
    }
    kept.truncate(kept.trim_end().len());
    kept + CUT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_end_between_words_and_continue_where_they_begin() {
        let text = "refused: there is no product\n  → look for the right id: list-products";
        let shown = wrapped(text, Some(24));
        assert_eq!(shown, "refused: there is no\nproduct\n  → look for the right\n    id: list-products");
        assert_eq!(wrapped(text, None), text);
        assert_eq!(wrapped("{\"a\":1,\"b\":[2,3],\"c\":4}", Some(14)), "{\"a\":1,\n\"b\":[2,3],\n\"c\":4}");
        assert_eq!(wrapped("a/very/long/path/that/nobody/breaks x", Some(10)).lines().count(), 2);
    }

    #[test]
    fn columns_are_those_of_a_terminal() {
        assert_eq!(columns("Mamão"), 5);
        assert_eq!(columns("日本"), 4);
        assert_eq!(cut("日本の果物", 6), "日本…");
        assert_eq!(cut("abc", 3), "abc");
    }

    proptest! {
        #[test]
        fn no_word_is_broken_and_none_is_lost(text in "[a-zé日0-9]{1,12}( {1,2}[a-zé日0-9]{1,12}){0,20}", width in 24_usize..60) {
            let shown = wrapped(&text, Some(width));
            prop_assert!(shown.lines().all(|line| columns(line) <= width), "{shown}");
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(words(&shown), words(&text));
        }
    }
}
