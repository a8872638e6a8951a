//! The table under the state machine, as a trait with an LMDB and an in-memory form and one conformance suite.
//!
//! LMDB's transactions are not `Send`, so transactions are closures. Keys are 1 to 511 bytes, sorted bytewise.

use std::ops::Deref;

use crate::error::Error;
use crate::limits::TABLE_KEY_BYTES_MAX;

/// The parts of the table, each a sorted map of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// Key → record.
    Records,
    /// Ring hash of the first key, and the request's id → remembered reply.
    Replies,
    /// Offset → key in `Replies`, for eviction in order.
    ReplyOrder,
    /// Session → its state; session and sequence → where its reply is remembered.
    Sessions,
    /// Offset → the keys that the entry changed.
    Changes,
    /// One record: where the database stands.
    State,
    /// A transaction over several groups and the offset of its prepare → the branch that is prepared here.
    Prepared,
    /// Ring hash, key, and the place of a prepare → the locks of a prepared branch on the key.
    Locks,
    /// A transaction over several groups → its decision, until it is finished everywhere.
    Decisions,
}

impl Space {
    /// All of them, in the order in which they are exported.
    pub const ALL: [Space; 9] = [
        Space::Records,
        Space::Replies,
        Space::ReplyOrder,
        Space::Sessions,
        Space::Changes,
        Space::State,
        Space::Prepared,
        Space::Locks,
        Space::Decisions,
    ];

    /// Its name in the database; never changed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Space::Records => "records",
            Space::Replies => "replies",
            Space::ReplyOrder => "reply_order",
            Space::Sessions => "sessions",
            Space::Changes => "changes",
            Space::State => "state",
            Space::Prepared => "prepared",
            Space::Locks => "locks",
            Space::Decisions => "decisions",
        }
    }

    /// Its place in [`Space::ALL`]; never changed.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Space::Records => 0,
            Space::Replies => 1,
            Space::ReplyOrder => 2,
            Space::Sessions => 3,
            Space::Changes => 4,
            Space::State => 5,
            Space::Prepared => 6,
            Space::Locks => 7,
            Space::Decisions => 8,
        }
    }
}

/// The row of [`Space::State`] that stands while an import is under way.
pub(crate) const IMPORTING: &[u8] = b"importing";

/// Panics at a key that no form of the table can hold: our own bug, since admission checks keys.
pub(crate) fn assert_key(key: &[u8]) {
    let fits = (1..=TABLE_KEY_BYTES_MAX).contains(&key.len());
    assert!(fits, "a key of the table has 1 to {TABLE_KEY_BYTES_MAX} bytes, not {}", key.len());
}

/// What [`Write::append`] says of a key that does not fit there.
pub(crate) fn not_in_order(space: Space) -> Error {
    Error::damaged(format!("a row of {} to be appended is not behind all others", space.name()))
}

/// What a walk calls with each key and value; false ends it.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<bool, Error> + 'v;

/// What a transaction can read. Keys have 1 to 511 bytes; others panic.
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
    fn walk(&self, space: Space, from: &[u8], visit: &mut Visit<'_>) -> Result<(), Error>;
}

/// What a write transaction can do besides; it reads its own writes.
pub trait Write: Read {
    /// Creates or replaces.
    ///
    /// # Errors
    /// The table cannot be written.
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error>;
    /// [`Write::put`] of a row that is not there, as the caller knows.
    ///
    /// # Errors
    /// The table cannot be written.
    fn insert(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.put(space, key, value)
    }
    /// [`Write::put`] of a value that the caller wants no more.
    ///
    /// # Errors
    /// The table cannot be written.
    fn put_owned(&mut self, space: Space, key: &[u8], value: Vec<u8>) -> Result<(), Error> {
        self.put(space, key, &value)
    }
    /// Creates behind every other key of the space: cheaper than [`Write::put`], and leaves pages full.
    ///
    /// # Errors
    /// The key is not behind all others ([`Error::Damaged`]; nothing may be kept of the transaction), or the table cannot be
    /// written.
    fn append(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), Error>;
    /// Deletes; true if it was there.
    ///
    /// # Errors
    /// The table cannot be written.
    fn delete(&mut self, space: Space, key: &[u8]) -> Result<bool, Error>;
    /// [`Write::delete`] of a row that is there, as the caller knows.
    ///
    /// # Errors
    /// The table cannot be written.
    fn remove(&mut self, space: Space, key: &[u8]) -> Result<(), Error> {
        self.delete(space, key).map(drop)
    }
    /// Lays rows, which come in the order of their keys, over those that are there; `None`: the row goes, if it is there. Cheaper than
    /// [`Write::put`] and [`Write::delete`] of each, for a table that goes on from one row to the next.
    ///
    /// # Errors
    /// The table cannot be written.
    fn lay<'r, K: Deref<Target = [u8]>>(
        &mut self,
        space: Space,
        rows: impl Iterator<Item = (K, Option<&'r [u8]>)>,
    ) -> Result<(), Error>
    where
        Self: Sized,
    {
        for (key, value) in rows {
            match value {
                Some(value) => self.put(space, &key, value)?,
                None => drop(self.delete(space, &key)?),
            }
        }
        Ok(())
    }
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
    /// Runs `job` on one unchanging consistent view.
    ///
    /// # Errors
    /// The transaction cannot begin, or what `job` returns.
    fn read<T>(&self, job: impl FnOnce(&Self::Read<'_>) -> Result<T, Error>) -> Result<T, Error>;
    /// Runs `job` alone; commits if it returns `Ok`, changes nothing otherwise.
    ///
    /// # Errors
    /// The transaction cannot begin or commit, or what `job` returns.
    fn write<T>(&self, job: impl FnOnce(&mut Self::Write<'_>) -> Result<T, Error>) -> Result<T, Error>;
    /// [`Table::read`] for a job that takes long: it keeps no write waiting, after it has begun.
    ///
    /// # Errors
    /// As [`Table::read`]; or what was written before could not be carried to where the job reads.
    fn read_settled<T>(&self, job: impl FnOnce(&Self::Read<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.read(job)
    }
    /// [`Table::write`] for a job that writes much of a whole state.
    ///
    /// # Errors
    /// As [`Table::write`].
    fn write_through<T>(
        &self,
        job: impl FnOnce(&mut Self::Write<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.write(job)
    }
    /// [`Table::write`] of a job that begins to replace all that is there: the rest goes, once the job's rows are there.
    ///
    /// # Errors
    /// As [`Table::write`]; then everything is as it was.
    fn replace<T>(&self, job: impl FnOnce(&mut Self::Write<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.write(job)
    }
    /// What the store under the table has reported of damage since it was opened or reset; `None`: nothing. Whatever read or
    /// wrote met it.
    fn damage(&self) -> Option<String>;
    /// Empties the table, whatever is in it, even if its store reports damage. Readers go on with what they had.
    ///
    /// # Errors
    /// The table cannot be made anew; it must not be used any more.
    fn reset(&self) -> Result<(), Error>;
    /// Makes what was committed durable.
    ///
    /// # Errors
    /// As the operating system says; never retried.
    fn sync(&self) -> Result<(), Error>;
    /// Bytes used and bytes that can be used.
    ///
    /// # Errors
    /// The table does not say.
    fn headroom(&self) -> Result<(u64, u64), Error>;
    /// What was written has still to take so many bytes on the disk, at most, about, where so many are used.
    fn pending_bytes(&self, _used: u64) -> u64 {
        0
    }
}
