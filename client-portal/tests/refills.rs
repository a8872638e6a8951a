//! A cache that has lost everything: its misses come to the store a bounded number at a time, in order, and each is answered.
#![allow(clippy::unwrap_used)]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream::BoxStream;
use portal::cache::Capacity;
use portal::coherence::{Input, Output};
use portal::limits::REFILLS_MAX;
use portal::{Portal, key};
use proto::store::{ChangesResponse, Freshness, Identity, OutcomeResponse, Txn, TxnResponse};
use store_client::{Error, Got, Group, Page, Range, Store};
use store_engine::memory::MemoryStore;
use tokio::sync::Semaphore;

/// A store whose reads wait until the gate is open, and are counted.
struct Counted {
    store: MemoryStore,
    open_gate: Semaphore,
    under_way: AtomicUsize,
    most: AtomicUsize,
    reads: AtomicUsize,
}

#[async_trait::async_trait]
impl Store for Counted {
    fn group_of(&self, key: &[u8]) -> Group {
        self.store.group_of(key)
    }
    fn groups(&self) -> Vec<Group> {
        self.store.groups()
    }
    async fn get(&self, key: Bytes, freshness: Freshness) -> Result<Got, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(under_way, Ordering::Relaxed);
        let _go = self.open_gate.acquire().await.unwrap();
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.store.get(key, freshness).await
    }
    async fn scan(
        &self,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        freshness: Freshness,
    ) -> Result<Page, Error> {
        self.store.scan(range, limit, after, freshness).await
    }
    async fn txn(&self, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, Error> {
        self.store.txn(txn, identity).await
    }
    async fn outcome(&self, tag: Bytes, identity: Identity) -> Result<OutcomeResponse, Error> {
        self.store.outcome(tag, identity).await
    }
    async fn changes(
        &self,
        group: Group,
        from: u64,
    ) -> Result<BoxStream<'static, Result<ChangesResponse, Error>>, Error> {
        self.store.changes(group, from).await
    }
}

/// More keys than reads that may be under way, each wanted twice at once: by a cache that is LIVE and empty, or by one that is cold.
async fn stampede(is_live: bool) {
    const KEYS: usize = 5 * REFILLS_MAX;
    let store = Arc::new(Counted {
        store: MemoryStore::new(),
        open_gate: Semaphore::new(0),
        under_way: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        reads: AtomicUsize::new(0),
    });
    let capacity = Capacity { entries: NonZeroUsize::new(2 * KEYS).unwrap(), bytes: 1 << 20 };
    let portal = Portal::new("test", store.clone(), capacity, 60_000);
    if is_live {
        let step = |input| portal.cache().step(1, portal.now_ms(), input);
        step(Input::Connected);
        let outputs = step(Input::Subscribed);
        let [Output::ReadBarrier { number }] = outputs[..] else { panic!("{outputs:?}") };
        step(Input::Barrier { number, started_ms: portal.now_ms(), offset: 0, epoch: 1, log_id: 1 });
    }
    let keys: Vec<Bytes> = (0..KEYS)
        .map(|number| key::product(&portal::id::Pid::parse("pid", &format!("p{number}")).unwrap()))
        .collect();
    let reads = keys.iter().chain(&keys).map(|key| portal.read(key));
    let all = futures::future::join_all(reads);
    let opened = async {
        // All have asked as soon as as many as may are at the store and the others wait.
        while portal.status().refills_waited == 0 || store.under_way.load(Ordering::Relaxed) < REFILLS_MAX {
            tokio::task::yield_now().await;
        }
        store.open_gate.add_permits(Semaphore::MAX_PERMITS / 2);
    };
    let (seen, ()) = tokio::join!(all, opened);
    assert!(seen.iter().all(Result::is_ok));
    assert_eq!(store.most.load(Ordering::Relaxed), REFILLS_MAX, "no more at once");
    let wanted = if is_live { KEYS } else { 2 * KEYS };
    assert_eq!(
        store.reads.load(Ordering::Relaxed),
        wanted,
        "a cache that may be filled reads a key once for both"
    );
    let status = portal.status();
    assert_eq!((status.refills_waited, status.refills_refused), ((wanted - REFILLS_MAX) as u64, 0));
    assert_eq!(status.cached, if is_live { KEYS as u64 } else { 0 }, "those that waited fill, too");
}

#[tokio::test]
async fn a_cache_that_was_flushed_does_not_bury_the_store() {
    stampede(true).await;
}

#[tokio::test]
async fn a_portal_that_passes_its_cache_by_does_not_bury_the_store() {
    stampede(false).await;
}
