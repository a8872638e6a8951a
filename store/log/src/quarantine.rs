//! The file `fence`: while it is there, the table of this replica is known to be wrong. Promises that once
//! [`write`] returned no crash forgets it, and that it goes only by [`remove`]. A file that cannot be read says the same as
//! one that can: the table is not to be believed. Byte by byte in [`crate::format`].

use store_core::{Epoch, Incarnation, Offset, Position};

use crate::atomic_write;
use crate::disk::Disk;
use crate::error::Error;
use crate::fault;
use crate::format::{Put, Take};
use crate::names::QUARANTINE;

const MAGIC: [u8; 8] = *b"feiraFNC";
const BYTES: usize = 96;

/// Why the table is not to be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quarantine {
    /// What a majority has, and what is had here, at a position; `None`: an operator said so (or the file cannot be
    /// read), or it is damaged.
    pub differs: Option<Difference>,
    /// The table's own store reported damage to a read.
    pub damaged: bool,
}

/// Why, as the file has it.
const BY_OPERATOR: u32 = 0;
const DIFFERS: u32 = 1;
const DAMAGED: u32 = 2;

/// The hashes that differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Where.
    pub position: Position,
    /// The state hash here.
    pub own: u64,
    /// That of a majority.
    pub majority: u64,
}

/// The bytes of the file.
pub(crate) fn encode(quarantine: Quarantine, incarnation: Incarnation) -> Vec<u8> {
    let none = Difference { position: Position::ZERO, own: 0, majority: 0 };
    let Difference { position, own, majority } = quarantine.differs.unwrap_or(none);
    let why = match quarantine {
        Quarantine { differs: Some(_), .. } => DIFFERS,
        Quarantine { damaged: true, .. } => DAMAGED,
        _ => BY_OPERATOR,
    };
    Put::new(MAGIC)
        .u32(why)
        .u64(position.epoch.0)
        .u64(position.offset.0)
        .u64(own)
        .u64(majority)
        .u64(incarnation.0)
        .finish(BYTES)
}

/// Makes it durable that the table is wrong.
pub(crate) fn write<D: Disk>(
    disk: &D,
    quarantine: Quarantine,
    incarnation: Incarnation,
) -> Result<(), Error> {
    atomic_write::replace(disk, QUARANTINE, &encode(quarantine, incarnation), "fence")
}

/// Makes it durable that the table is right again.
pub(crate) fn remove<D: Disk>(disk: &D) -> Result<(), Error> {
    fault::step("unfence", "begin");
    atomic_write::remove(disk, QUARANTINE)?;
    fault::step("unfence", "removed");
    Ok(())
}

/// Why the table is not to be believed; `None`: nothing is said against it.
pub(crate) fn read<D: Disk>(disk: &D) -> Result<Option<Quarantine>, Error> {
    let Some(bytes) = atomic_write::read(disk, QUARANTINE, BYTES)? else { return Ok(None) };
    let mut take = match Take::new(QUARANTINE, &bytes, BYTES, MAGIC) {
        Err(Error::Damaged { .. }) => return Ok(Some(Quarantine::default())),
        other => other?,
    };
    let why = take.u32();
    let position = Position { epoch: Epoch(take.u64()), offset: Offset(take.u64()) };
    let difference = Difference { position, own: take.u64(), majority: take.u64() };
    Ok(Some(Quarantine { differs: (why == DIFFERS).then_some(difference), damaged: why == DAMAGED }))
}
