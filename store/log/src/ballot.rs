//! The file `vote`: the replica's latest epoch and its vote in it. Promises that once [`write`] returned,
//! no crash brings an older ballot back. Byte by byte in [`crate::format`].
//!
//! [`Ballots`] writes it, apart from the log: a holder of the log's lock may wait for its disk.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use store_core::{Ballot, Epoch, Incarnation, NodeId};

use crate::atomic_write;
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

/// The ballot that is durable, as the log and [`Ballots`] know it. Never locked over an operation on the disk.
pub(crate) type Saved = Arc<Mutex<Ballot>>;

/// Writes a replica's ballot. There is one a replica, beside its [`crate::Log`], which only looks at what was saved.
pub struct Ballots<D: Disk> {
    /// The folder.
    disk: D,
    /// Whose it is.
    incarnation: Incarnation,
    /// What is in `vote`.
    saved: Saved,
    /// A fatal error was returned.
    poisoned: bool,
}

impl<D: Disk> Ballots<D> {
    pub(crate) fn new(disk: D, incarnation: Incarnation, saved: &Saved) -> Ballots<D> {
        Ballots { disk, incarnation, saved: Arc::clone(saved), poisoned: false }
    }

    /// Makes epoch and vote durable.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the epoch falls, or the vote changes within it: our own bug, caught before it can
    /// do harm. [`Error::Full`] with nothing changed; otherwise fatal.
    pub fn save(&mut self, ballot: Ballot) -> Result<(), Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let before = *self.saved.lock();
        let changed = before.voted_for.is_some() && before.voted_for != ballot.voted_for;
        if ballot.epoch < before.epoch || (ballot.epoch == before.epoch && changed) {
            return Err(Error::Invalid(format!("a ballot never goes back: {before:?} to {ballot:?}")));
        }
        let written = write(&self.disk, ballot, self.incarnation);
        self.poisoned = written.as_ref().is_err_and(Error::is_fatal);
        written?;
        *self.saved.lock() = ballot;
        Ok(())
    }
}

impl<D: Disk> fmt::Debug for Ballots<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ballots").field("saved", &*self.saved.lock()).finish_non_exhaustive()
    }
}

/// Replaces the ballot, durably.
pub(crate) fn write<D: Disk>(disk: &D, ballot: Ballot, incarnation: Incarnation) -> Result<(), Error> {
    atomic_write::replace(disk, VOTE, &encode(ballot, incarnation), "vote")
}

/// The ballot. Lost or damaged, it cannot be made up: the replica may have voted.
pub(crate) fn read<D: Disk>(disk: &D, incarnation: Incarnation) -> Result<Ballot, Error> {
    let Some(bytes) = atomic_write::read(disk, VOTE, BYTES)? else {
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
