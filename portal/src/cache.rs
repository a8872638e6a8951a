//! The LRU of records and of absences, each with the offset at which it was true (docs/PROTOCOL.md, 5).
//!
//! Promises: the promise of [`crate::coherence`] on hits holds here, since both are under one lock; a fill that was
//! overtaken by an event, a flush or SUSPECT is thrown away; entries and their bytes are bounded.
//! Leaves out: reading the store (`reader`) and the bus (`bus`).

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use proto::store::Record;
use store_core::mutant;

use crate::coherence::{Coherence, Input, Output, State, Totals};

/// A record or its absence, and how it is known.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// The record; `None`: there is none.
    pub record: Option<Record>,
    /// The log offset at which this was true.
    pub at: u64,
    /// A transaction over several groups was about to write it: it may be otherwise already.
    pub pending: bool,
    /// How old it may be, milliseconds; 0 if the store was just asked.
    pub age_ms: u64,
    /// It came from the cache.
    pub hit: bool,
}

impl Seen {
    /// Whoever was shown this is shown nothing older, once every change up to here is known.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.record.as_ref().map_or(self.at, Record::offset)
    }
}

/// What the cache says about a key.
#[derive(Debug)]
pub enum Lookup {
    /// This is it.
    Hit(Seen),
    /// Read the store with at least this offset, and [`Cache::fill`] with the token.
    Miss {
        /// The read's `min_offset`.
        min_offset: u64,
        /// Notices what happens to the key meanwhile.
        token: Token,
    },
    /// The cache cannot be trusted now: read the store and do not fill.
    Bypass,
}

/// Watches one key from before a read or write of the store until its answer is here.
#[derive(Debug)]
pub struct Token {
    cache: Arc<Cache>,
    key: Bytes,
    group: u64,
    generation: u64,
    /// Events of the key seen when the token was taken.
    events: u64,
}

impl Drop for Token {
    fn drop(&mut self) {
        self.cache.lock().unwatch(&self.key);
    }
}

/// How large the cache may grow.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Keys.
    pub entries: NonZeroUsize,
    /// Bytes of keys and data together, roughly.
    pub bytes: usize,
}

/// What the cache has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Lookups answered.
    pub hits: u64,
    /// Lookups that had to read the store, and may fill.
    pub misses: u64,
    /// Lookups while the cache could not be trusted.
    pub bypasses: u64,
}

/// What is cached of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shown {
    /// The offset of the record's version; `None`: that it is not there.
    pub(crate) version: Option<u64>,
    /// The log offset at which this was true.
    pub(crate) at: u64,
}

/// How a group's cache stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupView {
    /// Which group.
    pub group: u64,
    /// Its state.
    pub state: State,
    /// A.
    pub applied: u64,
    /// Milliseconds left of the lease.
    pub lease_left_ms: u64,
    /// Gaps seen.
    pub gaps: u64,
    /// Flushes made.
    pub flushes: u64,
    /// Deliveries of the bus that were none of the group's log.
    pub ignored: u64,
    /// Those among them that its cluster's key does not prove.
    pub unproven: u64,
    /// Time in which hits were not served.
    pub idle_ms: u64,
}

/// The cache of one portal.
#[derive(Debug)]
pub struct Cache {
    inner: Mutex<Inner>,
    capacity: Capacity,
}

#[derive(Debug)]
struct Inner {
    /// Least recently used first to go.
    entries: LruCache<Bytes, Entry>,
    /// Weight of all entries.
    bytes: usize,
    /// One state machine a group.
    groups: HashMap<u64, Coherence>,
    /// Keys that tokens watch.
    watched: HashMap<Bytes, Watch>,
    counts: Counts,
}

#[derive(Debug)]
struct Entry {
    group: u64,
    record: Option<Record>,
    /// The log offset at which this was true.
    at: u64,
}

#[derive(Debug, Default)]
struct Watch {
    /// Events of the key since the first of its tokens was taken.
    events: u64,
    /// Tokens.
    holders: usize,
}

/// What an entry costs besides its key and data: list and map nodes, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 160;

fn weight(key: &Bytes, entry: &Entry) -> usize {
    let data = entry.record.as_ref().map_or(0, |record| record.data.len());
    key.len() + data + ENTRY_OVERHEAD_BYTES
}

impl Cache {
    /// An empty cache over these groups.
    #[must_use]
    pub fn new(capacity: Capacity, groups: impl IntoIterator<Item = (u64, Coherence)>) -> Arc<Cache> {
        let inner = Inner {
            entries: LruCache::new(capacity.entries),
            bytes: 0,
            groups: groups.into_iter().collect(),
            watched: HashMap::new(),
            counts: Counts::default(),
        };
        Arc::new(Cache { inner: Mutex::new(inner), capacity })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// What is known of a key now. A hit is known to be true up to `needs` at least: what a session has seen.
    pub fn lookup(self: &Arc<Cache>, group: u64, key: &Bytes, needs: u64, now_ms: u64) -> Lookup {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(coherence) = inner.groups.get(&group).filter(|one| one.is_live(now_ms)) else {
            inner.counts.bypasses += 1;
            return Lookup::Bypass;
        };
        let applied = coherence.applied();
        let knows_enough = |entry: &&Entry| applied.max(entry.at) >= needs || mutant!(TokenIgnored);
        if let Some(entry) = inner.entries.get(key).filter(knows_enough) {
            inner.counts.hits += 1;
            let (record, at) = (entry.record.clone(), entry.at);
            let age_ms = coherence.age_ms(now_ms);
            return Lookup::Hit(Seen { record, at, pending: false, age_ms, hit: true });
        }
        inner.counts.misses += 1;
        let min_offset = applied;
        let generation = coherence.generation();
        Lookup::Miss { min_offset, token: self.token(inner, group, key, generation) }
    }

    /// What a hit would show now, without being one.
    pub(crate) fn peek(&self, group: u64, key: &Bytes, now_ms: u64) -> Option<Shown> {
        let inner = self.lock();
        inner.groups.get(&group).filter(|one| one.is_live(now_ms))?;
        let entry = inner.entries.peek(key)?;
        Some(Shown { version: entry.record.as_ref().map(Record::offset), at: entry.at })
    }

    /// What the cache shows was found wrong: it begins anew.
    pub(crate) fn distrust(&self, group: u64, now_ms: u64) {
        let generation = self.lock().groups.get(&group).map_or(0, Coherence::generation);
        self.step(group, now_ms, Input::Beyond { generation });
    }

    /// Watches a key that is about to be written, or read past the cache; what is cached of it is not touched.
    pub fn watch(self: &Arc<Cache>, group: u64, key: &Bytes) -> Token {
        let mut inner = self.lock();
        let generation = inner.groups.get(&group).map_or(0, Coherence::generation);
        self.token(&mut inner, group, key, generation)
    }

    fn token(self: &Arc<Cache>, inner: &mut Inner, group: u64, key: &Bytes, generation: u64) -> Token {
        let watch = inner.watched.entry(key.clone()).or_default();
        watch.holders += 1;
        Token { cache: self.clone(), key: key.clone(), group, generation, events: watch.events }
    }

    /// What the store said about the token's key, at offset `at`. Kept if nothing happened to the key meanwhile.
    pub fn fill(&self, token: &Token, record: Option<Record>, at: u64, now_ms: u64) {
        let mut inner = self.lock();
        if inner.allows(token, now_ms) {
            let entry = Entry { group: token.group, record, at };
            inner.insert(token.key.clone(), entry, self.capacity.bytes);
        }
    }

    /// An own write of the token's key was done at offset `at`, before its answer goes out. What was cached is gone, and
    /// so are fills under way, which may have read the past; what was written (`Some`: known; of that, `None`: deleted)
    /// takes its place if nothing happened meanwhile.
    pub fn written(&self, token: &Token, written: Option<Option<Record>>, at: u64, now_ms: u64) {
        let mut inner = self.lock();
        let newer = inner.groups.get(&token.group).is_some_and(|one| at > one.applied());
        let undisturbed = newer && inner.allows(token, now_ms);
        inner.changed(&token.key, at);
        if let Some(record) = written.filter(|_| undisturbed) {
            let entry = Entry { group: token.group, record, at };
            inner.insert(token.key.clone(), entry, self.capacity.bytes);
        }
    }

    /// Forgets a key, which may have been written, and voids fills of it under way.
    pub fn forget(&self, key: &Bytes) {
        self.lock().changed(key, u64::MAX);
    }

    /// Steps a group's state machine: drops and flushes are carried out, the rest comes back.
    pub fn step(&self, group: u64, now_ms: u64, input: Input) -> Vec<Output> {
        let mut inner = self.lock();
        let mut outputs = Vec::new();
        if let Some(coherence) = inner.groups.get_mut(&group) {
            coherence.step(now_ms, input, &mut outputs);
        }
        outputs.retain(|output| match output {
            Output::Drop { key, offset } => {
                inner.changed(key, *offset);
                false
            }
            Output::Flush => {
                inner.flush(group);
                false
            }
            Output::Subscribe
            | Output::ReadBarrier { .. }
            | Output::Repair { .. }
            | Output::Ignored { .. } => true,
        });
        outputs
    }

    /// A linearizable read, begun with this token, reflects less than A said then: A is not of this log.
    pub fn beyond(&self, token: &Token, now_ms: u64) {
        let outputs = self.step(token.group, now_ms, Input::Beyond { generation: token.generation });
        assert!(outputs.is_empty(), "the next tick says what is to be done");
    }

    /// The log that a group's messages must be of; 0: not known.
    #[must_use]
    pub fn log_id(&self, group: u64) -> u64 {
        self.lock().groups.get(&group).map_or(0, Coherence::log_id)
    }

    /// What the cache has done.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// How many keys are cached.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether nothing is cached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How large it may grow.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// How each group stands, by number.
    #[must_use]
    pub fn groups(&self, now_ms: u64) -> Vec<GroupView> {
        let inner = self.lock();
        let mut views: Vec<GroupView> = inner
            .groups
            .iter()
            .map(|(group, one)| {
                let Totals { gaps, flushes, ignored, unproven, idle_ms } = one.totals(now_ms);
                let (state, applied) = (one.state(now_ms), one.applied());
                let lease_left_ms = one.lease_left_ms(now_ms);
                GroupView {
                    group: *group,
                    state,
                    applied,
                    lease_left_ms,
                    gaps,
                    flushes,
                    ignored,
                    unproven,
                    idle_ms,
                }
            })
            .collect();
        views.sort_unstable_by_key(|view| view.group);
        views
    }
}

impl Inner {
    fn allows(&self, token: &Token, now_ms: u64) -> bool {
        let valid = |one: &Coherence| one.is_live(now_ms) && one.generation() == token.generation;
        self.groups.get(&token.group).is_some_and(valid)
            && (mutant!(FillWithoutToken)
                || self.watched.get(&token.key).is_some_and(|watch| watch.events == token.events))
    }

    fn unwatch(&mut self, key: &Bytes) {
        let Some(watch) = self.watched.get_mut(key) else { return };
        watch.holders -= 1;
        if watch.holders == 0 {
            self.watched.remove(key);
        }
    }

    fn changed(&mut self, key: &Bytes, offset: u64) {
        if let Some(watch) = self.watched.get_mut(key) {
            watch.events += 1;
        }
        self.drop_older(key, offset);
    }

    /// Drops an entry unless it already reflects the log up to `offset`.
    fn drop_older(&mut self, key: &Bytes, offset: u64) {
        if self.entries.peek(key).is_some_and(|entry| entry.at < offset)
            && let Some(entry) = self.entries.pop(key)
        {
            self.bytes -= weight(key, &entry);
        }
    }

    fn insert(&mut self, key: Bytes, entry: Entry, bytes_max: usize) {
        // Never back in time: another fill may have been quicker.
        if self.entries.peek(&key).is_some_and(|there| there.at > entry.at) {
            return;
        }
        self.bytes += weight(&key, &entry);
        if let Some((key, gone)) = self.entries.push(key, entry) {
            self.bytes -= weight(&key, &gone);
        }
        while self.bytes > bytes_max {
            let Some((key, gone)) = self.entries.pop_lru() else { break };
            self.bytes -= weight(&key, &gone);
        }
    }

    fn flush(&mut self, group: u64) {
        if self.groups.len() == 1 {
            self.entries.clear();
            self.bytes = 0;
            return;
        }
        let keys: Vec<Bytes> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.group == group)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.drop_older(&key, u64::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE_MS: u64 = 1_000;

    fn live(entries: usize, bytes: usize) -> Arc<Cache> {
        let entries = NonZeroUsize::new(entries).expect("some room");
        let groups = [1, 2].map(|group| (group, Coherence::new(group, 1, LEASE_MS, 0)));
        let cache = Cache::new(Capacity { entries, bytes }, groups);
        for group in [1, 2] {
            cache.step(group, 0, Input::Connected);
            let outputs = cache.step(group, 0, Input::Subscribed);
            let [Output::ReadBarrier { number }] = outputs[..] else { panic!("{outputs:?}") };
            cache.step(group, 0, Input::Barrier { number, started_ms: 0, offset: 10, epoch: 1, log_id: 1 });
        }
        cache
    }

    fn record(data: &str) -> Option<Record> {
        Some(Record { data: Bytes::copy_from_slice(data.as_bytes()), ..Record::default() })
    }

    fn miss(cache: &Arc<Cache>, group: u64, key: &Bytes) -> Token {
        match cache.lookup(group, key, 0, 1) {
            Lookup::Miss { min_offset: 10, token } => token,
            other => panic!("a miss: {other:?}"),
        }
    }

    fn is_hit(cache: &Arc<Cache>, group: u64, key: &Bytes) -> bool {
        matches!(cache.lookup(group, key, 0, 1), Lookup::Hit(_))
    }

    fn event(cache: &Cache, group: u64, previous: u64, offset: u64, key: &Bytes) {
        let change = proto::store::Change { offset, previous, keys: vec![key.clone()], epoch: 1 };
        let events = proto::store::Events { changes: vec![change] };
        let kind = Some(proto::store::bus_message::Kind::Events(events));
        let message = proto::store::BusMessage { group, ring_version: 1, epoch: 1, kind, log_id: 1 };
        cache.step(group, 1, Input::Message(message));
    }

    #[test]
    fn presence_and_absence_are_kept() {
        let (cache, a, b) = (live(8, 1 << 20), Bytes::from("a"), Bytes::from("b"));
        cache.fill(&miss(&cache, 1, &a), record("1"), 11, 1);
        cache.fill(&miss(&cache, 1, &b), None, 11, 1);
        let Lookup::Hit(seen) = cache.lookup(1, &b, 0, 5) else { panic!("an absence is cached") };
        assert_eq!((seen.record, seen.at, seen.age_ms), (None, 11, 5));
        assert!(is_hit(&cache, 1, &a));
        assert_eq!(cache.counts(), Counts { hits: 2, misses: 2, bypasses: 0 });
        assert!(matches!(cache.lookup(1, &a, 0, LEASE_MS), Lookup::Bypass), "the lease is over");
    }

    #[test]
    fn an_event_voids_a_fill_under_way() {
        let (cache, a) = (live(8, 1 << 20), Bytes::from("a"));
        let token = miss(&cache, 1, &a);
        event(&cache, 1, 10, 12, &a);
        cache.fill(&token, record("old"), 11, 1);
        assert!(!is_hit(&cache, 1, &a));
    }

    #[test]
    fn an_event_spares_what_already_reflects_it() {
        let (cache, a) = (live(8, 1 << 20), Bytes::from("a"));
        cache.fill(&miss(&cache, 1, &a), record("new"), 12, 1);
        event(&cache, 1, 10, 12, &a);
        assert!(is_hit(&cache, 1, &a));
        event(&cache, 1, 12, 13, &a);
        assert!(!is_hit(&cache, 1, &a));
    }

    #[test]
    fn an_own_write_replaces_what_was_cached() {
        let (cache, a) = (live(8, 1 << 20), Bytes::from("a"));
        cache.fill(&miss(&cache, 1, &a), record("1"), 11, 1);
        let token = cache.watch(1, &a);
        cache.written(&token, Some(record("2")), 12, 1);
        let Lookup::Hit(seen) = cache.lookup(1, &a, 0, 1) else { panic!("refilled") };
        assert_eq!(seen.record, record("2"));
        event(&cache, 1, 10, 13, &a);
        cache.written(&token, Some(record("2")), 12, 1);
        assert!(!is_hit(&cache, 1, &a), "an event of the key came first");
    }

    #[test]
    fn an_own_write_voids_fills_that_may_have_read_the_past() {
        let (cache, a) = (live(8, 1 << 20), Bytes::from("a"));
        for forgotten in [false, true] {
            let reader = miss(&cache, 1, &a);
            let writer = cache.watch(1, &a);
            if forgotten {
                cache.forget(&a);
            } else {
                cache.written(&writer, None, 12, 1);
            }
            cache.fill(&reader, record("old"), 11, 1);
            assert!(!is_hit(&cache, 1, &a));
        }
    }

    #[test]
    fn a_flush_takes_its_group_only_and_voids_fills() {
        let (cache, a, b) = (live(8, 1 << 20), Bytes::from("a"), Bytes::from("b"));
        cache.fill(&miss(&cache, 1, &a), record("1"), 11, 1);
        cache.fill(&miss(&cache, 2, &b), record("1"), 11, 1);
        let token = cache.watch(1, &Bytes::from("c"));
        let outputs = cache.step(1, 1, Input::Subscribed);
        let [Output::ReadBarrier { number }] = outputs[..] else { panic!("{outputs:?}") };
        cache.step(1, 1, Input::Barrier { number, started_ms: 1, offset: 10, epoch: 1, log_id: 1 });
        cache.fill(&token, record("1"), 11, 1);
        assert!(!is_hit(&cache, 1, &a) && !is_hit(&cache, 1, &Bytes::from("c")) && is_hit(&cache, 2, &b));
    }

    #[test]
    fn entries_and_bytes_are_bounded_and_tokens_leave_nothing() {
        let cache = live(4, 4_000);
        for i in 0..100 {
            let key = Bytes::from(format!("key{i}"));
            cache.fill(&miss(&cache, 1, &key), record(&"x".repeat(i * 10)), 11, 1);
        }
        let inner = cache.lock();
        let weights: usize = inner.entries.iter().map(|(key, entry)| weight(key, entry)).sum();
        assert!(inner.entries.len() <= 4 && inner.bytes == weights && weights <= 4_000);
        assert!(inner.watched.is_empty());
    }
}
