//! A portal's cache that may be trusted, asked for keys that are in it.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use portal::cache::{Cache, Capacity, Lookup};
use portal::coherence::{Coherence, Input, Output};
use proto::store::Record;

use crate::scenario::{Call, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "cache-hit",
    operation: "a record of 256 bytes found in a portal's cache of 1,000 keys",
    calls: 20_000,
    operations_per_call: 1,
    prepare: hits,
}];

const KEYS: usize = 1_000;
const GROUP: u64 = 1;
const LOG: u64 = 1;
const LEASE_MS: u64 = 1_000;
/// The log offset of the barrier read, by which the cache may be trusted.
const BARRIER: u64 = 10;
/// A time in the lease.
const NOW_MS: u64 = 1;

/// A cache that is trusted until [`LEASE_MS`].
fn live() -> Arc<Cache> {
    let entries = NonZeroUsize::new(KEYS).expect("not zero");
    let groups = [(GROUP, Coherence::new(GROUP, 1, LEASE_MS, 0))];
    let cache = Cache::new(Capacity { entries, bytes: 16 << 20 }, groups);
    cache.step(GROUP, 0, Input::Connected);
    let outputs = cache.step(GROUP, 0, Input::Subscribed);
    let [Output::ReadBarrier { number }] = outputs[..] else { panic!("a barrier read: {outputs:?}") };
    let barrier = Input::Barrier { number, started_ms: 0, offset: BARRIER, epoch: 1, log_id: LOG };
    cache.step(GROUP, 0, barrier);
    cache
}

fn hits(_calls: usize) -> Call {
    let cache = live();
    let keys: Vec<Bytes> = (0..KEYS).map(|number| Bytes::from(format!("p/{{{number}}}"))).collect();
    for key in &keys {
        let Lookup::Miss { token, .. } = cache.lookup(GROUP, key, 0, NOW_MS) else { panic!("a miss") };
        let record = Record { version: 1, data: vec![b'x'; 256].into(), ..Record::default() };
        cache.fill(&token, Some(record), BARRIER, NOW_MS);
    }
    Box::new(move |call| {
        let found = cache.lookup(GROUP, &keys[call.wrapping_mul(7_919) % KEYS], 0, NOW_MS);
        let found = black_box(found);
        assert!(matches!(&found, Lookup::Hit(seen) if seen.record.is_some()));
    })
}
