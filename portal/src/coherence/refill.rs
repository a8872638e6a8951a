//! The turns of a group's reads: how many of one portal the store has at once, however many of its keys are not cached.
//!
//! ```text
//!   ask ──► Now ─────────────────────► read ──► end ──► the turn goes to the one that waits longest
//!    │                                  ▲
//!    ├────► Later(n), in order ─────────┘  n's turn
//!    │         └─ give_up(n): n leaves the queue
//!    └────► Refused: as many wait as may
//! ```
//!
//! Promises: at most `under_way_max` reads at once, at most `waiting_max` wait; turns go in the order of asking; a turn that ends or is given
//! up is never lost. So a cache that has lost everything (a flush, another leader, a start) does not bury the store under its misses.
//!
//! No I/O, no clock. Leaves out: the waiting itself, and its end (`refilling`).

use std::collections::VecDeque;

/// The answer to a read that asks for its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// It is its turn.
    Now,
    /// It waits, under this number.
    Later(u64),
    /// Too many wait.
    Refused,
}

/// The reads of one group.
#[derive(Clone, Debug)]
pub struct Refills {
    under_way_max: usize,
    waiting_max: usize,
    /// Reads whose turn it is.
    under_way: usize,
    /// Those that wait, the longest first; their numbers rise.
    waiting: VecDeque<u64>,
    /// The number of the next one that has to wait.
    next: u64,
}

impl Refills {
    /// No reads, and these bounds.
    #[must_use]
    pub fn new(under_way_max: usize, waiting_max: usize) -> Refills {
        assert!(under_way_max > 0, "a read must come to its turn");
        Refills { under_way_max, waiting_max, under_way: 0, waiting: VecDeque::new(), next: 0 }
    }

    /// One more read asks for its turn.
    pub fn ask(&mut self) -> Turn {
        if self.under_way < self.under_way_max {
            self.under_way += 1;
            return Turn::Now;
        }
        if self.waiting.len() == self.waiting_max {
            return Turn::Refused;
        }
        let number = self.next;
        self.next += 1;
        self.waiting.push_back(number);
        Turn::Later(number)
    }

    /// A turn is over. It goes to the read with the number that is returned, if one waits.
    pub fn end(&mut self) -> Option<u64> {
        assert!(self.under_way > 0, "only a turn that was given ends");
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.under_way -= 1;
        }
        next
    }

    /// A read waits no longer. False: it has its turn already, which has to end.
    pub fn give_up(&mut self, number: u64) -> bool {
        let place = self.waiting.binary_search(&number);
        place.is_ok_and(|at| self.waiting.remove(at).is_some())
    }

    /// Reads whose turn it is.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Reads that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turns_go_in_the_order_of_asking() {
        let mut refills = Refills::new(2, 2);
        let asked: Vec<Turn> = (0..5).map(|_| refills.ask()).collect();
        assert_eq!(asked, [Turn::Now, Turn::Now, Turn::Later(0), Turn::Later(1), Turn::Refused]);
        assert_eq!((refills.end(), refills.ask()), (Some(0), Turn::Later(2)));
        assert!(refills.give_up(1) && !refills.give_up(1) && !refills.give_up(0));
        assert_eq!((refills.end(), refills.end(), refills.end()), (Some(2), None, None));
        assert_eq!((refills.under_way(), refills.waiting(), refills.ask()), (0, 0, Turn::Now));
    }

    proptest! {
        /// Whatever is asked, ended and given up in whatever order: the bounds hold, turns go in order, and none is lost.
        #[test]
        fn bounds_hold_and_no_turn_is_lost(
            under_way_max in 1usize..4, waiting_max in 0usize..4, acts in prop::collection::vec((0u8..3, any::<usize>()), 1..200),
        ) {
            let mut refills = Refills::new(under_way_max, waiting_max);
            let (mut running, mut waiting) = (0usize, Vec::<u64>::new());
            for (act, pick) in acts {
                match act {
                    0 => match refills.ask() {
                        Turn::Now => running += 1,
                        Turn::Later(number) => {
                            prop_assert_eq!(running, under_way_max, "nobody waits while there is a turn");
                            waiting.push(number);
                        }
                        Turn::Refused => prop_assert_eq!((running, waiting.len()), (under_way_max, waiting_max)),
                    },
                    1 if running > 0 => {
                        let first = (!waiting.is_empty()).then(|| waiting.remove(0));
                        prop_assert_eq!(refills.end(), first);
                        running -= usize::from(first.is_none());
                    }
                    2 if !waiting.is_empty() => {
                        let number = waiting.remove(pick % waiting.len());
                        prop_assert!(refills.give_up(number) && !refills.give_up(number));
                    }
                    _ => {}
                }
                prop_assert_eq!((refills.under_way(), refills.waiting()), (running, waiting.len()));
                prop_assert!(running <= under_way_max && waiting.len() <= waiting_max);
            }
        }
    }
}
