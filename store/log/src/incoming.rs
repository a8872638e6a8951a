//! Receiving another replica's snapshot as raw bytes, in order, over any number of connections and restarts.
//! Promises that a resumed part was verified block by block, and that no file gets the name `snap.Y` before all
//! of it was verified and is durable. How Y is chosen: [`crate::snapshot`].

use std::fmt;

use store_core::Position;

use crate::atomic_write;
use crate::block::Blocks;
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::fault;
use crate::limits::{FILE_NUMBER_MAX, SNAPSHOT_BYTES_MAX};
use crate::meta::Meta;
use crate::names;
use crate::snapshot::{self, SnapshotFile, SnapshotInfo};

/// What the sender says it sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offered {
    /// X at the sender.
    pub number: u64,
    /// The position of its last entry.
    pub position: Position,
    /// The length of the file.
    pub bytes: u64,
}

/// A transfer under way: the file `snap.X.incoming`.
pub struct IncomingSnapshot<D: Disk> {
    /// The folder.
    disk: D,
    /// Whose it is.
    meta: Meta,
    /// What is sent.
    offered: Offered,
    /// The unfinished file.
    file: D::File,
    /// So many bytes are there.
    received: u64,
}

impl<D: Disk> IncomingSnapshot<D> {
    /// Begins a transfer, or goes on with one of the same snapshot: [`IncomingSnapshot::received`] says from
    /// where.
    ///
    /// # Errors
    /// [`Error::Invalid`] if what is offered exceeds a limit; what the disk refuses.
    pub fn begin(disk: D, meta: &Meta, offered: Offered) -> Result<IncomingSnapshot<D>, Error> {
        if !(1..=FILE_NUMBER_MAX).contains(&offered.number) || offered.bytes > SNAPSHOT_BYTES_MAX {
            let Offered { number, bytes, .. } = offered;
            return Err(Error::Invalid(format!("a snapshot {number} of {bytes} bytes is beyond the limits")));
        }
        let name = names::incoming_file(offered.number);
        let file = disk.open(&name, true).map_err(|e| Error::of("create", &name, e))?;
        fault::step("install", "begun");
        let received = whole_bytes(&file, &name, meta, offered).unwrap_or(0);
        file.set_len(received).map_err(|e| Error::of("trim", &name, e))?;
        Ok(IncomingSnapshot { disk, meta: meta.clone(), offered, file, received })
    }

    /// What is sent.
    #[must_use]
    pub fn offered(&self) -> Offered {
        self.offered
    }

    /// So many bytes are there: send from here on.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Everything is there.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.received == self.offered.bytes
    }

    /// Takes bytes of the file that stand at `at`. What was received before is skipped.
    ///
    /// # Errors
    /// [`Error::Gap`]; [`Error::Invalid`] beyond the length offered; [`Error::Full`] and others of the disk.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let file = names::incoming_file(self.offered.number);
        if at > self.received {
            return Err(Error::Gap { file, received: self.received, at });
        }
        let end = at.saturating_add(bytes.len() as u64);
        if end > self.offered.bytes {
            let limit = self.offered.bytes;
            return Err(Error::Invalid(format!("{file} was offered with {limit} bytes, and more were sent")));
        }
        if end > self.received {
            let skip = usize::try_from(self.received - at).expect("shorter than the bytes given");
            self.file.write_at(self.received, &bytes[skip..]).map_err(|e| Error::of("write", &file, e))?;
            self.received = end;
        }
        Ok(())
    }

    /// Verifies all of it and makes it `snap.Y`, durably; `log_newest` is the highest number of an own log file.
    /// [`crate::Log::reset`] with Y and the position comes next, after the state machine took it over.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Foreign`], [`Error::OtherPosition`] if it is not what was offered: the file is
    /// removed, begin again. [`Error::Gap`] if bytes are missing. Fatal if a sync or the renaming fails.
    pub fn finish(self, log_newest: u64) -> Result<SnapshotFile, Error> {
        let info = self.verified()?;
        fault::step("install", "verified");
        let number = self.next_number(log_newest)?;
        self.name(info, number, "install")
    }

    /// Makes a transfer that was [`IncomingSnapshot::verified`] `snap.number`, durably, in the place of whatever has that
    /// name: for a replica whose own snapshots are wrong, and whose log stays ([`crate::snapshot`]). It takes the time of a
    /// sync, whatever the length; nothing else may have touched the transfer since.
    ///
    /// # Errors
    /// As [`IncomingSnapshot::finish`].
    pub fn adopt(self, verified: SnapshotInfo, number: u64) -> Result<SnapshotFile, Error> {
        self.name(verified, number, "adopt")
    }

    /// Checks all of it; what is not what was offered is removed.
    ///
    /// # Errors
    /// As [`IncomingSnapshot::finish`].
    pub fn verified(&self) -> Result<SnapshotInfo, Error> {
        let name = names::incoming_file(self.offered.number);
        if !self.complete() {
            return Err(Error::Gap { file: name, received: self.received, at: self.offered.bytes });
        }
        let checked = self.verify(&name);
        if checked.is_err() {
            self.disk.remove(&name).map_err(|e| Error::of("remove", &name, e))?;
        }
        checked
    }

    /// Gives a verified file its number and its name, durably. `place` names the fail points.
    fn name(self, info: SnapshotInfo, number: u64, place: &str) -> Result<SnapshotFile, Error> {
        let name = names::incoming_file(self.offered.number);
        let info = SnapshotInfo { number, ..info };
        let header = info.encode(&self.meta.cluster, self.meta.group);
        self.file.write_at(0, &header).map_err(|e| Error::of("write", &name, e))?;
        fault::step(place, "renumbered");
        let target = names::snapshot_file(number);
        self.file.sync_data().map_err(|e| Error::sync(&name, e))?;
        fault::step(place, "synced");
        let renamed = self.disk.rename(&name, &target);
        renamed.map_err(|e| Error::of("rename", &name, e).half_done("replacement", &target))?;
        fault::step(place, "renamed");
        self.disk.sync_folder().map_err(|e| Error::sync("the folder", e))?;
        fault::step(place, "done");
        Ok(SnapshotFile { info, bytes: self.offered.bytes })
    }

    /// Gives the transfer up and removes its file.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn discard(self) -> Result<(), Error> {
        fault::step("discard", "begin");
        atomic_write::remove(&self.disk, &names::incoming_file(self.offered.number))?;
        fault::step("discard", "removed");
        Ok(())
    }

    fn verify(&self, name: &str) -> Result<SnapshotInfo, Error> {
        let info = SnapshotInfo::read(&self.file, name, &self.meta.cluster, self.meta.group)?;
        if info.position != self.offered.position {
            let (file, wanted) = (name.to_owned(), self.offered.position);
            return Err(Error::OtherPosition { file, found: info.position, wanted });
        }
        snapshot::verify_file(&self.file, name, info.position)?;
        Ok(info)
    }

    fn next_number(&self, log_newest: u64) -> Result<u64, Error> {
        let listed = self.disk.list().map_err(|e| Error::of("list", "the folder", e))?;
        let own = listed.iter().filter_map(|name| names::snapshot_number(name)).max().unwrap_or(0);
        let number = self.offered.number.max(log_newest + 1).max(own + 1);
        if number > FILE_NUMBER_MAX {
            return Err(Error::Invalid(format!("file numbers end at {FILE_NUMBER_MAX}")));
        }
        Ok(number)
    }
}

/// How much of an unfinished transfer is certainly right: header and whole blocks (and not the footer, which is
/// sent again).
fn whole_bytes<F: DiskFile>(file: &F, name: &str, meta: &Meta, offered: Offered) -> Result<u64, Error> {
    let info = SnapshotInfo::read(file, name, &meta.cluster, meta.group)?;
    if info.position != offered.position || info.number != offered.number {
        return Ok(0);
    }
    let mut blocks = Blocks::new(file, name)?;
    while let Ok(Some(_)) = blocks.step(info.position) {}
    Ok(blocks.place().min(offered.bytes))
}

impl<D: Disk> fmt::Debug for IncomingSnapshot<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingSnapshot").field("offered", &self.offered).finish_non_exhaustive()
    }
}
