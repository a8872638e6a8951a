//! The rows of [`Space::Sessions`](crate::table::Space), and how they are read and written.
//!
//! ```text
//!   session (16)            → SessionState
//!   session | sequence (8)  → hash of tag (8) | offset (8) | bytes (4)
//! ```
//!
//! Leaves out: what they mean ([`crate::replies`]).

use prost::Message as _;
use proto::check::SESSION_BYTES;
use proto::store::SessionState;

use crate::error::Error;

/// Bytes of a ring hash.
pub(crate) const HASH_BYTES: usize = 8;

/// The id of a session.
pub(crate) type SessionId = [u8; SESSION_BYTES];

/// A row of Sessions for one sequence: where its answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sequence {
    /// Of the transaction's tag.
    pub(crate) hash: [u8; HASH_BYTES],
    /// The key in ReplyOrder.
    pub(crate) order: [u8; 8],
    /// What the answer counts for.
    pub(crate) bytes: u32,
}

impl Sequence {
    pub(crate) fn of(row: &[u8]) -> Result<Sequence, Error> {
        let parts = || {
            let (hash, rest) = row.split_first_chunk()?;
            let (order, bytes) = rest.split_first_chunk()?;
            Some(Sequence { hash: *hash, order: *order, bytes: u32::from_be_bytes(bytes.try_into().ok()?) })
        };
        parts().ok_or_else(|| Error::damaged("a row of a session's sequence"))
    }

    pub(crate) fn encoded(&self) -> [u8; HASH_BYTES + 12] {
        let mut row = [0; HASH_BYTES + 12];
        row[..HASH_BYTES].copy_from_slice(&self.hash);
        row[HASH_BYTES..HASH_BYTES + 8].copy_from_slice(&self.order);
        row[HASH_BYTES + 8..].copy_from_slice(&self.bytes.to_be_bytes());
        row
    }
}

pub(crate) fn sequence_key(session: &[u8], sequence: u64) -> Vec<u8> {
    [session, &sequence.to_be_bytes()].concat()
}

/// The sequence in a key of Sessions, if it is of this session.
pub(crate) fn sequence_of(key: &[u8], session: &[u8]) -> Option<u64> {
    key.strip_prefix(session)?.try_into().ok().map(u64::from_be_bytes)
}

pub(crate) fn session_state(row: &[u8]) -> Result<SessionState, Error> {
    SessionState::decode(row).map_err(|error| Error::damaged(format!("a session's state: {error}")))
}
