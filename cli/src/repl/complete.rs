//! Completion, from the table of verbs and the live ids.
//!
//! [`candidates`] is plain and tested; [`TableCompleter`] fits it to reedline.

use reedline::{Completer, CompletionOrigin, CompletionResult, Span, Suggestion};

use super::ids::Ids;
use crate::verb::spec::{Kind, Menu, Verb};
use crate::verb::words::{Word, last_command, quoted};

/// One way to go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// What replaces the word under the cursor.
    pub value: String,
    /// Shown beside it.
    pub about: String,
    /// Whether a space follows.
    pub ends: bool,
}

/// The ways to go on from `line` (up to the cursor), and where the word to replace begins.
#[must_use]
pub fn candidates<O>(menu: &'static Menu<O>, ids: &Ids, line: &str) -> (usize, Vec<Candidate>) {
    let (command, split) = last_command(line);
    let mut before: Vec<&Word> = split.words.iter().collect();
    let ends_here = |word: &&Word| word.end == line.len() - command;
    let current = before.last().copied().filter(ends_here);
    if current.is_some() {
        before.pop();
    }
    let word = current.map_or("", |word| word.text.as_str());
    let begin = current.map_or(line.len(), |word| command + word.begin);
    let before: Vec<&str> = before.into_iter().map(|word| word.text.as_str()).collect();
    let found = match before.split_first() {
        None => verbs(menu, word),
        Some((first, rest)) => {
            menu.find(first).map_or_else(Vec::new, |verb| of_verb(menu, verb, ids, rest, word))
        }
    };
    (begin, found)
}

fn verbs<O>(menu: &'static Menu<O>, word: &str) -> Vec<Candidate> {
    let lower = word.to_lowercase();
    let mut found = Vec::new();
    for verb in menu.verbs {
        let names = std::iter::once(&verb.name).chain(verb.aliases);
        // The name if it fits, else the first alias that does: one line a verb.
        if let Some(name) = names.into_iter().find(|name| name.to_lowercase().starts_with(&lower)) {
            found.push(Candidate { value: (*name).to_owned(), about: verb.about.to_owned(), ends: true });
        }
    }
    found
}

fn of_verb<O>(
    menu: &'static Menu<O>,
    verb: &'static Verb<O>,
    ids: &Ids,
    before: &[&str],
    word: &str,
) -> Vec<Candidate> {
    let waiting = before.last().and_then(|last| verb.flag(last)).and_then(|flag| flag.value);
    if let Some((_, kind)) = waiting {
        return of_kind(menu, kind, ids, word);
    }
    if word.starts_with("--") {
        let flags = verb
            .flags
            .iter()
            .filter(|flag| flag.name.starts_with(word) && (flag.repeats || !before.contains(&flag.name)));
        return flags
            .map(|f| Candidate { value: f.name.to_owned(), about: f.about.to_owned(), ends: true })
            .collect();
    }
    let kind = verb.arg_at(place(verb, before)).map(|arg| arg.kind);
    kind.map_or_else(Vec::new, |kind| of_kind(menu, kind, ids, word))
}

/// How many words by place stand before the cursor.
fn place<O>(verb: &'static Verb<O>, before: &[&str]) -> usize {
    let (mut place, mut value_follows) = (0, false);
    for word in before {
        match (value_follows, verb.flag(word)) {
            (true, _) => value_follows = false,
            (false, Some(flag)) => value_follows = flag.value.is_some(),
            (false, None) => place += 1,
        }
    }
    place
}

fn of_kind<O>(menu: &'static Menu<O>, kind: Kind, ids: &Ids, word: &str) -> Vec<Candidate> {
    if kind == Kind::Verb {
        return verbs(menu, word);
    }
    let states = proto::json::state::words();
    let of_list = match kind {
        Kind::State => Some(&states[..]),
        Kind::OneOf(words) => Some(words),
        _ => None,
    };
    if let Some(words) = of_list {
        let of = |one: &&str| Candidate { value: (*one).to_owned(), about: String::new(), ends: true };
        return words.iter().filter(|one| one.starts_with(word)).map(of).collect();
    }
    // Whoever completes a product types `=3` as the usage says: the hint shows it, completion does not add to it.
    let ends = kind != Kind::Line;
    ids.beginning(kind, word)
        .into_iter()
        .map(|id| Candidate { value: quoted(&id), about: String::new(), ends })
        .collect()
}

/// For reedline.
pub struct TableCompleter<O: 'static> {
    /// The table.
    pub menu: &'static Menu<O>,
    /// Live ids.
    pub ids: Ids,
}

impl<O> Completer for TableCompleter<O> {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let (begin, found) = candidates(self.menu, &self.ids, &line[..pos]);
        if found.is_empty() {
            // "No answer yet" opens no menu, where a final one would open it to say that it is empty.
            let (suggestions, origin) = (Vec::new().into(), CompletionOrigin::new(line, pos));
            return CompletionResult::Stale { suggestions, origin, partial: None };
        }
        let suggestions: Vec<Suggestion> = found
            .into_iter()
            .map(|candidate| Suggestion {
                value: candidate.value,
                description: (!candidate.about.is_empty()).then_some(candidate.about),
                span: Span::new(begin, pos),
                append_whitespace: candidate.ends,
                ..Suggestion::default()
            })
            .collect();
        CompletionResult::fresh(suggestions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::call::GivenLine;
    use crate::verb::{admin, kv, shop};

    fn values<O>(menu: &'static Menu<O>, ids: &Ids, line: &str) -> Vec<String> {
        candidates(menu, ids, line).1.into_iter().map(|candidate| candidate.value).collect()
    }

    fn known() -> Ids {
        let ids = Ids::default();
        ids.replace(Kind::Pid, ["banana".to_owned(), "batata".to_owned(), "mamao".to_owned()]);
        ids.replace(Kind::Cid, ["ana".to_owned()]);
        ids.replace(Kind::Oid, ["o1".to_owned(), "o2".to_owned()]);
        ids
    }

    #[test]
    fn every_verb_and_alias_completes_to_itself() {
        fn all<O>(menu: &'static Menu<O>) {
            for verb in menu.verbs {
                for name in std::iter::once(&verb.name).chain(verb.aliases) {
                    assert!(
                        values(menu, &Ids::default(), name).iter().any(|value| verb.answers_to(value)),
                        "{name}"
                    );
                }
            }
        }
        all(&admin::MENU);
        all(&shop::MENU);
        all(&kv::MENU);
    }

    #[test]
    fn an_equals_sign_typed_after_a_completed_product_is_not_doubled() {
        let ids = known();
        let completed = values(&shop::MENU, &ids, "create-order mam").remove(0);
        let line = format!("create-order {completed}=3");
        let call = crate::verb::call::parse(&shop::MENU, &crate::verb::words::words(&line).unwrap()).unwrap();
        assert_eq!(call.lines("PID=QUANTITY").unwrap(), [GivenLine::of("mamao", 3)]);
    }

    #[test]
    fn nothing_to_complete_opens_no_menu() {
        let mut completer = TableCompleter { menu: &shop::MENU, ids: Ids::default() };
        let line = "create-order ";
        assert!(completer.complete(line, line.len()).is_provisional());
        assert!(!completer.complete("cre", 3).is_provisional());
    }

    /// What completion writes is read as the id that it offered.
    #[test]
    fn an_id_with_blanks_is_completed_as_words_are_read() {
        let ids = Ids::default();
        ids.replace(Kind::Pid, ["maca fuji".to_owned(), "d'agua; 5".to_owned(), "#12".to_owned()]);
        for begun in
            ["create-order mac", "create-order 'mac", "create-order 'maca f", "create-order maca\\ f"]
        {
            let (begin, found) = candidates(&shop::MENU, &ids, begun);
            let line = format!("{}{}=3", &begun[..begin], found[0].value);
            assert_eq!(line, "create-order 'maca fuji'=3");
            let call = crate::verb::call::parse(&shop::MENU, &crate::verb::words::words(&line).unwrap());
            assert_eq!(call.unwrap().lines("PID=QUANTITY").unwrap(), [GivenLine::of("maca fuji", 3)]);
        }
        assert_eq!(values(&shop::MENU, &ids, "create-order d"), [r"'d'\''agua; 5'"]);
        assert_eq!(values(&shop::MENU, &ids, "create-order 'd'\\''agua; 5'=1 m"), ["'maca fuji'"]);
        assert_eq!(values(&shop::MENU, &ids, "create-order #"), ["'#12'"]);
    }

    #[test]
    fn live_ids_complete_where_they_belong() {
        let ids = known();
        assert_eq!(values(&shop::MENU, &ids, "use a"), ["ana"]);
        assert_eq!(values(&shop::MENU, &ids, "modify-order "), ["o1", "o2"]);
        assert_eq!(values(&shop::MENU, &ids, "modify-order o1 ba"), ["banana", "batata"]);
        assert_eq!(values(&shop::MENU, &ids, "modify-order o1 --cid "), ["ana"]);
        assert_eq!(values(&shop::MENU, &ids, "modify-order --cid ana o1 m"), ["mamao"]);
        assert_eq!(values(&shop::MENU, &ids, "listarPedidos; cancelarP"), ["cancelarPedido"]);
        assert_eq!(values(&admin::MENU, &ids, "delete-client ana --c"), ["--cascade"]);
        assert_eq!(values(&admin::MENU, &ids, "help adj"), ["adjust-stock"]);
        assert_eq!(values(&admin::MENU, &ids, "list-orders --state p"), ["paid", "packed"]);
        assert_eq!(values(&admin::MENU, &ids, "listarPedidos --state co"), ["confirmed"]);
        assert_eq!(values(&admin::MENU, &ids, "list-products --sort "), ["id", "description", "price"]);
        assert_eq!(values(&admin::MENU, &ids, "list-clients --sort n"), ["name"]);
        assert_eq!(values(&admin::MENU, &ids, "cancel-order ana "), ["o1", "o2"]);
        assert_eq!(values(&admin::MENU, &ids, "modify-order ana o1 ba"), ["banana", "batata"]);
        assert!(values(&admin::MENU, &ids, "nonsense b").is_empty());
        assert_eq!(candidates(&shop::MENU, &ids, "use a").0, 4);
    }
}
