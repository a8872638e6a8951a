//! The state of transactions over several groups as leaders ask for it (docs/PROTOCOL.md, 10).
//!
//! Promises: each is a function of one consistent view. With no branch prepared, none of them looks further than where the
//! database stands.
//!
//! Leaves out: which leader may answer, and when ([`store_core::coordinate`]).

use bytes::Bytes;
use proto::store::scan_request::Range;
use proto::store::{AppliedState, CrossId, DecidedBranch, Decision, KeyLocks, Owned, PreparedBranch};
use store_core::mutant;

use super::rows::{branch_of, branches_of, decision, decision_of};
use crate::error::Error;
use crate::locks;
use crate::state;
use crate::table::{Read, Space};

/// A prepared branch that may change a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    /// Of which key.
    pub key: Bytes,
    /// Of which transaction.
    pub id: CrossId,
    /// The offset of its prepare, by which its decision names it.
    pub offset: u64,
    /// The owner of this hash answers for the decision.
    pub decider_tag_hash: u64,
}

impl Intent {
    fn of(key: &[u8], locks: &KeyLocks) -> Intent {
        let id = locks.id.unwrap_or_default();
        let key = Bytes::copy_from_slice(key);
        Intent { key, id, offset: locks.offset, decider_tag_hash: locks.decider_tag_hash }
    }
}

/// The branches that may change the record under `key`: with any, the record is no more than one moment's.
///
/// # Errors
/// The table cannot be read or is damaged.
pub fn intents(read: &impl Read, key: &[u8]) -> Result<Vec<Intent>, Error> {
    if state::read(read)?.prepared_count == 0 {
        return Ok(Vec::new());
    }
    let held = locks::on(read, key)?;
    Ok(held.iter().filter(|locks| locks::is_intent(locks)).map(|locks| Intent::of(key, locks)).collect())
}

/// The branches that may change a record of a page of a scan, in no particular order: those of keys of the range after
/// `after`, and up to `next`, the cursor of the next page (`None`: it is the last). Keys that have no record yet are among them.
/// Costs a walk over all locks of the group.
///
/// # Errors
/// The table cannot be read or is damaged.
pub fn intents_of_page(
    read: &impl Read,
    range: &Range,
    after: &[u8],
    next: Option<&[u8]>,
) -> Result<Vec<Intent>, Error> {
    let mut found = Vec::new();
    if state::read(read)?.prepared_count == 0 {
        return Ok(found);
    }
    let is_inside = |key: &[u8]| match range {
        Range::Prefix(prefix) => key.starts_with(prefix),
        Range::Between(between) => {
            key >= &between.from[..] && (between.to.is_empty() || key < &between.to[..])
        }
    };
    read.walk(Space::Locks, &[], &mut |row_key, row| {
        let key = locks::key_of(row_key)?;
        if is_inside(key) && key > after && next.is_none_or(|next| key <= next) {
            let held = locks::decoded(row)?;
            if locks::is_intent(&held) {
                found.push(Intent::of(key, &held));
            }
        }
        Ok(true)
    })?;
    Ok(found)
}

/// Whether there is a decision on a transaction that names the prepare at `offset` of the group that had this range: prepares of two
/// groups may stand at one offset, each in its own log.
///
/// # Errors
/// The table cannot be read or is damaged.
pub fn is_committed(read: &impl Read, id: CrossId, offset: u64, range: &Owned) -> Result<bool, Error> {
    let is_there = |of: &Owned| of.contains(range.up_to);
    let named =
        |branch: &DecidedBranch| branch.offset == offset && branch.range.as_ref().is_some_and(is_there);
    let names = |row: &Decision| row.branches.iter().any(named);
    Ok(decision(read, id)?.is_some_and(|row| names(&row) || mutant!(AbsentWithoutOffset)))
}

/// Whether there is a decision on a transaction, to commit it, that is not forgotten.
///
/// # Errors
/// The table cannot be read or is damaged.
pub fn is_decided(read: &impl Read, id: CrossId) -> Result<bool, Error> {
    Ok(decision(read, id)?.is_some())
}

/// Whether no branch of a transaction is prepared at `offset` (0: at any), in what is applied; and `offset` is applied. Then a
/// leader acknowledges its end without an entry.
///
/// # Errors
/// The table cannot be read or is damaged.
pub fn is_finished(read: &impl Read, id: CrossId, offset: u64) -> Result<bool, Error> {
    if state::applied(&state::read(read)?).offset < offset {
        return Ok(false);
    }
    let live = branches_of(read, id)?;
    let is_meant = |row: &PreparedBranch| offset == 0 || row.position.is_some_and(|at| at.offset == offset);
    Ok(!live.iter().any(is_meant))
}

/// Whether the group owns a tag hash, and so answers for the decisions under it.
#[must_use]
pub fn answers_for(state: &AppliedState, decider_tag_hash: u64) -> bool {
    state.owned.as_ref().is_none_or(|owned| owned.contains(decider_tag_hash))
}

/// Prepared branches, up to `limit` of them, for a leader that asks what became of them.
///
/// # Errors
/// The table cannot be read or is damaged.
pub fn prepared_branches(read: &impl Read, limit: usize) -> Result<Vec<PreparedBranch>, Error> {
    let mut found = Vec::new();
    read.walk(Space::Prepared, &[], &mut |_, row| {
        if found.len() < limit {
            found.push(branch_of(row)?);
        }
        Ok(found.len() < limit)
    })?;
    Ok(found)
}

/// All decisions that are not forgotten, for a new leader that has their branches finished.
///
/// # Errors
/// The table cannot be read or is damaged.
pub fn decisions(read: &impl Read) -> Result<Vec<(CrossId, Decision)>, Error> {
    let mut found = Vec::new();
    read.walk(Space::Decisions, &[], &mut |key, row| {
        let part = |at: usize| key.get(at * 8..(at + 1) * 8)?.try_into().ok().map(u64::from_be_bytes);
        let id = || Some(CrossId::of(part(0)?, part(1)?, part(2)?));
        let id = id().ok_or_else(|| Error::damaged("the key of a decision"))?;
        found.push((id, decision_of(row)?));
        Ok(true)
    })?;
    Ok(found)
}
