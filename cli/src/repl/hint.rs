//! Hints: behind the cursor, the rest of a line from history, or else the words that the verb still wants.

use nu_ansi_term::{Color, Style};
use reedline::{Hinter, History, SearchQuery};

use super::ids::Ids;
use crate::verb::spec::{Arg, Kind, Menu};
use crate::verb::words::last_command;

/// The words that a verb still wants after what was typed; after a product that is known, the rest of its word.
#[must_use]
pub fn wanted<O>(menu: &'static Menu<O>, ids: &Ids, line: &str) -> String {
    let (command, split) = last_command(line);
    let is_open = split.words.last().is_some_and(|word| word.end == line.len() - command);
    let mut words = split.words.iter().map(|word| word.text.as_str());
    let Some(verb) = words.next().and_then(|first| menu.find(first)) else { return String::new() };
    let given: Vec<&str> = words.filter(|word| !word.starts_with("--")).collect();
    if is_open {
        let Some((last, before)) = given.split_last() else { return String::new() };
        let is_line = verb.arg_at(before.len()).is_some_and(|arg| arg.kind == Kind::Line);
        let known = is_line && ids.beginning(Kind::Line, last).first().is_some_and(|id| id == last);
        return if known { "=QUANTITY".to_owned() } else { String::new() };
    }
    let given = given.len();
    let rest: Vec<String> = verb.args.iter().skip(given).map(Arg::shown).collect();
    rest.join(" ")
}

/// For reedline.
pub struct TableHinter<O: 'static> {
    menu: &'static Menu<O>,
    /// Live ids.
    ids: Ids,
    /// What accepting the hint adds; usage is shown and never added.
    addition: String,
}

impl<O> TableHinter<O> {
    /// Hints for this table.
    #[must_use]
    pub fn new(menu: &'static Menu<O>, ids: Ids) -> TableHinter<O> {
        TableHinter { menu, ids, addition: String::new() }
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
        let shown =
            if self.addition.is_empty() { wanted(self.menu, &self.ids, line) } else { self.addition.clone() };
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
        let ids = Ids::default();
        ids.add(Kind::Pid, "banana");
        let wanted = |line| wanted(&shop::MENU, &ids, line);
        assert_eq!(wanted("modify-order "), "OID [PID=QUANTITY…]");
        assert_eq!(wanted("modify-order 7 "), "[PID=QUANTITY…]");
        assert_eq!(wanted("modify-order 7 banana"), "=QUANTITY");
        assert_eq!(wanted("modify-order banana"), "");
        assert_eq!(wanted("create-order banan"), "");
        assert_eq!(wanted("create-order banana=3 banana"), "=QUANTITY");
        assert_eq!(wanted("modify-order"), "");
        assert_eq!(wanted("modify-order 'a b' "), "[PID=QUANTITY…]");
        assert_eq!(wanted("products; modify-order "), "OID [PID=QUANTITY…]");
        assert_eq!(wanted("nonsense "), "");
    }
}
