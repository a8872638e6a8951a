//! The background sampler: some hits are compared with the store, as their readers could not.
//!
//! A record is read from the store, linearizably. What the cache then shows must be no older one, from a lease after that answer on
//! at the latest. So whatever is wrong (the bus, a leader, this code), a cache that lies is found by its own portal: it is counted,
//! told, and begins anew.
//!
//! Promises: no false alarm: a version that the store showed was there when its answer came, so a hit that misses it a lease later
//! breaks the bound. The store is asked [`COMPARED_MAX`](crate::samples::COMPARED_MAX) times a second at most, and not at all without hits.
//!
//! Leaves out: how long before the answer the version was written: the age that is told is the least that it can be.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::store::Freshness;
use tokio::time::{Instant, sleep, sleep_until};

use crate::handle::Portal;

/// How often comparisons begin.
const PERIOD: Duration = Duration::from_secs(1);
/// The portal's clock and a lease count whole milliseconds: so much more than a lease is over one for sure.
const ROUNDING: Duration = Duration::from_millis(2);
/// Looks into the cache in one lease.
const LOOKS: u32 = 8;

/// Compares hits until dropped.
pub async fn run(portal: Arc<Portal>, lease: Duration) {
    loop {
        sleep(PERIOD).await;
        let offered = portal.shared.samples.take();
        futures::future::join_all(offered.iter().map(|key| compare(&portal, key, lease))).await;
    }
}

/// Compares what the cache says of a key with the store, for a lease.
pub async fn compare(portal: &Portal, key: &Bytes, lease: Duration) {
    let (group, samples) = (portal.shared.store.group_of(key), &portal.shared.samples);
    let Ok(got) = portal.shared.store.get(key.clone(), Freshness::linearizable()).await else { return };
    if got.pending {
        return; // It may have been decided otherwise before it came here.
    }
    let (answered, at) = (Instant::now(), got.applied.offset);
    let version = got.record.as_ref().map(proto::store::Record::offset);
    samples.count_compared();
    // The last look is after the lease.
    for look in 0..=LOOKS {
        sleep_until(answered + lease * look / LOOKS + ROUNDING).await;
        // Before the look: a portal that is stopped after it has served nothing meanwhile.
        let age = answered.elapsed();
        let Some(shown) = portal.shared.cache.peek(group, key, portal.now_ms()) else { return };
        if shown.at >= at || shown.version == version {
            return;
        }
        let is_stale = age >= lease + ROUNDING;
        samples.count_old(age, is_stale);
        if is_stale {
            let key = String::from_utf8_lossy(key);
            tracing::error!(
                %key,
                shown = shown.at,
                stored = at,
                age_ms = age.as_millis(),
                "a hit was older than the cache lease, which must not be; the cache begins anew"
            );
            portal.shared.cache.distrust(group, portal.now_ms());
            return;
        }
    }
}
