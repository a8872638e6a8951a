//! The callers' journal: what they asked and heard, reads, acknowledged writes and those whose outcome nobody learnt, each with its
//! times.

use std::time::Instant;

use parking_lot::Mutex;

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A product's description, price and rules.
    Product,
    /// A product's stock.
    Stock,
    /// A client.
    Client,
    /// An order.
    Order,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Of what.
    pub kind: Kind,
    /// Of which.
    pub id: String,
}

impl Key {
    /// The record of this id.
    #[must_use]
    pub fn new(kind: Kind, id: &str) -> Key {
        Key { kind, id: id.to_owned() }
    }
}

/// When a request was begun, and when its answer was here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Before anything was sent, of a request that was repeated for the first time.
    pub called: Instant,
    /// After everything had come.
    pub returned: Instant,
}

/// One thing that happened. A version is the offset in the log of the group that all records of a run are in.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A write was acknowledged.
    Wrote {
        /// Of what.
        key: Key,
        /// When.
        span: Span,
        /// As this version.
        version: u64,
        /// What it says, where that is compared; `None`: it left that as it was.
        content: Option<String>,
    },
    /// Nobody learnt what became of a write.
    MayHaveWritten {
        /// Of what.
        key: Key,
        /// When it was begun.
        called: Instant,
        /// What it would say.
        content: String,
    },
    /// A record was shown.
    Read {
        /// Which.
        key: Key,
        /// When.
        span: Span,
        /// In this version.
        version: u64,
        /// What it says, where that is compared.
        content: Option<String>,
        /// Of a session: the latest version of anything that it had been shown, or had written, before.
        floor: Option<u64>,
        /// By whom, and over what.
        who: String,
    },
    /// An order was made or modified at these prices.
    Priced {
        /// Which.
        oid: String,
        /// When.
        span: Span,
        /// As this version.
        version: u64,
        /// The products of the lines that came or changed, with their prices.
        lines: Vec<(String, String)>,
        /// By whom, and over what.
        who: String,
    },
    /// What must not be was seen at once.
    Wrong(String),
}

/// All of it, in the order of returning.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Vec<Entry>>);

impl Journal {
    /// Adds some.
    pub fn note(&self, entries: impl IntoIterator<Item = Entry>) {
        self.0.lock().extend(entries);
    }

    /// Adds what must not be.
    pub fn wrong(&self, what: impl Into<String>) {
        self.0.lock().push(Entry::Wrong(what.into()));
    }

    /// Everything so far; it begins anew.
    #[must_use]
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.0.lock())
    }
}
