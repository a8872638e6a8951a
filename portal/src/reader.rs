//! Reads through the cache (docs/PROTOCOL.md, 5): a hit is answered from it; a miss reads the store with `min_offset` =
//! A, one read a key at a time, and fills; a cache that cannot be trusted is passed by.
//!
//! Each read goes by the request's session ([`crate::session`]) and raises it.
//!
//! A refusal never rests on a cached answer alone: [`Portal::read_through`] asks the store, and writes guard.

use bytes::Bytes;
use futures::FutureExt;
use proto::store::{Freshness, KeyRecord};
use store_client::{Got, Range, Refusal, Store};
use store_core::mutant;

use crate::cache::{Lookup, Seen, Token};
use crate::error::Error;
use crate::handle::{Fetch, Portal};

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
    /// UNAVAILABLE: it is not cached, and the store cannot be read.
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
            Lookup::Bypass => return self.ask(key).await,
        };
        if !mutant!(HitUnseen) {
            self.session.saw(group, seen.version());
        }
        Ok(seen)
    }

    /// A record or its absence as the store has it now; fills the cache.
    ///
    /// # Errors
    /// UNAVAILABLE: the store cannot be read.
    pub async fn read_through(&self, key: &Bytes) -> Result<Seen, Error> {
        let token = self.shared.cache.watch(self.shared.store.group_of(key), key);
        let seen = self.ask(key).await?;
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
        if seen.hit && seen.record.is_none() { self.read_through(key).await } else { Ok(seen) }
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
    async fn ask(&self, key: &Bytes) -> Result<Seen, Error> {
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
                Some((began_ms, fetch)) if now_ms.saturating_sub(*began_ms) < JOIN_MS_MAX => fetch.clone(),
                _ => {
                    let fetch = self.start_fetch(key, min_offset, token, now_ms);
                    fetches.insert(key.clone(), (now_ms, fetch.clone()));
                    fetch
                }
            }
        };
        fetch.await
    }

    fn start_fetch(&self, key: &Bytes, min_offset: u64, token: Token, began_ms: u64) -> Fetch {
        let (store, cache) = (self.shared.store.clone(), self.shared.cache.clone());
        let (fetches, key, clock) = (self.shared.fetches.clone(), key.clone(), self.clock());
        let task = tokio::spawn(async move {
            let answer = get(&*store, &key, min_offset).await;
            match &answer {
                // An order over several shards may have been decided meanwhile: this is right now, and perhaps no longer.
                Ok(seen) if seen.pending => {}
                Ok(seen) if seen.at >= min_offset => {
                    cache.fill(&token, seen.record.clone(), seen.at, clock.now_ms());
                }
                Ok(seen) => {
                    tracing::warn!(
                        min_offset,
                        at = seen.at,
                        "a bus event names an offset that is not in the log; the cache begins anew"
                    );
                    cache.beyond(&token, clock.now_ms());
                }
                Err(_) => {}
            }
            let mut fetches = fetches.lock();
            if fetches.get(&key).is_some_and(|(began, _)| *began == began_ms) {
                fetches.remove(&key);
            }
            answer
        });
        let lost = |_| Err(Error::away("a read of the store was given up"));
        task.map(move |joined| joined.unwrap_or_else(lost)).boxed().shared()
    }
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
