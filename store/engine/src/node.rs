//! The stage around the core: takes the jobs of clients, peers, ticks and the other stages, steps the core, and sends each
//! of its outputs to its receiver.
//!
//! The file has the loop of one poll. [`clients`] admits and refuses requests, [`outputs`] carries out the core's outputs,
//! [`saving`] holds outputs back that wait for a ballot, [`install`] brings a snapshot in, [`quarantine`] replaces a wrong
//! table.
//!
//! Promises: a ballot is durable before any later output of the core leaves; all client writes that wait
//! become one append, and wait for more of them while others are on their way; a request id is answered once.
//!
//! Leaves out all long work: it writes no file, applies nothing, and reads no table, so that it waits for no disk.

mod clients;
mod install;
mod members;
mod outputs;
mod quarantine;
mod saving;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use store_core::{Entry, Epoch, Input, Member, Message, NodeId, Offset, Output, Position, Replica, WriteSeq};
use store_db::Table;
use store_log::{Disk, Quarantine};

use crate::arrival::Arrival;
use crate::cache::EntryCache;
use crate::changing::Changing;
use crate::claims::Claims;
use crate::clock::Clock;
use crate::error::Error;
use crate::headroom::Headroom;
use crate::job::{Applied, ApplierJob, Imported, Job, NodeOut, RequestId, WriterJob};
use crate::limits::{ENTRY_BYTES_BESIDE, PEER_SILENT_TICKS_MAX, REPLICA_BYTES_UNWRITTEN_MAX};
use crate::log_clock::LogClock;
use crate::member_versions::MemberVersions;
use crate::schedule::Schedule;
use crate::snapshots::Snapshots;
use crate::start::{NodeConfig, NodeStart};
use crate::status::Status;
use crate::voter_clocks::ClockApart;
use crate::waiting::{Reads, Writes};

/// The bytes that go with an input, for the append that may come out of it.
enum Carried {
    /// Nothing; an append is the first entry of a new leader.
    Nothing,
    /// Entries from the leader.
    Entries(Vec<Entry<Bytes>>),
    /// Clients' commands.
    Commands(Vec<(RequestId, Bytes)>),
}

/// What waits for a ballot.
struct Saving {
    /// What the core said after it.
    held: Vec<Output>,
    /// The bytes that go with that.
    carried: Carried,
    /// What came since, in order.
    jobs: VecDeque<Job>,
    /// How many of those are peers' messages, and the bytes of their entries.
    messages: (usize, usize),
}

impl Default for Saving {
    fn default() -> Saving {
        Saving { held: Vec::new(), carried: Carried::Nothing, jobs: VecDeque::new(), messages: (0, 0) }
    }
}

/// The stage around the core.
pub struct Node<D: Disk, T: Table, C: Clock> {
    /// This very replica.
    member: Member,
    /// The protocol.
    replica: Replica,
    /// Asked for room only.
    table: T,
    /// The recent entries, for replicators and applier.
    cache: Arc<EntryCache>,
    /// Log time.
    log_clock: LogClock<C>,
    /// What the members' programs can run.
    versions: MemberVersions,
    /// Election timers.
    random: fastrand::Rng,
    /// Requests in the log, not committed; and what is committed and not applied.
    writes: Writes,
    /// Which request ids of committed entries are answered by whom.
    claims: Arc<Claims>,
    /// Requests that read.
    reads: Reads,
    /// The commands that are to be proposed.
    commands: Vec<(RequestId, Bytes)>,
    /// Bytes of `commands`.
    commands_bytes: usize,
    /// A tick has come since the commands that wait have come.
    ticked: bool,
    /// The reads of this poll.
    asking: Vec<RequestId>,
    /// Appends handed to the writer and not reported: number, last offset, bytes.
    unwritten: VecDeque<(WriteSeq, Offset, usize)>,
    /// Bytes of those.
    unwritten_bytes: usize,
    /// Memberships with addresses, as the core has them without; the last is in force.
    members: Vec<(Offset, proto::store::Membership)>,
    /// The change of members that was asked for here and is not committed.
    changing: Option<Changing>,
    /// The epoch that this replica leads.
    leading: Option<Epoch>,
    /// Where the applier stands.
    applied: Applied,
    /// Headroom on disk and in the table.
    headroom: Headroom,
    /// When to take snapshots.
    schedule: Schedule,
    /// A snapshot from the leader.
    arrival: Arrival,
    /// Told when the table is wrong, or right again.
    snapshots: Arc<Snapshots<D>>,
    /// Why the table is wrong.
    quarantine: Option<Quarantine>,
    /// The core knows that the table is damaged.
    is_damage_known: bool,
    /// It is told that the table is damaged and this replica goes on with it.
    is_damage_told: bool,
    /// What the wrong table was replaced by; what else was wrong is going.
    replaced: Option<Imported>,
    /// The quarantine is durable.
    quarantine_saved: bool,
    /// A snapshot to be installed when it is.
    install_waits: Option<(Position, u64)>,
    /// The requests for a quarantine that is not durable yet.
    resyncing: Vec<RequestId>,
    /// What waits for a ballot.
    saving: Option<Saving>,
    /// The core's outputs; kept for their memory.
    outputs: Vec<Output>,
}

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    pub(crate) fn new(
        config: NodeConfig,
        start: NodeStart,
        table: T,
        cache: Arc<EntryCache>,
        snapshots: Arc<Snapshots<D>>,
        clock: C,
    ) -> Node<D, T, C> {
        let own = config.core.member.node;
        let mut schedule = Schedule::new(config.snapshots, start.restored.snapshot);
        if start.quarantine.is_some() {
            schedule.installing();
        }
        Node {
            member: config.core.member,
            replica: Replica::new(config.core, start.restored),
            table,
            cache,
            log_clock: LogClock::new(own, clock, start.log_time_ms, config.clock_jump_ms_max),
            versions: MemberVersions::new(own, config.state_machine_version),
            random: fastrand::Rng::with_seed(config.seed),
            writes: Writes::default(),
            claims: start.claims,
            reads: Reads::default(),
            commands: Vec::new(),
            commands_bytes: 0,
            ticked: false,
            asking: Vec::new(),
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            members: start.members,
            changing: None,
            leading: None,
            applied: start.applied,
            headroom: Headroom::new(config.reserve),
            schedule,
            arrival: Arrival::None,
            snapshots,
            quarantine: start.quarantine,
            is_damage_known: false,
            is_damage_told: false,
            replaced: None,
            quarantine_saved: true,
            install_waits: None,
            resyncing: Vec::new(),
            saving: None,
            outputs: Vec::new(),
        }
    }

    /// Takes the jobs since the last poll.
    ///
    /// # Errors
    /// The disk failed; the process must end.
    pub fn poll(
        &mut self,
        jobs: impl IntoIterator<Item = Job>,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        for job in jobs {
            self.take(job, outs)?;
        }
        self.propose(outs)?;
        self.ask(outs)
    }

    fn take(&mut self, job: Job, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        if self.replica.is_saving() {
            self.take_while_saving(job, outs)
        } else {
            self.take_at_once(job, outs)
        }
    }

    fn take_at_once(&mut self, job: Job, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        match job {
            Job::Tick => self.tick(outs),
            Job::BallotSaved { ballot } => self.ballot_saved(ballot, outs),
            Job::PeerClock { peer, wall_ms } => {
                self.log_clock.hear(peer, wall_ms);
                Ok(())
            }
            Job::PeerVersion { peer, version } => {
                self.versions.hear(peer, version, self.log_clock.monotonic_ms());
                Ok(())
            }
            Job::Write { request_id, command } => {
                self.admit_write(request_id, command, self.diverged(), outs);
                Ok(())
            }
            Job::WriteAnyway { request_id, command } => {
                self.admit_write(request_id, command, None, outs);
                Ok(())
            }
            Job::Read { request_id } => {
                self.admit_read(request_id, outs);
                Ok(())
            }
            Job::Peer { from, message, entries } => self.hear(from, message, entries, outs),
            Job::Reconnected { peer } => self.step(Input::Reconnected { peer }, outs),
            Job::PeerHeadroom { peer, is_out_of_space } => {
                self.headroom.hear(peer, is_out_of_space);
                Ok(())
            }
            Job::Persisted { write, bytes_since_roll } => {
                self.schedule.grew(bytes_since_roll);
                self.persisted(write, outs)
            }
            Job::Purged { up_to, snapshot } => self.purged(up_to, snapshot, outs),
            Job::Applied(applied) => {
                self.applied = applied;
                self.writes.applied(applied.position.offset);
                self.answer_reads(outs);
                self.step(Input::Applied { up_to: applied.position.offset }, outs)
            }
            Job::Rolled { at, number } => {
                self.rolled(at, Some(number), outs);
                Ok(())
            }
            Job::RollFailed { at } => {
                self.rolled(at, None, outs);
                Ok(())
            }
            Job::SnapshotTaken { position } => {
                self.schedule.taken(position);
                if self.quarantine.is_none() {
                    let peers = self.pushed_after();
                    outs.push(NodeOut::Write(WriterJob::Purge { snapshot: position, peers }));
                }
                Ok(())
            }
            Job::SnapshotFetched { position, number } => self.fetched(position, number, outs),
            Job::Imported(imported) => {
                let (after, log_time_ms) = (imported.position, imported.log_time_ms);
                let number = self.arrival.imported(imported);
                outs.push(NodeOut::Write(WriterJob::Reset { number, after, log_time_ms }));
                Ok(())
            }
            Job::Reset { after } => self.installed(after, outs),
            Job::Checkpoint(checkpoint) => self.step(Input::Checkpointed(checkpoint), outs),
            Job::ReplacementFetched { position } => self.replacement_fetched(position, outs),
            Job::Adopted { position, number } => {
                outs.push(NodeOut::Apply(ApplierJob::Replace { position, number }));
                Ok(())
            }
            Job::NotAdopted => self.step(Input::NotReplaced, outs),
            Job::Replaced(imported) => self.replaced(imported, outs),
            Job::QuarantineSaved => {
                self.quarantine_saved(outs);
                Ok(())
            }
            Job::Released => self.released(outs),
            Job::Resync { request_id } => self.resync(request_id, outs),
            Job::SnapshotFailed { position } => {
                self.schedule.failed(position);
                Ok(())
            }
            Job::SnapshotWanted { at } => {
                self.schedule.want(at);
                Ok(())
            }
            Job::DiskHeadroom { free_bytes } => self.measure_headroom(free_bytes, outs),
            Job::ChangeMembers(request) => self.change_members(request, outs),
            Job::TransferLeadership { to } => self.step(Input::TransferLeadership { to }, outs),
            Job::HoldCommit { hold } => self.step(Input::HoldCommit { hold }, outs),
        }
    }

    fn tick(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        self.ticked = !self.commands.is_empty();
        let random = self.random.u64(..);
        self.step(Input::Tick { random }, outs)?;
        if self.headroom.is_due() {
            outs.push(NodeOut::Write(WriterJob::Measure));
        }
        if self.replica.is_saving() {
            return Ok(());
        }
        self.look_for_damage(outs)?;
        if self.leading.is_some() {
            self.transfer_for_headroom(outs)?;
            self.raise_version();
        }
        if let Some(at) = self.schedule.due(self.replica.last()) {
            outs.push(NodeOut::Write(WriterJob::Roll { at: at.offset }));
            outs.push(NodeOut::Apply(ApplierJob::SnapshotAt { at: at.offset }));
        }
        Ok(())
    }

    fn measure_headroom(&mut self, free_bytes: u64, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        let (used, usable) = match self.table.headroom() {
            // Told by the next tick: the room is the least of its troubles.
            Err(error) if error.is_reported_by_store() => return Ok(()),
            headroom => headroom?,
        };
        let free_bytes = free_bytes.saturating_sub(self.table.pending_bytes(used));
        // A log that grows with the state has to go where room is short.
        self.schedule.measured(if self.headroom.shortage().is_some() { 0 } else { used });
        let report = self.headroom.look(free_bytes, usable.saturating_sub(used));
        outs.extend(report.map(NodeOut::Report));
        Ok(())
    }

    /// Gives leadership away for lack of space, to one that has some; where nobody has, it stays.
    fn transfer_for_headroom(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        let own = self.member.node;
        let with_headroom = self.voters().find(|voter| *voter != own && self.headroom.has(*voter));
        if with_headroom.is_none() || !self.headroom.should_transfer() {
            return Ok(());
        }
        // The most advanced one, unless that might be one that is out of space too.
        let all = self.voters().all(|voter| self.headroom.has(voter));
        let to = if all { None } else { with_headroom };
        self.step(Input::TransferLeadership { to }, outs)
    }

    /// The log after this offset is still to be pushed to a replica that answers. One that does not is not waited for:
    /// it may be gone for good, and a snapshot will bring it back.
    fn pushed_after(&self) -> Offset {
        let answering = self.replica.peers().filter(|peer| peer.silent_ticks <= PEER_SILENT_TICKS_MAX);
        answering.map(|peer| peer.needs_after).min().unwrap_or(Offset(u64::MAX))
    }

    /// The voters of the membership in force.
    fn voters(&self) -> impl Iterator<Item = NodeId> {
        let members = self.members.last();
        members.into_iter().flat_map(|(_, members)| members.voters.iter().map(|voter| NodeId(voter.node)))
    }

    /// A message of a peer. What would not fit in memory or on the disk is dropped, as networks do.
    fn hear(
        &mut self,
        from: Member,
        message: Message,
        entries: Vec<Entry<Bytes>>,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        let bytes = bytes_of(&entries);
        let fits = self.unwritten_bytes <= REPLICA_BYTES_UNWRITTEN_MAX && self.headroom.takes(bytes);
        if !entries.is_empty() && !fits {
            return Ok(());
        }
        let carried = if entries.is_empty() { Carried::Nothing } else { Carried::Entries(entries) };
        self.step_with(Input::Receive { from, message }, carried, outs)
    }

    fn persisted(&mut self, write: WriteSeq, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        while let Some((_, up_to, bytes)) = self.unwritten.pop_front_if(|(seq, ..)| *seq <= write) {
            self.unwritten_bytes -= bytes;
            self.cache.durable(up_to);
        }
        self.step(Input::Persisted { write }, outs)
    }

    /// The log has rolled for the snapshot under way, and says its number; or it could not.
    fn rolled(&mut self, at: Offset, number: Option<u64>, outs: &mut Vec<NodeOut>) {
        if number.is_some() {
            self.schedule.rolled();
        }
        let is_meant = self.schedule.under_way().is_some_and(|request| request.offset == at);
        match number {
            Some(number) if is_meant => outs.push(NodeOut::Apply(ApplierJob::SnapshotAs { number })),
            None if self.schedule.not_rolled(at) => outs.push(NodeOut::Apply(ApplierJob::CancelSnapshot)),
            _ => {}
        }
    }

    fn purged(&mut self, up_to: Offset, snapshot: Position, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        if up_to > snapshot.offset {
            // It was being written while a later one was installed, which the core knows of.
            return Ok(());
        }
        let old = self.members.partition_point(|(offset, _)| *offset <= up_to);
        self.members.drain(..old.saturating_sub(1));
        self.step(Input::Purged { up_to, snapshot }, outs)
    }

    fn tell_members(&self, outs: &mut Vec<NodeOut>) {
        outs.extend(self.members.last().map(|(_, members)| NodeOut::Members(members.clone())));
    }

    /// The membership in force, with addresses.
    #[must_use]
    pub fn members(&self) -> Option<&proto::store::Membership> {
        self.members.last().map(|(_, members)| members)
    }

    /// What there is to say of it now.
    #[must_use]
    pub fn status(&self) -> Status {
        let replica = &self.replica;
        let view = replica.view();
        Status {
            node: self.member.node,
            role: view.role,
            is_voter: replica.membership().is_voter(self.member),
            epoch: view.epoch,
            leader: view.leader,
            last: replica.last(),
            durable: replica.durable(),
            committed: replica.committed(),
            applied: self.applied,
            members_at: self.members.last().map(|(offset, _)| *offset).unwrap_or_default(),
            awaited: awaited(replica),
            snapshot: replica.snapshot(),
            maybe_lost_tail: replica.maybe_lost_tail(),
            quarantine: self.quarantine,
            divergence: replica.divergence(),
            checkpoint: replica.checkpoint(),
            shortage: self.headroom.shortage(),
            writes_shortage: self.writes_shortage().filter(|_| view.role == store_core::Role::Leader),
            disk: replica.disk(),
            writes_waiting: self.writes.len() + self.commands.len(),
            log_time_lag_ms: self.log_clock.lag_ms(),
            clock_apart: if view.role == store_core::Role::Leader { self.clock_apart() } else { None },
            peers: replica.peers().collect(),
        }
    }

    /// Of the voters the one whose clock is furthest from the others'.
    fn clock_apart(&self) -> Option<ClockApart> {
        let (_, members) = self.members.last()?;
        self.log_clock.furthest(members)
    }

    /// The protocol's state, to look at.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }
}

/// The nodes that a change of members under way waits for, each once.
fn awaited(replica: &Replica) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = replica.awaited().iter().map(|member| member.node).collect();
    nodes.dedup();
    nodes
}

/// The membership in force, of a replica that has one.
fn in_force(members: &[(Offset, proto::store::Membership)]) -> &proto::store::Membership {
    &members.last().expect("a leader is a member of its group").1
}

/// What entries count for where they wait.
fn bytes_of(entries: &[Entry<Bytes>]) -> usize {
    entries.iter().map(|entry| entry.payload.len() + ENTRY_BYTES_BESIDE).sum()
}
