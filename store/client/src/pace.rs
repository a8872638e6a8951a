//! The pace of a log line that strangers can cause: at most one a second, more seldom while it goes on, with a count.

/// Between two lines, at first.
const PAUSE_MS_MIN: u64 = 1_000;
/// And at most: a line a minute is enough of what does not end.
const PAUSE_MS_MAX: u64 = 60_000;

/// What happened since the last line, and when the next may come. Time is any monotonic clock's, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    /// Since the last line.
    untold: u64,
    /// Not before this; 0: there was none.
    next_ms: u64,
    /// Before the next but one.
    pause_ms: u64,
}

impl Pace {
    /// It happened (again); `Some`: a line may be logged, of so many times since the last one.
    pub fn note(&mut self, now_ms: u64) -> Option<u64> {
        self.untold += 1;
        if self.next_ms > 0 && now_ms < self.next_ms {
            return None;
        }
        let ended = self.next_ms == 0 || now_ms - self.next_ms > self.pause_ms;
        self.pause_ms = if ended { PAUSE_MS_MIN } else { (self.pause_ms * 2).min(PAUSE_MS_MAX) };
        self.next_ms = now_ms + self.pause_ms;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_at_once_then_ever_more_seldom_and_with_its_count() {
        let mut pace = Pace::default();
        let told: Vec<(u64, u64)> =
            (0..200_000).filter_map(|ms| pace.note(ms).map(|count| (ms, count))).collect();
        let expected = [(0, 1), (1_000, 1_000), (3_000, 2_000), (7_000, 4_000)];
        assert_eq!(told[..4], expected);
        assert!(told.len() < 10 && told[9 - 1..].iter().all(|(_, count)| *count == PAUSE_MS_MAX), "{told:?}");
        assert_eq!((pace.note(900_000), pace.note(900_999)), (Some(200_000 - 183_000), None));
        assert_eq!(pace.note(901_000), Some(2), "after a silence it begins anew");
    }
}
