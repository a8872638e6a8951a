//! Short ways to write transactions, identities and freshness, as methods of the generated types.
//!
//! Promises: its results have the shape that [`crate::check`] asks for; sizes and contents are the caller's.
//! Leaves out: where a transaction goes (routes are the store client's).

use bytes::Bytes;

use crate::store::{
    Absent, Add, Append, DeleteRecord, Exists, Freshness, GetRecord, Guard, Identity, JsonEquals, Operation,
    Position, Put, Quote, Record, Returning, Route, SessionSequence, SetJson, Touched, Txn, TxnResponse,
    UserRequest, freshness, guard::Condition, identity, operation::Action,
};

impl Route {
    /// To a group, by a ring version; names no cluster.
    #[must_use]
    pub const fn to(group: u64, ring_version: u64) -> Route {
        Route { group, ring_version, cluster_id: 0, log_id: 0 }
    }
}

impl Txn {
    /// A transaction that asks and does nothing yet.
    #[must_use]
    pub fn new() -> Txn {
        Txn::default()
    }

    /// Adds a guard.
    #[must_use]
    pub fn guard(mut self, key: impl Into<Bytes>, condition: Condition) -> Txn {
        self.guards.push(Guard { key: key.into(), condition: Some(condition) });
        self
    }

    /// There must be a record.
    #[must_use]
    pub fn guard_exists(self, key: impl Into<Bytes>) -> Txn {
        self.guard(key, Condition::Exists(Exists {}))
    }

    /// There must be no record.
    #[must_use]
    pub fn guard_absent(self, key: impl Into<Bytes>) -> Txn {
        self.guard(key, Condition::Absent(Absent {}))
    }

    /// The record must have this version.
    #[must_use]
    pub fn guard_version(self, key: impl Into<Bytes>, version: u64) -> Txn {
        self.guard(key, Condition::Version(version))
    }

    /// The record must be the one that this log offset wrote.
    #[must_use]
    pub fn guard_offset(self, key: impl Into<Bytes>, offset: u64) -> Txn {
        self.guard(key, Condition::Offset(offset))
    }

    /// Log time must have reached this, milliseconds since 1970.
    #[must_use]
    pub fn guard_not_before(self, key: impl Into<Bytes>, log_time_ms: i64) -> Txn {
        self.guard(key, Condition::NotBeforeMs(log_time_ms))
    }

    /// The JSON value at a pointer must equal this JSON text.
    #[must_use]
    pub fn guard_json(self, key: impl Into<Bytes>, pointer: &str, value: impl Into<Bytes>) -> Txn {
        let condition = JsonEquals { pointer: pointer.to_owned(), value: value.into() };
        self.guard(key, Condition::Json(condition))
    }

    /// Adds an operation.
    #[must_use]
    pub fn operation(mut self, key: impl Into<Bytes>, action: Action, returning: Returning) -> Txn {
        self.operations.push(Operation {
            key: key.into(),
            action: Some(action),
            returning: returning.into(),
            stamps: Vec::new(),
        });
        self
    }

    /// The values at these JSON pointers, in what the last operation leaves, become the entry's log time.
    ///
    /// # Panics
    /// If there is no operation yet.
    #[must_use]
    pub fn stamped(mut self, pointers: &[&str]) -> Txn {
        let last = self.operations.last_mut().expect("there is an operation to stamp");
        last.stamps.extend(pointers.iter().map(|pointer| (*pointer).to_owned()));
        self
    }

    /// Creates or replaces a record.
    #[must_use]
    pub fn put(self, key: impl Into<Bytes>, timestamp_ms: i64, data: impl Into<Bytes>) -> Txn {
        self.operation(key, Action::Put(Put { timestamp_ms, data: data.into() }), Returning::Meta)
    }

    /// Deletes a record, if there is one.
    #[must_use]
    pub fn delete(self, key: impl Into<Bytes>) -> Txn {
        self.operation(key, Action::Delete(DeleteRecord {}), Returning::Meta)
    }

    /// Reads a record with its data, as of this place in the log.
    #[must_use]
    pub fn get(self, key: impl Into<Bytes>) -> Txn {
        self.operation(key, Action::Get(GetRecord {}), Returning::After)
    }

    /// Sets the JSON value at a pointer to this JSON text.
    #[must_use]
    pub fn set_json(
        self,
        key: impl Into<Bytes>,
        timestamp_ms: i64,
        pointer: &str,
        value: impl Into<Bytes>,
    ) -> Txn {
        let set = SetJson { pointer: pointer.to_owned(), value: value.into(), timestamp_ms };
        self.operation(key, Action::Set(set), Returning::Meta)
    }

    /// Creates a record under a key that begins with `prefix` and ends in the entry's offset.
    #[must_use]
    pub fn append(
        self,
        prefix: impl Into<Bytes>,
        timestamp_ms: i64,
        data: impl Into<Bytes>,
        quotes: Vec<Quote>,
    ) -> Txn {
        let append = Append { timestamp_ms, data: data.into(), quotes, within: 0 };
        self.operation(prefix, Action::Append(append), Returning::Meta)
    }

    /// As [`Txn::append`], under a key that has the entry's offset between `before` and `after`.
    #[must_use]
    pub fn append_within(
        self,
        (before, after): (&[u8], &[u8]),
        timestamp_ms: i64,
        data: impl Into<Bytes>,
        quotes: Vec<Quote>,
    ) -> Txn {
        let within = u32::try_from(before.len()).unwrap_or(u32::MAX);
        let append = Append { timestamp_ms, data: data.into(), quotes, within };
        self.operation([before, after].concat(), Action::Append(append), Returning::Meta)
    }

    /// Adds to the integer at a JSON pointer; the transaction fails if the sum is under `minimum`.
    #[must_use]
    pub fn add(
        self,
        key: impl Into<Bytes>,
        timestamp_ms: i64,
        pointer: &str,
        amount: i64,
        minimum: Option<i64>,
    ) -> Txn {
        let add = Add { pointer: pointer.to_owned(), amount, minimum, timestamp_ms };
        self.operation(key, Action::Add(add), Returning::Meta)
    }

    /// The last operation answers with the record as it left it.
    ///
    /// # Panics
    /// If there is no operation yet: our own bug.
    #[must_use]
    pub fn returning_after(self) -> Txn {
        self.returning(Returning::After)
    }

    /// The last operation answers with the record as it found it.
    ///
    /// # Panics
    /// If there is no operation yet: our own bug.
    #[must_use]
    pub fn returning_before(self) -> Txn {
        self.returning(Returning::Before)
    }

    fn returning(mut self, returning: Returning) -> Txn {
        let last = self.operations.last_mut().expect("an operation comes before what it returns");
        last.returning = returning.into();
        self
    }

    /// The key that routes the transaction and under which its answer is remembered: the key of the first
    /// guard, else of the first operation. A retry under the same request id must have the same tag. `None`:
    /// the transaction is empty.
    #[must_use]
    pub fn tag(&self) -> Option<&Bytes> {
        let guard = self.guards.first().map(|guard| &guard.key);
        guard.or_else(|| self.operations.first().map(|operation| &operation.key))
    }

    /// The keys of all guards and operations, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        let guards = self.guards.iter().map(|guard| &guard.key);
        guards.chain(self.operations.iter().map(|operation| &operation.key))
    }
}

impl Identity {
    /// The identity of a user operation. `id`: 1 to 64 bytes; `created_ms`: when the library made the id, 0 if a
    /// person chose it; `attempt`: from 1, one more when the same operation is tried with other guards;
    /// `digest`: of the user's operation and arguments ([`crate::hash::digest`]).
    #[must_use]
    pub fn user(id: impl Into<Bytes>, created_ms: i64, attempt: u32, digest: [u8; 16]) -> Identity {
        let id = identity::Id::User(UserRequest { id: id.into(), created_ms });
        Identity { attempt, digest: Bytes::copy_from_slice(&digest), id: Some(id) }
    }

    /// The identity of a session's write. `created_ms`: when the session was made (at least 1, the same in each
    /// write); `sequence`: from 1, one more with each write; `lowest`: no sequence below it is ever repeated.
    #[must_use]
    pub fn session(
        session: [u8; 16],
        created_ms: i64,
        sequence: u64,
        lowest: u64,
        attempt: u32,
        digest: [u8; 16],
    ) -> Identity {
        let session = Bytes::copy_from_slice(&session);
        let id = identity::Id::Session(SessionSequence { session, sequence, lowest, created_ms });
        Identity { attempt, digest: Bytes::copy_from_slice(&digest), id: Some(id) }
    }
}

impl Freshness {
    /// After every write that was acknowledged before the read arrived.
    #[must_use]
    pub fn linearizable() -> Freshness {
        Freshness { min_offset: 0, kind: Some(freshness::Kind::Linearizable(true)) }
    }

    /// Whatever the replica asked has applied.
    #[must_use]
    pub fn stale() -> Freshness {
        Freshness { min_offset: 0, kind: Some(freshness::Kind::Stale(true)) }
    }

    /// And not before this offset is applied.
    #[must_use]
    pub fn with_min_offset(mut self, offset: u64) -> Freshness {
        self.min_offset = offset;
        self
    }

    /// Whether a replica may answer from what it has, without asking the group. No kind is linearizable.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(self.kind, Some(freshness::Kind::Stale(true)))
    }
}

impl Position {
    /// This offset of this epoch.
    #[must_use]
    pub fn at(epoch: u64, offset: u64) -> Position {
        Position { epoch, offset }
    }
}

impl Record {
    /// The offset of the log entry that wrote it: unique for a key for ever.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.position.map_or(0, |position| position.offset)
    }
}

impl TxnResponse {
    /// The log offset at which it was decided.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.position.map_or(0, |position| position.offset)
    }

    /// The result of an operation, by its index; `None` if the transaction failed, or the answer was too large to
    /// be remembered whole.
    #[must_use]
    pub fn result(&self, operation: usize) -> Option<&Touched> {
        self.results.get(operation)
    }
}

impl Quote {
    /// Sets the value at `source` in the record that operation `operation` left into the data, at `pointer`.
    #[must_use]
    pub fn of(operation: u32, source: &str, pointer: &str) -> Quote {
        Quote { pointer: pointer.to_owned(), operation, source: source.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_reads_as_it_is_written() {
        let txn = Txn::new()
            .guard_absent("o/{c1}/1")
            .guard_offset("p/{x}", 7)
            .guard_json("c/{c1}", "/state", "\"open\"")
            .add("s/{x}", 5, "/available", -3, Some(0))
            .put("o/{c1}/1", 5, "{}")
            .returning_after();
        assert_eq!(txn.tag().map(|tag| tag.as_ref()), Some(&b"o/{c1}/1"[..]));
        assert_eq!((txn.guards.len(), txn.operations.len()), (3, 2));
        assert_eq!(txn.operations[0].returning(), Returning::Meta);
        assert_eq!(txn.operations[1].returning(), Returning::After);
        assert_eq!(Txn::new().get("k").tag().map(|tag| tag.as_ref()), Some(&b"k"[..]));
        assert_eq!(Txn::new().tag(), None);
    }

    #[test]
    fn freshness_without_a_kind_is_linearizable() {
        assert!(!Freshness::default().is_stale() && !Freshness::linearizable().is_stale());
        assert!(Freshness::stale().with_min_offset(4).is_stale());
    }
}
