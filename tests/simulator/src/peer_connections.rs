//! A node's connections, from it and to it: the members as the node said last, a replicator for each of them while the node
//! has something to push, and the checks of introductions. It does what the lines of `store/server` do, without gRPC.
//!
//! Promises: a replicator is made when its peer is first spoken to, and anew when the peer is another folder; what is forgotten
//! says what it has to say, and ends. Nothing reaches a folder that was not meant.

use std::collections::BTreeMap;

use proto::store as wire;
use store_core::{Incarnation, Member, Message, NodeId, VoteMessage};
use store_engine::{
    Error, Job, Replicator, ReplicatorInbox, ReplicatorJob, ReplicatorOut, Replicators, Status,
};
use store_log::sim::SimDisk;

use crate::network::{Body, Channel, Packet, index_of};

/// Messages that a replicator which is forgotten may still make.
const FAREWELL_MESSAGES: usize = 8;

/// A replicator, and the folder at its end.
struct Line {
    to: Member,
    inbox: ReplicatorInbox,
    replicator: Replicator<SimDisk>,
}

/// All lines of one life of a node.
pub(crate) struct PeerConnections {
    own: Member,
    makes: Replicators<SimDisk>,
    open: BTreeMap<usize, Line>,
    /// The membership in force here.
    pub(crate) membership: wire::Membership,
    /// Who is meant by a node. Where a new folder takes the place of a lost one, the new one.
    by_node: BTreeMap<usize, Member>,
    /// The folder of each node that was listened to last.
    spoke: BTreeMap<usize, Member>,
    /// What each peer said last of its room, on the stream that is open.
    is_out_of_space: BTreeMap<usize, bool>,
}

fn member_of(member: &wire::Member) -> Member {
    Member { node: NodeId(member.node), incarnation: Incarnation(member.incarnation) }
}

/// Everybody in it, those that are meant by their nodes last.
fn everybody(membership: &wire::Membership) -> impl Iterator<Item = Member> + '_ {
    membership.outgoing.iter().chain(&membership.voters).chain(&membership.learners).map(member_of)
}

impl PeerConnections {
    pub(crate) fn new(
        own: Member,
        makes: Replicators<SimDisk>,
        membership: wire::Membership,
    ) -> PeerConnections {
        let mut lines = PeerConnections {
            own,
            makes,
            open: BTreeMap::new(),
            membership: wire::Membership::default(),
            by_node: BTreeMap::new(),
            spoke: BTreeMap::new(),
            is_out_of_space: BTreeMap::new(),
        };
        lines.members(membership);
        lines
    }

    /// Another membership is in force.
    pub(crate) fn members(&mut self, membership: wire::Membership) {
        self.by_node = everybody(&membership).map(|member| (index_of(member.node), member)).collect();
        self.membership = membership;
    }

    /// Whether this very folder is in the group, as far as it knows.
    pub(crate) fn is_member(&self) -> bool {
        everybody(&self.membership).any(|member| member == self.own)
    }

    /// Who is at a node, as the membership has it; or who spoke from there, if that has nobody.
    pub(crate) fn at(&self, peer: NodeId) -> Option<Member> {
        let peer = index_of(peer);
        self.by_node.get(&peer).or_else(|| self.spoke.get(&peer)).copied()
    }

    /// Who gets an answer: the folder that asked last.
    pub(crate) fn asker(&self, peer: NodeId) -> Option<Member> {
        self.spoke.get(&index_of(peer)).copied()
    }

    /// For the replicator of a peer.
    pub(crate) fn post(&mut self, to: NodeId, job: ReplicatorJob) {
        let peer = index_of(to);
        // Who leaves is no member any more, and is told so on the line that is there.
        let known = self.by_node.get(&peer).copied();
        let is_open = self.open.get(&peer).is_some_and(|line| known.is_none_or(|known| known == line.to));
        if !is_open {
            let Some(member) = known else { return };
            let (inbox, replicator) = self.makes.replicator(to);
            self.open.insert(peer, Line { to: member, inbox, replicator });
        }
        self.open[&peer].inbox.post(job);
    }

    /// The peers whose replicators have something to do.
    pub(crate) fn busy(&self) -> impl Iterator<Item = usize> + '_ {
        self.open.iter().filter(|(_, line)| line.inbox.has_work()).map(|(peer, _)| *peer)
    }

    /// Turns the replicator of a peer, if there still is one.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn poll(
        &mut self,
        peer: usize,
        messages_max: usize,
        packets: &mut Vec<Packet>,
    ) -> Result<Option<Job>, Error> {
        let Some(line) = self.open.get_mut(&peer) else { return Ok(None) };
        let (mut outs, mut purged) = (Vec::new(), None);
        line.replicator.poll(messages_max, &mut outs)?;
        for out in outs {
            match out {
                ReplicatorOut::Send(message) => packets.push(Packet::push(self.own, line.to, &message)),
                ReplicatorOut::Purged => purged = Some(Job::Reconnected { peer: line.to.node }),
            }
        }
        Ok(purged)
    }

    /// A node that is no member any more, or is another folder from now on.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn forget(&mut self, peer: NodeId, packets: &mut Vec<Packet>) -> Result<(), Error> {
        self.poll(index_of(peer), FAREWELL_MESSAGES, packets)?;
        self.open.remove(&index_of(peer));
        Ok(())
    }

    /// The stream to a peer was lost, or opened anew.
    pub(crate) fn disconnected(&mut self, peer: usize) {
        self.is_out_of_space.remove(&peer);
        if let Some(line) = self.open.get(&peer) {
            line.inbox.disconnected();
        }
    }

    /// Whether a packet is taken: it means this very folder, and its speaker may be who it says. A leader may be a folder
    /// that is not known here yet, and so may a candidate whose log ends after the one here.
    pub(crate) fn takes(&mut self, packet: &Packet, job: Option<&Job>, status: impl Fn() -> Status) -> bool {
        if packet.folder != self.own.incarnation {
            return false;
        }
        let is_other = self.by_node.get(&packet.from).is_some_and(|known| *known != packet.speaker);
        let taken = match (packet.channel, job) {
            (
                Channel::Vote,
                Some(Job::Peer { message: Message::Vote(VoteMessage::Request(request)), .. }),
            ) => {
                let status = status();
                request.last > status.last || !(is_other || self.was_removed(packet.speaker, &status))
            }
            // What was asked for comes from whom it was asked.
            (Channel::Snapshot, _) => !is_other || matches!(packet.body, Body::Block { .. }),
            _ => true,
        };
        if taken && matches!(packet.channel, Channel::Push | Channel::Vote) {
            self.spoke.insert(packet.from, packet.speaker);
        }
        taken
    }

    /// By what is committed here, it is no member.
    fn was_removed(&self, candidate: Member, status: &Status) -> bool {
        let is_member = everybody(&self.membership).any(|member| member == candidate);
        !is_member && !self.by_node.is_empty() && status.committed >= status.members_at
    }

    /// What a peer says of its room, if that is news.
    pub(crate) fn headroom(&mut self, peer: usize, is_out_of_space: bool) -> Option<Job> {
        let is_news = self.is_out_of_space.insert(peer, is_out_of_space) != Some(is_out_of_space);
        is_news.then_some(Job::PeerHeadroom { peer: NodeId(peer as u64 + 1), is_out_of_space })
    }
}
