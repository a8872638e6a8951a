//! Replacing a file as a whole: write aside, sync, rename, sync the folder. Promises that after a crash at any
//! step the name has the old bytes or all of the new ones, and that it has the new ones once this returned.

use store_core::mutant;

use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::fault;
use crate::names;

/// A new, empty file under the unfinished name of `name`.
pub(crate) fn begin<D: Disk>(disk: &D, name: &str) -> Result<D::File, Error> {
    let part = names::part(name);
    let file = disk.open(&part, true).map_err(|e| Error::of("create", &part, e))?;
    file.set_len(0).map_err(|e| Error::of("empty", &part, e))?;
    Ok(file)
}

/// Makes the bytes of `file` durable, then gives it its name, durably. `place` names the fail points.
pub(crate) fn finish<D: Disk>(disk: &D, file: &D::File, name: &str, place: &str) -> Result<(), Error> {
    sync::<D>(file, name, place)?;
    rename(disk, name, place)
}

/// Makes the bytes of `file` durable, still under the unfinished name of `name`.
pub(crate) fn sync<D: Disk>(file: &D::File, name: &str, place: &str) -> Result<(), Error> {
    fault::step(place, "written");
    if !skips_sync(place) {
        file.sync_data().map_err(|e| Error::sync(&names::part(name), e))?;
    }
    fault::step(place, "synced");
    Ok(())
}

/// Gives what was synced its name, durably.
pub(crate) fn rename<D: Disk>(disk: &D, name: &str, place: &str) -> Result<(), Error> {
    let part = names::part(name);
    // Whether a rename that failed has happened is anybody's guess.
    disk.rename(&part, name).map_err(|e| Error::of("rename", &part, e).half_done("replacement", name))?;
    fault::step(place, "renamed");
    if !skips_sync(place) {
        disk.sync_folder().map_err(|e| Error::sync("the folder", e))?;
    }
    fault::step(place, "done");
    Ok(())
}

fn skips_sync(place: &str) -> bool {
    (mutant!(VoteWithoutSync) && place == "vote") || (mutant!(RecoverWithoutSync) && place == "recover")
}

/// Replaces `name` by `bytes`, durably.
pub(crate) fn replace<D: Disk>(disk: &D, name: &str, bytes: &[u8], place: &str) -> Result<(), Error> {
    let file = begin(disk, name)?;
    file.write_at(0, bytes).map_err(|e| Error::of("write", &names::part(name), e))?;
    finish(disk, &file, name, place)
}

/// Reads a small file whole, at most `bytes_max` bytes of it; `None` if it is not there.
pub(crate) fn read<D: Disk>(disk: &D, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Error> {
    if !disk.exists(name).map_err(|e| Error::of("look for", name, e))? {
        return Ok(None);
    }
    let file = disk.open(name, false).map_err(|e| Error::of("open", name, e))?;
    let mut bytes = vec![0; bytes_max];
    let read = file.read_at(0, &mut bytes).map_err(|e| Error::of("read", name, e))?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Removes a name and makes that durable.
pub(crate) fn remove<D: Disk>(disk: &D, name: &str) -> Result<(), Error> {
    disk.remove(name).map_err(|e| Error::of("remove", name, e))?;
    disk.sync_folder().map_err(|e| Error::sync("the folder", e))
}
