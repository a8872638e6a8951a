//! Carries out what a core says, as `protocol.rs` says it must be.

use std::collections::VecDeque;

use store_core::{
    Append, Ballot, Input, LeaderMessage, Membership, Message, NodeId, Offset, Output, Position, ReadId,
    Role, Run,
};

use super::cluster::{Cluster, Envelope};
use super::disk::{Item, Payload, Write, memberships, runs, step_applying};
use super::node::Stream;
use super::text;

impl Cluster {
    /// Steps one core; `payloads` are those of the append received or of the proposals.
    pub(crate) fn step(&mut self, id: NodeId, input: Input, payloads: Vec<Payload>) {
        let first = match &input {
            Input::Receive { message: Message::Append(append), .. } => append.previous.offset.next(),
            _ => self.nodes[&id].memory.last().offset.next(),
        };
        let mut given: VecDeque<(Offset, Payload)> = (first.0..).map(Offset).zip(payloads).collect();
        let mut outputs = Vec::new();
        let node = self.node(id);
        let applies = !node.stalled;
        step_applying(node.replica.as_mut().expect("the node is up"), input, applies, &mut outputs);
        let mut appended = false;
        for output in outputs {
            self.note(|| format!("  {}", text::output(&output)));
            appended |= matches!(output, Output::Append { .. } | Output::AppendMembership { .. });
            self.carry_out(id, output, &mut given);
        }
        if self.nodes[&id].fatal {
            self.crash(id);
            return;
        }
        let node = &self.nodes[&id];
        assert_eq!(node.up().last(), node.memory.last(), "the core knows where its log ends");
        if appended {
            self.oracle.compares_logs(id, &self.nodes);
        }
        if self.layout.eager {
            for to in self.ids() {
                while self.replicate(id, to) {}
            }
        }
        while !self.nodes[&id].slow && self.persist(id, true) {}
    }

    fn carry_out(&mut self, id: NodeId, output: Output, given: &mut VecDeque<(Offset, Payload)>) {
        match output {
            Output::SaveBallot(ballot) => self.save_ballot(id, ballot),
            Output::Truncate { from } => {
                self.counts.truncations += 1;
                self.oracle.truncates(id, &self.nodes[&id].memory, from);
                let node = self.node(id);
                node.memory.truncate(from);
                node.writing.push_back(Write::Truncate(from));
            }
            Output::Append { write, runs } => {
                let items = self.take_up(id, &runs, given);
                self.node(id).writing.push_back(Write::Append(write, items));
            }
            Output::AppendMembership { write, position, membership } => {
                self.counts_membership(id, position, &membership);
                let run = Run { epoch: position.epoch, first: position.offset, last: position.offset };
                let entry = (position.offset, Payload::Membership(membership));
                let items = self.take_up(id, &[run], &mut VecDeque::from([entry]));
                self.node(id).writing.push_back(Write::Append(write, items));
            }
            Output::AnswerUnknown => self.counts.disclaimed += 1,
            Output::ChangeRefused(_) => self.change_refused(id),
            Output::Forget { peer } => {
                self.node(id).streams.remove(&peer);
                self.node(id).pushed.remove(&peer);
            }
            Output::Refused { count } => self.counts.refused += count,
            Output::Send { to, message } => self.send(id, to, message.into()),
            Output::Push { to, epoch, previous, up_to, continues } => {
                self.push(
                    id,
                    to,
                    Stream { epoch, previous, up_to, probe: previous.offset == up_to },
                    continues,
                );
            }
            Output::Commit { up_to } => self.commit(id, up_to),
            Output::ReadsReady { up_to, at } => self.reads_end(id, up_to, Some(at)),
            Output::ReadsFailed { up_to } => self.reads_end(id, up_to, None),
            Output::RoleChanged(view) => {
                self.node(id).streams.clear();
                self.node(id).pushed.clear();
                if view.role == Role::Leader {
                    self.oracle.leads(id, view.epoch, &self.nodes);
                }
            }
            Output::FetchSnapshot { from, at } => self.node(id).wanted = Some((from, at)),
            Output::Install { .. } => self.node(id).installing = true,
            Output::Quarantine { .. } | Output::Replace { .. } | Output::Divergence(_) => {}
            Output::Trusted => {
                self.counts.trusted += 1;
                self.node(id).disk.maybe_lost_tail = false;
            }
            Output::TransferFailed => self.counts.transfers_failed += 1,
            Output::EpochRefused { .. } => {}
            Output::Fatal(_) => self.node(id).fatal = true,
        }
    }

    fn commit(&mut self, id: NodeId, up_to: Position) {
        let is_installing = self.node(id).installing;
        assert!(!is_installing, "commit order: {up_to} is ordered while a snapshot is installed");
        self.apply(id, up_to);
    }

    fn save_ballot(&mut self, id: NodeId, ballot: Ballot) {
        let old = std::mem::replace(&mut self.node(id).disk.ballot, ballot);
        self.oracle.saves_ballot(self.nodes[&id].config.member, old, ballot);
    }

    fn change_refused(&mut self, id: NodeId) {
        self.counts.changes_refused += 1;
        self.rounds.ends(id);
    }

    fn counts_membership(&mut self, id: NodeId, at: Position, next: &Membership) {
        let is_membership = |item: &&Item| matches!(item.payload, Payload::Membership(_));
        let before = self.nodes[&id].memory.items.iter().rev().find(is_membership);
        let is_older = before.is_some_and(|item| item.position.epoch < at.epoch);
        let was_joint = self.nodes[&id].membership_in(&self.nodes[&id].memory).is_some_and(|m| m.is_joint());
        let comes = next.voters.iter().any(|voter| !next.outgoing.contains(voter));
        let goes = next.outgoing.iter().any(|voter| !next.voters.contains(voter));
        self.counts.swaps += u64::from(comes && goes);
        self.counts.memberships += 1;
        let config = &self.nodes[&id].config;
        self.rounds.appends(config.member, next, config.ticks_election_max);
        self.counts.inherited += u64::from(was_joint && !next.is_joint() && is_older);
    }

    fn reads_end(&mut self, id: NodeId, up_to: ReadId, at: Option<Offset>) {
        let applied = self.nodes[&id].applied.len() as u64;
        assert!(at.is_none_or(|at| applied >= at.0), "all that is committed is applied here");
        self.counts.reads_failed += u64::from(at.is_none());
        self.oracle.reads_end(id, up_to, at);
    }

    /// Appends in memory what `runs` describe: the payloads given, or a new leader's empty entry.
    fn take_up(&mut self, id: NodeId, runs: &[Run], given: &mut VecDeque<(Offset, Payload)>) -> Vec<Item> {
        let mut items = Vec::new();
        for run in runs {
            for offset in (run.first.0..=run.last.0).map(Offset) {
                while given.front().is_some_and(|(at, _)| *at < offset) {
                    given.pop_front();
                }
                let payload = given.pop_front().map_or(Payload::Empty, |(at, payload)| {
                    assert_eq!(at, offset, "entries are taken up in order");
                    payload
                });
                let item = Item { position: Position { epoch: run.epoch, offset }, payload };
                self.oracle.changes_members(id, &item, &self.nodes);
                let memory = &mut self.nodes.get_mut(&id).expect("a node of this cluster").memory;
                self.oracle.appends(id, memory.last(), &item);
                memory.append(item.clone());
                items.push(item);
            }
        }
        items
    }

    fn send(&mut self, id: NodeId, to: NodeId, message: Message) {
        self.oracle.says(id, to, &message, &self.nodes[&id].disk);
        self.rounds.says(id, &message);
        if matches!(message, Message::Leader(LeaderMessage::InstallSnapshot { .. })) {
            self.node(id).streams.remove(&to);
            self.node(id).pushed.remove(&to);
        }
        let from = self.nodes[&id].config.member;
        self.post((id, to), Envelope { from, message, items: Vec::new() });
    }

    fn push(&mut self, id: NodeId, to: NodeId, stream: Stream, continues: bool) {
        let node = self.node(id);
        if continues {
            let ended = node.pushed.get(&to).copied();
            assert_eq!(
                ended,
                Some(stream.previous.offset),
                "a push goes on exactly where the last one ended"
            );
        }
        node.pushed.insert(to, stream.up_to);
        match node.streams.get_mut(&to) {
            Some(streaming) if continues => streaming.up_to = stream.up_to,
            _ => {
                node.streams.insert(to, stream);
            }
        }
    }

    /// Sends the next append of a stream. False if there is nothing to stream.
    pub(crate) fn replicate(&mut self, id: NodeId, to: NodeId) -> bool {
        let entries_max = self.layout.append_entries as u64;
        let node = self.node(id);
        let Some(stream) = node.streams.get_mut(&to) else { return false };
        let first = stream.previous.offset.next();
        let last = Offset(stream.up_to.0.min(stream.previous.offset.0 + entries_max));
        let Some(items) = node.memory.slice(first, last) else {
            node.streams.remove(&to);
            self.step(id, Input::Reconnected { peer: to }, Vec::new());
            return true;
        };
        let message = Message::Append(Append {
            epoch: stream.epoch,
            previous: stream.previous,
            runs: runs(&items),
            memberships: memberships(&items),
            committed: node.replica.as_ref().expect("the node is up").commit_order(),
        });
        let is_probe = std::mem::take(&mut stream.probe);
        if let Some(item) = items.last() {
            stream.previous = item.position;
        }
        if stream.previous.offset >= stream.up_to {
            node.streams.remove(&to);
        }
        self.counts.probes += u64::from(is_probe);
        let from = self.member(id);
        self.post((id, to), Envelope { from, message, items });
        true
    }

    fn apply(&mut self, id: NodeId, up_to: Position) {
        let node = &self.nodes[&id];
        let view = node.up().view();
        let is_leader = view.role == Role::Leader;
        self.oracle.commits(id, is_leader.then_some(view.epoch), up_to);
        let first = Offset(node.applied.len() as u64 + 1);
        let items = node.memory.slice(first, up_to.offset).expect("what is committed is in the log");
        assert_eq!(items.last().map(|item| item.position), Some(up_to), "the core knows what it commits");
        for item in items {
            assert!(
                self.nodes[&id].disk.log.holds(item.position),
                "commit order: {id} applies {}, which its own disk does not have",
                item.position
            );
            self.oracle.applies(id, is_leader, &item, &self.nodes);
            self.node(id).applied.push(item);
        }
    }
}
