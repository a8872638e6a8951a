//! The age of an entry: the last defence, behind the lease.
//!
//! The lease proves that each change up to A has dropped its key. Whatever that proof overlooks (a fault of the store, of the bus's key
//! holders, of this code), an entry is served no longer than the maximum age after the read or write that it came from was begun: then
//! the store is asked again. No event and no freshness heartbeat makes an entry younger.

use super::Coherence;

/// The maximum age of an entry, unless configured: 10 minutes.
pub const AGE_MS_MAX_DEFAULT: u64 = 600_000;

impl Coherence {
    /// The same, with this maximum age of its entries, milliseconds.
    #[must_use]
    pub fn with_age_max(mut self, age_ms_max: u64) -> Coherence {
        assert!(age_ms_max > 0, "an entry may be served for some time");
        self.age_ms_max = age_ms_max;
        self
    }

    /// Whether an entry may be served that came from a read or write begun then.
    #[must_use]
    pub fn serves_entry_of(&self, begun_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(begun_ms) < self.age_ms_max
    }
}
