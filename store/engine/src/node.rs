//! The stage around the core (the specification's F1): takes what clients, peers, ticks and the other stages bring,
//! steps the core, and sends each of its outputs where it belongs.
//!
//! Promises: a ballot is durable before anything that the core said after it leaves; all client writes that wait
//! when it is turned become one append; a ticket is answered once. Leaves out whatever takes long: it writes no
//! log, applies nothing, and reads no table, so that a heartbeat never waits for a disk (but for a ballot's).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use store_core::{
    Entry, EntryKind, Epoch, Input, Member, Message, NodeId, Offset, Output, Position, Replica, Role,
    RoleView, Run, WriteSeq,
};
use store_db::Table;
use store_log::Disk;

use crate::cache::EntryCache;
use crate::clock::Clock;
use crate::convert;
use crate::error::Error;
use crate::job::{Answer, Applied, ApplierJob, Imported, Job, NodeOut, PumpJob, Ticket, WriterJob};
use crate::limits::{COMMAND_BYTES_MAX, REPLICA_BYTES_UNWRITTEN_MAX};
use crate::room::Room;
use crate::schedule::Schedule;
use crate::shared_log::SharedLog;
use crate::stamp::Stamps;
use crate::start::{NodeConfig, NodeStart};
use crate::status::Status;
use crate::waiting::{Reads, Writes};

/// The bytes that go with an input, for the append that may come out of it.
enum Carried {
    /// Nothing; an append is the first entry of a new leader.
    Nothing,
    /// Entries from the leader.
    Entries(Vec<Entry<Bytes>>),
    /// Clients' commands.
    Commands(Vec<(Ticket, Bytes)>),
}

/// The stage around the core.
pub struct Node<D: Disk, T: Table, C: Clock> {
    /// This very replica.
    member: Member,
    /// The protocol.
    replica: Replica,
    /// Where ballots are kept. The writer holds it while it writes, so a ballot waits for one sync at most.
    log: SharedLog<D>,
    /// Asked for room only.
    table: T,
    /// The recent entries, for pumps and applier.
    cache: Arc<EntryCache>,
    /// Log time.
    stamps: Stamps<C>,
    /// Election timers.
    random: fastrand::Rng,
    /// Tickets in the log, not committed.
    writes: Writes,
    /// Tickets of reads.
    reads: Reads,
    /// Commands that this turn has brought, and their bytes.
    commands: Vec<(Ticket, Bytes)>,
    /// Bytes of `commands`.
    commands_bytes: usize,
    /// Reads that this turn has brought.
    asking: Vec<Ticket>,
    /// Appends handed to the writer and not reported: number, last offset, bytes.
    unwritten: VecDeque<(WriteSeq, Offset, usize)>,
    /// Bytes of those.
    unwritten_bytes: usize,
    /// Memberships with addresses, as the core has them without; the last is in force.
    members: Vec<(Offset, proto::store::Membership)>,
    /// The epoch that this replica leads.
    leading: Option<Epoch>,
    /// Where the applier stands.
    applied: Applied,
    /// Room on disk and in the table.
    room: Room,
    /// When to take snapshots.
    schedule: Schedule,
    /// X of a snapshot that was fetched, until the core has said whether it is needed.
    fetched: Option<u64>,
    /// X of the snapshot that is being installed.
    installing: Option<u64>,
    /// A snapshot that is in the table, while the log is being reset to it.
    imported: Option<Imported>,
    /// The core's outputs; kept for their memory.
    outputs: Vec<Output>,
}

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    pub(crate) fn new(
        config: NodeConfig,
        start: NodeStart,
        log: SharedLog<D>,
        table: T,
        cache: Arc<EntryCache>,
        clock: C,
    ) -> Node<D, T, C> {
        let snapshot = start.restored.snapshot;
        Node {
            member: config.core.member,
            replica: Replica::new(config.core, start.restored),
            log,
            table,
            cache,
            stamps: Stamps::new(clock, start.stamp_ms, config.clock_jump_ms_max),
            random: fastrand::Rng::with_seed(config.seed),
            writes: Writes::default(),
            reads: Reads::default(),
            commands: Vec::new(),
            commands_bytes: 0,
            asking: Vec::new(),
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            members: start.members,
            leading: None,
            applied: start.applied,
            room: Room::new(config.reserve),
            schedule: Schedule::new(config.snapshots, snapshot),
            fetched: None,
            installing: None,
            imported: None,
            outputs: Vec::new(),
        }
    }

    /// Takes what has come since the last turn.
    ///
    /// # Errors
    /// The disk failed; the process must end.
    pub fn turn(
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
        match job {
            Job::Tick => self.tick(outs),
            Job::Write { ticket, command } => {
                self.admit_write(ticket, command, outs);
                Ok(())
            }
            Job::Read { ticket } => {
                self.admit_read(ticket, outs);
                Ok(())
            }
            Job::Peer { from, message, entries } => self.hear(from, message, entries, outs),
            Job::Reconnected { peer } => self.step(Input::Reconnected { peer }, outs),
            Job::Persisted { write, bytes_since_roll } => {
                self.schedule.grew(bytes_since_roll);
                self.persisted(write, outs)
            }
            Job::Purged { up_to, snapshot } => self.purged(up_to, snapshot, outs),
            Job::Applied(applied) => {
                self.applied = applied;
                self.answer_reads(outs);
                Ok(())
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
                outs.push(NodeOut::Write(WriterJob::Purge { snapshot: position }));
                Ok(())
            }
            Job::SnapshotFailed { position } => {
                self.schedule.failed(position);
                Ok(())
            }
            Job::SnapshotFetched { position, number } => self.fetched(position, number, outs),
            Job::Imported(imported) => {
                let (after, stamp_ms) = (imported.position, imported.stamp_ms);
                self.imported = Some(imported);
                let number = self.installing.expect("a snapshot is imported only while it is installed");
                outs.push(NodeOut::Write(WriterJob::Reset { number, after, stamp_ms }));
                Ok(())
            }
            Job::Reset { after } => self.installed(after, outs),
            Job::DiskRoom { free_bytes } => {
                let (used, usable) = self.table.room()?;
                let report = self.room.look(free_bytes, usable.saturating_sub(used));
                outs.extend(report.map(NodeOut::Report));
                Ok(())
            }
            Job::HandOver { to } => self.step(Input::HandOver { to }, outs),
            Job::HoldCommit { hold } => self.step(Input::HoldCommit { hold }, outs),
        }
    }

    fn tick(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        let random = self.random.u64(..);
        self.step(Input::Tick { random }, outs)?;
        if self.room.is_due() {
            outs.push(NodeOut::Write(WriterJob::Measure));
        }
        if self.leading.is_some() && self.room.should_hand_over() {
            self.step(Input::HandOver { to: None }, outs)?;
        }
        if let Some(at) = self.schedule.due(self.replica.last()) {
            outs.push(NodeOut::Write(WriterJob::Roll { at: at.offset }));
            outs.push(NodeOut::Apply(ApplierJob::SnapshotAt { at: at.offset }));
        }
        Ok(())
    }

    /// A message of a peer. What would not fit in memory is dropped, as networks do.
    fn hear(
        &mut self,
        from: NodeId,
        message: Message,
        entries: Vec<Entry<Bytes>>,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        if !entries.is_empty() && self.unwritten_bytes > REPLICA_BYTES_UNWRITTEN_MAX {
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
        let is_meant = self.schedule.under_way().is_some_and(|asked| asked.offset == at);
        match number {
            Some(number) if is_meant => outs.push(NodeOut::Apply(ApplierJob::SnapshotAs { number })),
            None if self.schedule.not_rolled(at) => outs.push(NodeOut::Apply(ApplierJob::CancelSnapshot)),
            _ => {}
        }
    }

    /// A snapshot is here; if it is not needed (any more), it goes.
    fn fetched(&mut self, position: Position, number: u64, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        self.fetched = Some(number);
        if self.installing.is_none() {
            self.step(Input::Fetched { position }, outs)?;
        }
        let not_needed = self.fetched.take();
        outs.extend(not_needed.map(|number| NodeOut::Write(WriterJob::Discard { number })));
        Ok(())
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

    /// The log is reset to the snapshot that is in the table: it is installed.
    fn installed(&mut self, after: Position, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        self.installing = None;
        let imported = self.imported.take().expect("the log is reset only to an imported snapshot");
        assert_eq!(imported.position, after, "one snapshot is installed at a time");
        let membership = convert::membership_in(&imported.membership)?;
        self.unwritten.clear();
        self.unwritten_bytes = 0;
        self.cache.reset(after.offset);
        self.stamps.note(imported.stamp_ms);
        self.schedule.installed(after);
        self.members = vec![(imported.membership_offset, imported.membership)];
        self.tell_members(outs);
        let membership = (imported.membership_offset, membership);
        self.step(Input::Installed { position: after, membership }, outs)
    }

    fn admit_write(&mut self, ticket: Ticket, command: Bytes, outs: &mut Vec<NodeOut>) {
        let bytes = command.len();
        let lack = self
            .room
            .lack()
            .map_or(Ok(()), Err)
            .and_then(|()| self.writes.admit(self.commands.len(), self.commands_bytes, bytes));
        let answer = match lack {
            _ if !self.replica.may_propose() => self.not_leader(),
            _ if bytes == 0 || bytes > COMMAND_BYTES_MAX => Answer::BadSize { bytes },
            Err(lack) => Answer::Overloaded(lack),
            Ok(()) => {
                self.commands_bytes += bytes;
                self.commands.push((ticket, command));
                return;
            }
        };
        outs.push(NodeOut::Answer { ticket, answer });
    }

    fn admit_read(&mut self, ticket: Ticket, outs: &mut Vec<NodeOut>) {
        match self.reads.admit(self.asking.len()) {
            Ok(()) => self.asking.push(ticket),
            Err(lack) => outs.push(NodeOut::Answer { ticket, answer: Answer::Overloaded(lack) }),
        }
    }

    /// All commands of this turn become one append.
    fn propose(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        self.commands_bytes = 0;
        if self.commands.is_empty() {
            return Ok(());
        }
        let commands = std::mem::take(&mut self.commands);
        let count = commands.len() as u64;
        self.step_with(Input::Propose { count }, Carried::Commands(commands), outs)
    }

    /// All reads of this turn share one barrier.
    fn ask(&mut self, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        if self.asking.is_empty() {
            return Ok(());
        }
        let ticket = self.reads.ask(std::mem::take(&mut self.asking));
        self.step(Input::Read { ticket }, outs)
    }

    fn step(&mut self, input: Input, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        self.step_with(input, Carried::Nothing, outs)
    }

    fn step_with(
        &mut self,
        input: Input,
        mut carried: Carried,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.replica.step(input, &mut outputs);
        for output in outputs.drain(..) {
            self.carry_out(output, &mut carried, outs)?;
        }
        self.outputs = outputs;
        Ok(())
    }

    fn carry_out(
        &mut self,
        output: Output,
        carried: &mut Carried,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        match output {
            Output::SaveBallot(ballot) => self.log.lock().save_ballot(ballot)?,
            Output::Trusted => self.log.lock().clear_suspect()?,
            Output::Append { write, runs } => self.append(write, &runs, carried, outs)?,
            Output::Truncate { from } => self.truncate(from, outs),
            Output::Refused { .. } => self.refuse(carried, outs),
            Output::Send { to, message } => outs.push(route(to, message)),
            Output::Push { to, epoch, previous, up_to, continues } => {
                let committed = self.replica.told();
                let job = PumpJob::Push { epoch, previous, up_to, continues, committed };
                outs.push(NodeOut::Pump { to, job });
            }
            Output::Commit { up_to } => {
                let tickets = self.writes.take_up_to(up_to.offset);
                outs.push(NodeOut::Apply(ApplierJob::Commit { up_to, tickets }));
            }
            Output::ReadsReady { up_to, at } => {
                self.reads.ready(up_to, at);
                self.answer_reads(outs);
            }
            Output::ReadsFailed { up_to } => {
                let answer = self.not_leader();
                let failed = self.reads.take_failed(up_to).into_iter();
                outs.extend(failed.map(|ticket| NodeOut::Answer { ticket, answer: answer.clone() }));
            }
            Output::RoleChanged(view) => self.role_changed(view, outs),
            Output::FetchSnapshot { from, at } => outs.push(NodeOut::FetchSnapshot { from, at }),
            Output::Install { position } => {
                let number = self.fetched.take().expect("only what was fetched is installed");
                self.schedule.installing();
                self.installing = Some(number);
                outs.push(NodeOut::Apply(ApplierJob::Install { position, number }));
            }
            Output::HandOverFailed => outs.push(NodeOut::HandOverFailed),
            Output::Fatal(fatal) => outs.push(NodeOut::Fatal(fatal)),
        }
        Ok(())
    }

    fn append(
        &mut self,
        write: WriteSeq,
        runs: &[Run],
        carried: &mut Carried,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        let entries = match std::mem::replace(carried, Carried::Nothing) {
            Carried::Nothing => vec![self.first_entry(runs[0], outs)],
            Carried::Commands(commands) => self.command_entries(runs[0], commands),
            Carried::Entries(mut entries) => {
                let first = runs[0].first;
                entries.retain(|entry| entry.position.offset >= first);
                entries
            }
        };
        assert_eq!(convert::runs_of(&entries), runs, "the entries are those that the core appended");
        let members = self.members.len();
        for entry in &entries {
            self.stamps.note(entry.stamp_ms);
            if entry.kind == EntryKind::Membership {
                self.members.push((entry.position.offset, convert::membership_of(&entry.payload)?));
            }
        }
        if self.members.len() > members {
            self.tell_members(outs);
        }
        let last = runs[runs.len() - 1].last;
        let bytes = entries.iter().map(|entry| entry.payload.len()).sum();
        self.unwritten.push_back((write, last, bytes));
        self.unwritten_bytes += bytes;
        self.cache.append(&entries);
        let committed = self.replica.committed();
        outs.push(NodeOut::Write(WriterJob::Append { write, entries, committed }));
        Ok(())
    }

    fn first_entry(&mut self, run: Run, outs: &mut Vec<NodeOut>) -> Entry<Bytes> {
        assert_eq!(run.first, run.last, "a new leader begins with one entry");
        let (stamp_ms, report) = self.stamps.first();
        outs.extend(report.map(NodeOut::Report));
        let position = Position { epoch: run.epoch, offset: run.first };
        Entry { position, stamp_ms, kind: EntryKind::Empty, payload: Bytes::new() }
    }

    fn command_entries(&mut self, run: Run, commands: Vec<(Ticket, Bytes)>) -> Vec<Entry<Bytes>> {
        let stamp_ms = self.stamps.next();
        let entry = |(offset, (ticket, payload)): (u64, (Ticket, Bytes))| {
            let position = Position { epoch: run.epoch, offset: Offset(offset) };
            self.writes.push(position.offset, ticket, payload.len());
            Entry { position, stamp_ms, kind: EntryKind::Command, payload }
        };
        (run.first.0..).zip(commands).map(entry).collect()
    }

    fn truncate(&mut self, from: Offset, outs: &mut Vec<NodeOut>) {
        assert!(self.leading.is_none(), "a leader never truncates");
        self.cache.truncate(from);
        for (_, last, _) in &mut self.unwritten {
            *last = (*last).min(from.previous());
        }
        let members = self.members.len();
        while self.members.last().is_some_and(|(offset, _)| *offset >= from) {
            self.members.pop();
        }
        if self.members.len() < members {
            self.tell_members(outs);
        }
        if self.schedule.truncated(from) {
            outs.push(NodeOut::Apply(ApplierJob::CancelSnapshot));
        }
        let committed = self.replica.committed();
        outs.push(NodeOut::Write(WriterJob::Truncate { from, committed }));
    }

    fn refuse(&mut self, carried: &mut Carried, outs: &mut Vec<NodeOut>) {
        if let Carried::Commands(commands) = std::mem::replace(carried, Carried::Nothing) {
            let answer = self.not_leader();
            let refused = commands.into_iter();
            outs.extend(refused.map(|(ticket, _)| NodeOut::Answer { ticket, answer: answer.clone() }));
        }
    }

    /// Before anything else that the change brings: pumps may no longer send, and who waits for a commit here waits
    /// in vain.
    fn role_changed(&mut self, view: RoleView, outs: &mut Vec<NodeOut>) {
        let leading = (view.role == Role::Leader).then_some(view.epoch);
        self.cache.lead(leading);
        if self.leading.is_some() && self.leading != leading {
            let own = self.member.node;
            let peers = self.members.last().into_iter().flat_map(|(_, m)| convert::nodes_of(m));
            let stop = |to| NodeOut::Pump { to, job: PumpJob::Stop };
            outs.extend(peers.filter(|node| *node != own).map(stop));
            let lost = self.writes.take_all().into_iter();
            outs.extend(lost.map(|(_, ticket)| NodeOut::Answer { ticket, answer: Answer::Unknown }));
        }
        self.leading = leading;
        outs.push(NodeOut::Role(view));
    }

    fn answer_reads(&mut self, outs: &mut Vec<NodeOut>) {
        while let Some((at, tickets)) = self.reads.take_ready(self.applied.position.offset) {
            let answer = |ticket| NodeOut::Answer { ticket, answer: Answer::ReadReady { at } };
            outs.extend(tickets.into_iter().map(answer));
        }
    }

    fn not_leader(&self) -> Answer {
        let view = self.replica.view();
        // One that is handing over still leads, but is nobody to send a client to.
        let leader = view.leader.filter(|leader| *leader != self.member.node);
        Answer::NotLeader { epoch: view.epoch, leader }
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
            snapshot: replica.snapshot(),
            suspect: replica.suspect(),
            lack: self.room.lack(),
            writes_waiting: self.writes.len(),
            peers: replica.peers().collect(),
        }
    }

    /// The protocol's state, to look at.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }
}

/// Which way a message goes.
fn route(to: NodeId, message: Message) -> NodeOut {
    match message {
        Message::Ack { .. } | Message::LogState(_) | Message::StaleEpoch { .. } => {
            NodeOut::Reply { to, message }
        }
        Message::VoteRequest(_) | Message::VoteReply(_) => NodeOut::Vote { to, message },
        Message::CommitOrder { .. }
        | Message::Heartbeat { .. }
        | Message::InstallSnapshot { .. }
        | Message::HandOver { .. } => NodeOut::Pump { to, job: PumpJob::Say(message) },
        Message::Append(_) => unreachable!("the core pushes, pumps append"),
    }
}
