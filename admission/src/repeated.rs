//! Lines of one kind in the log: seldom, and with a count of those left out.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The shortest time between two lines of a kind.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest: a kind that goes on and on is told less and less often.
const PAUSE_MAX: Duration = Duration::from_secs(32);

/// One kind of line.
#[derive(Debug, Default)]
pub struct Repeated(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When it was told last.
    logged: Option<Instant>,
    /// The pause that began then.
    pause: Duration,
    /// What was not told since.
    left_out: u64,
}

impl Repeated {
    /// Whether to tell it now: `Some` with how many like it were left out since it was told last.
    pub fn tell(&self) -> Option<u64> {
        self.tell_at(Instant::now())
    }

    fn tell_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        let since = state.logged.map(|logged| now.saturating_duration_since(logged));
        if since.is_some_and(|since| since < state.pause) {
            state.left_out += 1;
            return None;
        }
        let goes_on = since.is_some_and(|since| since < 2 * state.pause);
        state.pause = if goes_on { (2 * state.pause).min(PAUSE_MAX) } else { PAUSE_MIN };
        state.logged = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_repeats_is_told_seldom_and_counted() {
        let (repeated, start) = (Repeated::default(), Instant::now());
        let mut logged = Vec::new();
        for tenth in 0..600u64 {
            if let Some(left_out) = repeated.tell_at(start + Duration::from_millis(100 * tenth)) {
                logged.push((tenth, left_out));
            }
        }
        assert_eq!(logged[..3], [(0, 0), (10, 9), (30, 19)]);
        assert!(logged.len() <= 8, "{logged:?}");
        assert!(repeated.tell_at(start + Duration::from_secs(600)).is_some());
    }

    #[test]
    fn after_a_quiet_time_the_pause_is_short_again() {
        let (repeated, start) = (Repeated::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!([0, 1, 3, 100, 101].map(|s| repeated.tell_at(at(s))), [Some(0); 5]);
    }
}
