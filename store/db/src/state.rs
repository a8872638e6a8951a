//! Where the database stands: one row, written in the transaction of every batch.

use prost::Message as _;
use proto::store::{AppliedState, Position};

use crate::error::Error;
use crate::limits::STATE_MACHINE_VERSION;
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
            state_machine_version: STATE_MACHINE_VERSION,
            ..AppliedState::default()
        }),
    }
}

/// The position up to which everything is applied.
#[must_use]
pub fn applied(state: &AppliedState) -> Position {
    state.applied.unwrap_or_default()
}

pub(crate) fn write(write: &mut impl Write, state: &AppliedState) -> Result<(), Error> {
    write.put(Space::State, APPLIED, &state.encode_to_vec())
}
