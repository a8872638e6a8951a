//! The last checkpoints of the state: the running state hash, noted at certain offsets, to be compared with other
//! replicas'. One row of its own, written where one is noted and not otherwise.
//!
//! Promises: a function of the state and of those before; at most [`CHECKPOINTS_KEPT`], so that the row is bounded. It
//! is part of the state: a snapshot brings the checkpoints of its maker. Leaves out the offsets, and the consequences of
//! a difference: `store-core`.

use prost::Message as _;
use proto::store::{AppliedState, Checkpoint, Checkpoints};
use store_core::limits::CHECKPOINTS_KEPT;

use crate::error::Error;
use crate::table::{Read, Space, Write};

pub(crate) const CHECKPOINTS: &[u8] = b"checkpoints";

/// Those of the table, oldest first.
///
/// # Errors
/// The table cannot be read, or the row is damaged.
pub fn read(read: &impl Read) -> Result<Vec<Checkpoint>, Error> {
    let Some(row) = read.get(Space::State, CHECKPOINTS)? else { return Ok(Vec::new()) };
    let known = Checkpoints::decode(row);
    Ok(known.map_err(|error| Error::damaged(format!("the checkpoints: {error}")))?.checkpoints)
}

/// Notes where the state stands; the oldest goes if there are too many. In the transaction that brought it there.
///
/// # Errors
/// The table cannot be read or written.
pub fn note(write: &mut impl Write, state: &AppliedState) -> Result<Checkpoint, Error> {
    let mut checkpoints = read(write)?;
    let noted = Checkpoint {
        position: state.applied,
        state_hash: state.state_hash,
        version: state.state_machine_version,
    };
    checkpoints.push(noted);
    let old = checkpoints.len().saturating_sub(CHECKPOINTS_KEPT);
    checkpoints.drain(..old);
    write.put(Space::State, CHECKPOINTS, &Checkpoints { checkpoints }.encode_to_vec())?;
    Ok(noted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::table::Table as _;
    use proto::store::Position;

    #[test]
    fn the_last_ones_are_kept() {
        let table = Memory::new();
        let offsets = 1..=CHECKPOINTS_KEPT as u64 + 3;
        for offset in offsets {
            let applied = Some(Position { epoch: 1, offset });
            let state = AppliedState { applied, state_hash: offset * 7, ..AppliedState::default() };
            let noted = table.write(|write| note(write, &state)).expect("a table in memory can be written");
            assert_eq!((noted.position, noted.state_hash), (applied, offset * 7));
        }
        let kept = table.read(read).expect("a table in memory can be read");
        let first = kept[0].position.map(|position| position.offset);
        assert_eq!((kept.len(), first), (CHECKPOINTS_KEPT, Some(4)));
    }
}
