//! Verbs: each is one row of the table that drives parsing, help, completion and hints alike.
//!
//! Leaves out: what a verb does; each REPL matches on its own operations.

/// What a word must be, and so what it is completed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A client's id.
    Cid,
    /// A product's id.
    Pid,
    /// An order's id.
    Oid,
    /// Any text.
    Text,
    /// The word for the state of an order.
    State,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A point in time, as people write it.
    Time,
    /// A whole number from 0.
    Count,
    /// The etag of a version: a whole number from 1.
    Etag,
    /// How many at most: a whole number from 1 to this.
    Limit(u64),
    /// How many at most, and 0 for all: a whole number up to this.
    LimitOrAll(u64),
    /// A whole number, signed.
    Integer,
    /// PID=QUANTITY, or PID=QUANTITY@PRICE with the price that was shown.
    Line,
    /// Data on an order: a small JSON object.
    Extra,
    /// PID=JSON: data on a line.
    LineExtra,
    /// A sum of money.
    Total,
    /// One word of a JSON document: `{…}`, or NAME=VALUE.
    Data,
    /// A key of the store: an integer of any length, or text in quotes.
    Key,
    /// The name of a verb.
    Verb,
}

/// How many words an argument takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Exactly one.
    One,
    /// One or none.
    Maybe,
    /// Any number from this one on: only the last argument.
    Many(usize),
}

/// A word that a verb takes by its place.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// As shown in usage, and how the verb's code asks for it.
    pub name: &'static str,
    /// What it must be.
    pub kind: Kind,
    /// How many.
    pub need: Need,
}

/// A word that a verb takes by its name.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// With its dashes.
    pub name: &'static str,
    /// The value that follows; `None`: it is there or not.
    pub value: Option<(&'static str, Kind)>,
    /// Whether it may be given more than once, each time with another value.
    pub repeats: bool,
    /// For help.
    pub about: &'static str,
}

/// One verb.
#[derive(Debug)]
pub struct Verb<O: 'static> {
    /// What it does.
    pub operation: O,
    /// Its name.
    pub name: &'static str,
    /// Other names: those of the specification, and short ones.
    pub aliases: &'static [&'static str],
    /// Words by place.
    pub args: &'static [Arg],
    /// Words by name.
    pub flags: &'static [Flag],
    /// One line for help.
    pub about: &'static str,
    /// A line that works.
    pub example: &'static str,
}

/// The verbs of one REPL.
#[derive(Debug)]
pub struct Menu<O: 'static> {
    /// What the REPL is for.
    pub title: &'static str,
    /// All verbs, in the order of help.
    pub verbs: &'static [Verb<O>],
}

impl<O> Menu<O> {
    /// The verb of this name or alias; upper and lower case are the same.
    #[must_use]
    pub fn find(&self, word: &str) -> Option<&'static Verb<O>> {
        self.verbs.iter().find(|verb| verb.answers_to(word))
    }
}

impl<O> Verb<O> {
    /// Whether this word means this verb.
    #[must_use]
    pub fn answers_to(&self, word: &str) -> bool {
        self.name.eq_ignore_ascii_case(word) || self.aliases.iter().any(|a| a.eq_ignore_ascii_case(word))
    }

    /// The flag of this name.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().find(|flag| flag.name == name)
    }

    /// The argument that takes the word at this place.
    #[must_use]
    pub fn arg_at(&self, place: usize) -> Option<&'static Arg> {
        let last = self.args.last()?;
        self.args.get(place).or(matches!(last.need, Need::Many(_)).then_some(last))
    }

    /// `modify-order OID PID=QTY…`
    #[must_use]
    pub fn usage(&self) -> String {
        let mut usage = self.name.to_owned();
        for arg in self.args {
            usage.push(' ');
            usage.push_str(&arg.shown());
        }
        for flag in self.flags {
            usage.push_str(" [");
            usage.push_str(flag.name);
            if let Some((value, _)) = flag.value {
                usage.push(' ');
                usage.push_str(value);
            }
            usage.push(']');
        }
        usage
    }
}

impl Arg {
    /// As usage shows it.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.need {
            Need::One => self.name.to_owned(),
            Need::Maybe => format!("[{}]", self.name),
            Need::Many(0) => format!("[{}…]", self.name),
            Need::Many(_) => format!("{}…", self.name),
        }
    }
}

/// One word by place.
#[must_use]
pub const fn one(name: &'static str, kind: Kind) -> Arg {
    Arg { name, kind, need: Need::One }
}

/// A word that may be left out.
#[must_use]
pub const fn maybe(name: &'static str, kind: Kind) -> Arg {
    Arg { name, kind, need: Need::Maybe }
}

/// All the words that follow, at least `least` of them.
#[must_use]
pub const fn many(name: &'static str, kind: Kind, least: usize) -> Arg {
    Arg { name, kind, need: Need::Many(least) }
}

/// A flag that is there or not.
#[must_use]
pub const fn switch(name: &'static str, about: &'static str) -> Flag {
    Flag { name, value: None, repeats: false, about }
}

/// A flag with a value.
#[must_use]
pub const fn with(name: &'static str, value: &'static str, kind: Kind, about: &'static str) -> Flag {
    Flag { name, value: Some((value, kind)), repeats: false, about }
}

/// A flag with a value, that may be given more than once.
#[must_use]
pub const fn with_each(name: &'static str, value: &'static str, kind: Kind, about: &'static str) -> Flag {
    Flag { name, value: Some((value, kind)), repeats: true, about }
}
