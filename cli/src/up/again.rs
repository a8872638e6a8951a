//! The restart of a part that ended by itself: after a pause that grows while it ends again and again.

use std::time::{Duration, Instant};

/// The first pause; the next is twice as long.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A part that ran for so long has recovered from what ended it before.
const RAN_WELL: Duration = Duration::from_secs(60);

/// The starts of one part.
#[derive(Clone, Debug, Default)]
pub struct Again {
    /// Ends in a row.
    ends: u32,
    /// When it was started last.
    started: Option<Instant>,
    /// When it is to be started again.
    due: Option<Instant>,
}

impl Again {
    /// It was started.
    pub fn started(&mut self, now: Instant) {
        self.started = Some(now);
        self.due = None;
    }

    /// It ended by itself; how long until it is started again.
    pub fn ended(&mut self, now: Instant) -> Duration {
        if self.started.is_some_and(|started| now.duration_since(started) >= RAN_WELL) {
            self.ends = 0;
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << self.ends.min(16)).min(PAUSE_MAX);
        self.ends = self.ends.saturating_add(1);
        self.due = Some(now + pause);
        pause
    }

    /// Ends in a row.
    #[must_use]
    pub fn ends(&self) -> u32 {
        self.ends
    }

    /// Somebody else decides about it from now on. True: it was waiting for its start.
    pub fn forget(&mut self) -> bool {
        let waited = self.due.take().is_some();
        self.ends = 0;
        waited
    }

    /// Whether its time has come; it is asked about once.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_until_the_part_runs_well() {
        let (mut again, mut now) = (Again::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            again.started(now);
            let pause = again.ended(now);
            assert!(!again.is_due(now));
            now += pause;
            assert!(again.is_due(now) && !again.is_due(now));
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        again.started(now);
        assert_eq!(again.ended(now + RAN_WELL), PAUSE_FIRST);
        assert!(again.forget() && !again.forget());
        assert!(!again.is_due(now + PAUSE_MAX + RAN_WELL));
    }
}
