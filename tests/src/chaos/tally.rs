//! The clients' results: operations by outcome, and when writes succeeded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// With an answer of the state machine.
    Ok,
    /// It did not happen.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Counted over a whole run.
#[derive(Debug, Default)]
pub struct Tally {
    /// By kind of operation and how it ended.
    counts: Mutex<BTreeMap<(&'static str, Ended), u64>>,
    /// When each write succeeded.
    successes: Mutex<Vec<Instant>>,
    /// What no client may ever hear.
    anomalies: Mutex<Vec<String>>,
}

impl Tally {
    /// Counts an operation.
    pub fn count(&self, kind: &'static str, ended: Ended, is_write: bool) {
        *self.counts.lock().entry((kind, ended)).or_default() += 1;
        if is_write && ended == Ended::Ok {
            self.successes.lock().push(Instant::now());
        }
    }

    /// Notes what must not be.
    pub fn anomaly(&self, what: String) {
        self.anomalies.lock().push(what);
    }

    /// What must not be and was.
    #[must_use]
    pub fn anomalies(&self) -> Vec<String> {
        self.anomalies.lock().clone()
    }

    /// Operations by kind and how they ended.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(&'static str, Ended), u64> {
        self.counts.lock().clone()
    }

    /// Successful writes so far.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.successes.lock().len()
    }

    /// The longest time without a successful write between the last one before `from` and now; the time until now
    /// counts.
    #[must_use]
    pub fn longest_gap(&self, from: Instant) -> Duration {
        let successes = self.successes.lock();
        let first = successes.partition_point(|at| *at < from).saturating_sub(1);
        longest_gap(&successes[first.min(successes.len())..], Instant::now())
    }
}

fn longest_gap(successes: &[Instant], until: Instant) -> Duration {
    let ends = successes.iter().skip(1).copied().chain([until]);
    successes
        .iter()
        .zip(ends)
        .map(|(begun, ended)| ended.saturating_duration_since(*begun))
        .max()
        .unwrap_or_default()
}

/// Of some times the median, that which nine of ten do not exceed, and the worst.
#[must_use]
pub fn spread(times: &[Duration]) -> Option<[Duration; 3]> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |place: usize| sorted.get(place.min(sorted.len().saturating_sub(1))).copied();
    Some([at(sorted.len() / 2)?, at(sorted.len() * 9 / 10)?, at(usize::MAX)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_counts_the_one_that_is_open() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        assert_eq!(longest_gap(&[at(0), at(10), at(50)], at(60)), Duration::from_millis(40));
        assert_eq!(longest_gap(&[at(0), at(10), at(50)], at(100)), Duration::from_millis(50));
        assert_eq!(longest_gap(&[], at(9)), Duration::ZERO);
    }

    #[test]
    fn the_middle_of_none_is_none() {
        assert_eq!(spread(&[]), None);
        let ms = Duration::from_millis;
        assert_eq!(spread(&[ms(9), ms(1), ms(5)]), Some([ms(5), ms(9), ms(9)]));
        let many: Vec<Duration> = (1..=20).map(ms).collect();
        assert_eq!(spread(&many), Some([ms(11), ms(19), ms(20)]));
    }
}
