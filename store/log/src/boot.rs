//! The file `boot`: under which boot of the machine the replica last started, whether its log may have lost its tail, and which
//! log file was the newest. A lost or damaged file reads as "another boot" and "may have lost its tail": the safe answer to both
//! questions; it says nothing of log files then.
//! Byte by byte in [`crate::format`].

use crate::atomic_write;
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
    pub(crate) maybe_lost_tail: bool,
    /// X of a `log.X` that was there durably and was not taken away by a truncation: at least this one must be
    /// there still. 0 if the file does not say.
    pub(crate) newest_log: u64,
}

/// The bytes of the file.
pub(crate) fn encode(id: &BootId, maybe_lost_tail: bool, newest_log: u64) -> Vec<u8> {
    let flags = Put::new(MAGIC).u32(u32::from(maybe_lost_tail));
    flags.text(id.as_bytes(), BOOT_ID_BYTES_MAX).u64(newest_log).finish(BYTES)
}

/// Replaces the file, durably.
pub(crate) fn write<D: Disk>(
    disk: &D,
    id: &BootId,
    maybe_lost_tail: bool,
    newest_log: u64,
) -> Result<(), Error> {
    atomic_write::replace(disk, BOOT, &encode(id, maybe_lost_tail, newest_log), "boot")
}

/// What the file says.
pub(crate) fn read<D: Disk>(disk: &D) -> Result<BootState, Error> {
    let unknown = BootState { id: None, maybe_lost_tail: true, newest_log: 0 };
    let Some(bytes) = atomic_write::read(disk, BOOT, BYTES)? else { return Ok(unknown) };
    let mut take = match Take::new(BOOT, &bytes, BYTES, MAGIC) {
        Err(Error::Damaged { .. }) => return Ok(unknown),
        other => other?,
    };
    let maybe_lost_tail = take.u32() != 0;
    let id = BootId::new(take.text(BOOT_ID_BYTES_MAX)).ok();
    let newest_log = take.u64();
    Ok(BootState { id, maybe_lost_tail, newest_log })
}
