//! Hints: behind the cursor, the rest of a line from history, or else the words that the verb still wants.

use nu_ansi_term::{Color, Style};
use reedline::{Hinter, History, SearchQuery};

use crate::verb::spec::{Arg, Menu};

/// The words that a verb still wants after what was typed.
#[must_use]
pub fn wanted<O>(menu: &'static Menu<O>, line: &str) -> String {
    let mut words = line.split_whitespace();
    let Some(verb) = words.next().and_then(|first| menu.find(first)) else { return String::new() };
    if !line.ends_with(char::is_whitespace) {
        return String::new();
    }
    let given = words.filter(|word| !word.starts_with("--")).count();
    let rest: Vec<String> = verb.args.iter().skip(given).map(Arg::shown).collect();
    rest.join(" ")
}

/// For reedline.
pub struct TableHinter<O: 'static> {
    menu: &'static Menu<O>,
    /// What accepting the hint adds; usage is shown and never added.
    addition: String,
}

impl<O> TableHinter<O> {
    /// Hints for this table.
    #[must_use]
    pub fn new(menu: &'static Menu<O>) -> TableHinter<O> {
        TableHinter { menu, addition: String::new() }
    }
}

impl<O: Send + Sync> Hinter for TableHinter<O> {
    fn handle(&mut self, line: &str, pos: usize, history: &dyn History, color: bool, _cwd: &str) -> String {
        self.addition.clear();
        if line.is_empty() || pos < line.len() {
            return String::new();
        }
        let query = SearchQuery::last_with_prefix(line.to_owned(), history.session());
        let found = history.search(query).ok().and_then(|mut items| items.pop());
        if let Some(rest) = found.as_ref().and_then(|item| item.command_line.strip_prefix(line)) {
            self.addition = rest.to_owned();
        }
        let shown = if self.addition.is_empty() { wanted(self.menu, line) } else { self.addition.clone() };
        if color { Style::new().fg(Color::DarkGray).paint(shown).to_string() } else { shown }
    }

    fn complete_hint(&self) -> String {
        self.addition.clone()
    }

    fn next_hint_token(&self) -> String {
        let word = self.addition.trim_start();
        let spaces = self.addition.len() - word.len();
        let end = word.find(char::is_whitespace).unwrap_or(word.len());
        self.addition[..spaces + end].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::shop;

    #[test]
    fn the_words_still_wanted_are_hinted() {
        assert_eq!(wanted(&shop::MENU, "modify-order "), "OID PID=QUANTITY…");
        assert_eq!(wanted(&shop::MENU, "modify-order 7 "), "PID=QUANTITY…");
        assert_eq!(wanted(&shop::MENU, "modify-order"), "");
        assert_eq!(wanted(&shop::MENU, "nonsense "), "");
    }
}
