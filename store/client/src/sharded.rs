//! The handle on a ring of several shards: one handle a shard, [`Replicated`] where it is not said otherwise, and the ring that says whose a key is.
//!
//! ```text
//!   get, txn, outcome ── hash of the key's tag ──► the handle of its shard
//!   scan ── a prefix within one tag ──► that shard;  any other range ──► all shards, merged by key
//! ```
//!
//! Promises: those of [`Replicated`], for each shard by itself; a page of a scan over several shards is in key order, and its cursor
//! goes on exactly behind it, whatever the shards' own pages were.
//! Leaves out: transactions over several shards, which the leader of the tag's shard coordinates.

use bytes::Bytes;
use futures::future::join_all;
use futures::stream::BoxStream;
use proto::hash::{ring_hash, tag_of_prefix};
use proto::store::{ChangesResponse, Freshness, Identity, KeyRecord, OutcomeResponse, Txn, TxnResponse};
use store_core::ring::Ring;

use crate::error::{Error, Refusal};
use crate::{Config, Got, Group, Page, Range, Replicated, Store, no_group};

/// Records of a page if the caller does not say.
const LIMIT_DEFAULT: u32 = 100;

/// The handle. Clones share their streams.
#[derive(Clone)]
pub struct Sharded<S = Replicated> {
    ring: Ring,
    /// By the numbers of the ring's slots.
    shards: Vec<S>,
}

impl Sharded<Replicated> {
    /// A handle on the ring of as many equal shards as there are configurations, in the order of the slots; each is of the
    /// group of its slot. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// There are none or too many, or one cannot work ([`Config::check`]).
    pub fn new(shards: Vec<Config>) -> Result<Sharded, Error> {
        let refused = |error: store_core::ring::RingError| Error::Refused {
            reason: Refusal::Invalid,
            message: error.to_string(),
        };
        let ring = Ring::even(shards.len()).map_err(refused)?;
        let is_one_of_several = ring.slots().len() > 1;
        let of_slot = |(slot, config): (usize, Config)| {
            Replicated::new(Config { group: ring.slots()[slot].group.0, is_one_of_several, ..config })
        };
        let shards = shards.into_iter().enumerate().map(of_slot).collect::<Result<_, _>>()?;
        Ok(Sharded { ring, shards })
    }
}

impl<S: Store> Sharded<S> {
    /// The handle over these of the ring's shards, in the order of its slots.
    ///
    /// # Panics
    /// If there are not as many as slots.
    #[must_use]
    pub fn over(ring: Ring, shards: Vec<S>) -> Sharded<S> {
        assert_eq!(ring.slots().len(), shards.len(), "one handle a slot");
        Sharded { ring, shards }
    }

    /// The ring.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The handle on the shard of a slot.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn shard(&self, slot: usize) -> &S {
        &self.shards[slot]
    }

    /// The handle on the shard that owns a key.
    #[must_use]
    pub fn shard_of(&self, key: &[u8]) -> &S {
        match self.shards.as_slice() {
            [only] => only,
            several => &several[self.ring.owner(ring_hash(key))],
        }
    }

    fn of_group(&self, group: Group) -> Result<&S, Error> {
        let slot = self.ring.slots().iter().position(|slot| slot.group.0 == group);
        slot.map(|slot| &self.shards[slot]).ok_or_else(|| no_group(group))
    }

    /// The only shard that can have keys of this range, if there is only one.
    fn only_shard(&self, range: &Range) -> Option<&S> {
        if let [only] = self.shards.as_slice() {
            return Some(only);
        }
        let prefix = match range {
            Range::Prefix(prefix) => &prefix[..],
            Range::Between(from, to) => {
                let same = from.iter().zip(to.iter()).take_while(|(one, other)| one == other).count();
                &from[..same]
            }
        };
        tag_of_prefix(prefix).map(|_| self.shard_of(prefix))
    }

    async fn scan_all(
        &self,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        freshness: Freshness,
    ) -> Result<Page, Error> {
        if freshness.min_offset > 0 {
            let message =
                "freshness.min_offset: is an offset of one shard's log, and this range is of several";
            return Err(Error::Refused { reason: Refusal::Invalid, message: message.to_owned() });
        }
        let pages =
            self.shards.iter().map(|shard| shard.scan(range.clone(), limit, after.clone(), freshness));
        let pages = join_all(pages).await.into_iter().collect::<Result<Vec<Page>, Error>>()?;
        let limit = if limit == 0 { LIMIT_DEFAULT } else { limit };
        Ok(merged(pages, usize::try_from(limit).unwrap_or(usize::MAX)))
    }
}

/// One page of the pages of several shards.
fn merged(pages: Vec<Page>, limit: usize) -> Page {
    let applied = pages.iter().flat_map(|page| page.applied.iter().copied()).collect();
    // Beyond the first end of a page that is not the last one, that shard may have more.
    let known_to = pages.iter().filter_map(|page| page.next.clone()).min();
    let is_known = |record: &KeyRecord| known_to.as_ref().is_none_or(|known_to| record.key <= *known_to);
    let mut records: Vec<KeyRecord> =
        pages.into_iter().flat_map(|page| page.records).filter(is_known).collect();
    records.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    let next = if records.len() > limit {
        records.truncate(limit);
        records.last().map(|last| last.key.clone())
    } else {
        known_to
    };
    Page { records, next, applied }
}

#[async_trait::async_trait]
impl<S: Store> Store for Sharded<S> {
    fn group_of(&self, key: &[u8]) -> Group {
        self.ring.group_of(ring_hash(key)).0
    }

    fn groups(&self) -> Vec<Group> {
        self.ring.slots().iter().map(|slot| slot.group.0).collect()
    }

    fn problem(&self) -> Option<String> {
        let each = self.shards.iter().zip(self.ring.slots());
        let problems =
            each.filter_map(|(shard, slot)| Some(format!("shard {}: {}", slot.group.0, shard.problem()?)));
        let problems = problems.collect::<Vec<_>>().join("; ");
        (!problems.is_empty()).then_some(problems)
    }

    async fn get(&self, key: Bytes, freshness: Freshness) -> Result<Got, Error> {
        self.shard_of(&key).get(key, freshness).await
    }

    async fn scan(
        &self,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        freshness: Freshness,
    ) -> Result<Page, Error> {
        match self.only_shard(&range) {
            Some(only) => only.scan(range, limit, after, freshness).await,
            None => self.scan_all(range, limit, after, freshness).await,
        }
    }

    async fn scan_group(
        &self,
        group: Group,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        freshness: Freshness,
    ) -> Result<Page, Error> {
        self.of_group(group)?.scan(range, limit, after, freshness).await
    }

    async fn txn(&self, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, Error> {
        let tag = txn.tag().cloned().unwrap_or_default();
        self.shard_of(&tag).txn(txn, identity).await
    }

    async fn outcome(&self, tag: Bytes, identity: Identity) -> Result<OutcomeResponse, Error> {
        self.shard_of(&tag).outcome(tag, identity).await
    }

    async fn changes(
        &self,
        group: Group,
        from: u64,
    ) -> Result<BoxStream<'static, Result<ChangesResponse, Error>>, Error> {
        self.of_group(group)?.changes(group, from).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[&str], next: Option<&str>) -> Page {
        let record = |key: &&str| KeyRecord { key: Bytes::copy_from_slice(key.as_bytes()), record: None };
        let next = next.map(|next| Bytes::copy_from_slice(next.as_bytes()));
        Page { records: keys.iter().map(record).collect(), next, applied: Vec::new() }
    }

    fn shown(page: &Page) -> (String, Option<&[u8]>) {
        let keys = page.records.iter().map(|record| String::from_utf8_lossy(&record.key)).collect::<Vec<_>>();
        (keys.join(" "), page.next.as_deref())
    }

    #[test]
    fn a_merged_page_ends_where_the_first_shard_may_have_more() {
        let pages = || vec![page(&["a", "d", "e"], Some("e")), page(&["b", "f"], None), page(&[], None)];
        assert_eq!(shown(&merged(pages(), 10)), ("a b d e".to_owned(), Some(&b"e"[..])));
        assert_eq!(shown(&merged(pages(), 2)), ("a b".to_owned(), Some(&b"b"[..])));
        // Behind that cursor: what was left out, and nothing twice.
        let rest = vec![page(&["g"], None), page(&["f"], None)];
        assert_eq!(shown(&merged(rest, 10)), ("f g".to_owned(), None));
    }

    #[test]
    fn a_page_that_is_full_by_chance_goes_on_only_if_there_may_be_more() {
        let all = vec![page(&["a"], None), page(&["b"], None)];
        assert_eq!(shown(&merged(all, 2)), ("a b".to_owned(), None));
        let more = vec![page(&["a"], Some("a")), page(&["b"], None)];
        assert_eq!(shown(&merged(more, 2)), ("a".to_owned(), Some(&b"a"[..])));
    }

    #[tokio::test]
    async fn a_range_within_one_tag_is_of_one_shard() {
        let config = || Config::of(vec!["localhost:1".to_owned()]);
        let sharded = Sharded::new((0..5).map(|_| config()).collect()).unwrap();
        assert_eq!(sharded.groups(), [1, 2, 3, 4, 5]);
        let group = |range: &Range| sharded.only_shard(range).map(|shard| shard.groups()[0]);
        let prefix = |text: &'static str| Range::Prefix(Bytes::from_static(text.as_bytes()));
        let of_ana = Some(sharded.group_of(b"c/{ana}"));
        assert_eq!((group(&prefix("o/{ana}/")), group(&prefix("o/{ana}"))), (of_ana, of_ana));
        let between = Range::Between(Bytes::from_static(b"o/{ana}/1"), Bytes::from_static(b"o/{ana}/2"));
        assert_eq!(group(&between), of_ana);
        for wide in ["", "o/", "o/{", "o/{an", "o/{}", "plain"] {
            assert_eq!(group(&prefix(wide)), None, "{wide}");
        }
        assert!(Sharded::new(Vec::new()).is_err());
    }
}
