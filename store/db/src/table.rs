//! The table under the state machine, as a trait with an LMDB and an in-memory form and one conformance suite.
//!
//! LMDB's transactions are not `Send`, so transactions are closures. Keys are 1 to 511 bytes, sorted bytewise.

use crate::Error;

/// The parts of the table, each a sorted map of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// Key → record.
    Records,
    /// Ring hash of the first key, and the request's id → remembered reply.
    Replies,
    /// Offset → key in `Replies`, for eviction in order.
    ReplyOrder,
    /// Session → its state.
    Sessions,
    /// Offset → the keys that the entry changed.
    Changes,
    /// One record: where the database stands.
    State,
}

/// What a transaction can read.
pub trait Read {
    /// The value under `key`.
    ///
    /// # Errors
    /// The table cannot be read.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<&[u8]>, Error>;
    /// Calls `visit` with each pair from `from` (inclusive; empty: the start) on, until it returns false.
    ///
    /// # Errors
    /// The table cannot be read, or what `visit` returns.
    fn walk(
        &self,
        space: Space,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error>;
}

/// What a write transaction can do besides; it reads its own writes.
pub trait Write: Read {
    /// Creates or replaces.
    ///
    /// # Errors
    /// The table cannot be written.
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error>;
    /// Deletes; true if it was there.
    ///
    /// # Errors
    /// The table cannot be written.
    fn delete(&mut self, space: Space, key: &[u8]) -> Result<bool, Error>;
    /// Empties a space.
    ///
    /// # Errors
    /// The table cannot be written.
    fn clear(&mut self, space: Space) -> Result<(), Error>;
}

/// A transactional, sorted table. A handle: clones are of the same table, and many may read while one writes.
pub trait Table: Clone + Send + Sync + 'static {
    /// A read transaction.
    type Read<'t>: Read;
    /// A write transaction.
    type Write<'t>: Write;
    /// Runs `job` on one unchanging picture.
    ///
    /// # Errors
    /// The transaction cannot begin, or what `job` returns.
    fn read<T>(&self, job: impl FnOnce(&Self::Read<'_>) -> Result<T, Error>) -> Result<T, Error>;
    /// Runs `job` alone; commits if it returns `Ok`, changes nothing otherwise.
    ///
    /// # Errors
    /// The transaction cannot begin or commit, or what `job` returns.
    fn write<T>(&self, job: impl FnOnce(&mut Self::Write<'_>) -> Result<T, Error>) -> Result<T, Error>;
    /// Makes what was committed durable.
    ///
    /// # Errors
    /// As the operating system says; never retried.
    fn sync(&self) -> Result<(), Error>;
    /// Bytes used and bytes that can be used.
    ///
    /// # Errors
    /// The table does not say.
    fn room(&self) -> Result<(u64, u64), Error>;
}
