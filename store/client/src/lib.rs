//! The `Store` handle (contract sketch; the owner completes it).
pub mod error;
pub use error::{Error, Refusal};

use bytes::Bytes;
use futures::stream::BoxStream;
use proto::store::{
    ChangesResponse, Freshness, Identity, KeyRecord, OutcomeResponse, Position, Record, Txn, TxnResponse,
};

/// A record or its absence, and the point of the log at which that is so.
#[derive(Clone, Debug)]
pub struct Got {
    /// The record; `None`: there is none.
    pub record: Option<Record>,
    /// The read reflects the log up to here.
    pub applied: Position,
}

/// One page of a scan.
#[derive(Clone, Debug)]
pub struct Page {
    /// In key order.
    pub records: Vec<KeyRecord>,
    /// The cursor; `None`: that was all.
    pub next: Option<Bytes>,
    /// The read reflects the log up to here.
    pub applied: Position,
}

/// Which keys a scan takes.
#[derive(Clone, Debug)]
pub enum Range {
    /// Keys that begin so.
    Prefix(Bytes),
    /// From (inclusive) to (exclusive; empty: the end).
    Between(Bytes, Bytes),
}

/// A group by number.
pub type Group = u64;

/// A transactional, replicated key-value store: the handle that portals and tools hold.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// The group that keeps `key`.
    fn group_of(&self, key: &[u8]) -> Group;
    /// All groups.
    fn groups(&self) -> Vec<Group>;
    /// Reads a record.
    async fn get(&self, key: Bytes, freshness: Freshness) -> Result<Got, Error>;
    /// Reads records in key order.
    async fn scan(&self, range: Range, limit: u32, after: Option<Bytes>, freshness: Freshness) -> Result<Page, Error>;
    /// Executes a transaction: done or refused by its guards (`success` says which).
    async fn txn(&self, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, Error>;
    /// What became of a write.
    async fn outcome(&self, tag: Bytes, identity: Identity) -> Result<OutcomeResponse, Error>;
    /// A group's changes after an offset, in order.
    async fn changes(&self, group: Group, from: u64) -> Result<BoxStream<'static, Result<ChangesResponse, Error>>, Error>;
}
