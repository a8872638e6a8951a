//! The backup of a store of one shard, dealt out to the groups of a ring of several: a backup for each of them.
//!
//! Promises: each is a backup like any other, at the position of the first, so that what restores one restores these. The file that is read stays as it
//! is. Leaves out: which row goes where ([`store_db::reshard`]), and where the files are.

use store_core::ring::Ring;
use store_db::reshard::{Edit, Reshard};
use store_db::transfer;
use store_log::{Disk, DiskFile, Origin, SnapshotFile};

use crate::backup::{Backup, BackupWriter};
use crate::error::Error;

/// What could not be done.
#[derive(Debug)]
pub enum Failed {
    /// The backup is not of a whole store, or cannot be read any more.
    Reading(Error),
    /// The disk that is written to refuses.
    Writing(Error),
}

/// Writes the backup of each slot's group on `disk`, under the name that `name_of` gives a slot; `edit` may put something else in a
/// record's place.
///
/// # Errors
/// As [`Failed`] says.
pub fn reshard<F: DiskFile, D: Disk + Clone>(
    backup: &Backup<F>,
    (ring, ring_version): (&Ring, u64),
    disk: &D,
    name_of: &dyn Fn(usize) -> String,
    edit: Box<Edit<'_>>,
) -> Result<Vec<SnapshotFile>, Failed> {
    let mut writers = Vec::with_capacity(ring.slots().len());
    for (at, slot) in ring.slots().iter().enumerate() {
        let origin = Origin { group: slot.group, ..backup.origin.clone() };
        let writer = BackupWriter::create(disk.clone(), &name_of(at), &origin, backup.file.info);
        writers.push(writer.map_err(Failed::Writing)?);
    }
    let mut reshard = Reshard::new(ring.clone(), ring_version, edit);
    let mut is_writing = false;
    let read = backup.each_chunk(&mut |chunk| {
        let dealt = reshard.chunk(chunk)?;
        is_writing = true;
        dealt.iter().try_for_each(|(slot, chunk)| writers[*slot].chunk(chunk))?;
        is_writing = false;
        Ok(())
    });
    read.map_err(if is_writing { Failed::Writing } else { Failed::Reading })?;
    writers.into_iter().map(|writer| writer.finish().map_err(Failed::Writing)).collect()
}

/// The data of a record as it is in a backup.
///
/// # Errors
/// The backup cannot be read any more.
pub fn record<F: DiskFile>(backup: &Backup<F>, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let mut found = None;
    backup.each_chunk(&mut |chunk| {
        if found.is_none() {
            found = transfer::record_in(chunk, key)?.map(<[u8]>::to_vec);
        }
        Ok(())
    })?;
    Ok(found)
}
