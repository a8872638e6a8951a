//! Watches a cluster of bare cores and panics, naming the invariant, when one does not hold.
//!
//! It sees more than any node: every entry ever appended, every entry ever committed, every vote ever saved, and
//! what each disk held when something was said about it.

use std::collections::{BTreeMap, HashMap};

use store_core::{
    Ballot, Epoch, Member, Membership, Message, NodeId, Offset, Position, PushReply, ReadId, VoteMessage,
    invariants,
};

use super::disk::{Disk, Item, Log, Payload};
use super::node::Node;

/// Whether more than half of the voters hold something, before and after a change under way: counted here anew, since
/// what is watched must not be evaluate of itself.
pub(super) fn is_held(membership: &Membership, holds: impl Fn(Member) -> bool) -> bool {
    let enough = |voters: &[Member]| 2 * voters.iter().filter(|voter| holds(**voter)).count() > voters.len();
    enough(&membership.voters) && (membership.outgoing.is_empty() || enough(&membership.outgoing))
}

#[derive(Debug)]
pub(crate) struct Oracle {
    /// Who led, by epoch.
    leaders: Vec<(Epoch, NodeId)>,
    /// Every entry ever appended: its payload, and what stood before it.
    entries: HashMap<Position, (Payload, Position)>,
    /// Every entry ever committed; offset 1 first.
    committed: Vec<Item>,
    /// Every vote ever saved.
    votes: BTreeMap<(Member, Epoch), NodeId>,
    /// What was acknowledged to clients when each waiting read arrived.
    reads: BTreeMap<(NodeId, ReadId), Offset>,
    /// Reads that were answered.
    pub(crate) reads_answered: u64,
}

impl Oracle {
    pub(crate) fn new(first: Item) -> Oracle {
        Oracle {
            leaders: Vec::new(),
            entries: HashMap::new(),
            committed: vec![first],
            votes: BTreeMap::new(),
            reads: BTreeMap::new(),
            reads_answered: 0,
        }
    }

    /// How many elections were won.
    pub(crate) fn elections(&self) -> usize {
        self.leaders.len()
    }

    pub(crate) fn committed(&self) -> &[Item] {
        &self.committed
    }

    /// A test plants a log whose first entries are committed; what contradicts is planted on purpose.
    pub(crate) fn assumes_committed(&mut self, items: &[Item]) {
        let known = self.committed.len().min(items.len());
        if self.committed[..known] == items[..known] {
            self.committed.extend_from_slice(&items[known..]);
        }
    }

    /// The state machine of `node` was replaced.
    pub(crate) fn installs(&self, node: NodeId, state: &[Item]) {
        assert!(self.committed.starts_with(state), "state-machine safety: {node} installs something else");
    }

    pub(crate) fn saves_ballot(&mut self, member: Member, old: Ballot, new: Ballot) {
        assert!(
            new.epoch >= old.epoch,
            "ballot monotonic: {member} falls from {} to {}",
            old.epoch,
            new.epoch
        );
        if let Some(to) = new.voted_for {
            let first = *self.votes.entry((member, new.epoch)).or_insert(to);
            assert_eq!(first, to, "ballot monotonic: {member} votes twice in {}", new.epoch);
        } else {
            assert!(new.epoch > old.epoch, "ballot monotonic: {member} takes back a vote in {}", new.epoch);
        }
    }

    pub(crate) fn appends(&mut self, node: NodeId, before: Position, item: &Item) {
        let known =
            self.entries.entry(item.position).or_insert_with(|| (item.payload.clone(), before)).clone();
        assert_eq!(known.0, item.payload, "log matching: {node} has another entry at {}", item.position);
        assert_eq!(known.1, before, "log matching: {node} has another entry before {}", item.position);
    }

    /// *One change at a time*: `node` appends a membership that nobody has appended before, and the one that it follows
    /// is on the disks of its majorities. Who leads is not asked: a follower's copy was evaluated when its leader made it.
    pub(crate) fn changes_members(&self, node: NodeId, item: &Item, nodes: &BTreeMap<NodeId, Node>) {
        if !matches!(item.payload, Payload::Membership(_)) || self.entries.contains_key(&item.position) {
            return;
        }
        let earlier = nodes[&node].memory.items.iter().rev().find_map(|item| match &item.payload {
            Payload::Membership(membership) => Some((item.position, membership)),
            Payload::Empty | Payload::Command(_) => None,
        });
        let Some((at, membership)) = earlier else { return };
        let is_held = is_held(membership, |voter| nodes[&voter.node].held(voter, at));
        assert!(is_held, "one change at a time: {node} appends {}, and {at} is not committed", item.position);
    }

    pub(crate) fn truncates(&self, node: NodeId, memory: &Log, from: Offset) {
        for item in memory.items.iter().filter(|item| item.position.offset >= from) {
            let there = self.committed.get(usize::try_from(item.position.offset.0).unwrap() - 1);
            assert_ne!(there, Some(item), "committed is immutable: {node} truncates {}", item.position);
        }
    }

    /// `id` takes everything up to `up_to` for committed. Who is the first to do so counted: only entries of the epoch
    /// that it leads may be counted (figure 8 of the Raft paper shows what else would come of it, seldom).
    pub(crate) fn commits(&self, id: NodeId, leads: Option<Epoch>, up_to: Position) {
        let is_first = up_to.offset.0 > self.committed.len() as u64;
        assert!(
            !is_first || leads.is_none_or(|epoch| epoch == up_to.epoch),
            "committed on a quorum: {id} leads {leads:?} and commits {up_to}, of another epoch, by counting"
        );
    }

    /// `item` is about to be applied at `node`.
    pub(crate) fn applies(
        &mut self,
        id: NodeId,
        is_leader: bool,
        item: &Item,
        nodes: &BTreeMap<NodeId, Node>,
    ) {
        let index = usize::try_from(item.position.offset.0).unwrap() - 1;
        if let Some(there) = self.committed.get(index) {
            assert_eq!(there, item, "state-machine safety: {id} applies something else");
            return;
        }
        assert!(is_leader, "intermediate is unreadable: {id} applies {} before any leader", item.position);
        assert_eq!(index, self.committed.len(), "entries are committed in order");
        let membership = nodes[&id].membership_in(&nodes[&id].memory).expect("a leader has a membership");
        let held = is_held(&membership, |voter| nodes[&voter.node].held(voter, item.position));
        assert!(
            held,
            "committed on a quorum: {id} commits {}, which no majority holds durably",
            item.position
        );
        self.committed.push(item.clone());
    }

    pub(crate) fn says(&self, node: NodeId, to: NodeId, message: &Message, disk: &Disk) {
        let ballot = disk.ballot;
        match message {
            Message::Reply(PushReply::Ack { durable_up_to, .. }) => {
                assert!(
                    disk.log.holds(*durable_up_to),
                    "ack only after durable: {node} says {durable_up_to}"
                );
            }
            Message::Vote(VoteMessage::Reply(reply)) if reply.granted && !reply.pre => {
                let saved = Ballot { epoch: reply.epoch, voted_for: Some(to) };
                assert_eq!(ballot, saved, "ballot monotonic: {node} votes without having saved it");
            }
            Message::Vote(VoteMessage::Request(request)) if !request.pre => {
                let saved = Ballot { epoch: request.epoch, voted_for: Some(node) };
                assert_eq!(ballot, saved, "ballot monotonic: {node} stands without having saved it");
            }
            Message::Vote(VoteMessage::Reply(reply)) if reply.pre && reply.granted => {}
            Message::Vote(VoteMessage::Request(_)) => {}
            _ => assert!(message.epoch() <= ballot.epoch, "{node} speaks of an epoch that it did not save"),
        }
    }

    pub(crate) fn leads(&mut self, node: NodeId, epoch: Epoch, nodes: &BTreeMap<NodeId, Node>) {
        self.leaders.push((epoch, node));
        if let Err((epoch, first, second)) = invariants::election_safety(self.leaders.iter().copied()) {
            panic!("election safety: {first} and {second} lead {epoch}");
        }
        let committed = self.committed.iter().map(|item| item.position).filter(|at| at.epoch < epoch);
        if let Err(lacks) = invariants::leader_completeness(nodes[&node].up().history(), committed) {
            panic!("leader completeness: {node} leads {epoch} and lacks {lacks}");
        }
    }

    pub(crate) fn read_arrives(&mut self, node: NodeId, request_id: ReadId) {
        let acknowledged = Offset(self.committed.len() as u64);
        self.reads.insert((node, request_id), acknowledged);
    }

    /// Reads up to `up_to` are answered from the state at `at`, or (`None`) never.
    pub(crate) fn reads_end(&mut self, node: NodeId, up_to: ReadId, at: Option<Offset>) {
        let later = self.reads.split_off(&(node, ReadId(up_to.0 + 1)));
        let ended = self.reads.split_off(&(node, ReadId(0)));
        self.reads.extend(later);
        for ((_, request_id), acknowledged) in ended {
            if let Some(at) = at {
                self.reads_answered += 1;
                assert!(
                    at >= acknowledged,
                    "reads are linearizable: read {} at {node} sees {at}, but {acknowledged} was acknowledged",
                    request_id.0
                );
            }
        }
    }

    /// A node that is down answers nothing.
    pub(crate) fn goes_down(&mut self, node: NodeId) {
        self.reads.retain(|(at, _), _| *at != node);
    }

    /// The log of `node` against every other.
    pub(crate) fn compares_logs(&self, node: NodeId, nodes: &BTreeMap<NodeId, Node>) {
        let own = nodes[&node].up().history();
        for (other, there) in nodes.iter().filter(|(other, there)| **other != node && there.is_up()) {
            if let Err(at) = invariants::log_matching(own, there.up().history()) {
                panic!("log matching: {node} and {other} differ at {at} and agree further on");
            }
        }
    }
}
