//! The file `vote`: what the replica must never forget about elections. Promises that once [`write`] returned,
//! no crash brings an older ballot back. Byte by byte in [`crate::format`].

use store_core::{Ballot, Epoch, Incarnation, NodeId};

use crate::aside;
use crate::disk::Disk;
use crate::error::Error;
use crate::format::{Put, Take};
use crate::meta::same;
use crate::names::VOTE;

const MAGIC: [u8; 8] = *b"feiraVOT";
const BYTES: usize = 64;

/// The bytes of the file.
pub(crate) fn encode(ballot: Ballot, incarnation: Incarnation) -> Vec<u8> {
    Put::new(MAGIC)
        .u32(u32::from(ballot.voted_for.is_some()))
        .u64(ballot.epoch.0)
        .u64(ballot.voted_for.map_or(0, |node| node.0))
        .u64(incarnation.0)
        .finish(BYTES)
}

/// Replaces the ballot, durably.
pub(crate) fn write<D: Disk>(disk: &D, ballot: Ballot, incarnation: Incarnation) -> Result<(), Error> {
    aside::replace(disk, VOTE, &encode(ballot, incarnation), "vote")
}

/// The ballot. Lost or damaged, it cannot be made up: the replica may have voted.
pub(crate) fn read<D: Disk>(disk: &D, incarnation: Incarnation) -> Result<Ballot, Error> {
    let Some(bytes) = aside::read(disk, VOTE, BYTES)? else {
        return Err(lost("the file vote is gone"));
    };
    let mut take = match Take::new(VOTE, &bytes, BYTES, MAGIC) {
        Err(Error::Damaged { problem, .. }) => {
            return Err(lost(&format!("the file vote is damaged ({problem})")));
        }
        other => other?,
    };
    let voted = take.u32() == 1;
    let epoch = Epoch(take.u64());
    let node = NodeId(take.u64());
    same(VOTE, "incarnation", &take.u64(), &incarnation.0)?;
    Ok(Ballot { epoch, voted_for: voted.then_some(node) })
}

fn lost(reason: &str) -> Error {
    Error::NewMemberNeeded { reason: reason.to_owned() }
}
