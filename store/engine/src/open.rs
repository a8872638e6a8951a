//! From a folder to a replica: recovery. It ends before anybody is served.
//!
//! ```text
//!   log recovered ─► table whole, and not behind the log's beginning?
//!                      no  ─► import the newest whole snapshot
//!                   ─► does the log have the table's position?
//!                      no  ─► an installation was cut off: begin the log after that position
//!                   ─► apply up to the durably known commit offset; the rest stays intermediate
//! ```

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::store::AppliedState;
use store_core::mutant;
use store_core::{EpochHistory, Incarnation, NodeId, Offset, Position, Restored};
use store_db::{Table, state};
use store_log::{BootId, Cut, Disk, Identity, Log, LogReader, Meta, Quarantine, Recovered, SnapshotFile};

use prost::Message as _;

use crate::applier::{Applier, remembered, standing};
use crate::ballot_writer::BallotWriter;
use crate::cache::EntryCache;
use crate::claims::Claims;
use crate::clock::Clock;
use crate::convert;
use crate::error::Error;
use crate::job::{ApplierJob, ApplierOut};
use crate::limits::CACHE_BYTES_MAX;
use crate::member_versions::known_version;
use crate::node::Node;
use crate::replicator::{Replicator, ReplicatorInbox};
use crate::shared_log::SharedLog;
use crate::snapshots::Snapshots;
use crate::source::Source;
use crate::start::{NodeConfig, NodeStart};
use crate::writer::Writer;

/// What a replica is made of.
pub struct OpenConfig<D, T, C> {
    /// Its folder.
    pub disk: Arc<D>,
    /// Whose folder the caller expects it to be.
    pub identity: Identity,
    /// This boot of the machine.
    pub boot_id: BootId,
    /// Of the log.
    pub log: store_log::Options,
    /// Its table, which is empty unless it can be trusted.
    pub table: T,
    /// For log time.
    pub clock: C,
    /// Of the node. `core.member` is replaced by what the folder says.
    pub node: NodeConfig,
}

/// A replica, ready to be polled.
pub struct Engine<D: Disk, T: Table, C: Clock> {
    /// The stage around the core.
    pub node: Node<D, T, C>,
    /// The log's writer.
    pub writer: Writer<D>,
    /// Saves ballots.
    pub ballots: BallotWriter<D>,
    /// The applier.
    pub applier: Applier<D, T>,
    /// Makes replicators.
    pub replicators: Replicators<D>,
    /// Takes, sends and receives snapshots.
    pub snapshots: Arc<Snapshots<D>>,
    /// Reads the log, for people.
    pub log: LogReader<D::File>,
    /// What recovery did, for the operator.
    pub recovery: Recovery,
}

/// Makes a replicator for each peer.
pub struct Replicators<D: Disk> {
    /// Where entries come from.
    source: Source<D>,
}

impl<D: Disk> Replicators<D> {
    /// A replicator for `peer`, and its mailbox.
    #[must_use]
    pub fn replicator(&self, peer: NodeId) -> (ReplicatorInbox, Replicator<D>) {
        Replicator::new(peer, self.source.clone())
    }
}

/// What recovery did.
#[derive(Debug)]
pub struct Recovery {
    /// What was cut from the end of the log.
    pub cut: Option<Cut>,
    /// The log lost a tail that may have been acknowledged.
    pub maybe_lost_tail: bool,
    /// Snapshots that cannot be read: the file and why.
    pub unreadable_snapshots: Vec<String>,
    /// X of the snapshot that the table was imported from.
    pub imported: Option<u64>,
    /// The log was begun after this position, because it did not reach the table's.
    pub reset_to: Option<Position>,
    /// The table is wrong: nothing is applied to it, until it is replaced.
    pub quarantine: Option<Quarantine>,
    /// Entries applied.
    pub applied_entries: u64,
    /// Entries that stay intermediate.
    pub intermediate_entries: u64,
}

/// Makes a replica in an empty folder: log entry 1 is `members`, the same for every voter of the group.
///
/// # Errors
/// The folder is not empty; this node and incarnation is not among the voters; the disk failed.
pub fn bootstrap<D: Disk>(
    disk: &D,
    identity: &Identity,
    incarnation: Incarnation,
    boot_id: &BootId,
    members: &proto::store::Membership,
) -> Result<Meta, Error> {
    let membership = convert::membership_in(members)?;
    let member = store_core::Member { node: identity.node, incarnation };
    if !membership.is_voter(member) {
        let why = format!("{} with this incarnation is not among its voters", identity.node);
        return Err(Error::Entry(convert::Malformed { what: "first membership", why }));
    }
    let payload = Bytes::from(members.encode_to_vec());
    Ok(store_log::bootstrap(disk, identity, incarnation, boot_id, &payload)?)
}

/// Makes the folder of a *new member*, empty: it learns from the leader once a membership change has added it.
///
/// # Errors
/// The folder is not empty; the disk failed.
pub fn join<D: Disk>(
    disk: &D,
    identity: &Identity,
    incarnation: Incarnation,
    boot_id: &BootId,
) -> Result<Meta, Error> {
    Ok(store_log::join(disk, identity, incarnation, boot_id)?)
}

/// Recovers a replica.
///
/// # Errors
/// The folder is not this replica's, is damaged, or does not hold enough to go on: each says what to do.
pub fn open<D: Disk, T: Table, C: Clock>(config: OpenConfig<D, T, C>) -> Result<Engine<D, T, C>, Error> {
    let OpenConfig { disk, identity, boot_id, log, table, clock, node } = config;
    if mutant!(OldIdentity) && disk.list().is_ok_and(|names| names.is_empty()) {
        join(&*disk, &identity, node.core.member.incarnation, &boot_id)?;
    }
    let (log, mut recovered) = Log::open(Arc::clone(&disk), &identity, &boot_id, log)?;
    let (log_reader, ballots) = (log.reader(), BallotWriter::new(log.ballots()));
    let shared: SharedLog<D> = Arc::new(Mutex::new(log));
    let meta = recovered.meta.clone();
    // No mark vouched for a damaged table, so it was not believed: it is made anew here, from what is right.
    let was_damaged = recovered.quarantine.take_if(|quarantine| quarantine.damaged).is_some();
    let quarantined = recovered.quarantine.is_some();
    let snapshots =
        Arc::new(Snapshots::new(disk, meta, Arc::clone(&shared), &recovered.snapshots, quarantined));
    let (state, imported) = settle_table(&table, &snapshots, &recovered)?;
    let reset_to = settle_log(&table, &state, &snapshots, &shared, &mut recovered)?;

    let cache = Arc::new(EntryCache::new(CACHE_BYTES_MAX, recovered.history.last().offset));
    let source = Source::new(Arc::clone(&cache), log_reader.clone());
    let (committed, snapshot) = known_committed(&state, &snapshots, &recovered)?;
    let claims = Arc::new(Claims::default());
    let mut applier = Applier::new(
        table.clone(),
        source.clone(),
        Arc::clone(&snapshots),
        standing(&state),
        Arc::clone(&claims),
        node.checkpoint_every,
    );
    catch_up(&mut applier, &recovered.history, committed, quarantined)?;
    if was_damaged {
        shared.lock().clear_quarantine()?;
    }

    let start = NodeStart {
        restored: restored(&recovered, &table, &state, committed, snapshot)?,
        members: members(&recovered, &state)?,
        log_time_ms: recovered.last_log_time_ms.max(state.log_time_ms),
        applied: applier.applied(),
        quarantine: recovered.quarantine,
        claims,
    };
    let applied_entries = applier.applied().position.offset.0 - standing(&state).position.offset.0;
    let recovery = Recovery { imported, reset_to, applied_entries, ..recovery_of(&recovered, committed) };
    let mut node_config = node;
    node_config.core.member = recovered.meta.member;
    let node = Node::new(node_config, start, table, cache, Arc::clone(&snapshots), clock);
    let writer = Writer::new(shared, Arc::clone(&snapshots));
    Ok(Engine {
        node,
        writer,
        ballots,
        applier,
        replicators: Replicators { source },
        snapshots,
        log: log_reader,
        recovery,
    })
}

/// The part of the report that the log's recovery knows.
fn recovery_of(recovered: &Recovered, committed: Offset) -> Recovery {
    let unreadable = recovered.unreadable_snapshots.iter();
    Recovery {
        cut: recovered.cut.clone(),
        maybe_lost_tail: recovered.maybe_lost_tail,
        unreadable_snapshots: unreadable.map(|(file, error)| format!("{file}: {error}")).collect(),
        imported: None,
        reset_to: None,
        quarantine: recovered.quarantine,
        applied_entries: 0,
        intermediate_entries: recovered.history.last().offset.0 - committed.0,
    }
}

/// The table's state, after the newest whole snapshot was imported if the table is empty or lies before the log.
fn settle_table<D: Disk, T: Table>(
    table: &T,
    snapshots: &Snapshots<D>,
    recovered: &Recovered,
) -> Result<(AppliedState, Option<u64>), Error> {
    let base = recovered.history.base().offset;
    let found = table.read(|read| state::read(read));
    if let Ok(state) = &found {
        known_version(state)?;
        let applied = standing(state).position.offset;
        if applied >= base && applied > Offset::ZERO {
            return Ok((state.clone(), None));
        }
    }
    let fitting = |file: &&SnapshotFile| file.info.position.offset >= base;
    for file in recovered.snapshots.iter().rev().filter(fitting) {
        match snapshots.import(table, file.info.number) {
            Ok(state) => return Ok((state, Some(file.info.number))),
            // A damaged one is passed over: an older one will do, with more of the log.
            Err(Error::Log(store_log::Error::Damaged { .. }) | Error::BadSnapshot { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let state = found?;
    let applied = standing(&state).position.offset;
    if applied < base { Err(Error::Unrecoverable { base, applied }) } else { Ok((state, None)) }
}

/// Begins the log after the table's position if the log does not have that: an installation was cut off, or the log
/// lost its tail and knows it. A log never begins where there is no snapshot, so one is taken first if need be.
///
/// What was applied was committed, so a log that claims to be whole and has something else there, or nothing, lost or
/// replaced what it had acknowledged behind our back: that is fatal, never mended quietly.
fn settle_log<D: Disk, T: Table>(
    table: &T,
    state: &AppliedState,
    snapshots: &Snapshots<D>,
    log: &SharedLog<D>,
    recovered: &mut Recovered,
) -> Result<Option<Position>, Error> {
    let applied = standing(state).position;
    if recovered.history.contains(applied) {
        return Ok(None);
    }
    let newest_log = log.lock().files().last().map_or(0, |file| file.number);
    let of_applied = |info: &store_log::SnapshotInfo| info.position == applied && info.number > newest_log;
    let number = match snapshots.list().into_iter().find(of_applied) {
        Some(info) => info.number,
        None if !recovered.maybe_lost_tail => {
            return Err(Error::Contradiction { found: recovered.history.last(), expected: applied });
        }
        None => {
            let number = snapshots.next_number();
            write_snapshot(table, snapshots, number, applied)?;
            number
        }
    };
    log.lock().reset(number, applied, state.log_time_ms)?;
    recovered.history = EpochHistory::starting_after(applied);
    recovered.memberships.clear();
    recovered.commit_mark = applied.offset;
    recovered.last_log_time_ms = state.log_time_ms;
    Ok(Some(applied))
}

/// Writes a snapshot of the table as it is, which must be at `position`.
fn write_snapshot<D: Disk, T: Table>(
    table: &T,
    snapshots: &Snapshots<D>,
    number: u64,
    position: Position,
) -> Result<(), Error> {
    let mut written = Ok(());
    table.read_settled(|read| {
        written = snapshots.write_any(read, number, position);
        Ok(())
    })?;
    written
}

/// The last offset known durably to be committed, and the newest snapshot that the log continues. A log that was cut
/// off behind snapshots needs one of them, even if the table is whole: others are fed from it.
fn known_committed<D: Disk>(
    state: &AppliedState,
    snapshots: &Snapshots<D>,
    recovered: &Recovered,
) -> Result<(Offset, Position), Error> {
    let history = &recovered.history;
    let usable = |position: &Position| history.contains(*position);
    let snapshot = snapshots.list().iter().map(|info| info.position).filter(usable).max().unwrap_or_default();
    let base = history.base().offset;
    if snapshot.offset < base {
        return Err(Error::NoSnapshot { base });
    }
    let applied = standing(state).position.offset;
    if mutant!(ApplyIntermediate) {
        return Ok((history.last().offset, snapshot));
    }
    Ok((recovered.commit_mark.max(applied).max(snapshot.offset), snapshot))
}

/// Applies what is committed, unless the table is wrong. Audits asked for before the restart have nobody to answer.
fn catch_up<D: Disk, T: Table>(
    applier: &mut Applier<D, T>,
    history: &EpochHistory,
    committed: Offset,
    quarantined: bool,
) -> Result<(), Error> {
    let up_to = history.position_at(committed).ok_or(Error::Missing(committed))?;
    let mut job = Some(ApplierJob::Commit { up_to, request_ids: Vec::new() });
    let mut outs: Vec<ApplierOut> = Vec::new();
    if quarantined {
        applier.quarantine();
        applier.poll(job.take(), &mut outs)?;
        return Ok(());
    }
    while applier.applied().position.offset < committed {
        applier.poll(job.take(), &mut outs)?;
        applier.resume();
        outs.clear();
    }
    Ok(())
}

fn restored<T: Table>(
    recovered: &Recovered,
    table: &T,
    state: &AppliedState,
    committed: Offset,
    snapshot: Position,
) -> Result<Restored, Error> {
    let with_core = |(offset, members): &(Offset, proto::store::Membership)| {
        Ok::<_, Error>((*offset, convert::membership_in(members)?))
    };
    Ok(Restored {
        ballot: recovered.ballot,
        history: recovered.history.clone(),
        committed,
        memberships: members(recovered, state)?.iter().map(with_core).collect::<Result<_, _>>()?,
        maybe_lost_tail: recovered.maybe_lost_tail,
        snapshot,
        checkpoints: remembered(table)?,
        quarantined: recovered.quarantine.is_some(),
    })
}

/// The memberships of the log, and the one in force where it begins.
fn members(
    recovered: &Recovered,
    state: &AppliedState,
) -> Result<Vec<(Offset, proto::store::Membership)>, Error> {
    let mut members = Vec::new();
    let first = recovered.memberships.first().map_or(Offset(u64::MAX), |(offset, _)| *offset);
    if let Some(membership) = state.membership.clone().filter(|_| Offset(state.membership_offset) < first) {
        members.push((Offset(state.membership_offset), membership));
    }
    for (offset, payload) in &recovered.memberships {
        members.push((*offset, convert::membership_of(payload)?));
    }
    Ok(members)
}
