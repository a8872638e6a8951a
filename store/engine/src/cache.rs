//! The recent entries of the log in memory, shared by the node (which puts them in), the replicators and the applier
//! (which read them), so that in the normal course nobody reads the log back from disk.
//!
//! Promises: its entries are the last ones that the node handed to the writer; entries that are not durable yet are never
//! evicted (so an entry that is missing here is in the log); everything else is bounded by bytes. It also knows the
//! epoch in which this replica leads: a replicator asks *after* reading whether it still leads. A leader never truncates,
//! so entries read in its epoch are of its log.
//!
//! ```text
//!  offset   evicted │ kept while there is room │ pinned: not durable yet │
//!                   ▲ first                    ▲ durable                 ▲ last
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use store_core::{Entry, Epoch, Offset};

/// What an entry costs in memory besides its payload.
const ENTRY_OVERHEAD_BYTES: usize = 96;

/// The recent entries of one log.
#[derive(Debug)]
pub(crate) struct EntryCache {
    /// Held for copying handles of entries, never across I/O.
    recent: Mutex<Recent>,
}

#[derive(Debug)]
struct Recent {
    /// Consecutive entries.
    entries: VecDeque<Entry<Bytes>>,
    /// What they take.
    bytes: usize,
    /// What they may take.
    bytes_max: usize,
    /// Up to here the log has them on disk.
    durable: Offset,
    /// The epoch that this replica leads.
    leading: Option<Epoch>,
}

fn cost(entry: &Entry<Bytes>) -> usize {
    ENTRY_OVERHEAD_BYTES + entry.payload.len()
}

impl Recent {
    fn first(&self) -> Option<Offset> {
        self.entries.front().map(|entry| entry.position.offset)
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            match self.entries.pop_front_if(|entry| entry.position.offset <= self.durable) {
                Some(entry) => self.bytes -= cost(&entry),
                None => break,
            }
        }
    }
}

impl EntryCache {
    /// An empty cache of a log that is durable up to `durable`.
    #[must_use]
    pub(crate) fn new(bytes_max: usize, durable: Offset) -> EntryCache {
        let recent = Recent { entries: VecDeque::new(), bytes: 0, bytes_max, durable, leading: None };
        EntryCache { recent: Mutex::new(recent) }
    }

    /// Takes entries that continue the log.
    pub(crate) fn append(&self, entries: &[Entry<Bytes>]) {
        let mut recent = self.recent.lock();
        for entry in entries {
            if let Some(last) = recent.entries.back() {
                let next = last.position.offset.next();
                assert_eq!(entry.position.offset, next, "the cache follows the log without a gap");
            }
            recent.bytes += cost(entry);
            recent.entries.push_back(entry.clone());
        }
        recent.evict();
    }

    /// Drops the entry at `from` and all after it.
    pub(crate) fn truncate(&self, from: Offset) {
        let mut recent = self.recent.lock();
        while let Some(entry) = recent.entries.pop_back_if(|entry| entry.position.offset >= from) {
            recent.bytes -= cost(&entry);
        }
        recent.durable = recent.durable.min(from.previous());
    }

    /// Forgets everything: the log begins after `base` now.
    pub(crate) fn reset(&self, base: Offset) {
        let mut recent = self.recent.lock();
        recent.entries.clear();
        recent.bytes = 0;
        recent.durable = base;
    }

    /// Up to here the log has the entries on disk, so that they may be evicted.
    pub(crate) fn durable(&self, up_to: Offset) {
        let mut recent = self.recent.lock();
        recent.durable = recent.durable.max(up_to);
        recent.evict();
    }

    /// This replica leads this epoch from now on, or (`None`) no longer. Called before anything that the change
    /// brings is written.
    pub(crate) fn lead(&self, epoch: Option<Epoch>) {
        self.recent.lock().leading = epoch;
    }

    /// Whether this replica leads `epoch`.
    #[must_use]
    pub(crate) fn leads(&self, epoch: Epoch) -> bool {
        self.recent.lock().leading == Some(epoch)
    }

    /// Adds to `into` the entries from `from` to `up_to`, as many as are here and keep to the limits (but at least
    /// one). False: `from` is not here, look in the log.
    pub(crate) fn read(
        &self,
        from: Offset,
        up_to: Offset,
        limits: Limits,
        into: &mut Vec<Entry<Bytes>>,
    ) -> bool {
        let recent = self.recent.lock();
        let Some(skip) = recent.first().and_then(|first| from.0.checked_sub(first.0)) else { return false };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        if skip >= recent.entries.len() {
            return false;
        }
        let mut bytes = 0;
        for (taken, entry) in recent.entries.range(skip..).enumerate() {
            bytes += entry.payload.len();
            let full = taken >= limits.entries || (taken > 0 && bytes > limits.bytes);
            if full || entry.position.offset > up_to {
                break;
            }
            into.push(entry.clone());
        }
        true
    }
}

/// How much to take at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Entries at most.
    pub entries: usize,
    /// Bytes of payload at most, if it is more than one entry.
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_core::{EntryKind, Position};

    fn entries(offsets: std::ops::RangeInclusive<u64>, size: usize) -> Vec<Entry<Bytes>> {
        let entry = |offset| Entry {
            position: Position::new(1, offset),
            log_time_ms: 0,
            kind: EntryKind::Command,
            payload: Bytes::from(vec![7; size]),
        };
        offsets.map(entry).collect()
    }

    fn read(cache: &EntryCache, from: u64, up_to: u64, limits: Limits) -> Option<Vec<u64>> {
        let mut into = Vec::new();
        let found = cache.read(Offset(from), Offset(up_to), limits, &mut into);
        found.then(|| into.iter().map(|entry| entry.position.offset.0).collect())
    }

    const ANY: Limits = Limits { entries: 100, bytes: 100_000 };

    #[test]
    fn what_is_not_durable_is_never_evicted() {
        let cache = EntryCache::new(1_000, Offset(0));
        cache.append(&entries(1..=20, 104));
        assert_eq!(read(&cache, 1, 20, ANY).map(|found| found.len()), Some(20));
        cache.durable(Offset(18));
        assert_eq!(read(&cache, 15, 20, ANY), None);
        assert_eq!(read(&cache, 16, 20, ANY), Some(vec![16, 17, 18, 19, 20]));
        cache.durable(Offset(20));
        cache.append(&entries(21..=21, 4_000));
        assert_eq!(read(&cache, 20, 21, ANY), None);
        assert_eq!(read(&cache, 21, 21, ANY), Some(vec![21]));
    }

    #[test]
    fn reads_keep_to_their_limits_but_give_at_least_one() {
        let cache = EntryCache::new(100_000, Offset(0));
        cache.append(&entries(1..=9, 100));
        assert_eq!(read(&cache, 2, 9, Limits { entries: 3, bytes: 1_000 }), Some(vec![2, 3, 4]));
        assert_eq!(read(&cache, 2, 9, Limits { entries: 9, bytes: 250 }), Some(vec![2, 3]));
        assert_eq!(read(&cache, 2, 9, Limits { entries: 9, bytes: 1 }), Some(vec![2]));
        assert_eq!(read(&cache, 8, 8, ANY), Some(vec![8]));
        assert_eq!(read(&cache, 10, 12, ANY), None);
    }

    #[test]
    fn truncating_makes_room_for_other_entries_at_the_same_place() {
        let cache = EntryCache::new(100_000, Offset(0));
        cache.append(&entries(1..=9, 100));
        cache.durable(Offset(9));
        cache.truncate(Offset(4));
        cache.append(&entries(4..=5, 10));
        assert_eq!(read(&cache, 3, 9, ANY), Some(vec![3, 4, 5]));
        assert_eq!(cache.recent.lock().durable, Offset(3));
        cache.reset(Offset(50));
        cache.append(&entries(51..=51, 10));
        assert_eq!(read(&cache, 51, 60, ANY), Some(vec![51]));
    }
}
