//! The counts of requests, by operation, transport and how they ended.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// It was done.
    Done,
    /// For this documented reason.
    Refused(&'static str),
    /// Nobody learnt what became of a change.
    Unknown,
    /// A read was not answered in time.
    NoAnswer,
}

/// Counted over a whole run.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<BTreeMap<(&'static str, &'static str, Ended), u64>>,
    repeated: Mutex<u64>,
}

impl Tally {
    /// Counts a request.
    pub fn count(&self, operation: &'static str, via: &'static str, ended: Ended) {
        *self.counts.lock().entry((operation, via, ended)).or_default() += 1;
    }

    /// A change that was done was repeated under its id, and answered as it was then.
    pub fn count_repeated(&self) {
        *self.repeated.lock() += 1;
    }

    /// So far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { counts: self.counts.lock().clone(), repeated: *self.repeated.lock() }
    }
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// By operation, transport and end.
    pub counts: BTreeMap<(&'static str, &'static str, Ended), u64>,
    /// Changes that were done and repeated.
    pub repeated: u64,
}

impl Counts {
    /// Requests that ended so, of any operation, over this transport.
    pub fn over(&self, via: &str, ends: impl Fn(Ended) -> bool) -> u64 {
        self.sum(|(_, over, ended)| *over == via && ends(*ended))
    }

    fn sum(&self, wanted: impl Fn(&(&'static str, &'static str, Ended)) -> bool) -> u64 {
        self.counts.iter().filter(|(of, _)| wanted(of)).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:<5} {:>8} {:>8} {:>8} {:>9}",
            "OPERATION", "OVER", "DONE", "REFUSED", "UNKNOWN", "NO ANSWER"
        )?;
        let kinds: std::collections::BTreeSet<_> =
            self.counts.keys().map(|(what, via, _)| (*what, *via)).collect();
        for (what, via) in kinds {
            let of = |ends: fn(&Ended) -> bool| {
                self.sum(|(one, over, ended)| (*one, *over) == (what, via) && ends(ended))
            };
            let (done, refused) = (of(|end| *end == Ended::Done), of(|end| matches!(end, Ended::Refused(_))));
            let (unknown, none) = (of(|end| *end == Ended::Unknown), of(|end| *end == Ended::NoAnswer));
            writeln!(f, "{what:<16} {via:<5} {done:>8} {refused:>8} {unknown:>8} {none:>9}")?;
        }
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for ((_, _, ended), count) in &self.counts {
            if let Ended::Refused(reason) = ended {
                *reasons.entry(reason).or_default() += count;
            }
        }
        let reasons: Vec<String> =
            reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        writeln!(f, "refusals: {}", reasons.join(", "))?;
        write!(f, "changes repeated under their id and answered as before: {}", self.repeated)
    }
}
