//! The trace of a run, to compare it with another: one number over everything that happened, and, if somebody
//! watches, the last of it in words.

use std::collections::VecDeque;

use crate::time::Micros;

/// PeerConnections that are kept.
const LINES_MAX: usize = 80;

/// The trace of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    /// Events so far.
    events: u64,
    watch: bool,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new(watch: bool) -> Trace {
        Trace { hash: 0x51_7c_c1_b7_27_22_0a_95, events: 0, watch, lines: VecDeque::new() }
    }

    /// Something happened.
    pub(crate) fn event(&mut self, at: Micros, what: u64, a: u64, b: u64) {
        self.events += 1;
        for word in [at, what, a, b] {
            self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// Something that a person wants to know happened.
    pub(crate) fn say(&mut self, at: Micros, what: impl FnOnce() -> String) {
        self.event(at, 9, 0, 0);
        if self.watch {
            if self.lines.len() == LINES_MAX {
                self.lines.pop_front();
            }
            let (seconds, micros) = (at / 1_000_000, at % 1_000_000);
            self.lines.push_back(format!("{seconds:>4}.{micros:06} {}", what()));
        }
    }

    /// One number over all of it.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
