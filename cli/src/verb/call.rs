//! From words to a call: the verb found, every word bound and checked. A wrong line never reaches a server.

use std::collections::BTreeMap;

use portal::Error;
use portal::document::extra::ExtraChange;
use portal::money::{Price, Total};
use proto::keys::ID_BYTES_MAX;

use super::key::key_of;
use super::near::nearest;
use super::shared::{EXTRA, LINE_EXTRA, REQUEST};
use super::spec::{Arg, Flag, Kind, Menu, Need, Verb};
use crate::failure::Failure;
use crate::show::moment;

/// A line understood: which verb, with which words.
#[derive(Debug)]
pub struct Call<O: 'static> {
    /// The verb.
    pub verb: &'static Verb<O>,
    /// Words by the names of their arguments and flags.
    values: BTreeMap<&'static str, Vec<String>>,
}

impl<O> Call<O> {
    /// The word of an argument or flag; `None` if it was left out.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).and_then(|words| words.first()).map(String::as_str)
    }

    /// The word of an argument that cannot be left out.
    ///
    /// # Panics
    /// If the table does not require it: our own bug.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.get(name).expect("the table of verbs requires this word")
    }

    /// All words of an argument.
    #[must_use]
    pub fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The request's id of a command that changes something, if need be `made` now; `None`: it changes nothing.
    pub fn request(&mut self, made: impl FnOnce() -> String) -> Option<&str> {
        let flag = self.verb.flag(REQUEST.name)?;
        let id = self.values.entry(flag.name).or_insert_with(|| vec![made()]);
        id.first().map(String::as_str)
    }

    /// Whether a flag was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A whole number from 0; `None` if it was left out.
    ///
    /// # Panics
    /// If the table does not say that it is one: our own bug.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        self.get(name).map(|word| word.parse().expect("checked when the line was read"))
    }

    /// A signed whole number; `None` if it was left out.
    ///
    /// # Panics
    /// If the table does not say that it is one: our own bug.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.get(name).map(|word| word.parse().expect("checked when the line was read"))
    }

    /// The lines of an order, as given, with what `--line-extra` says of them.
    ///
    /// # Errors
    /// It is said of a product that no line names; or there is no line, and `--extra` says nothing either.
    ///
    /// # Panics
    /// If the table does not say that they are such: our own bug.
    pub fn lines(&self, name: &str) -> Result<Vec<GivenLine>, Failure> {
        const CHECKED: &str = "checked when the line was read";
        let mut lines: Vec<GivenLine> =
            self.all(name).iter().map(|word| line(word).expect(CHECKED)).collect();
        for word in self.all(LINE_EXTRA.name) {
            let (pid, extra) = line_extra(word).expect(CHECKED);
            let Some(line) = lines.iter_mut().find(|line| line.pid == pid) else {
                let message = format!("{}: no line is of {}", LINE_EXTRA.name, shortened(pid));
                return Err(wrong(self.verb, message));
            };
            extra.clone_into(&mut line.extra);
        }
        let is_change = self.verb.args.iter().any(|arg| arg.name == "OID");
        if is_change && lines.is_empty() && !self.has(EXTRA.name) && self.verb.flag(EXTRA.name).is_some() {
            return Err(wrong(self.verb, format!("{name} is missing")));
        }
        Ok(lines)
    }
}

/// A line of an order, as a person gives it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GivenLine {
    /// The product.
    pub pid: String,
    /// How many.
    pub quantity: i64,
    /// The price that was shown; empty: it does not count.
    pub price: String,
    /// Data on the line, a JSON object; empty: nothing is said of them.
    pub extra: String,
}

impl GivenLine {
    /// So many of a product, at whatever price.
    #[must_use]
    pub fn of(pid: &str, quantity: i64) -> GivenLine {
        GivenLine { pid: pid.to_owned(), quantity, ..GivenLine::default() }
    }
}

/// Understands the words of one command.
///
/// # Errors
/// No such verb, a word missing, one too many, or one that is not what it must be: with the verb's usage.
pub fn parse<O>(menu: &'static Menu<O>, words: &[String]) -> Result<Call<O>, Failure> {
    let Some((first, rest)) = words.split_first() else {
        return Err(Failure::usage("an empty command").next("help lists the commands"));
    };
    let verb = menu.find(first).ok_or_else(|| unknown_verb(menu, first))?;
    let mut call = Call { verb, values: BTreeMap::new() };
    let mut place = 0;
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        if let Some((flag, joined)) = flag_of(verb, word)? {
            let value = joined.map(str::to_owned).or_else(|| rest.next_if_value(flag));
            bind_flag(&mut call, flag, value)?;
            continue;
        }
        let arg = verb.arg_at(place).ok_or_else(|| wrong(verb, format!("{word:?} is one word too many")))?;
        check(verb, arg.name, arg.kind, word)?;
        call.values.entry(arg.name).or_default().push(word.clone());
        place += 1;
    }
    for arg in verb.args {
        let given = call.all(arg.name).len();
        if given < least(arg) {
            return Err(wrong(verb, format!("{} is missing", arg.name)));
        }
    }
    Ok(call)
}

/// Takes a flag's value off the words that are left.
trait NextIfValue {
    fn next_if_value(&mut self, flag: &Flag) -> Option<String>;
}

impl NextIfValue for std::slice::Iter<'_, String> {
    fn next_if_value(&mut self, flag: &Flag) -> Option<String> {
        flag.value.and_then(|_| self.next().cloned())
    }
}

fn least(arg: &Arg) -> usize {
    match arg.need {
        Need::One => 1,
        Need::Maybe => 0,
        Need::Many(least) => least,
    }
}

/// A flag, and its value if it stands in the same word.
type Flagged<'w> = (&'static Flag, Option<&'w str>);

/// The flag that a word names (`--limit`, `--limit=3`); a word that looks like a flag and is none is an error, save
/// for a negative number.
fn flag_of<'w, O>(verb: &'static Verb<O>, word: &'w str) -> Result<Option<Flagged<'w>>, Failure> {
    if !word.starts_with("--") {
        return Ok(None);
    }
    let (name, joined) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    match verb.flag(name) {
        Some(flag) => Ok(Some((flag, joined))),
        None => Err(wrong(verb, format!("there is no flag {}", shortened(name)))),
    }
}

fn bind_flag<O>(call: &mut Call<O>, flag: &'static Flag, value: Option<String>) -> Result<(), Failure> {
    let words = match (flag.value, value) {
        (None, None) => Vec::new(),
        (None, Some(_)) => return Err(wrong(call.verb, format!("{} takes no value", flag.name))),
        (Some((name, _)), None) => {
            return Err(wrong(call.verb, format!("{} needs {name} after it", flag.name)));
        }
        (Some((_, kind)), Some(value)) => {
            check(call.verb, flag.name, kind, &value)?;
            vec![value]
        }
    };
    let there = call.values.get(flag.name);
    if there.is_some_and(|there| !flag.repeats || there.iter().any(|one| words.contains(one))) {
        return Err(wrong(call.verb, format!("{} is given twice", flag.name)));
    }
    call.values.entry(flag.name).or_default().extend(words);
    Ok(())
}

/// Whether a word is what it must be.
fn check<O>(verb: &Verb<O>, name: &str, kind: Kind, word: &str) -> Result<(), Failure> {
    let must = match kind {
        Kind::Cid | Kind::Pid | Kind::Oid => return check_id(verb, name, word),
        Kind::LimitOrAll(most) if !word.parse::<u64>().is_ok_and(|limit| limit <= most) => {
            return Err(wrong(verb, format!("{name} is {:?}, and must be 0 to {most}", shortened(word))));
        }
        Kind::Limit(most) if !word.parse::<u64>().is_ok_and(|limit| (1..=most).contains(&limit)) => {
            return Err(wrong(verb, format!("{name} is {:?}, and must be 1 to {most}", shortened(word))));
        }
        Kind::Count if word.parse::<u64>().is_err() => "a whole number from 0",
        Kind::Etag if !word.parse::<u64>().is_ok_and(|etag| etag > 0) => {
            "an etag as it is shown: a number from 1"
        }
        Kind::State if proto::json::state::named(word).is_none() => {
            let states = proto::json::state::all();
            return Err(wrong(verb, format!("{name} is {:?}, and must be one of {states}", shortened(word))));
        }
        Kind::OneOf(words) if !words.contains(&word) => {
            let all = words.join(", ");
            return Err(wrong(verb, format!("{name} is {:?}, and must be one of {all}", shortened(word))));
        }
        Kind::Time if moment::read(word, store_client::now_ms()).is_none() => moment::FORMS,
        Kind::Integer if word.parse::<i64>().is_err() => "a whole number",
        Kind::Total if Total::parse(word).is_err() => "a total as it is shown, such as 12.30",
        Kind::LineExtra => return line_extra(word).map(drop).map_err(|why| wrong(verb, why)),
        Kind::Extra => {
            return ExtraChange::of_order(word)
                .map(drop)
                .map_err(|error| wrong(verb, format!("{name}: {}", why_of(&error))));
        }
        Kind::Line => return line(word).map(drop).map_err(|why| wrong(verb, why)),
        Kind::Key => match key_of(word) {
            Ok(_) => return Ok(()),
            Err(why) => return Err(wrong(verb, format!("{name} is {:?}: {why}", shortened(word)))),
        },
        _ => return Ok(()),
    };
    Err(wrong(verb, format!("{name} is {:?}, and must be {must}", shortened(word))))
}

/// Whether a word can be the id of a client, a product or an order.
///
/// # Errors
/// It cannot: with the verb's usage.
pub fn check_id<O>(verb: &Verb<O>, name: &str, word: &str) -> Result<(), Failure> {
    if (1..=ID_BYTES_MAX).contains(&word.len()) {
        return Ok(());
    }
    let message = format!("{name} is {:?}, and must be an id of 1 to {ID_BYTES_MAX} bytes", shortened(word));
    Err(wrong(verb, message))
}

/// A word as messages quote it.
fn shortened(word: &str) -> std::borrow::Cow<'_, str> {
    match word.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &word[..end]).into(),
        None => word.into(),
    }
}

/// Characters of a word that a message quotes.
const QUOTED_CHARS_MAX: usize = 40;

/// PID=QUANTITY or PID=QUANTITY@PRICE; the last `=` counts, so that a product's id may hold one. Else what is wrong with it.
fn line(word: &str) -> Result<GivenLine, String> {
    let Some((pid, quantity)) = word.rsplit_once('=') else {
        return Err(format!("{:?} is no PID=QUANTITY, such as banana=3", shortened(word)));
    };
    if !(1..=ID_BYTES_MAX).contains(&pid.len()) {
        return Err(format!("{:?} is no id of 1 to {ID_BYTES_MAX} bytes", shortened(pid)));
    }
    let (quantity, price) = match quantity.split_once('@') {
        Some((quantity, price)) => (quantity, price_of(price)?),
        None => (quantity, String::new()),
    };
    match quantity.parse::<i64>() {
        Ok(quantity @ 0..) => Ok(GivenLine { price, ..GivenLine::of(pid, quantity) }),
        Ok(_) => Err(format!("{quantity} is less than nothing: a quantity is a whole number from 0")),
        Err(_) if quantity.is_empty() => {
            Err(format!("{:?} says no quantity, such as {pid}=3", shortened(word)))
        }
        Err(_) => Err(format!("{} is no whole number", shortened(quantity))),
    }
}

/// PID={JSON}: what is said of the data on a line. Else what is wrong with it.
fn line_extra(word: &str) -> Result<(&str, &str), String> {
    let (pid, extra) = word
        .split_once("={")
        .map(|(pid, _)| (pid, &word[pid.len() + 1..]))
        .ok_or_else(|| format!("{:?} is no PID=JSON, such as pen={{\"colour\":\"red\"}}", shortened(word)))?;
    let checked = ExtraChange::of_line("extra", extra);
    checked.map(|_| (pid, extra)).map_err(|error| format!("{pid}: {}", why_of(&error)))
}

fn why_of(error: &Error) -> String {
    match error {
        Error::Invalid { why, .. } => why.clone(),
        other => other.to_string(),
    }
}

fn price_of(word: &str) -> Result<String, String> {
    match Price::parse(word) {
        Ok(_) => Ok(word.to_owned()),
        Err(why) => Err(format!("{:?} is no price, such as @1.50: {why}", shortened(word))),
    }
}

fn wrong<O>(verb: &Verb<O>, message: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {message}", verb.name)).saying(message.to_string()).next(format!(
        "usage: {}   such as: {}",
        verb.usage(),
        verb.example
    ))
}

/// There is no such command: which one may be meant.
#[must_use]
pub fn unknown_verb<O>(menu: &'static Menu<O>, word: &str) -> Failure {
    let names =
        menu.verbs.iter().flat_map(|verb| std::iter::once(verb.name).chain(verb.aliases.iter().copied()));
    let failure = Failure::usage(format!("there is no command {:?}", shortened(word)));
    match nearest(word, names) {
        // Help lists names only: of an alias it would not be found there.
        Some(near) => match menu.find(near).map_or(near, |verb| verb.name) {
            name if name == near => failure.next(format!("did you mean {near}? help lists all")),
            name => failure.next(format!("did you mean {near}, also called {name}? help lists all")),
        },
        None => failure.next("help lists the commands"),
    }
}
