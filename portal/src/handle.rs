//! The handle that every operation of a portal holds: the store, the cache, the clock, the counters.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use proto::portal::{GroupStatus, PortalStatusResponse};
use store_client::{Group, Store};
use store_keys::ClusterId;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::cache::{Cache, Capacity, Seen};
use crate::coherence::{AGE_MS_MAX_DEFAULT, Coherence, State};
use crate::document::event::{Event, Subject, Teller, What};
use crate::document::shop::KnownShop;
use crate::error::Error;
use crate::id::Oid;
use crate::limits::{FEED_READERS_MAX, REQUESTS_MAX};
use crate::log_time::LogTime;
use crate::marks::Marks;
use crate::refilling::Refilling;
use crate::samples::Samples;
use crate::session::{Session, SessionToken};

/// The ring version of messages on the bus, while N = 1.
pub const RING_VERSION: u64 = 1;

/// A read of the store that others may join.
pub(crate) type Fetch = futures::future::Shared<BoxFuture<'static, Result<Seen, Error>>>;
/// When a read began; [`u64::MAX`]: it waits for its turn.
pub(crate) type Began = Arc<AtomicU64>;
/// Reads under way or waiting, by key, with the time when each began.
pub(crate) type Fetches = Arc<Mutex<HashMap<Bytes, (Began, Fetch)>>>;

/// Monotonic time since a portal began: tokio's, which a simulation turns.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Milliseconds.
    #[must_use]
    pub fn now_ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a portal keeps to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// L: how old a hit may be, milliseconds.
    pub lease_ms: u64,
    /// How old an entry of the cache may become under the lease, milliseconds.
    pub age_ms_max: u64,
    /// Requests that run at once.
    pub requests_max: usize,
    /// How far its clock of the day is ahead, milliseconds: of tests.
    pub clock_off_ms: i64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            lease_ms: 1_000,
            age_ms_max: AGE_MS_MAX_DEFAULT,
            requests_max: REQUESTS_MAX,
            clock_off_ms: 0,
        }
    }
}

/// One portal, as one request sees it: what all requests share, and the session of this one.
pub struct Portal {
    pub(crate) shared: Arc<Shared>,
    /// The session of the request; of no request in the handle that a portal begins with.
    pub(crate) session: Session,
}

/// What all requests of a portal share.
pub(crate) struct Shared {
    /// Which portal this is, for people.
    name: String,
    /// The database.
    pub(crate) store: Arc<dyn Store>,
    /// The coherent cache before it.
    pub(crate) cache: Arc<Cache>,
    /// Reads under way: one a key at a time.
    pub(crate) fetches: Fetches,
    /// The turns of all reads of single records.
    pub(crate) refilling: Arc<Refilling>,
    /// What is known of the marks of the indexes.
    pub(crate) marks: Marks,
    /// Counts from when the portal began.
    pub(crate) clock: Clock,
    /// Hits that are compared with the store.
    pub(crate) samples: Samples,
    /// Store transactions sent.
    transactions: AtomicU64,
    /// Requests from the broker that nobody could be answered.
    unanswerable: AtomicU64,
    /// Requests that may run at once.
    requests: Semaphore,
    /// How many those are, at most.
    requests_max: usize,
    /// Why the broker cannot be used; empty: it can.
    bus_problem: Mutex<String>,
    /// The cluster whose portal it is, once that is known.
    pub(crate) cluster: OnceLock<ClusterId>,
    /// The shop's record as last seen; `None`: not yet.
    pub(crate) shop: Mutex<Option<Result<KnownShop, Error>>>,
    /// Open orders that could not be cancelled, and until when they are left alone.
    pub(crate) set_aside: Mutex<HashMap<Oid, u64>>,
    /// Places of readers to whom events are told as they come.
    pub(crate) feed_readers: Arc<Semaphore>,
    /// No stream goes on.
    pub(crate) is_stopping: AtomicBool,
    /// Groups whose events are all in their places, and will be.
    pub(crate) feeds_in_order: Mutex<HashSet<Group>>,
    /// As in [`Bounds`].
    clock_off_ms: i64,
    /// What is known of the log's time.
    log_time: LogTime,
}

impl Portal {
    /// A portal over this store, with a cold cache of this size and lease (L, milliseconds).
    #[must_use]
    pub fn new(name: &str, store: Arc<dyn Store>, capacity: Capacity, lease_ms: u64) -> Arc<Portal> {
        Portal::limited(name, store, capacity, Bounds { lease_ms, ..Bounds::default() })
    }

    /// As [`Portal::new`], with these bounds.
    #[must_use]
    pub fn limited(name: &str, store: Arc<dyn Store>, capacity: Capacity, bounds: Bounds) -> Arc<Portal> {
        let Bounds { lease_ms, age_ms_max, requests_max, clock_off_ms } = bounds;
        let coherence =
            |group| (group, Coherence::new(group, RING_VERSION, lease_ms, 0).with_age_max(age_ms_max));
        let cache = Cache::new(capacity, store.groups().into_iter().map(coherence));
        let shared = Shared {
            name: name.to_owned(),
            store,
            cache,
            fetches: Fetches::default(),
            refilling: Arc::default(),
            marks: Marks::default(),
            clock: Clock(Instant::now()),
            samples: Samples::default(),
            transactions: AtomicU64::new(0),
            unanswerable: AtomicU64::new(0),
            requests: Semaphore::new(requests_max),
            requests_max,
            bus_problem: Mutex::default(),
            cluster: OnceLock::new(),
            shop: Mutex::default(),
            set_aside: Mutex::default(),
            feed_readers: Arc::new(Semaphore::new(FEED_READERS_MAX)),
            is_stopping: AtomicBool::new(false),
            feeds_in_order: Mutex::default(),
            clock_off_ms,
            log_time: LogTime::default(),
        };
        Arc::new(Portal { shared: Arc::new(shared), session: Session::none() })
    }

    /// The same portal, as a request sees it that carries this token; `None`: of a client that has seen nothing.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the token is none, or of another cluster.
    pub fn in_session(&self, token: Option<&str>) -> Result<Portal, Error> {
        let cluster = self.shared.cluster.get().copied();
        let session = match token {
            Some(token) => Session::of(token, cluster, &self.shared.store.groups())?,
            None => Session::new(cluster),
        };
        Ok(Portal { shared: Arc::clone(&self.shared), session })
    }

    /// The same, for a task beside this one: of no client.
    #[must_use]
    pub(crate) fn again(&self) -> Portal {
        Portal { shared: Arc::clone(&self.shared), session: Session::none() }
    }

    /// The token of what this request's client has seen.
    #[must_use]
    pub fn token(&self) -> SessionToken {
        self.session.token()
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// How it tells of what it does.
    #[must_use]
    pub fn teller(&self) -> Teller<'_> {
        Teller { portal: self.name(), is_one_group: self.shared.store.groups().len() == 1 }
    }

    /// What it does now, to tell of it.
    #[must_use]
    pub fn event(&self, of: Subject, did: What) -> Event {
        Event::of(of, did, self.name(), self.log_time_ms())
    }

    /// Lets a request in, until the permit is dropped.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED: as many as may run at once do.
    pub fn admit(&self) -> Result<SemaphorePermit<'_>, Error> {
        let full = |_| Error::Overloaded {
            why: format!(
                "as many requests as may run at once ({}) are under way; try again later",
                self.shared.requests_max
            ),
            own: false,
        };
        self.shared.requests.try_acquire().map_err(full)
    }

    /// Monotonic milliseconds since the portal began.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.shared.clock.now_ms()
    }

    /// The log time now, as far as the portal knows ([`crate::log_time`]): milliseconds since 1970.
    #[must_use]
    pub fn log_time_ms(&self) -> i64 {
        self.shared.log_time.estimate_ms(self.clock_ms(), self.now_ms())
    }

    /// What its own clock of the day says: milliseconds since 1970.
    #[must_use]
    pub fn clock_ms(&self) -> i64 {
        store_client::now_ms().saturating_add(self.shared.clock_off_ms)
    }

    /// A transaction that was sent then was done at this log time, and was answered just now; what is only `remembered` was done
    /// whenever.
    pub(crate) fn saw_log_time(&self, log_time_ms: i64, sent_ms: u64, remembered: bool) {
        if !remembered {
            self.shared.log_time.saw(log_time_ms, sent_ms, self.now_ms());
        }
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<Cache> {
        &self.shared.cache
    }

    /// Reads of these keys that are under way are not joined any more: they may have read the past.
    pub(crate) fn leave_fetches<'k>(&self, keys: impl Iterator<Item = &'k Bytes>) {
        let mut fetches = self.shared.fetches.lock();
        if !fetches.is_empty() {
            for key in keys {
                // One that waits for its turn will read later than now.
                let is_older = |(began, _): &(Began, Fetch)| began.load(Ordering::Relaxed) != u64::MAX;
                if fetches.get(key).is_some_and(is_older) {
                    fetches.remove(key);
                }
            }
        }
    }

    /// Why the broker cannot be used; empty: it can. True: that is news.
    pub(crate) fn tell_bus(&self, problem: &str) -> bool {
        let mut told = self.shared.bus_problem.lock();
        let is_news = *told != problem;
        if is_news {
            problem.clone_into(&mut told);
        }
        is_news
    }

    /// One more request from the broker says nothing of where its answer may go.
    pub(crate) fn count_unanswerable(&self) -> u64 {
        self.shared.unanswerable.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// One more transaction goes to the store.
    pub(crate) fn count_transaction(&self) {
        self.shared.transactions.fetch_add(1, Ordering::Relaxed);
    }

    /// What the cache and the bus are doing.
    #[must_use]
    pub fn status(&self) -> PortalStatusResponse {
        let now_ms = self.now_ms();
        let sampled = self.shared.samples.counts();
        let (refills_waited, refills_refused) = self.shared.refilling.counts();
        let (groups, counts) = (self.shared.cache.groups(now_ms), self.shared.cache.counts());
        let state = |state| match state {
            State::Cold => "COLD",
            State::Live => "LIVE",
            State::Suspect => "SUSPECT",
        };
        PortalStatusResponse {
            name: self.shared.name.clone(),
            cached: self.shared.cache.len() as u64,
            capacity: self.shared.cache.capacity().entries.get() as u64,
            hits: counts.hits,
            misses: counts.misses,
            bypasses: counts.bypasses,
            gaps: groups.iter().map(|group| group.gaps).sum(),
            flushes: groups.iter().map(|group| group.flushes).sum(),
            ignored: groups.iter().map(|group| group.ignored).sum(),
            unproven: groups.iter().map(|group| group.unproven).sum(),
            cluster_id: self.shared.cluster.get().map_or(0, |cluster| cluster.get()),
            transactions: self.shared.transactions.load(Ordering::Relaxed),
            sampled: sampled.compared,
            sampled_stale: sampled.stale,
            sampled_oldest_ms: sampled.oldest_ms,
            aged: counts.aged,
            refills_waited,
            refills_refused,
            unanswerable: self.shared.unanswerable.load(Ordering::Relaxed),
            up_ms: now_ms,
            store_problem: self.shared.store.problem().unwrap_or_default(),
            bus_problem: self.shared.bus_problem.lock().clone(),
            groups: groups
                .iter()
                .map(|group| GroupStatus {
                    group: group.group,
                    state: state(group.state).to_owned(),
                    applied_offset: group.applied,
                    lease_ms: group.lease_left_ms,
                    suspect_ms_total: group.idle_ms,
                })
                .collect(),
        }
    }
}
