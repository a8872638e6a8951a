//! Text that somebody stored, with what a terminal would obey written out.
//!
//! Promises: a product's description does not move the cursor, colour the screen, turn the direction of what follows or begin
//! another line, which would read as another answer; two ids never look the same.

use std::borrow::Cow;

/// One line of it.
#[must_use]
pub fn in_line(text: &str) -> Cow<'_, str> {
    written_out(text, false)
}

/// The same for text that may have several lines.
#[must_use]
pub fn in_lines(text: &str) -> Cow<'_, str> {
    written_out(text, true)
}

/// An id as people read it: also what they would not see of it is written out, so that two ids never look the same.
#[must_use]
pub fn id(text: &str) -> String {
    if !text.contains(is_hidden) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// Whether a character is obeyed or left out by a terminal, or looks like an ordinary blank.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || portal::id::is_unseen(c)
        || portal::id::is_odd_blank(c)
}

fn written_out(text: &str, lines: bool) -> Cow<'_, str> {
    let obeyed = |c: char| {
        (c.is_control() && !(lines && c == '\n'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    if !text.contains(obeyed) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if obeyed(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_and_letters_of_any_language_are_kept() {
        assert_eq!(in_lines("Mamão, 日本\nb"), "Mamão, 日本\nb");
        assert_eq!(in_line("a\nb"), "a\\nb");
    }

    #[test]
    fn two_ids_never_look_the_same() {
        assert_eq!(id("ana maria"), "ana maria");
        assert_eq!(id("ana\u{200b}"), "ana\\u{200b}");
        assert_eq!(id("ana\u{a0}maria"), "ana\\u{a0}maria");
    }
}
