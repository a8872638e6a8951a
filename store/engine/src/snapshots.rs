//! The snapshots of one replica: taking, receiving, serving and importing one, and removing the needless ones. One
//! handle, shared by all these jobs; each takes long and none holds a lock meanwhile.
//!
//! # Steps, and the state after a crash at each
//!
//! | taking one at L | a crash here leaves |
//! |---|---|
//! | 1 the log rolls at L: `log.X` | a log of one file more |
//! | 2 L is applied; the state is written to `snap.X.part`, fsynced, renamed to `snap.X` | an unfinished file that the next start removes |
//! | 3 all of it is read back and verified | a snapshot that does not count for removal yet |
//! | 4 files that three verified snapshots make needless are removed, oldest first | a longer log than needed |
//!
//! | installing one of P | a crash here leaves |
//! |---|---|
//! | 1 received, verified, fsynced, renamed to `snap.Y` | table and log as they were; the leader offers it again |
//! | 2 imported into the table, which says so itself until it has ended | a table that recovery discards; it imports the newest snapshot |
//! | 3 the log is reset: `log.Y` begins after P, the old files go | a table at P that the log does not reach: recovery does this step again |
//! | 4 the core is told | a replica that begins after P |
//!
//! | replacing a wrong table by one of P, which the log has | a crash here leaves |
//! |---|---|
//! | 1 the file `fence` is durable; from here on no snapshot of that table gets a name or is given away, ever ([`crate::standing`]) | a replica that is quarantined again, and fetches one |
//! | 2 received, verified | the same; the transfer goes on |
//! | 3 named `snap.N`, N the newest log file, in the place of a wrong one | the same |
//! | 4 imported into the table | the same |
//! | 5 every snapshot of a lower number, a wrong one, is removed | the same |
//! | 6 `fence` is removed | a replica like any other, that has `snap.N` and the log behind P |
//!
//! The state of the table is framed into the file as chunks, each behind its length (u32, little endian), since a
//! snapshot's blocks know nothing of chunks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use proto::store::AppliedState;
use store_core::mutant;
use store_core::{Offset, Position};
use store_db::{Read, Table, transfer};
use store_log::retention::{self, Floor, SnapshotState};
use store_log::{
    Disk, DiskFile, IncomingSnapshot, Meta, Offered, SealedSnapshot, SnapshotFile, SnapshotInfo,
    SnapshotReader, SnapshotWriter,
};

use crate::convert::position_in;
use crate::error::Error;
use crate::job::Job;
use crate::member_versions::known_version;
use crate::shared_log::SharedLog;
use crate::standing::{Standing, Vintage};

/// Bytes of a chunk's length.
const LENGTH_BYTES: usize = 4;

const WRONG: &str = "the table that it is of is wrong";

/// The snapshots of one replica. Cheap to share; every method may be called from any thread.
pub struct Snapshots<D: Disk> {
    /// The folder.
    disk: Arc<D>,
    /// Whose it is.
    meta: Meta,
    /// Asked for the numbers of log files.
    log: SharedLog<D>,
    /// What is there. Held for look-ups only; taken after the log's lock where both are.
    known: Mutex<BTreeMap<u64, Known>>,
    /// Fetched snapshots that have, or are getting, a number which no roll of the log may take meanwhile.
    arriving: AtomicUsize,
    /// Whether the table, and so the snapshots of it, can be believed.
    standing: Standing,
    /// What is to replace a wrong table. Nothing else is received meanwhile: it might be the same file.
    staged: Mutex<Option<Staged<D>>>,
}

/// A transfer that is whole and was verified.
struct Staged<D: Disk> {
    /// The transfer.
    incoming: IncomingSnapshot<Arc<D>>,
    /// What it is of.
    info: SnapshotInfo,
}

/// The log behind these offsets is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needed {
    /// By recovery.
    pub(crate) applied: Offset,
    /// To be pushed to a slow replica; `Offset(u64::MAX)`: none is.
    pub(crate) peers: Offset,
}

/// One snapshot.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// What it is of.
    info: SnapshotInfo,
    /// All of it was read and found right by this process.
    verified: bool,
    /// So many are sending it.
    streams: usize,
}

/// An open, verified snapshot that is being sent; it is not removed meanwhile.
pub struct Streaming<D: Disk> {
    /// Whose it is.
    snapshots: Arc<Snapshots<D>>,
    /// The file.
    reader: SnapshotReader<D::File>,
}

impl<D: Disk> Snapshots<D> {
    pub(crate) fn new(
        disk: Arc<D>,
        meta: Meta,
        log: SharedLog<D>,
        found: &[SnapshotFile],
        quarantined: bool,
    ) -> Snapshots<D> {
        let known =
            |file: &SnapshotFile| (file.info.number, Known { info: file.info, verified: false, streams: 0 });
        let known = Mutex::new(found.iter().map(known).collect());
        let (arriving, staged) = (AtomicUsize::new(0), Mutex::new(None));
        Snapshots { disk, meta, log, known, arriving, standing: Standing::new(quarantined), staged }
    }

    /// Told when the table, and every snapshot of it, is wrong, and when replicas differ.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Which table it is that is read now: for [`Snapshots::write`], taken while the applier stands still.
    #[must_use]
    pub fn vintage(&self) -> Vintage {
        self.standing.vintage()
    }

    /// This replica's identity.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// What is there, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<SnapshotInfo> {
        self.known.lock().values().map(|known| known.info).collect()
    }

    /// Writes `snap.number` of what `read` sees, and verifies it. `read` was opened when exactly `position` was
    /// applied ([`crate::Pause::Snapshot`]), and then the table was of that `vintage`; keep it open until this
    /// returns.
    ///
    /// # Errors
    /// The table or the disk failed, or the table has turned out to be wrong. Where that is not fatal
    /// ([`Error::is_fatal`]), nothing was harmed.
    pub fn write(
        &self,
        read: &impl Read,
        vintage: Vintage,
        number: u64,
        position: Position,
    ) -> Result<(), Error> {
        let wrong = || Error::BadSnapshot { number, problem: WRONG };
        let sealed = self.export(read, number, position)?;
        self.standing.if_right(vintage, || sealed.publish()).ok_or_else(wrong)??;
        self.add(number)?;
        self.verify_all();
        self.standing.if_right(vintage, || ()).ok_or_else(wrong)
    }

    /// The same of a table that is at `position` and that nobody writes, be it wrong: for recovery, which needs one behind
    /// which a log begins.
    pub(crate) fn write_any(&self, read: &impl Read, number: u64, position: Position) -> Result<(), Error> {
        self.export(read, number, position)?.publish()?;
        self.add(number)?;
        Ok(())
    }

    /// Writes what `read` sees aside, durably.
    fn export(
        &self,
        read: &impl Read,
        number: u64,
        position: Position,
    ) -> Result<SealedSnapshot<Arc<D>>, Error> {
        let state = store_db::state::read(read)?;
        let found = position_in(state.applied);
        if found != position {
            return Err(Error::Contradiction { found, expected: position });
        }
        let is_wrong = mutant!(SnapshotWrongPosition);
        let position =
            if is_wrong { Position { offset: found.offset.previous(), ..found } } else { position };
        let state_machine_version = state.state_machine_version;
        let info = SnapshotInfo { number, position, log_time_ms: state.log_time_ms, state_machine_version };
        let mut writer = SnapshotWriter::create(Arc::clone(&self.disk), &self.meta, info)?;
        let mut failed = None;
        let exported = transfer::export(read, &mut |chunk: Bytes| {
            frame(&mut writer, &chunk).map_err(|error| {
                failed = Some(error);
                store_db::Error::Damaged { what: "the snapshot's file failed".to_owned() }
            })
        });
        match failed {
            Some(error) => return Err(error.into()),
            None => exported?,
        }
        Ok(writer.seal()?)
    }

    /// Reads a snapshot that has just got its name, all of it.
    fn add(&self, number: u64) -> Result<SnapshotInfo, Error> {
        let info = store_log::verify_snapshot(&self.disk, &self.meta, number)?.info;
        self.known.lock().insert(number, Known { info, verified: true, streams: 0 });
        Ok(info)
    }

    /// Verifies those found at the start. One that is damaged stays unverified: it is not used, and does not count
    /// among those that are kept.
    fn verify_all(&self) {
        let unverified: Vec<u64> =
            self.known.lock().iter().filter(|(_, k)| !k.verified).map(|(n, _)| *n).collect();
        for number in unverified {
            let is_whole = store_log::verify_snapshot(&self.disk, &self.meta, number).is_ok();
            if let Some(known) = self.known.lock().get_mut(&number) {
                known.verified = is_whole;
            }
        }
    }

    /// Opens the newest snapshot of at least `at` that is whole, to send it.
    ///
    /// # Errors
    /// The disk failed. `None`: there is no such snapshot.
    pub fn open(self: &Arc<Self>, at: Position) -> Result<Option<Streaming<D>>, Error> {
        if !self.standing.may_give() {
            return Ok(None);
        }
        let fitting: Vec<u64> = self
            .known
            .lock()
            .values()
            .filter(|k| k.info.position.offset >= at.offset)
            .map(|k| k.info.number)
            .collect();
        for number in fitting.into_iter().rev() {
            if let Some(known) = self.known.lock().get_mut(&number) {
                known.streams += 1;
            }
            match SnapshotReader::open(&self.disk, &self.meta, number) {
                Ok(reader) => return Ok(Some(Streaming { snapshots: Arc::clone(self), reader })),
                Err(store_log::Error::Damaged { .. } | store_log::Error::Missing { .. }) => {
                    self.release(number);
                }
                Err(error) => {
                    self.release(number);
                    return Err(error.into());
                }
            }
        }
        Ok(None)
    }

    fn release(&self, number: u64) {
        if let Some(known) = self.known.lock().get_mut(&number) {
            // One that took its place is sent to nobody yet.
            known.streams = known.streams.saturating_sub(1);
        }
    }

    /// Begins to receive a snapshot, or goes on with one that was begun.
    ///
    /// # Errors
    /// What is offered is beyond the limits, or another one waits to take the table's place; the disk failed.
    pub fn receive(&self, offered: Offered) -> Result<IncomingSnapshot<Arc<D>>, Error> {
        if self.staged.lock().is_some() {
            let problem = "another one is about to replace the database";
            return Err(Error::BadSnapshot { number: offered.number, problem });
        }
        Ok(IncomingSnapshot::begin(Arc::clone(&self.disk), &self.meta, offered)?)
    }

    /// Verifies what was received and gives it its name, or keeps it without one if it is to replace a wrong table
    /// beside the log. Returns its position, and what the node is to be told.
    ///
    /// # Errors
    /// It is not what was offered: begin again. Or the disk failed.
    pub fn received(&self, incoming: IncomingSnapshot<Arc<D>>) -> Result<(Position, Job), Error> {
        let reaches = |last: Offset| incoming.offered().position.offset <= last;
        if self.standing.is_quarantined() && reaches(self.log.lock().last().offset) {
            return self.stage(incoming);
        }
        let newest_log = {
            // Under the log's lock: no roll can come between the mark and the look.
            let log = self.log.lock();
            self.arriving.fetch_add(1, Ordering::Relaxed);
            log.files().last().map_or(0, |file| file.number)
        };
        match incoming.finish(newest_log) {
            Ok(file) => {
                let known = Known { info: file.info, verified: true, streams: 0 };
                self.known.lock().insert(file.info.number, known);
                let SnapshotInfo { number, position, .. } = file.info;
                Ok((position, Job::SnapshotFetched { position, number }))
            }
            Err(error) => {
                self.arrived();
                Err(error.into())
            }
        }
    }

    /// Keeps a snapshot that is to replace a wrong table.
    fn stage(&self, incoming: IncomingSnapshot<Arc<D>>) -> Result<(Position, Job), Error> {
        let info = incoming.verified()?;
        let position = info.position;
        *self.staged.lock() = Some(Staged { incoming, info });
        Ok((position, Job::ReplacementFetched { position }))
    }

    /// Removes what was kept: it is not needed.
    pub(crate) fn unstage(&self) -> Result<(), Error> {
        let staged = self.staged.lock().take();
        Ok(staged.map_or(Ok(()), |staged| staged.incoming.discard())?)
    }

    /// Gives what was kept the name `snap.number`, that of the newest log file. What is known besides is wrong, and of no
    /// higher number, unless it came from another replica.
    pub(crate) fn adopt(&self, number: u64, position: Position) -> Result<(), Error> {
        let mut staged = self.staged.lock();
        let Staged { incoming, info } = staged.take().expect("what is adopted was fetched");
        assert_eq!(info.position, position, "one at a time is fetched");
        let info = incoming.adopt(info, number)?.info;
        let mut known = self.known.lock();
        known.retain(|other, _| *other > number);
        known.insert(number, Known { info, verified: true, streams: 0 });
        Ok(())
    }

    /// The table was replaced by `snap.number`: every snapshot before it goes, and from here on those of the table are
    /// right. One of a higher number was fetched meanwhile, and waits to be installed.
    pub(crate) fn end_quarantine(&self, number: u64) -> Result<(), Error> {
        self.known.lock().retain(|known, _| *known >= number);
        retention::remove_snapshots_before(&self.disk, number)?;
        self.standing.end_quarantine();
        Ok(())
    }

    /// Whether a fetched snapshot holds the next number, so that the log cannot roll now.
    pub(crate) fn is_arriving(&self) -> bool {
        self.arriving.load(Ordering::Relaxed) > 0
    }

    /// A fetched snapshot is installed, or will not be.
    pub(crate) fn arrived(&self) {
        let before = self.arriving.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "what arrives was announced");
    }

    /// Removes a fetched snapshot that is not needed.
    pub(crate) fn discard(&self, number: u64) -> Result<(), Error> {
        self.known.lock().remove(&number);
        retention::remove_snapshot(&self.disk, number)?;
        self.arrived();
        Ok(())
    }

    /// Replaces the table by `snap.number`.
    ///
    /// # Errors
    /// The snapshot is damaged, or the table or the disk failed; then the table says itself that it is not whole.
    pub(crate) fn import<T: Table>(&self, table: &T, number: u64) -> Result<AppliedState, Error> {
        let reader = SnapshotReader::open(&self.disk, &self.meta, number)?;
        let mut import = transfer::Import::begin(table.clone())?;
        each_chunk(&reader, &mut |chunk| Ok(import.chunk(chunk)?))?;
        let state = import.finish()?;
        known_version(&state)?;
        let (found, expected) = (position_in(state.applied), reader.listed().info.position);
        if found != expected {
            return Err(Error::Contradiction { found, expected });
        }
        Ok(state)
    }

    /// The number for a snapshot that belongs to no roll of the log.
    pub(crate) fn next_number(&self) -> u64 {
        let newest_log = self.log.lock().files().last().map_or(0, |file| file.number);
        self.known.lock().keys().last().copied().unwrap_or(0).max(newest_log) + 1
    }

    /// Removes snapshots that the rule lets go ([`retention`]), so that `kept` stay; returns the first number of log files to keep.
    pub(crate) fn retire(
        &self,
        kept: usize,
        files: &[retention::FileRange],
        needed: Needed,
    ) -> Result<u64, Error> {
        // One that was fetched counts for nothing before it is installed, and is not to go before that.
        if self.is_arriving() {
            return Ok(0);
        }
        let (states, streamed): (Vec<SnapshotState>, u64) = {
            let known = self.known.lock();
            let states = known.iter().map(|(number, k)| SnapshotState {
                number: *number,
                last: k.info.position.offset,
                verified: k.verified,
            });
            let streamed = known.iter().find(|(_, k)| k.streams > 0).map_or(u64::MAX, |(number, _)| *number);
            (states.collect(), streamed)
        };
        let floor = Floor { offset: needed.applied, peers: needed.peers, snapshot: streamed };
        let plan = retention::plan(kept, files, &states, floor);
        for number in plan.snapshots {
            self.known.lock().remove(&number);
            retention::remove_snapshot(&self.disk, number)?;
        }
        Ok(plan.logs_before)
    }
}

impl<D: Disk> Streaming<D> {
    /// What it is of, and its length.
    #[must_use]
    pub fn listed(&self) -> SnapshotFile {
        self.reader.listed()
    }

    /// Up to `bytes_max` bytes of the file from `at` on; none at its end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn raw(&self, at: u64, bytes_max: usize) -> Result<Bytes, Error> {
        if !self.snapshots.standing.may_give() {
            let number = self.reader.listed().info.number;
            return Err(Error::BadSnapshot { number, problem: "the state that it is of may be wrong" });
        }
        Ok(self.reader.raw(at, bytes_max)?)
    }
}

impl<D: Disk> Drop for Streaming<D> {
    fn drop(&mut self) {
        self.snapshots.release(self.reader.listed().info.number);
    }
}

/// What `snap.number` of a folder holds, all of it checked, down to the rows and the position that they say: for
/// people and tests, without a table and without changing anything.
///
/// # Errors
/// The snapshot is damaged, says another position than its rows, or cannot be read.
pub fn snapshot_contents<D: Disk>(disk: &D, meta: &Meta, number: u64) -> Result<transfer::Contents, Error> {
    let reader = SnapshotReader::open(disk, meta, number)?;
    let mut checker = transfer::Checker::default();
    each_chunk(&reader, &mut |chunk| Ok(checker.chunk(chunk)?))?;
    let contents = checker.finish()?;
    let (found, expected) = (position_in(contents.state.applied), reader.listed().info.position);
    if found == expected { Ok(contents) } else { Err(Error::Contradiction { found, expected }) }
}

/// Calls `visit` with each chunk of a snapshot, in order.
pub(crate) fn each_chunk<F: DiskFile>(
    reader: &SnapshotReader<F>,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let number = reader.listed().info.number;
    let mut pending = BytesMut::new();
    reader.each_block(|block: Bytes| -> Result<(), Error> {
        pending.extend_from_slice(&block);
        while let Some(chunk) = take_chunk(number, &mut pending)? {
            visit(&chunk)?;
        }
        Ok(())
    })?;
    if pending.is_empty() {
        Ok(())
    } else {
        Err(Error::BadSnapshot { number, problem: "it ends inside a chunk" })
    }
}

/// Adds a chunk behind its length.
pub(crate) fn frame<D: Disk>(writer: &mut SnapshotWriter<D>, chunk: &[u8]) -> Result<(), store_log::Error> {
    let length = u32::try_from(chunk.len()).expect("a chunk is bounded");
    writer.write(&length.to_le_bytes())?;
    writer.write(chunk)
}

/// Takes the next whole chunk off `pending`.
fn take_chunk(number: u64, pending: &mut BytesMut) -> Result<Option<Bytes>, Error> {
    let Some(length) = pending.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > store_db::limits::CHUNK_BYTES_MAX {
        return Err(Error::BadSnapshot { number, problem: "a chunk is longer than any" });
    }
    if pending.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    pending.advance(LENGTH_BYTES);
    Ok(Some(pending.split_to(length).freeze()))
}
