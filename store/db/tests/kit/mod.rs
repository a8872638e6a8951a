//! The fixture of this crate's tests: a replica that is fed entries and shows what it keeps.
#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

use bytes::Bytes;
use prost::Message as _;
use proto::store::command::Kind;
use proto::store::failed_guard::Reason;
use proto::store::{
    AppliedState, Command, FailureReason, Identity, OutcomeCommand, OutcomeResponse, Record, Txn, TxnCommand,
    TxnResponse,
};
use store_core::types::{Entry, EntryKind, Position};
use store_db::{Memory, Read as _, Reply, Space, Table, apply, query, state};

/// Feeds one table with entries.
pub struct Replica<T> {
    pub table: T,
    pub epoch: u64,
    pub offset: u64,
    pub stamp_ms: i64,
}

pub fn fresh() -> Replica<Memory> {
    Replica::new(Memory::new())
}

pub fn entry(epoch: u64, offset: u64, stamp_ms: i64, kind: Kind) -> Entry<Bytes> {
    let payload = Command { kind: Some(kind) }.encode_to_vec().into();
    Entry { position: Position::new(epoch, offset), stamp_ms, kind: EntryKind::Command, payload }
}

pub fn txn_kind(txn: Txn, identity: Option<Identity>) -> Kind {
    Kind::Txn(TxnCommand { txn: Some(txn), identity })
}

impl<T: Table> Replica<T> {
    pub fn new(table: T) -> Replica<T> {
        Replica { table, epoch: 1, offset: 0, stamp_ms: 1_000_000 }
    }

    pub fn next(&mut self, kind: Kind) -> Entry<Bytes> {
        self.offset += 1;
        entry(self.epoch, self.offset, self.stamp_ms, kind)
    }

    pub fn command(&mut self, kind: Kind) -> Reply {
        let entry = self.next(kind);
        self.table.write(|write| apply(write, &[entry])).unwrap().remove(0)
    }

    pub fn txn(&mut self, txn: Txn) -> TxnResponse {
        match self.command(txn_kind(txn, None)) {
            Reply::Txn(response) => response,
            other => panic!("not the answer of a transaction: {other:?}"),
        }
    }

    pub fn txn_as(&mut self, identity: Identity, txn: Txn) -> Result<TxnResponse, FailureReason> {
        match self.command(txn_kind(txn, Some(identity))) {
            Reply::Txn(response) => Ok(response),
            Reply::Refused(refused) => Err(refused.reason),
            other => panic!("not the answer of a transaction: {other:?}"),
        }
    }

    pub fn outcome(&mut self, tag: &str, identity: Identity) -> Result<OutcomeResponse, FailureReason> {
        let command = OutcomeCommand { tag: tag.to_owned().into(), identity: Some(identity) };
        match self.command(Kind::Outcome(command)) {
            Reply::Outcome(response) => Ok(response),
            Reply::Refused(refused) => Err(refused.reason),
            other => panic!("not the answer of an outcome: {other:?}"),
        }
    }

    /// The first failure of a transaction that must fail: of an operation or a guard, its index, why.
    pub fn fails(&mut self, txn: Txn) -> (bool, u32, Reason) {
        let before = self.rows();
        let response = self.txn(txn);
        assert!(!response.success && response.results.is_empty(), "{response:?}");
        assert_eq!(self.rows(), before, "a transaction that fails writes nothing");
        let failed = &response.failed[0];
        (failed.operation, failed.index, failed.reason())
    }

    pub fn get(&self, key: &str) -> Option<Record> {
        self.table.read(|read| query::get(read, key.as_bytes())).unwrap()
    }

    pub fn data(&self, key: &str) -> Option<String> {
        self.get(key).map(|record| String::from_utf8(record.data.to_vec()).unwrap())
    }

    pub fn version(&self, key: &str) -> u64 {
        self.get(key).unwrap().version
    }

    pub fn state(&self) -> AppliedState {
        self.table.read(|read| state::read(read)).unwrap()
    }

    /// Everything but where the database stands.
    pub fn rows(&self) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
        rows(&self.table).into_iter().filter(|row| row.0 != Space::State).collect()
    }

    pub fn count(&self, space: Space) -> usize {
        rows(&self.table).iter().filter(|row| row.0 == space).count()
    }
}

/// Every row of a table.
pub fn rows<T: Table>(table: &T) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let read = table.read(|read| {
        Space::ALL.into_iter().try_for_each(|space| {
            read.walk(space, &[], &mut |key, value| {
                rows.push((space, key.to_vec(), value.to_vec()));
                Ok(true)
            })
        })
    });
    read.unwrap();
    rows
}
