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
    /// When the read or write was begun.
    begun_ms: u64,
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
    /// Entries that were older than the maximum age when they were looked up, among the misses.
    pub aged: u64,
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
    /// When the read or write that it came from was begun.
    begun_ms: u64,
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
        let (applied, generation) = (coherence.applied(), coherence.generation());
        let mut is_aged = false;
        if let Some(entry) = inner.entries.get(key) {
            is_aged = !coherence.serves_entry_of(entry.begun_ms, now_ms);
            if !is_aged && (applied.max(entry.at) >= needs || mutant!(TokenIgnored)) {
                inner.counts.hits += 1;
                let (record, at) = (entry.record.clone(), entry.at);
                let age_ms = coherence.age_ms(now_ms);
                return Lookup::Hit(Seen { record, at, pending: false, age_ms, hit: true });
            }
        }
        if is_aged {
            // It goes, so that whatever the store says takes its place.
            inner.counts.aged += 1;
            inner.drop_older(key, u64::MAX);
        }
        inner.counts.misses += 1;
        Lookup::Miss { min_offset: applied, token: self.token(inner, group, key, generation, now_ms) }
    }

    /// What a hit would show now, without being one.
    pub(crate) fn peek(&self, group: u64, key: &Bytes, now_ms: u64) -> Option<Shown> {
        let inner = self.lock();
        let coherence = inner.groups.get(&group).filter(|one| one.is_live(now_ms))?;
        let entry = inner.entries.peek(key).filter(|one| coherence.serves_entry_of(one.begun_ms, now_ms))?;
        Some(Shown { version: entry.record.as_ref().map(Record::offset), at: entry.at })
    }

    /// What the cache shows was found wrong: it begins anew.
    pub(crate) fn distrust(&self, group: u64, now_ms: u64) {
        let generation = self.lock().groups.get(&group).map_or(0, Coherence::generation);
        self.step(group, now_ms, Input::Beyond { generation });
    }

    /// Watches a key that is about to be written, or read past the cache; what is cached of it is not touched.
    pub fn watch(self: &Arc<Cache>, group: u64, key: &Bytes, now_ms: u64) -> Token {
        let mut inner = self.lock();
        let generation = inner.groups.get(&group).map_or(0, Coherence::generation);
        self.token(&mut inner, group, key, generation, now_ms)
    }

    /// A token anew for a read that is begun only now, and the read's `min_offset`: what happened to the key or the group since the
    /// first one was taken has happened before it.
    #[must_use]
    pub fn renew(self: &Arc<Cache>, token: &Token, now_ms: u64) -> (u64, Token) {
        let mut inner = self.lock();
        let (applied, generation) =
            inner.groups.get(&token.group).map_or((0, 0), |one| (one.applied(), one.generation()));
        (applied, self.token(&mut inner, token.group, &token.key, generation, now_ms))
    }

    fn token(
        self: &Arc<Cache>,
        inner: &mut Inner,
        group: u64,
        key: &Bytes,
        generation: u64,
        begun_ms: u64,
    ) -> Token {
        let watch = inner.watched.entry(key.clone()).or_default();
        watch.holders += 1;
        Token { cache: self.clone(), key: key.clone(), group, generation, begun_ms, events: watch.events }
    }

    /// What the store said about the token's key, at offset `at`. Kept if nothing happened to the key meanwhile.
    pub fn fill(&self, token: &Token, record: Option<Record>, at: u64, now_ms: u64) {
        let mut inner = self.lock();
        if inner.allows(token, now_ms) {
            let entry = Entry { group: token.group, record, at, begun_ms: token.begun_ms };
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
        if let Some(record) = written.filter(|_| undisturbed || mutant!(OwnReplyKept)) {
            let entry = Entry { group: token.group, record, at, begun_ms: token.begun_ms };
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
mod tests;
