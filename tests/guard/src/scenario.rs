//! One scenario: its name, its preparation, and the call that is repeated.

/// Runs that are prepared for, whatever number of them is done.
pub(crate) const RUNS_MAX: usize = 2;

/// The repeated call; it is told how many calls came before.
pub(crate) type Call = Box<dyn FnMut(usize)>;

/// A named part of the work.
pub(crate) struct Scenario {
    /// Its name, which stands in the baseline.
    pub(crate) name: &'static str,
    /// One operation, in a few words.
    pub(crate) operation: &'static str,
    /// Calls of one run.
    pub(crate) calls: usize,
    /// Operations that one call does.
    pub(crate) operations_per_call: usize,
    /// Prepares for so many calls.
    pub(crate) prepare: fn(usize) -> Call,
}

impl Scenario {
    /// Operations of one run.
    pub(crate) fn operations(&self) -> usize {
        self.calls * self.operations_per_call
    }

    /// Prepares for all runs, and does so many.
    pub(crate) fn run(&self, times: usize) {
        let mut call = (self.prepare)(self.calls * RUNS_MAX);
        for before in 0..self.calls * times {
            call(before);
        }
        // To free what more runs have made takes longer.
        std::mem::forget(call);
    }
}
