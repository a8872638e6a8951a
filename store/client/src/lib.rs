//! The `Store` handle, with which portals and tools read and write the replicated store.
//!
//! ```text
//!   portal, tool
//!      │ Store (a trait): get, scan, txn, outcome, changes          StoreExt: set, delete, test_and_set …
//!      ├── Replicated    over gRPC: finds the leader, keeps the order, retries with one identity
//!      ├── Sharded       the same over a ring of shards
//!      ├── Embedded      one process, same log and table, no network      (crate store-server)
//!      └── Memory        faults on demand, for tests                      (crate store-engine)
//!   Session: operations in the order sent, reads included, on top of any of them
//! ```
//!
//! **A failure must tell its caller whether the operation happened**: [`Error`] is *refused* (no, and the same call
//! will not do better), *retry* (no, but later it may) or *unknown* (it may have; the same identity settles it).
//! A write with an [`Identity`] is executed at most once however often it is sent; [`request_identity`] makes one.
//!
//! **Order.** An operation takes its place when its future is first polled. Writes of one handle to one group are
//! executed in that order, over retries and failover too.
//!
//! [`failure`] is the one table of errors, for this side and the server's. The feature `suite` brings the
//! conformance suite that every implementation of [`Store`] passes.

pub mod backoff;
pub mod bus;
pub mod connect;
pub mod error;
mod ext;
pub mod failure;
mod identity;
pub mod link;
pub mod operator;
pub mod pace;
pub mod pipeline;
mod replicated;
mod session;
mod sharded;
#[cfg(feature = "suite")]
pub mod suite;
pub mod unreadable;

use bytes::Bytes;
use futures::stream::BoxStream;
use proto::store::{
    ChangesResponse, Freshness, Identity, KeyRange, KeyRecord, OutcomeResponse, Position, Record, Txn,
    TxnResponse, scan_request,
};

pub use crate::error::{Cause, Error, Refusal};
pub use crate::ext::StoreExt;
#[cfg(feature = "sim")]
pub use crate::identity::simulate_now_ms;
pub use crate::identity::{now_ms, request_identity};
pub use crate::replicated::{Config, Node, Replicated};
pub use crate::session::{Answer, Session};
pub use crate::sharded::Sharded;

/// A record or its absence, and the point of the log at which that is so.
#[derive(Clone, Debug)]
pub struct Got {
    /// The record; `None`: there is none.
    pub record: Option<Record>,
    /// The read reflects the log up to here.
    pub applied: Position,
    /// Which log that is: clusters have different ones, also if they have the same name. 0: not known yet.
    pub log_id: u64,
    /// A transaction over several groups was about to write the record, and may have been decided since: whoever keeps this answer
    /// may keep it only for the moment.
    pub pending: bool,
}

/// One page of a scan.
#[derive(Clone, Debug)]
pub struct Page {
    /// In key order.
    pub records: Vec<KeyRecord>,
    /// The cursor; `None`: that was all.
    pub next: Option<Bytes>,
    /// Each group that was read, and up to where in its log the page reflects it.
    pub applied: Vec<(Group, Position)>,
}

impl Page {
    /// Up to where in the log the page reflects it; 0:0 if it is of several groups, each with a log of its own.
    #[must_use]
    pub fn position(&self) -> Position {
        match self.applied.as_slice() {
            [(_, only)] => *only,
            _ => Position::default(),
        }
    }
}

/// Which keys a scan takes.
#[derive(Clone, Debug)]
pub enum Range {
    /// Keys that begin so.
    Prefix(Bytes),
    /// From (inclusive) to (exclusive; empty: the end).
    Between(Bytes, Bytes),
}

impl From<Range> for scan_request::Range {
    fn from(range: Range) -> scan_request::Range {
        match range {
            Range::Prefix(prefix) => scan_request::Range::Prefix(prefix),
            Range::Between(from, to) => scan_request::Range::Between(KeyRange { from, to }),
        }
    }
}

/// A group by number.
pub type Group = u64;

/// A transactional, replicated key-value store: the handle that portals and tools hold.
///
/// `proto::check` checks arguments at admission; a wrong one is [`Refusal::Invalid`], and the message
/// names the field. Reads never fail with [`Error::Unknown`].
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// The group that keeps `key`.
    fn group_of(&self, key: &[u8]) -> Group;
    /// All groups.
    fn groups(&self) -> Vec<Group>;
    /// Why what was asked waits in vain for now, for people; `None`: it does not.
    fn problem(&self) -> Option<String> {
        None
    }
    /// Reads a record.
    async fn get(&self, key: Bytes, freshness: Freshness) -> Result<Got, Error>;
    /// Reads records in key order; `limit` 0 means 100, at most 1,000; `after` is the cursor of the page before.
    async fn scan(
        &self,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        freshness: Freshness,
    ) -> Result<Page, Error>;
    /// As [`Store::scan`], of one group's records alone.
    async fn scan_group(
        &self,
        group: Group,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        freshness: Freshness,
    ) -> Result<Page, Error> {
        match self.groups()[..] {
            [only] if only == group => self.scan(range, limit, after, freshness).await,
            _ => Err(no_group(group)),
        }
    }
    /// Executes a transaction: done or refused by its guards (`success` says which).
    async fn txn(&self, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, Error>;
    /// What became of a write: `tag` is the key that routed it ([`Txn::tag`]). A write that was never executed is
    /// closed by asking: it never will be.
    async fn outcome(&self, tag: Bytes, identity: Identity) -> Result<OutcomeResponse, Error>;
    /// A group's changes after an offset, in order, for as long as the stream is held. It ends with an error when
    /// its node goes away: ask again from the last `up_to`.
    async fn changes(
        &self,
        group: Group,
        from: u64,
    ) -> Result<BoxStream<'static, Result<ChangesResponse, Error>>, Error>;
}

/// There is no such group.
pub(crate) fn no_group(group: Group) -> Error {
    Error::Refused { reason: Refusal::Invalid, message: format!("route.group: there is no shard {group}") }
}
