//! The hits that the sampler compares, and what it found.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

/// Of so many hits one is offered.
const OFFERED_OF: u32 = 64;
/// Comparisons that begin at a time.
pub(crate) const COMPARED_MAX: usize = 8;

/// What the sampler has seen.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// Keys of hits, to be compared.
    offered: Mutex<Vec<Bytes>>,
    /// Hits compared.
    compared: AtomicU64,
    /// Those among them that were older than the lease.
    stale: AtomicU64,
    /// How long after the store had shown a newer version one was shown still, at most; milliseconds.
    oldest_ms: AtomicU64,
}

/// The counts of [`Samples`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counts {
    pub(crate) compared: u64,
    pub(crate) stale: u64,
    pub(crate) oldest_ms: u64,
}

impl Samples {
    /// A hit was answered.
    pub(crate) fn offer(&self, key: &Bytes) {
        if fastrand::u32(..OFFERED_OF) == 0
            && let Some(mut offered) = self.offered.try_lock()
            && offered.len() < COMPARED_MAX
        {
            offered.push(key.clone());
        }
    }

    /// The keys of the hits that were offered.
    pub(crate) fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.offered.lock())
    }

    pub(crate) fn count_compared(&self) {
        self.compared.fetch_add(1, Ordering::Relaxed);
    }

    /// An older version is shown so long after the store had shown a newer one.
    pub(crate) fn count_old(&self, age: Duration, is_stale: bool) {
        self.stale.fetch_add(u64::from(is_stale), Ordering::Relaxed);
        self.oldest_ms.fetch_max(u64::try_from(age.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            compared: self.compared.load(Ordering::Relaxed),
            stale: self.stale.load(Ordering::Relaxed),
            oldest_ms: self.oldest_ms.load(Ordering::Relaxed),
        }
    }
}
