//! The bounds of a check's work: it ends undecided rather than never.

use std::time::{Duration, Instant};

/// Bounds on one judgement.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps of the search for each key; [`Limits::STEPS_MAX`] is the most.
    pub steps_max: u64,
    /// Time for all keys; `None`: the steps alone decide, and the judgement is a function of the history.
    pub time_max: Option<Duration>,
}

impl Limits {
    /// No more steps than this, since places on the way are numbered in 32 bits and memory grows with them.
    pub const STEPS_MAX: u64 = 1 << 31;
}

impl Default for Limits {
    /// Twenty million steps a key, a minute for all.
    fn default() -> Self {
        Limits { steps_max: 20_000_000, time_max: Some(Duration::from_secs(60)) }
    }
}

/// What is left of the limits.
#[derive(Debug)]
pub(crate) struct Budget {
    spent: u64,
    steps_max: u64,
    deadline: Option<Instant>,
    late: bool,
}

/// The clock is read once in so many steps.
const STEPS_A_LOOK: u64 = 1_024;

impl Budget {
    /// For one key, beginning now; `deadline` is the one for all keys.
    pub(crate) fn new(limits: &Limits, deadline: Option<Instant>) -> Self {
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        Budget { spent: 0, steps_max: limits.steps_max.min(Limits::STEPS_MAX), deadline, late }
    }

    /// One more step.
    pub(crate) fn spend(&mut self) {
        self.spent += 1;
        if self.spent.is_multiple_of(STEPS_A_LOOK) {
            self.late = self.late || self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        }
    }

    /// Whether the search must end.
    pub(crate) fn is_used_up(&self) -> bool {
        self.late || self.spent >= self.steps_max
    }

    /// Steps taken.
    pub(crate) fn spent(&self) -> u64 {
        self.spent
    }

    /// Why the search had to end.
    pub(crate) fn reason(&self) -> String {
        if self.late {
            "the time was up".to_owned()
        } else {
            format!("{} steps were not enough", self.steps_max)
        }
    }
}
