//! The arithmetic of the tables: spreads, latencies as histograms of three digits, errors by their reasons. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Digits of a latency that the histogram keeps: an error of a thousandth at most.
const DIGITS: u8 = 3;
/// A latency that is longer counts as this: an hour. No operation has so much patience.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// The lowest, the middle and the highest of some numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// The lowest.
    pub min: f64,
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The highest.
    pub max: f64,
}

impl Spread {
    /// Of these numbers; `None`: there are none.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Some(Spread { min, median, max })
    }
}

/// Latencies of one round, in microseconds; the names are those of `feira bench --json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Half of all took no longer.
    pub p50: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// 999 of 1,000 took no longer.
    pub p99_9: u64,
    /// None took longer.
    pub max: u64,
}

/// What was counted in one round.
#[derive(Debug)]
pub struct Tally {
    /// Of operations that were due within the round and succeeded, in microseconds.
    latencies_us: Histogram<u64>,
    /// Successes whose answers came within the round, whenever they were begun.
    pub answered: u64,
    /// How many failed, by reason.
    pub errors: BTreeMap<String, u64>,
}

impl Default for Tally {
    fn default() -> Tally {
        let latencies_us = Histogram::new(DIGITS).expect("a histogram has 0 to 5 digits");
        Tally { latencies_us, answered: 0, errors: BTreeMap::new() }
    }
}

impl Tally {
    /// Counts a success that was begun within the round.
    pub fn done(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(LATENCY_US_MAX);
        self.latencies_us.record(us).expect("a histogram grows as far as that");
    }

    /// Counts a failure.
    pub fn failed(&mut self, reason: String) {
        *self.errors.entry(reason).or_insert(0) += 1;
    }

    /// The latencies; `None`: nothing succeeded.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        let at = |quantile| self.latencies_us.value_at_quantile(quantile);
        let max = self.latencies_us.max();
        let latency = Latency { p50: at(0.5), p99: at(0.99), p99_9: at(0.999), max };
        (!self.latencies_us.is_empty()).then_some(latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7.0]), Some(Spread { min: 7.0, median: 7.0, max: 7.0 }));
        assert_eq!(of(&[9.0, 1.0, 3.0]), Some(Spread { min: 1.0, median: 3.0, max: 9.0 }));
        assert_eq!(of(&[4.0, 1.0, 9.0, 2.0]), Some(Spread { min: 1.0, median: 3.0, max: 9.0 }));
    }

    #[test]
    fn latencies_are_of_successes_and_errors_are_counted_by_reason() {
        let mut tally = Tally::default();
        assert_eq!(tally.latency(), None);
        (1..=1_000).for_each(|us| tally.done(Duration::from_micros(us)));
        tally.failed("CONFLICT".to_owned());
        tally.failed("CONFLICT".to_owned());
        assert_eq!(tally.latency(), Some(Latency { p50: 500, p99: 990, p99_9: 999, max: 1_000 }));
        assert_eq!(tally.errors.into_iter().collect::<Vec<_>>(), [("CONFLICT".to_owned(), 2)]);
    }

    #[test]
    fn a_latency_of_any_length_is_counted() {
        let mut tally = Tally::default();
        tally.done(Duration::MAX);
        assert!(tally.latency().is_some_and(|latency| latency.max >= LATENCY_US_MAX));
    }
}
