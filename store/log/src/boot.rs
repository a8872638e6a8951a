//! The file `boot`: under which boot of the machine the replica last started, and whether it is suspect.
//! A lost or damaged file reads as "another boot" and "suspect": the safe answer to both questions.
//! Byte by byte in [`crate::format`].

use crate::aside;
use crate::disk::Disk;
use crate::error::Error;
use crate::format::{Put, Take};
use crate::identity::BootId;
use crate::limits::BOOT_ID_BYTES_MAX;
use crate::names::BOOT;

const MAGIC: [u8; 8] = *b"feiraBOO";
const BYTES: usize = 128;

/// What `boot` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BootState {
    /// The boot of the last start; `None` if the file does not say.
    pub(crate) id: Option<BootId>,
    /// The log lost a tail that may have been acknowledged.
    pub(crate) suspect: bool,
}

/// The bytes of the file.
pub(crate) fn encode(id: &BootId, suspect: bool) -> Vec<u8> {
    Put::new(MAGIC).u32(u32::from(suspect)).text(id.as_bytes(), BOOT_ID_BYTES_MAX).finish(BYTES)
}

/// Replaces the file, durably.
pub(crate) fn write<D: Disk>(disk: &D, id: &BootId, suspect: bool) -> Result<(), Error> {
    aside::replace(disk, BOOT, &encode(id, suspect), "boot")
}

/// What the file says.
pub(crate) fn read<D: Disk>(disk: &D) -> Result<BootState, Error> {
    let unknown = BootState { id: None, suspect: true };
    let Some(bytes) = aside::read(disk, BOOT, BYTES)? else { return Ok(unknown) };
    let mut take = match Take::new(BOOT, &bytes, BYTES, MAGIC) {
        Err(Error::Damaged { .. }) => return Ok(unknown),
        other => other?,
    };
    let suspect = take.u32() != 0;
    let id = BootId::new(take.text(BOOT_ID_BYTES_MAX)).ok();
    Ok(BootState { id, suspect })
}
