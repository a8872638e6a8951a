//! Writers that write new keys until told to stop, and remember what was acknowledged: for tests that break something
//! meanwhile. Whatever was acknowledged must be there afterwards, and nothing may be there that nobody wrote.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::store::{Freshness, Status};
use store_client::{Range, Replicated, Store, StoreExt, request_identity};
use tokio::task::JoinHandle;

use crate::chaos::tally::{Ended, Tally};
use crate::cluster::Cluster;
use crate::wait;

const WRITERS: u64 = 16;
/// What all keys begin with.
const PREFIX: &str = "crash/";
/// How long some writes more may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Writers at work.
#[derive(Debug)]
pub struct Load {
    /// Set: they end.
    stop: Arc<AtomicBool>,
    /// Writes acknowledged so far.
    acknowledged: Arc<AtomicU64>,
    /// When each was.
    tally: Arc<Tally>,
    writers: Vec<JoinHandle<BTreeMap<Bytes, Bytes>>>,
}

impl Load {
    /// Starts writers; `round` tells their keys from those of other rounds.
    #[must_use]
    pub fn start(cluster: &Cluster, round: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let tally = Arc::new(Tally::default());
        let writers = (0..WRITERS)
            .map(|writer| {
                let counts = (Arc::clone(&acknowledged), Arc::clone(&tally));
                tokio::spawn(write_until(cluster.store(), Arc::clone(&stop), counts, (round, writer)))
            })
            .collect();
        Load { stop, acknowledged, tally, writers }
    }

    /// Writes acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The longest time since `from` in which no write was acknowledged.
    #[must_use]
    pub fn longest_gap(&self, from: Instant) -> Duration {
        self.tally.longest_gap(from)
    }

    /// Waits until so many writes more are acknowledged.
    pub async fn more(&self, count: u64) {
        let goal = self.acknowledged() + count;
        wait::until("acknowledged writes", PATIENCE, || async {
            let now = self.acknowledged();
            if now >= goal { Ok(()) } else { Err(format!("{now} of {goal}")) }
        })
        .await;
    }

    /// Stops them; what was acknowledged.
    ///
    /// # Panics
    /// If a writer did.
    pub async fn end(self) -> BTreeMap<Bytes, Bytes> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeMap::new();
        for writer in self.writers {
            all.append(&mut writer.await.expect("a writer does not panic"));
        }
        all
    }
}

async fn write_until(
    store: Arc<Replicated>,
    stop: Arc<AtomicBool>,
    (acknowledged, tally): (Arc<AtomicU64>, Arc<Tally>),
    (round, writer): (u64, u64),
) -> BTreeMap<Bytes, Bytes> {
    let mut done = BTreeMap::new();
    for at in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = Bytes::from(format!("{PREFIX}{round}/{writer}/{at}"));
        let data = Bytes::from(format!("{round}.{writer}.{at}"));
        let answer = store.set(key.clone(), 0, data.clone(), Some(request_identity([3; 16]))).await;
        if answer.is_ok_and(|answer| answer.status() == Status::Success) {
            acknowledged.fetch_add(1, Ordering::Relaxed);
            tally.count("write", Ended::Ok, true);
            done.insert(key, data);
        }
    }
    done
}

/// What the writers' keys hold.
///
/// # Panics
/// If they cannot be read.
pub async fn found(store: &Replicated) -> BTreeMap<Bytes, Bytes> {
    let mut found = BTreeMap::new();
    let mut after = None;
    loop {
        let range = Range::Prefix(Bytes::from_static(PREFIX.as_bytes()));
        let page = store.scan(range, 1_000, after, Freshness::linearizable()).await.unwrap();
        found.extend(page.records.into_iter().map(|kr| (kr.key, kr.record.unwrap().data)));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

/// Every acknowledged write is there, and whatever is there was written by a writer.
///
/// # Panics
/// If not.
pub async fn verify(cluster: &Cluster, acknowledged: &BTreeMap<Bytes, Bytes>) {
    let found = found(&cluster.store()).await;
    for (key, data) in acknowledged {
        assert_eq!(found.get(key), Some(data), "acknowledged and lost: {key:?}");
    }
    for (key, data) in &found {
        let text = String::from_utf8(key.to_vec()).unwrap();
        assert_eq!(text[PREFIX.len()..].replace('/', "."), *data, "{key:?}");
    }
}
