//! A portal's estimate of the store's log time.
//!
//! Deadlines are by the log's time, which no single clock decides, and the store guards them (`not_before_ms`). A portal only needs to
//! know when it is worth asking. It goes by its own clock, corrected by what the store has shown: an order that was stamped, and a refusal as
//! too early, say what the log time was between the sending of the request and its answer.
//!
//! Promises: none that anything correct rests on. With a clock that is wrong by hours, and after one answer of the store, the
//! estimate is off by no more than that answer took. Older knowledge yields to newer, since clocks are set.

use parking_lot::Mutex;

/// Bounds of the log time less the portal's monotonic time, milliseconds.
#[derive(Clone, Copy, Debug)]
struct Offset {
    least: i64,
    most: i64,
}

/// An estimate of the log time.
#[derive(Debug)]
pub(crate) struct LogTime(Mutex<Offset>);

impl Default for LogTime {
    fn default() -> LogTime {
        LogTime(Mutex::new(Offset { least: i64::MIN, most: i64::MAX }))
    }
}

impl LogTime {
    /// The log time now: `clock_ms` is what the portal's own clock says, `now_ms` its monotonic time.
    #[must_use]
    pub(crate) fn estimate_ms(&self, clock_ms: i64, now_ms: u64) -> i64 {
        let now_ms = signed(now_ms);
        let Offset { least, most } = *self.0.lock();
        clock_ms.saturating_sub(now_ms).clamp(least, most).saturating_add(now_ms)
    }

    /// The log time was this at some point between these monotonic times.
    pub(crate) fn saw(&self, log_time_ms: i64, sent_ms: u64, answered_ms: u64) {
        let least = log_time_ms.saturating_sub(signed(answered_ms.max(sent_ms)));
        let most = log_time_ms.saturating_sub(signed(sent_ms));
        let mut known = self.0.lock();
        let both = Offset { least: known.least.max(least), most: known.most.min(most) };
        *known = if both.least <= both.most { both } else { Offset { least, most } };
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn without_any_answer_it_is_the_own_clock() {
        assert_eq!(LogTime::default().estimate_ms(1_000_000, 5), 1_000_000);
    }

    #[test]
    fn one_answer_corrects_a_clock_that_is_an_hour_off() {
        for wrong_ms in [-HOUR_MS, HOUR_MS] {
            let time = LogTime::default();
            time.saw(50_000, 1_000, 1_004);
            let now = time.estimate_ms(51_000 + wrong_ms, 2_000);
            assert!((50_996..=51_000).contains(&now), "{now}");
        }
    }

    #[test]
    fn newer_knowledge_counts_where_clocks_were_set() {
        let time = LogTime::default();
        time.saw(50_000, 1_000, 1_004);
        time.saw(50_000 + HOUR_MS, 2_000, 2_004);
        let now = time.estimate_ms(0, 2_004);
        assert!((50_000 + HOUR_MS..=50_004 + HOUR_MS).contains(&now), "{now}");
    }
}
