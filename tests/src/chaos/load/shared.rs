//! The state that all clients share: the round, the gate, and what is remembered of what they did.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::book::Transactions;
use super::gate::Gate;
use super::ledger::Ledger;
use crate::chaos::history::History;
use crate::chaos::tally::Tally;

/// What all clients share.
#[derive(Debug)]
pub struct Shared {
    /// What they asked and heard of registers and lists.
    pub history: History,
    /// How it ended, and when.
    pub tally: Tally,
    /// Open while they may ask.
    pub gate: Gate,
    /// What they wrote besides registers and lists.
    pub ledger: Ledger,
    /// What they did to some records at once.
    pub transactions: Transactions,
    /// The round: part of every key, so that no key's history grows without bound.
    round: AtomicU64,
    /// The next value: every value is written once.
    values: AtomicU64,
    /// Appends of this round.
    pub(super) appends: AtomicU64,
    /// Keys of the history that this round used.
    touched: Mutex<BTreeSet<String>>,
}

impl Shared {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new(history: History) -> Shared {
        Shared {
            history,
            tally: Tally::default(),
            gate: Gate::default(),
            ledger: Ledger::default(),
            transactions: Transactions::default(),
            round: AtomicU64::new(1),
            values: AtomicU64::new(1),
            appends: AtomicU64::new(0),
            touched: Mutex::default(),
        }
    }

    /// The round under way.
    #[must_use]
    pub fn round(&self) -> u64 {
        self.round.load(Ordering::Relaxed)
    }

    /// Begins the next round; clients must be outside the gate. Returns the keys that the last one used.
    pub fn next_round(&self) -> BTreeSet<String> {
        self.round.fetch_add(1, Ordering::Relaxed);
        self.appends.store(0, Ordering::Relaxed);
        std::mem::take(&mut self.touched.lock())
    }

    pub(super) fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn touch(&self, key: &str) {
        let mut touched = self.touched.lock();
        if !touched.contains(key) {
            touched.insert(key.to_owned());
        }
    }
}
