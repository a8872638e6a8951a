//! Reads through the cache (docs/PROTOCOL.md, 5): a hit is answered from it; a miss reads the store with `min_offset` =
//! A, one read a key at a time, and fills; a cache that cannot be trusted is passed by.
//!
//! Each read goes by the request's session ([`crate::session`]) and raises it.
//!
//! Each read of a record in the store takes its turn ([`crate::refilling`]), so that a cache that has lost everything does not bury the store.
//!
//! A refusal never rests on a cached answer alone: [`Portal::read_through`] asks the store, and writes guard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use proto::store::{Freshness, KeyRecord};
use store_client::{Got, Range, Refusal, Store};
use store_core::mutant;

use crate::cache::{Lookup, Seen, Token};
use crate::error::Error;
use crate::handle::{Began, Fetch, Portal, Shared};
use crate::refilling::Held;

/// A read that began longer ago is not joined: what it returns may be as old as that.
const JOIN_MS_MAX: u64 = 100;

/// One page of a list.
#[derive(Debug)]
pub struct Listed {
    /// In key order.
    pub records: Vec<KeyRecord>,
    /// Whether there may be more after the last of them.
    pub more: bool,
}

impl Portal {
    /// A record or its absence, at most a lease old.
    ///
    /// # Errors
    /// UNAVAILABLE: it is not cached, and the store cannot be read. RESOURCE_EXHAUSTED: nor is it this read's turn, for too long.
    pub async fn read(&self, key: &Bytes) -> Result<Seen, Error> {
        let group = self.shared.store.group_of(key);
        let needs = self.session.needs(group);
        let seen = match self.shared.cache.lookup(group, key, needs, self.now_ms()) {
            Lookup::Hit(seen) => {
                self.shared.samples.offer(key);
                seen
            }
            Lookup::Miss { min_offset, token } => {
                let seen = self.fetch(key, min_offset, token).await?;
                // Somebody else's read may have begun before what this session has seen.
                if seen.at < needs || (seen.pending && needs > 0) {
                    return self.read_through(key).await;
                }
                seen
            }
            Lookup::Bypass => {
                let turn = self.shared.refilling.turn(group).await?;
                return self.ask(key, turn).await;
            }
        };
        if !mutant!(HitUnseen) {
            self.session.saw(group, seen.version());
        }
        Ok(seen)
    }

    /// A record or its absence as the store has it now; fills the cache.
    ///
    /// # Errors
    /// UNAVAILABLE: the store cannot be read. RESOURCE_EXHAUSTED: it is not this read's turn, for too long.
    pub async fn read_through(&self, key: &Bytes) -> Result<Seen, Error> {
        let group = self.shared.store.group_of(key);
        let turn = self.shared.refilling.turn(group).await?;
        let token = self.shared.cache.watch(group, key, self.now_ms());
        let seen = self.ask(key, turn).await?;
        if !seen.pending {
            self.shared.cache.fill(&token, seen.record.clone(), seen.at, self.now_ms());
        }
        Ok(seen)
    }

    /// As [`Portal::read`], but an absence that the cache says is checked at the store.
    ///
    /// # Errors
    /// As [`Portal::read`].
    pub async fn read_verifying_absence(&self, key: &Bytes) -> Result<Seen, Error> {
        let seen = self.read(key).await?;
        let is_doubtful = seen.hit && seen.record.is_none() && !mutant!(AbsenceTrusted);
        if is_doubtful { self.read_through(key).await } else { Ok(seen) }
    }

    /// One page of the store, past the cache.
    ///
    /// # Errors
    /// UNAVAILABLE: the store cannot be read.
    pub async fn list(&self, range: Range, limit: u32, after: Option<Bytes>) -> Result<Listed, Error> {
        let before = self.session.token();
        let page = self.shared.store.scan(range, limit, after, Freshness::linearizable()).await?;
        for (group, applied) in &page.applied {
            self.session.check(*group, before.offset(*group), applied.offset)?;
            self.session.saw(*group, applied.offset);
        }
        Ok(Listed { records: page.records, more: page.next.is_some() })
    }

    /// A record or its absence as the store has it now.
    async fn ask(&self, key: &Bytes, _turn: Held) -> Result<Seen, Error> {
        let group = self.shared.store.group_of(key);
        let needs = self.session.needs(group);
        let seen = seen(self.shared.store.get(key.clone(), Freshness::linearizable()).await?);
        self.session.check(group, needs, seen.at)?;
        self.session.saw(group, seen.version());
        Ok(seen)
    }

    /// Reads the store for all who want this key now. The read runs in a task of its own, so that it ends and is
    /// forgotten also when nobody waits for it any more.
    async fn fetch(&self, key: &Bytes, min_offset: u64, token: Token) -> Result<Seen, Error> {
        let now_ms = self.now_ms();
        let fetch = {
            let mut fetches = self.shared.fetches.lock();
            match fetches.get(key) {
                // One that waits for its turn will read later than now.
                Some((began, fetch))
                    if now_ms.saturating_sub(began.load(Ordering::Relaxed)) < JOIN_MS_MAX =>
                {
                    fetch.clone()
                }
                _ => {
                    let began = Began::new(AtomicU64::new(u64::MAX));
                    let fetch = self.start_fetch(key, min_offset, token, began.clone());
                    fetches.insert(key.clone(), (began, fetch.clone()));
                    fetch
                }
            }
        };
        fetch.await
    }

    fn start_fetch(&self, key: &Bytes, min_offset: u64, token: Token, began: Began) -> Fetch {
        let (shared, key, clock) = (Arc::clone(&self.shared), key.clone(), self.clock());
        let group = shared.store.group_of(&key);
        let task = tokio::spawn(async move {
            let answer = match shared.refilling.turn(group).await {
                Ok(turn) => {
                    began.store(clock.now_ms(), Ordering::Relaxed);
                    // What was waited for may have been too late for the first token.
                    let (min_offset, token) = match turn.waited {
                        true => shared.cache.renew(&token, clock.now_ms()),
                        false => (min_offset, token),
                    };
                    refill(&shared, &key, min_offset, &token).await
                }
                Err(error) => Err(error),
            };
            let mut fetches = shared.fetches.lock();
            if fetches.get(&key).is_some_and(|(of, _)| Arc::ptr_eq(of, &began)) {
                fetches.remove(&key);
            }
            answer
        });
        let lost = |_| Err(Error::away("a read of the store was given up"));
        task.map(move |joined| joined.unwrap_or_else(lost)).boxed().shared()
    }
}

/// Reads a key, and fills the cache with what the store says if the token allows it.
async fn refill(shared: &Shared, key: &Bytes, min_offset: u64, token: &Token) -> Result<Seen, Error> {
    let seen = get(&*shared.store, key, min_offset).await?;
    let now_ms = shared.clock.now_ms();
    // An order over several shards may have been decided meanwhile: this is right now, and perhaps no longer.
    if !seen.pending && seen.at >= min_offset {
        shared.cache.fill(token, seen.record.clone(), seen.at, now_ms);
    } else if !seen.pending {
        tracing::warn!(
            min_offset,
            at = seen.at,
            "a bus event names an offset that is not in the log; the cache begins anew"
        );
        shared.cache.beyond(token, now_ms);
    }
    Ok(seen)
}

/// Reads a key at or after `min_offset`, so that a replica that lags cannot show the past. A store that has nothing so
/// late refuses; what it has then is all there is, and shows that `min_offset` is not of its log.
async fn get(store: &dyn Store, key: &Bytes, min_offset: u64) -> Result<Seen, Error> {
    let fresh = Freshness::linearizable();
    let got = match store.get(key.clone(), fresh.with_min_offset(min_offset)).await {
        Err(store_client::Error::Refused { reason: Refusal::Invalid, .. }) => {
            store.get(key.clone(), fresh).await?
        }
        answer => answer?,
    };
    Ok(seen(got))
}

fn seen(got: Got) -> Seen {
    Seen { record: got.record, at: got.applied.offset, pending: got.pending, age_ms: 0, hit: false }
}
