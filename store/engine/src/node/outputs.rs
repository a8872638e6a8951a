//! The core's outputs, carried out or sent to their receivers.
//!
//! Promises: in the core's order; a ballot is durable before anything after it leaves. Leaves out the core's inputs
//! and their times.

use bytes::Bytes;
use store_core::{
    Entry, EntryKind, Input, NodeId, Offset, Outgoing, Output, Position, Role, RoleView, Run, WriteSeq,
};
use store_db::Table;
use store_log::Disk;

use super::{Carried, Node, bytes_of, in_force};
use crate::clock::Clock;
use crate::convert;
use crate::error::Error;
use crate::job::{Answer, ApplierJob, NodeOut, Report, RequestId, WriterJob};
use crate::peer_job::{ReplicatorJob, ToPeer};

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    pub(super) fn step(&mut self, input: Input, outs: &mut Vec<NodeOut>) -> Result<(), Error> {
        self.step_with(input, Carried::Nothing, outs)
    }

    pub(super) fn step_with(
        &mut self,
        input: Input,
        mut carried: Carried,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.replica.step(input, &mut outputs);
        for output in outputs.drain(..) {
            self.carry_out_or_hold(output, &mut carried, outs)?;
        }
        self.keep(carried);
        self.outputs = outputs;
        Ok(())
    }

    pub(super) fn carry_out(
        &mut self,
        output: Output,
        carried: &mut Carried,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        match output {
            Output::SaveBallot(ballot) => {
                outs.push(NodeOut::SaveBallot(ballot));
                self.saving.get_or_insert_default();
            }
            Output::Trusted => outs.push(NodeOut::Write(WriterJob::Trust)),
            Output::Append { write, runs } => self.append(write, &runs, carried, outs)?,
            Output::AppendMembership { write, position, membership } => {
                self.append_membership(write, position, &membership, outs);
            }
            Output::AnswerUnknown => self.answer_unknown(outs),
            Output::ChangeRefused(refusal) => self.change_refused(refusal, outs),
            Output::Forget { peer } => outs.push(NodeOut::Peer(ToPeer::Forget { peer })),
            Output::Truncate { from } => self.truncate(from, outs),
            Output::Refused { .. } => self.refuse(carried, outs),
            Output::Send { to, message } => outs.push(route(to, message)),
            Output::Push { to, epoch, previous, up_to, continues } => {
                let committed = self.replica.commit_order();
                let job = ReplicatorJob::Push { epoch, previous, up_to, continues, committed };
                outs.push(NodeOut::Peer(ToPeer::Replicator { to, job }));
            }
            Output::Commit { up_to } => {
                let request_ids = self.writes.take_up_to(up_to.offset);
                outs.push(NodeOut::Apply(ApplierJob::Commit { up_to, request_ids }));
                self.change_committed(up_to.offset, outs);
            }
            Output::ReadsReady { up_to, at } => {
                self.reads.ready(up_to, at);
                self.answer_reads(outs);
            }
            Output::ReadsFailed { up_to } => {
                let answer = self.not_leader();
                let failed = self.reads.take_failed(up_to).into_iter();
                outs.extend(failed.map(|request_id| NodeOut::Answer { request_id, answer: answer.clone() }));
            }
            Output::RoleChanged(view) => self.role_changed(view, outs),
            Output::FetchSnapshot { from, at } => {
                outs.push(NodeOut::Peer(ToPeer::FetchSnapshot { from, at }));
            }
            Output::Install { position } => {
                let number = self.arrival.install();
                self.schedule.installing();
                self.install(position, number, outs);
            }
            Output::Quarantine { majority, own, damaged } => self.quarantine(majority, own, damaged, outs),
            Output::Replace { position } => outs.push(NodeOut::Write(WriterJob::Adopt { position })),
            Output::Divergence(divergence) => self.doubts(divergence, outs),
            Output::EpochRefused { from, epoch } => {
                outs.push(NodeOut::Report(Report::EpochRefused { from, epoch }));
            }
            Output::TransferFailed => outs.push(NodeOut::TransferFailed),
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
            self.log_clock.note(entry.log_time_ms);
            if entry.kind == EntryKind::Membership {
                self.members.push((entry.position.offset, convert::membership_of(&entry.payload)?));
            }
        }
        if self.members.len() > members {
            self.tell_members(outs);
        }
        let last = runs[runs.len() - 1].last;
        let bytes = bytes_of(&entries);
        self.unwritten.push_back((write, last, bytes));
        self.unwritten_bytes += bytes;
        self.cache.append(&entries);
        let committed = self.replica.committed();
        outs.push(NodeOut::Write(WriterJob::Append { write, entries, committed }));
        Ok(())
    }

    fn first_entry(&mut self, run: Run, outs: &mut Vec<NodeOut>) -> Entry<Bytes> {
        assert_eq!(run.first, run.last, "a new leader begins with one entry");
        let (log_time_ms, report) = self.log_clock.first(in_force(&self.members));
        outs.extend(report.map(NodeOut::Report));
        let position = Position { epoch: run.epoch, offset: run.first };
        Entry { position, log_time_ms, kind: EntryKind::Empty, payload: Bytes::new() }
    }

    fn command_entries(&mut self, run: Run, commands: Vec<(RequestId, Bytes)>) -> Vec<Entry<Bytes>> {
        let log_time_ms = self.log_clock.next(in_force(&self.members));
        let entry = |(offset, (request_id, payload)): (u64, (RequestId, Bytes))| {
            let position = Position { epoch: run.epoch, offset: Offset(offset) };
            if request_id != RequestId::NOBODY {
                self.writes.push(position.offset, request_id, payload.len());
            }
            Entry { position, log_time_ms, kind: EntryKind::Command, payload }
        };
        let entries = (run.first.0..).zip(commands).map(entry).collect();
        self.writes.end_append();
        entries
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

    /// Before anything else that the change brings: replicators may no longer send, and who waits for a commit here waits
    /// in vain.
    fn role_changed(&mut self, view: RoleView, outs: &mut Vec<NodeOut>) {
        let leading = (view.role == Role::Leader).then_some(view.epoch);
        self.cache.lead(leading);
        if self.leading.is_some() && self.leading != leading {
            let own = self.member.node;
            let peers = self.members.last().into_iter().flat_map(|(_, m)| convert::nodes_of(m));
            let stop = |to| NodeOut::Peer(ToPeer::Replicator { to, job: ReplicatorJob::Stop });
            outs.extend(peers.filter(|node| *node != own).map(stop));
            self.disown(outs);
        }
        self.leading = leading;
        self.snapshots.standing().divergence(false);
        self.headroom.forget_peers();
        self.versions.forget();
        outs.push(NodeOut::Role(view));
    }
}

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    /// Requests that wait for a commit here wait in vain.
    fn disown(&mut self, outs: &mut Vec<NodeOut>) {
        let lost = self.writes.take_all().into_iter();
        let changing = self.changing.take().map(|changing| changing.request_id);
        let lost = lost.map(|(_, request_id)| request_id).chain(changing);
        outs.extend(lost.map(|request_id| NodeOut::Answer { request_id, answer: Answer::Unknown }));
    }

    /// And so does who waits for what is committed to be applied: the disk here hangs.
    fn answer_unknown(&mut self, outs: &mut Vec<NodeOut>) {
        self.disown(outs);
        if let Some(last) = self.writes.last_applying() {
            let answered = self.claims.give_up(last);
            let open = self.writes.applying(answered);
            outs.extend(open.map(|request_id| NodeOut::Answer { request_id, answer: Answer::Unknown }));
        }
        let answer = self.not_leader();
        let reads = self.reads.take_unapplied().into_iter();
        outs.extend(reads.map(|request_id| NodeOut::Answer { request_id, answer: answer.clone() }));
    }
}

/// Which way a message goes.
fn route(to: NodeId, message: Outgoing) -> NodeOut {
    NodeOut::Peer(match message {
        Outgoing::Reply(reply) => ToPeer::Reply { to, reply },
        Outgoing::Vote(message) => ToPeer::Vote { to, message },
        Outgoing::Leader(message) => ToPeer::Replicator { to, job: ReplicatorJob::Say(message) },
    })
}
