//! Pauses between attempts at the same thing: doubled each time, with jitter.
//!
//! Promises: repeated failures make the attempts ever more seldom, whatever they brought; the pause is short again only
//! after an attempt that lasted ([`Backoff::after`]) or got on ([`Backoff::reset`]). A connection that is made and lost at
//! once, for the same reason each time, did neither.

use std::time::Duration;

/// An attempt that lasted so long went well.
const STEADY: Duration = Duration::from_secs(5);
/// Doublings that are counted: beyond them every pause is the longest.
const DOUBLINGS_MAX: u32 = 16;

/// See the file.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// The first pause, milliseconds.
    first_ms: u64,
    /// The longest one.
    most_ms: u64,
    /// Attempts that failed one after the other.
    failures: u32,
}

impl Backoff {
    /// Pauses from `first_ms` to `most_ms` milliseconds.
    #[must_use]
    pub const fn new(first_ms: u64, most_ms: u64) -> Backoff {
        Backoff { first_ms, most_ms, failures: 0 }
    }

    /// The attempt got on: the next pause is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after an attempt that lasted so long.
    pub fn after(&mut self, lasted: Duration) -> Duration {
        if lasted >= STEADY {
            self.reset();
        }
        let longest = self.longest_ms();
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(fastrand::u64(longest / 2..=longest))
    }

    fn longest_ms(&self) -> u64 {
        self.most_ms.min(self.first_ms << self.failures.min(DOUBLINGS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_when_the_same_thing_fails_again_and_is_short_after_what_lasted() {
        let mut backoff = Backoff::new(50, 2_000);
        let mut pauses = (0..40).map(|_| backoff.after(Duration::from_millis(100)));
        assert!(pauses.next().is_some_and(|first| first <= Duration::from_millis(50)));
        assert!(pauses.last().is_some_and(|last| last >= Duration::from_millis(1_000)));
        assert!(backoff.after(STEADY) <= Duration::from_millis(50));
        backoff.after(Duration::ZERO);
        backoff.reset();
        assert!(backoff.after(Duration::ZERO) <= Duration::from_millis(50));
    }
}
