//! The faults of the store in memory.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use proto::store::{Freshness, Identity, Txn};
use store_client::{Error, Store};
use store_engine::memory::{Fault, Faults, MemoryStore};

fn put(value: &'static str) -> Txn {
    Txn::new().put(Bytes::from_static(b"k"), 1, value)
}

async fn value(store: &MemoryStore) -> Option<Bytes> {
    store.get(Bytes::from_static(b"k"), Freshness::default()).await.unwrap().record.map(|record| record.data)
}

#[tokio::test]
async fn a_refused_write_did_not_happen_and_a_lost_answer_did() {
    let store = MemoryStore::new();
    store.plan(Some(Fault::Refuse));
    assert!(matches!(store.txn(put("a"), None).await, Err(Error::Retry { .. })));
    assert_eq!(value(&store).await, None);
    store.plan(Some(Fault::LoseAnswer));
    let identity = Identity::user(b"one".to_vec(), 0, 1, [1; 16]);
    assert!(matches!(store.txn(put("a"), Some(identity.clone())).await, Err(Error::Unknown { .. })));
    assert_eq!(value(&store).await, Some(Bytes::from_static(b"a")));
    let again = store.txn(put("a"), Some(identity)).await.unwrap();
    assert!(again.success && again.remembered, "the same identity settles it");
    store.plan(Some(Fault::LoseAnswer));
    let read = store.get(Bytes::from_static(b"k"), Freshness::default()).await;
    assert!(matches!(read, Err(Error::Retry { .. })), "a read is never in doubt");
}

#[tokio::test(start_paused = true)]
async fn a_delayed_write_can_be_overtaken() {
    let store = MemoryStore::new();
    store.plan(Some(Fault::DelayBefore(Duration::from_secs(5))));
    let slow = tokio::spawn({
        let store = store.clone();
        async move { store.txn(put("slow"), None).await.unwrap().offset() }
    });
    tokio::task::yield_now().await;
    let fast = store.txn(put("fast"), None).await.unwrap().offset();
    assert!(slow.await.unwrap() > fast);
    assert_eq!(value(&store).await, Some(Bytes::from_static(b"slow")));
}

#[tokio::test(start_paused = true)]
async fn one_seed_strikes_the_same_calls() {
    let run = async || {
        let (refuse_per_mille, lose_per_mille) = (300, 300);
        let store = MemoryStore::with_faults(Faults {
            seed: 11,
            refuse_per_mille,
            lose_per_mille,
            ..Faults::default()
        });
        let mut seen = Vec::new();
        for _ in 0..50 {
            seen.push(match store.txn(put("v"), None).await {
                Ok(_) => 'k',
                Err(Error::Retry { .. }) => 'r',
                Err(_) => 'u',
            });
        }
        seen.into_iter().collect::<String>()
    };
    let first = run().await;
    assert_eq!(first, run().await);
    assert!(['k', 'r', 'u'].iter().all(|kind| first.contains(*kind)), "{first}");
}
