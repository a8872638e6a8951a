//! The database's position: one row, written in the transaction of every batch.

use prost::Message as _;
use proto::store::{AppliedState, Membership, Position};

use crate::error::Error;
use crate::limits::VERSION_FIRST;
use crate::table::{IMPORTING, Read, Space, Write};

pub(crate) const APPLIED: &[u8] = b"applied";

/// Where the database stands; at the start of a log if nothing was applied yet.
///
/// # Errors
/// The table cannot be read, or the row is damaged, or an import has not ended.
pub fn read(read: &impl Read) -> Result<AppliedState, Error> {
    if read.get(Space::State, IMPORTING)?.is_some() {
        return Err(Error::damaged("the import of a snapshot has not ended"));
    }
    match read.get(Space::State, APPLIED)? {
        Some(row) => {
            AppliedState::decode(row).map_err(|error| Error::damaged(format!("the applied state: {error}")))
        }
        None => Ok(AppliedState {
            applied: Some(Position::default()),
            state_machine_version: VERSION_FIRST,
            ..AppliedState::default()
        }),
    }
}

/// The position up to which everything is applied.
#[must_use]
pub fn applied(state: &AppliedState) -> Position {
    state.applied.unwrap_or_default()
}

/// Which log the database is of: a digest of who founded the group. 0 before the first membership is applied.
#[must_use]
pub fn log_id(state: &AppliedState) -> u64 {
    match (state.log_id, &state.membership) {
        (0, Some(initial_members)) => founded_by(initial_members),
        (known, _) => known,
    }
}

/// Nodes and incarnations in the order of the nodes; addresses may change, and the list be in any order.
fn founded_by(initial_members: &Membership) -> u64 {
    let mut members: Vec<(u64, u64)> =
        initial_members.voters.iter().map(|voter| (voter.node, voter.incarnation)).collect();
    members.sort_unstable();
    let numbers = members.iter().flat_map(|(node, incarnation)| [node, incarnation]);
    let bytes: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
    let digest = u128::from_be_bytes(proto::hash::digest(&[b"log", &bytes]));
    // 0 says that it is not known.
    u64::try_from(digest >> 64).expect("the upper half").max(1)
}

pub(crate) fn write(write: &mut impl Write, state: &AppliedState) -> Result<(), Error> {
    write.put(Space::State, APPLIED, &state.encode_to_vec())
}
