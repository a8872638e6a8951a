//! The applier: committed entries, in the log's order, into the table; one table transaction a batch; then the answers.
//!
//! ```text
//!   applied          stop (a snapshot's L)         committed
//!   ────▓▓▓▓▓▓▓▓▓▓▓▓▓│─────────────────────────────│······· intermediate
//!       batch        ▲ stands still until resume(): the driver has opened its read transaction
//! ```
//!
//! Promises: nothing beyond the commit order is applied; nothing is skipped; each request id handed over with a commit is
//! answered once, after its entry's transaction. At an audit entry, and where a snapshot is asked for, it stands
//! still until it is resumed, so that a read transaction sees exactly that position. Every so many offsets it notes a
//! checkpoint, in the transaction of exactly that offset: a batch ends there. A table that is known to be wrong is
//! neither read nor written until it is replaced.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use proto::store::AppliedState;
use store_core::mutant;
use store_core::{Checkpoint, Entry, Offset, Position};
use store_db::{Recent, Table, checkpoints, state};
use store_log::Disk;

use crate::cache::Limits;
use crate::claims::Claims;
use crate::convert::{checkpoint_in, position_in};
use crate::error::Error;
use crate::job::{Applied, ApplierJob, ApplierOut, Imported, Pause, Reply, RequestId};
use crate::limits::{APPLY_BYTES_MAX, APPLY_ENTRIES_MAX};
use crate::snapshots::Snapshots;
use crate::source::{Found, Source};

const LIMITS: Limits = Limits { entries: APPLY_ENTRIES_MAX, bytes: APPLY_BYTES_MAX };

/// Where a snapshot is to be taken.
#[derive(Clone, Copy, Debug)]
struct Stop {
    /// The offset to stand still at.
    at: Offset,
    /// X of the snapshot, once the log has rolled.
    number: Option<u64>,
}

/// Applies committed entries.
pub struct Applier<D: Disk, T: Table> {
    /// The state machine.
    table: T,
    /// What the table has of recent requests.
    recent: Recent,
    /// Where entries come from.
    source: Source<D>,
    /// Where a snapshot to install comes from.
    snapshots: Arc<Snapshots<D>>,
    /// Where the table stands.
    applied: Applied,
    /// The end of what may be applied.
    committed: Position,
    /// The requests that wait for entries, by offset.
    request_ids: VecDeque<(Offset, RequestId)>,
    /// A snapshot to be taken.
    stop: Option<Stop>,
    /// A snapshot to be installed once everything committed before it is applied.
    install: Option<(Position, u64)>,
    /// It stands still until it is resumed.
    halted: bool,
    /// The table is wrong.
    quarantined: bool,
    /// A snapshot to replace the wrong table by.
    replace: Option<(Position, u64)>,
    /// Which request ids the node has answered.
    claims: Arc<Claims>,
    /// Offsets between two checkpoints.
    checkpoint_every: u64,
    /// Entries of the batch; kept for its memory.
    entries: Vec<Entry<Bytes>>,
}

impl<D: Disk, T: Table> Applier<D, T> {
    pub(crate) fn new(
        table: T,
        source: Source<D>,
        snapshots: Arc<Snapshots<D>>,
        applied: Applied,
        claims: Arc<Claims>,
        checkpoint_every: u64,
    ) -> Applier<D, T> {
        assert!(checkpoint_every > 0, "checkpoints are apart");
        Applier {
            table,
            recent: Recent::default(),
            source,
            snapshots,
            applied,
            committed: applied.position,
            request_ids: VecDeque::new(),
            stop: None,
            install: None,
            halted: false,
            quarantined: false,
            replace: None,
            claims,
            checkpoint_every,
            entries: Vec::new(),
        }
    }

    /// Takes the orders and applies one batch; true if there is more to do, so that it must be polled again.
    ///
    /// # Errors
    /// The replica must stop: an entry could not be read or applied.
    pub fn poll(
        &mut self,
        jobs: impl IntoIterator<Item = ApplierJob>,
        outs: &mut Vec<ApplierOut>,
    ) -> Result<bool, Error> {
        for job in jobs {
            self.take(job);
        }
        if self.quarantined {
            self.abandon_requests(outs);
            if self.halted {
                // A job about to read the table of this position must not find a later one.
                return Ok(false);
            }
            if let Some((position, number)) = self.replace.take() {
                self.replace(position, number, outs)?;
            } else if let Some((position, number)) = self.install.take() {
                self.import(position, number, outs)?;
            } else {
                return Ok(false);
            }
        }
        self.halt_for_snapshot(outs);
        if self.halted {
            return Ok(false);
        }
        if self.applied.position.offset < self.limit() {
            self.apply(outs)?;
            self.halt_for_snapshot(outs);
        }
        let is_done = self.applied.position.offset == self.committed.offset;
        if is_done
            && !self.halted
            && let Some((position, number)) = self.install.take()
        {
            self.import(position, number, outs)?;
        }
        Ok(!self.halted && self.applied.position.offset < self.limit())
    }

    /// Goes on after [`ApplierOut::Paused`].
    pub fn resume(&mut self) {
        self.halted = false;
    }

    /// Where the table stands.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.applied
    }

    fn take(&mut self, job: ApplierJob) {
        match job {
            ApplierJob::Commit { up_to, request_ids } => {
                assert!(up_to.offset >= self.committed.offset, "commit order: it never goes back");
                self.committed = up_to;
                self.request_ids.extend(request_ids);
            }
            ApplierJob::SnapshotAt { at } => {
                assert!(at >= self.applied.position.offset, "a snapshot is asked for before it is passed");
                self.stop = Some(Stop { at, number: None });
            }
            ApplierJob::SnapshotAs { number } => {
                if let Some(stop) = &mut self.stop {
                    stop.number = Some(number);
                }
            }
            ApplierJob::CancelSnapshot => self.stop = None,
            ApplierJob::Quarantine => self.quarantine(),
            ApplierJob::Replace { position, number } => self.replace = Some((position, number)),
            ApplierJob::Install { position, number } => {
                self.stop = None;
                self.install = Some((position, number));
            }
        }
    }

    /// The last offset that may be applied now, in one batch.
    fn limit(&self) -> Offset {
        let every = self.checkpoint_every;
        let checkpoint = Offset((self.applied.position.offset.0 / every + 1).saturating_mul(every));
        let stop = self.stop.filter(|_| !mutant!(SnapshotPassesRoll));
        let stop = stop.map_or(checkpoint, |stop| stop.at.min(checkpoint));
        stop.min(self.committed.offset)
    }

    /// From here on the table is wrong.
    pub(crate) fn quarantine(&mut self) {
        self.quarantined = true;
        self.stop = None;
    }

    /// Requests that wait for an entry beyond the wrong table get no answer from it.
    fn abandon_requests(&mut self, outs: &mut Vec<ApplierOut>) {
        let Some((last, _)) = self.request_ids.back() else { return };
        let given_up = self.claims.apply(*last);
        let open = self.request_ids.drain(..).filter(|(offset, _)| *offset > given_up);
        outs.extend(open.map(|(_, request_id)| ApplierOut::Answer { request_id, reply: Reply::Unknown }));
    }

    fn halt_for_snapshot(&mut self, outs: &mut Vec<ApplierOut>) {
        let position = self.applied.position;
        let passed = |at: Offset| mutant!(SnapshotPassesRoll) && at < position.offset;
        let is_there = |at: Offset| at == position.offset || passed(at);
        if !self.halted
            && let Some(Stop { number: Some(number), .. }) =
                self.stop.take_if(|stop| stop.number.is_some() && is_there(stop.at))
        {
            self.halted = true;
            outs.push(ApplierOut::Paused(Pause::Snapshot { position, number }));
        }
    }

    /// One batch, up to an audit at most.
    fn apply(&mut self, outs: &mut Vec<ApplierOut>) -> Result<(), Error> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        let (from, up_to) = (self.applied.position.offset.next(), self.limit());
        if self.source.read(from, up_to, LIMITS, &mut entries)? == Found::Purged {
            return Err(Error::Missing(from));
        }
        let (every, recent) = (self.checkpoint_every, &mut self.recent);
        let (replies, state, checkpoint) = self.table.write(|write| {
            let replies = store_db::apply(write, recent, &entries)?;
            let state = state::read(write)?;
            let is_due = state::applied(&state).offset.is_multiple_of(every);
            let checkpoint = if is_due { Some(checkpoints::note(write, &state)?) } else { None };
            Ok((replies, state, checkpoint))
        })?;
        assert!(!replies.is_empty(), "a batch applies at least one entry");
        self.applied = standing(&state);
        if self.applied.position.offset == self.committed.offset && self.applied.position != self.committed {
            let (found, expected) = (self.applied.position, self.committed);
            return Err(Error::Contradiction { found, expected });
        }
        let given_up = self.claims.apply(self.applied.position.offset);
        while self.request_ids.pop_front_if(|(offset, _)| *offset <= given_up).is_some() {}
        for (entry, reply) in entries.iter().zip(replies) {
            self.answer(entry.position, reply, outs);
        }
        outs.extend(checkpoint.map(|noted| ApplierOut::Checkpoint(checkpoint_in(noted))));
        outs.push(ApplierOut::Applied(self.applied));
        self.entries = entries;
        Ok(())
    }

    fn answer(&mut self, position: Position, reply: store_db::Reply, outs: &mut Vec<ApplierOut>) {
        let waits = self.request_ids.pop_front_if(|(offset, _)| *offset == position.offset);
        if let store_db::Reply::Audit { id, prefixes } = &reply {
            let (id, prefixes, state_hash) = (id.clone(), prefixes.clone(), self.applied.state_hash);
            outs.push(ApplierOut::Paused(Pause::Audit { id, prefixes, position, state_hash }));
            self.halted = true;
        }
        let Some((_, request_id)) = waits else { return };
        let reply = match reply {
            store_db::Reply::Txn(response) => Reply::Txn(response),
            store_db::Reply::Outcome(response) => Reply::Outcome(response),
            store_db::Reply::Refused(refused) => {
                Reply::Refused { position, reason: refused.reason, message: refused.message }
            }
            store_db::Reply::Prepared(answers) => Reply::Prepared(answers),
            store_db::Reply::Finished(acks) => Reply::Finished(acks),
            store_db::Reply::Locked(holder) => Reply::Locked(holder),
            store_db::Reply::None
            | store_db::Reply::PublishMark(_)
            | store_db::Reply::Forgotten
            | store_db::Reply::Frozen
            | store_db::Reply::Audit { .. } => Reply::Done { position },
        };
        outs.push(ApplierOut::Answer { request_id, reply });
    }

    /// Replaces the table.
    fn import(&mut self, position: Position, number: u64, outs: &mut Vec<ApplierOut>) -> Result<(), Error> {
        let is_later = position.offset > self.applied.position.offset;
        assert!(is_later || self.quarantined, "a snapshot never goes back");
        let imported = self.import_as(position, number)?;
        self.committed = position;
        outs.push(ApplierOut::Imported(imported));
        outs.push(ApplierOut::Applied(self.applied));
        Ok(())
    }

    /// Replaces the wrong table; what is committed after the snapshot is applied again, to a right one.
    fn replace(&mut self, position: Position, number: u64, outs: &mut Vec<ApplierOut>) -> Result<(), Error> {
        assert!(position.offset <= self.committed.offset, "commit order: snapshot ≤ committed");
        let imported = self.import_as(position, number)?;
        outs.push(ApplierOut::Replaced(imported));
        outs.push(ApplierOut::Applied(self.applied));
        Ok(())
    }

    fn import_as(&mut self, position: Position, number: u64) -> Result<Imported, Error> {
        self.recent = Recent::default();
        let state = self.snapshots.import(&self.table, number)?;
        self.applied = standing(&state);
        self.quarantined = false;
        Ok(Imported {
            number,
            position,
            checkpoints: remembered(&self.table)?,
            log_time_ms: state.log_time_ms,
            membership_offset: Offset(state.membership_offset),
            membership: state.membership.unwrap_or_default(),
        })
    }
}

/// The checkpoints of a table, oldest first.
pub(crate) fn remembered<T: Table>(table: &T) -> Result<Vec<Checkpoint>, Error> {
    let known = table.read(|read| checkpoints::read(read))?;
    Ok(known.into_iter().map(checkpoint_in).collect())
}

/// Where a table of this state stands.
pub(crate) fn standing(state: &AppliedState) -> Applied {
    Applied {
        position: position_in(state.applied),
        last_change: Offset(state.last_change),
        state_hash: state.state_hash,
        version: state.state_machine_version,
        is_frozen: state.frozen.is_some(),
    }
}
