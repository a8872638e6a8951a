//! Backups: the whole state in one file that stands alone, and the founding of a new group from one.
//!
//! A backup has the bytes of a snapshot ([`store_log::snapshot`]), under any name: blocks with checksums, a footer over
//! all, and inside the rows with a hash of their own. So any `snap.X` is a backup too. It is of one position: the state
//! after exactly that entry.
//!
//! # A restored cluster is another cluster
//!
//! - Its members are others (random incarnations), and so is its log's id, which all messages of the bus and all answers
//!   to portals carry: nodes and caches of the old cluster cannot be mixed up with it.
//! - It goes on [`OFFSETS_SKIPPED`] offsets later. Writes of the old cluster after the backup are lost, but their offsets
//!   were seen: an ETag is an offset, and is never to fit another record. Nor do positions of the two ever meet.
//! - Log time goes on from the moment of the restore, if that is later. Remembered answers come along with
//!   the state: a repeated request is answered and not done twice, as long as it is remembered; one made so long ago
//!   that it may have been forgotten is refused.
//! - It stands still for nobody. Decisions on transactions over several groups that were not forgotten are left out: where nothing is
//!   prepared, which is so in every group of one cut, all of them are done with.
//!
//! Leaves out: where files and folders are, and how a backup travels (`store/server`, `cli`).

use bytes::Bytes;
use proto::store::{AppliedState, Membership};
use store_core::limits::{EPOCH_MAX, OFFSET_MAX};
use store_core::{Incarnation, Member, Offset, Position};
use store_db::{Space, state, transfer};
use store_log::{BootId, Disk, DiskFile, Identity, Origin, SnapshotFile, SnapshotInfo, SnapshotReader};

use crate::convert::{self, position_in, position_out};
use crate::error::Error;
use crate::snapshots::{each_chunk, frame};

/// A new cluster goes on so many offsets after the backup that it was made from: more than any cluster writes between a
/// backup and its end. A round number, so that people see it.
pub const OFFSETS_SKIPPED: u64 = 1_000_000_000_000;

/// The number in a backup's header, and of the snapshot that it becomes.
const NUMBER: u64 = 1;

/// A backup being written, chunk by chunk as [`transfer::export`] makes them.
pub struct BackupWriter<D: Disk> {
    /// The file, aside until it is whole.
    writer: store_log::SnapshotWriter<D>,
    /// Checks the chunks before they are written.
    checker: transfer::Checker,
    /// Of which position it is said to be.
    position: Position,
}

impl<D: Disk> BackupWriter<D> {
    /// Begins the file `name` of `disk`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn create(
        disk: D,
        name: &str,
        origin: &Origin,
        info: SnapshotInfo,
    ) -> Result<BackupWriter<D>, Error> {
        let info = SnapshotInfo { number: NUMBER, ..info };
        let writer = store_log::SnapshotWriter::alone(disk, name.to_owned(), origin, info)?;
        Ok(BackupWriter { writer, checker: transfer::Checker::default(), position: info.position })
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// It is not the next one of an export, or the disk refuses.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.checker.chunk(chunk)?;
        Ok(frame(&mut self.writer, chunk)?)
    }

    /// Ends it: everything was there, and is durable under its name.
    ///
    /// # Errors
    /// Chunks are missing, the state is of another position than was said, or the disk refuses.
    pub fn finish(self) -> Result<SnapshotFile, Error> {
        let contents = self.checker.finish()?;
        agree(position_in(contents.state.applied), self.position)?;
        Ok(self.writer.finish()?)
    }
}

/// A backup that was read and checked, all of it.
pub struct Backup<F> {
    /// Of which cluster and group it is.
    pub origin: Origin,
    /// Of which position, and how long it is.
    pub file: SnapshotFile,
    /// What is in it.
    pub contents: transfer::Contents,
    /// To read it again.
    reader: SnapshotReader<F>,
}

impl<F: DiskFile> Backup<F> {
    /// Opens the file `name` of `disk` and checks all of it, down to the rows.
    ///
    /// # Errors
    /// It is missing, damaged, cut off, something else, of a newer version, or of a position that no log has.
    pub fn open<D: Disk<File = F>>(disk: &D, name: &str) -> Result<Backup<F>, Error> {
        let (origin, reader) = SnapshotReader::alone(disk, name)?;
        let mut checker = transfer::Checker::default();
        each_chunk(&reader, &mut |chunk| Ok(checker.chunk(chunk)?))?;
        let contents = checker.finish()?;
        let file = reader.listed();
        agree(position_in(contents.state.applied), file.info.position)?;
        let (found, known) = (contents.state.state_machine_version, store_db::limits::STATE_MACHINE_VERSION);
        if found > known {
            let what = "state-machine version";
            return Err(store_log::Error::Version { file: name.to_owned(), what, found, known }.into());
        }
        let Position { epoch, offset } = file.info.position;
        if epoch.0 >= EPOCH_MAX || offset.0 > OFFSET_MAX - OFFSETS_SKIPPED {
            let why = format!("{name} is of {}, and no log can go on so far after it", file.info.position);
            return Err(store_log::Error::Invalid(why).into());
        }
        Ok(Backup { origin, file, contents, reader })
    }

    /// Calls `visit` with each chunk of the state.
    ///
    /// # Errors
    /// The file cannot be read any more, or what `visit` returns.
    pub(crate) fn each_chunk(&self, visit: &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        each_chunk(&self.reader, visit)
    }

    /// What a new group begins with: the position that it goes on after, and its log time. `now_ms` is the clock.
    #[must_use]
    pub fn beginning(&self, now_ms: i64) -> Beginning {
        let of = self.file.info.position;
        let position = Position { epoch: of.epoch, offset: Offset(of.offset.0 + OFFSETS_SKIPPED) };
        Beginning { position, log_time_ms: self.contents.state.log_time_ms.max(now_ms) }
    }

    /// Makes the folder of one initial member of a new group that begins with this state. All initial members are given the same
    /// members and the same beginning.
    ///
    /// # Errors
    /// The folder is not empty; this node and incarnation is not among the voters; the disk failed.
    pub fn found<D: Disk + Clone>(
        &self,
        disk: &D,
        identity: &Identity,
        incarnation: Incarnation,
        boot_id: &BootId,
        members: &Membership,
        beginning: Beginning,
    ) -> Result<(), Error> {
        let member = Member { node: identity.node, incarnation };
        if !convert::membership_in(members)?.is_voter(member) {
            let why = format!("{} with this incarnation is not among its voters", identity.node);
            return Err(Error::Entry(convert::Malformed { what: "first membership", why }));
        }
        let Beginning { position, log_time_ms } = beginning;
        let state_machine_version = self.file.info.state_machine_version;
        let info = SnapshotInfo { number: NUMBER, position, log_time_ms, state_machine_version };
        store_log::restore(disk, identity, incarnation, boot_id, info, |writer| {
            let mut rewrite =
                transfer::Rewrite::new(Space::Decisions, |old| adopted(old, members, beginning));
            each_chunk(&self.reader, &mut |chunk| {
                let chunk: Bytes = rewrite.chunk(chunk)?;
                Ok(frame(writer, &chunk)?)
            })
        })?;
        Ok(())
    }
}

/// What a new group begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beginning {
    /// The position of its state; its log begins after that.
    pub position: Position,
    /// Its log time there.
    pub log_time_ms: i64,
}

/// Where the state of the new group stands: of other members, in another log.
fn adopted(old: &AppliedState, members: &Membership, beginning: Beginning) -> AppliedState {
    let mut new = AppliedState {
        applied: Some(position_out(beginning.position)),
        log_time_ms: beginning.log_time_ms,
        membership: Some(members.clone()),
        membership_offset: beginning.position.offset.0,
        log_id: 0,
        frozen: None,
        decided_count: 0,
        ..old.clone()
    };
    new.log_id = state::log_id(&new);
    new
}

fn agree(found: Position, expected: Position) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::Contradiction { found, expected }) }
}
