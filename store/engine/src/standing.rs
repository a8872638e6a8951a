//! The trust in a replica's table, and with it in every snapshot of it.
//!
//! Promises: a snapshot of a table that turned out to be wrong never gets its name, however long it was written and
//! whatever the table has been replaced by meanwhile. Leaves out the detection: `store-core`.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Which of the tables that this replica has had since its start: another one after each quarantine and each replacement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vintage(u64);

impl Vintage {
    fn is_right(self) -> bool {
        self.0.is_multiple_of(2)
    }

    fn next(self) -> Vintage {
        Vintage(self.0 + 1)
    }
}

/// What is thought of the table.
pub(crate) struct Standing {
    /// Odd: the table is wrong. Held while a snapshot gets its name, which is a rename and a sync of the folder.
    vintage: Mutex<Vintage>,
    /// It is wrong; set before a wait for the naming of a snapshot.
    wrong: AtomicBool,
    /// Another replica has another state, and no majority says yet which is right.
    states_differ: AtomicBool,
}

impl Standing {
    pub(crate) fn new(quarantined: bool) -> Standing {
        Standing {
            vintage: Mutex::new(Vintage(u64::from(quarantined))),
            wrong: AtomicBool::new(quarantined),
            states_differ: AtomicBool::new(false),
        }
    }

    pub(crate) fn vintage(&self) -> Vintage {
        *self.vintage.lock()
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        self.wrong.load(Ordering::Relaxed)
    }

    /// Whether a snapshot may go to another replica.
    pub(crate) fn may_give(&self) -> bool {
        !self.states_differ.load(Ordering::Relaxed) && !self.is_quarantined()
    }

    /// From here on the table is wrong. Never waits: a snapshot that is getting its name may get it, and goes with the
    /// others when the table has been replaced.
    pub(crate) fn suspend(&self) {
        self.wrong.store(true, Ordering::Relaxed);
    }

    /// The same, once no snapshot of it is getting its name.
    pub(crate) fn quarantine(&self) {
        self.suspend();
        let mut vintage = self.vintage.lock();
        if vintage.is_right() {
            *vintage = vintage.next();
        }
    }

    /// It was replaced.
    pub(crate) fn end_quarantine(&self) {
        let mut vintage = self.vintage.lock();
        if !vintage.is_right() {
            *vintage = vintage.next();
        }
        self.wrong.store(false, Ordering::Relaxed);
    }

    /// Another replica has another state, or that is settled.
    pub(crate) fn divergence(&self, states_differ: bool) {
        self.states_differ.store(states_differ, Ordering::Relaxed);
    }

    /// Does `work` unless the table of that time has turned out to be wrong; it cannot meanwhile.
    pub(crate) fn if_right<R>(&self, then: Vintage, work: impl FnOnce() -> R) -> Option<R> {
        let now = self.vintage.lock();
        (*now == then && now.is_right() && !self.is_quarantined()).then(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_before_a_quarantine_is_wrong_even_after_the_table_was_replaced() {
        let standing = Standing::new(false);
        let before = standing.vintage();
        assert_eq!(standing.if_right(before, || 1), Some(1));
        standing.suspend();
        assert_eq!(standing.if_right(standing.vintage(), || 1), None);
        standing.quarantine();
        standing.quarantine();
        let meanwhile = standing.vintage();
        assert_eq!((standing.if_right(before, || 1), standing.if_right(meanwhile, || 1)), (None, None));
        standing.end_quarantine();
        assert_eq!((standing.if_right(before, || 1), standing.if_right(meanwhile, || 1)), (None, None));
        assert_eq!(standing.if_right(standing.vintage(), || 1), Some(1));
    }

    #[test]
    fn neither_a_wrong_table_nor_a_doubted_one_is_given_away() {
        let standing = Standing::new(true);
        assert!(!standing.may_give() && standing.is_quarantined());
        standing.end_quarantine();
        assert!(standing.may_give());
        standing.divergence(true);
        assert!(!standing.may_give() && !standing.is_quarantined());
    }
}
