//! The rows of prepared branches and of decisions: their keys, and how they are found.

use prost::Message as _;
use proto::store::{CrossId, Decision, PreparedBranch};

use crate::error::Error;
use crate::table::{Read, Space};

const ID_BYTES: usize = 24;

/// The key of a decision, and the beginning of those of the branches.
pub(crate) fn id_key(id: CrossId) -> [u8; ID_BYTES] {
    let mut key = [0; ID_BYTES];
    for (at, part) in [id.group, id.epoch, id.number].into_iter().enumerate() {
        key[at * 8..(at + 1) * 8].copy_from_slice(&part.to_be_bytes());
    }
    key
}

pub(crate) fn branch_key(id: CrossId, offset: u64) -> Vec<u8> {
    [&id_key(id)[..], &offset.to_be_bytes()].concat()
}

pub(crate) fn branch_of(row: &[u8]) -> Result<PreparedBranch, Error> {
    PreparedBranch::decode(row).map_err(|error| Error::damaged(format!("a prepared branch: {error}")))
}

pub(crate) fn decision_of(row: &[u8]) -> Result<Decision, Error> {
    Decision::decode(row).map_err(|error| Error::damaged(format!("a decision: {error}")))
}

/// The branches of a transaction that are prepared here, in the order of their offsets.
pub(crate) fn branches_of(read: &impl Read, id: CrossId) -> Result<Vec<PreparedBranch>, Error> {
    let prefix = id_key(id);
    let mut found = Vec::new();
    read.walk(Space::Prepared, &prefix, &mut |key, row| {
        let is_of = key.starts_with(&prefix);
        if is_of {
            found.push(branch_of(row)?);
        }
        Ok(is_of)
    })?;
    Ok(found)
}

/// The decision on a transaction, if it is to commit and not forgotten.
pub(crate) fn decision(read: &impl Read, id: CrossId) -> Result<Option<Decision>, Error> {
    read.get(Space::Decisions, &id_key(id))?.map(decision_of).transpose()
}
