//! Snapshots: their header, their list, and the writing of one while the log goes on. The bytes inside are the
//! state machine's. Promises that `snap.X` has its name only once all of it is durable. Byte by byte in
//! [`crate::format`].
//!
//! # Numbers
//!
//! Each replica numbers its own files: rolling at L gives `log.X`, and the state at L becomes `snap.X`. Replicas
//! roll when they like, so X means nothing elsewhere; replicas compare positions. A snapshot
//! fetched from another replica under its number F is installed as
//!
//! ```text
//! Y = max(F, newest own log + 1, newest own snapshot + 1)
//! ```
//!
//! and the log begins anew as `log.Y` ([`crate::Log::reset`]), so numbers only rise, a name is never used for
//! two states, and "operations before `snap.Y` are not in `log.Y`" holds as everywhere. If a crash comes between
//! the two, recovery lists a `snap.Y` whose position is beyond the end of the log: install it and reset again.
//!
//! A replica whose *table* is wrong and whose log is right takes over a snapshot of a position that its log has. It
//! becomes `snap.N`, N the newest log file (1 at least), in the place of a wrong one of that name; all its other
//! snapshots, which are wrong too, go then. So `snap.N` may be of an earlier position than the base of `log.N`, and
//! positions decide which log files may go ([`crate::retention`]).

use std::fmt;

use store_core::{Epoch, GroupId, Offset, Position};

use crate::atomic_write;
use crate::block::{BLOCK_HEADER_BYTES, Blocks, Totals};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::fault;
use crate::format::{Put, SNAPSHOT_FORMAT_VERSION, Take};
use crate::identity::ClusterId;
use crate::limits::{
    CLUSTER_ID_BYTES_MAX, FILE_HEADER_BYTES, FILE_NUMBER_MAX, SNAPSHOT_BLOCK_BYTES_MAX, SNAPSHOT_BYTES_MAX,
};
use crate::meta::{Meta, same};
use crate::names;

const MAGIC: [u8; 8] = *b"feiraSNP";

/// What a snapshot is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotInfo {
    /// X of `snap.X`.
    pub number: u64,
    /// The position of the last entry in it.
    pub position: Position,
    /// The timestamp of that entry, milliseconds.
    pub log_time_ms: i64,
    /// The state-machine version in force there.
    pub state_machine_version: u32,
}

/// Whose state a snapshot is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The cluster.
    pub cluster: ClusterId,
    /// The group.
    pub group: GroupId,
}

/// A snapshot in the folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotFile {
    /// What it is of.
    pub info: SnapshotInfo,
    /// Its length.
    pub bytes: u64,
}

impl SnapshotInfo {
    /// The header's bytes.
    pub(crate) fn encode(&self, cluster: &ClusterId, group: GroupId) -> Vec<u8> {
        Put::versioned(MAGIC, SNAPSHOT_FORMAT_VERSION)
            .u32(self.state_machine_version)
            .u64(group.0)
            .u64(self.number)
            .u64(self.position.epoch.0)
            .u64(self.position.offset.0)
            .i64(self.log_time_ms)
            .text(cluster.as_bytes(), CLUSTER_ID_BYTES_MAX)
            .finish(FILE_HEADER_BYTES)
    }

    /// Reads the header of `file`, which must be of this cluster and group.
    pub(crate) fn read<F: DiskFile>(
        file: &F,
        name: &str,
        cluster: &ClusterId,
        group: GroupId,
    ) -> Result<SnapshotInfo, Error> {
        let (origin, info) = SnapshotInfo::read_any(file, name)?;
        same(name, "group", &origin.group.0, &group.0)?;
        same(name, "cluster", &origin.cluster.to_string(), &cluster.to_string())?;
        Ok(info)
    }

    /// Reads and checks the header of `file`, of whatever cluster it is.
    pub(crate) fn read_any<F: DiskFile>(file: &F, name: &str) -> Result<(Origin, SnapshotInfo), Error> {
        let mut bytes = vec![0; FILE_HEADER_BYTES];
        let read = file.read_at(0, &mut bytes).map_err(|e| Error::of("read", name, e))?;
        let bytes = &bytes[..read];
        let mut take = Take::versioned(name, bytes, FILE_HEADER_BYTES, MAGIC, SNAPSHOT_FORMAT_VERSION)?;
        let state_machine_version = take.u32();
        let group = GroupId(take.u64());
        let number = take.u64();
        let position = Position { epoch: Epoch(take.u64()), offset: Offset(take.u64()) };
        let log_time_ms = take.i64();
        let cluster = ClusterId::new(take.text(CLUSTER_ID_BYTES_MAX))?;
        let info = SnapshotInfo { number, position, log_time_ms, state_machine_version };
        Ok((Origin { cluster, group }, info))
    }
}

/// Opens `snap.number` and reads its header.
pub(crate) fn open<D: Disk>(
    disk: &D,
    cluster: &ClusterId,
    group: GroupId,
    number: u64,
) -> Result<(D::File, SnapshotFile), Error> {
    let name = names::snapshot_file(number);
    let file = match disk.open(&name, false) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Error::Missing { file: name }),
        other => other.map_err(|e| Error::of("open", &name, e))?,
    };
    let info = SnapshotInfo::read(&file, &name, cluster, group)?;
    same(&name, "number", &info.number, &number)?;
    let bytes = file.len().map_err(|e| Error::of("measure", &name, e))?;
    Ok((file, SnapshotFile { info, bytes }))
}

/// Checks every byte after the header of `file`.
pub(crate) fn verify_file<F: DiskFile>(file: &F, name: &str, position: Position) -> Result<(), Error> {
    let mut blocks = Blocks::new(file, name)?;
    while blocks.step(position)?.is_some() {}
    Ok(())
}

/// Checks every byte of `snap.number`.
///
/// # Errors
/// [`Error::Missing`], [`Error::Damaged`], [`Error::Foreign`], [`Error::Version`].
pub fn verify<D: Disk>(disk: &D, meta: &Meta, number: u64) -> Result<SnapshotFile, Error> {
    let (file, listed) = open(disk, &meta.cluster, meta.group, number)?;
    verify_file(&file, &names::snapshot_file(number), listed.info.position)?;
    Ok(listed)
}

/// What [`list`] finds: readable headers, and the files whose header cannot be read.
pub(crate) type Listed = (Vec<SnapshotFile>, Vec<(String, Error)>);

/// The snapshots of the folder, oldest first, by their headers.
pub(crate) fn list<D: Disk>(disk: &D, cluster: &ClusterId, group: GroupId) -> Result<Listed, Error> {
    let names = disk.list().map_err(|e| Error::of("list", "the folder", e))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| names::snapshot_number(name)).collect();
    numbers.sort_unstable();
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for number in numbers {
        match open(disk, cluster, group, number) {
            Ok((_, listed)) => found.push(listed),
            Err(error) => unreadable.push((names::snapshot_file(number), error)),
        }
    }
    Ok((found, unreadable))
}

/// Writes one snapshot aside. Dropped before [`SnapshotWriter::finish`], it leaves a file that the next start
/// removes.
pub struct SnapshotWriter<D: Disk> {
    /// The folder.
    disk: D,
    /// The name it will have.
    name: String,
    /// What it is of.
    info: SnapshotInfo,
    /// The file, under its unfinished name.
    file: D::File,
    /// Where the next block goes.
    place: u64,
    /// The block being filled, with room for its header.
    block: Vec<u8>,
    /// The same block packed; kept for its memory.
    packed: Vec<u8>,
    /// The blocks written.
    totals: Totals,
}

impl<D: Disk> SnapshotWriter<D> {
    /// Begins `snap.X`, X = `info.number`, which [`crate::Log::roll`] gave.
    ///
    /// # Errors
    /// [`Error::Invalid`] if X is 0 or too large; what the disk refuses.
    pub fn create(disk: D, meta: &Meta, info: SnapshotInfo) -> Result<SnapshotWriter<D>, Error> {
        let origin = Origin { cluster: meta.cluster.clone(), group: meta.group };
        SnapshotWriter::alone(disk, names::snapshot_file(info.number), &origin, info)
    }

    /// Begins a snapshot that stands alone: under any name, in any folder, to be read by
    /// [`crate::SnapshotReader::alone`].
    ///
    /// # Errors
    /// As [`SnapshotWriter::create`].
    pub fn alone(
        disk: D,
        name: String,
        origin: &Origin,
        info: SnapshotInfo,
    ) -> Result<SnapshotWriter<D>, Error> {
        if !(1..=FILE_NUMBER_MAX).contains(&info.number) {
            return Err(Error::Invalid(format!("a snapshot's number is 1 to {FILE_NUMBER_MAX}")));
        }
        let file = atomic_write::begin(&disk, &name)?;
        let header = info.encode(&origin.cluster, origin.group);
        file.write_at(0, &header).map_err(|e| Error::of("write", &name, e))?;
        fault::step("snapshot", "begun");
        let block = vec![0; BLOCK_HEADER_BYTES];
        let place = FILE_HEADER_BYTES as u64;
        Ok(SnapshotWriter { disk, name, info, file, place, block, packed: Vec::new(), totals: Totals::new() })
    }

    /// Adds bytes; a reader gets them back in order, in blocks that may begin anywhere in them.
    ///
    /// # Errors
    /// [`Error::Full`] and others of the disk: drop the writer, nothing was harmed.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let headroom = SNAPSHOT_BLOCK_BYTES_MAX + BLOCK_HEADER_BYTES - self.block.len();
            let (now, later) = bytes.split_at(headroom.min(bytes.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if now.len() == headroom {
                self.end_block()?;
            }
        }
        Ok(())
    }

    /// Ends the block: what follows begins a new one. Nothing to do if nothing was written since.
    ///
    /// # Errors
    /// As [`SnapshotWriter::write`].
    pub fn end_block(&mut self) -> Result<(), Error> {
        if self.block.len() == BLOCK_HEADER_BYTES {
            return Ok(());
        }
        if self.place + self.block.len() as u64 > SNAPSHOT_BYTES_MAX {
            return Err(Error::Invalid(format!("a snapshot has at most {SNAPSHOT_BYTES_MAX} bytes")));
        }
        let sealed = self.totals.seal(&mut self.block, &mut self.packed);
        self.place = put(&self.file, &self.name, self.place, sealed)?;
        self.block.truncate(BLOCK_HEADER_BYTES);
        Ok(())
    }

    /// Writes the footer, makes all durable, and gives the file its name.
    ///
    /// # Errors
    /// Fatal if a sync or the renaming fails.
    pub fn finish(self) -> Result<SnapshotFile, Error> {
        self.seal()?.publish()
    }

    /// Writes the footer and makes all durable, which may take long; the name is still to be given.
    ///
    /// # Errors
    /// Fatal if the sync fails.
    pub fn seal(mut self) -> Result<SealedSnapshot<D>, Error> {
        self.end_block()?;
        let footer = self.totals.footer(self.info.position);
        self.place = put(&self.file, &self.name, self.place, &footer)?;
        atomic_write::sync::<D>(&self.file, &self.name, "snapshot")?;
        // The verification then reads the disk, not the memory that the file was written from.
        self.file.drop_cached();
        Ok(SealedSnapshot { disk: self.disk, name: self.name, info: self.info, bytes: self.place })
    }
}

/// A snapshot that is durable and has no name yet. Dropped, it is as a writer that was dropped.
pub struct SealedSnapshot<D: Disk> {
    /// The folder.
    disk: D,
    /// The name it will have.
    name: String,
    /// What it is of.
    info: SnapshotInfo,
    /// Its length.
    bytes: u64,
}

impl<D: Disk> SealedSnapshot<D> {
    /// Gives the file its name, durably.
    ///
    /// # Errors
    /// Fatal.
    pub fn publish(self) -> Result<SnapshotFile, Error> {
        atomic_write::rename(&self.disk, &self.name, "snapshot")?;
        Ok(SnapshotFile { info: self.info, bytes: self.bytes })
    }
}

/// Writes at `place` of a snapshot; returns the place after it.
fn put<F: DiskFile>(file: &F, name: &str, place: u64, bytes: &[u8]) -> Result<u64, Error> {
    file.write_at(place, bytes).map_err(|e| Error::of("write", name, e))?;
    Ok(place + bytes.len() as u64)
}

impl<D: Disk> fmt::Debug for SnapshotWriter<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotWriter").field("info", &self.info).finish_non_exhaustive()
    }
}

impl<D: Disk> fmt::Debug for SealedSnapshot<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedSnapshot").field("info", &self.info).finish_non_exhaustive()
    }
}
