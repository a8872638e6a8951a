//! Membership as the log has it, with addresses: the core knows members only by node and incarnation.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use proto::store as wire;
use store_core::{
    ChangeRefusal, Entry, EntryKind, Incarnation, Input, Member, MemberChange, Membership, NodeId, Offset,
    Position, WriteSeq,
};
use store_db::Table;
use store_log::Disk;

use super::{Node, bytes_of, in_force};
use crate::changing::Changing;
use crate::clock::Clock;
use crate::error::Error;
use crate::job::{Answer, ChangeRequest, NodeOut, WriterJob};

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    /// A client asks for a change. The core has one under way at most; so has this.
    pub(super) fn change_members(
        &mut self,
        asked: ChangeRequest,
        outs: &mut Vec<NodeOut>,
    ) -> Result<(), Error> {
        let ChangeRequest { request_id, change, address } = asked;
        if self.changing.is_some() {
            let answer = Answer::ChangeRefused(ChangeRefusal::UnderWay);
            outs.push(NodeOut::Answer { request_id, answer });
            return Ok(());
        }
        let newcomer = match change {
            MemberChange::AddLearner(Member { node, incarnation }) => {
                Some(wire::Member { node: node.0, incarnation: incarnation.0, address, joined: true })
            }
            MemberChange::Promote(_) | MemberChange::Remove(_) | MemberChange::Replace { .. } => None,
        };
        self.changing = Some(Changing { request_id, newcomer, done_at: None });
        self.step(Input::ChangeMembers { change }, outs)
    }

    pub(super) fn change_refused(&mut self, refusal: ChangeRefusal, outs: &mut Vec<NodeOut>) {
        let asked = self.changing.take().expect("only a change that was asked for is refused");
        let answer = match refusal {
            ChangeRefusal::NotLeader => self.not_leader(),
            refusal => Answer::ChangeRefused(refusal),
        };
        outs.push(NodeOut::Answer { request_id: asked.request_id, answer });
    }

    /// More is committed: the change that was asked for may be among it.
    pub(super) fn change_committed(&mut self, up_to: Offset, outs: &mut Vec<NodeOut>) {
        let done = |changing: &mut Changing| changing.done_at.is_some_and(|at| at <= up_to);
        if let Some(Changing { request_id, done_at: Some(at), .. }) = self.changing.take_if(done) {
            outs.push(NodeOut::Answer { request_id, answer: Answer::Changed { at } });
        }
    }

    /// The leader's membership entry: in force from here on, so the driver's peer connections hear of it first.
    pub(super) fn append_membership(
        &mut self,
        write: WriteSeq,
        position: Position,
        membership: &Membership,
        outs: &mut Vec<NodeOut>,
    ) {
        if let Some(changing) = self.changing.as_mut().filter(|_| !membership.is_joint()) {
            changing.done_at = Some(position.offset);
        }
        let membership = self.with_addresses(membership);
        let payload = Bytes::from(membership.encode_to_vec());
        self.members.push((position.offset, membership));
        self.tell_members(outs);
        let log_time_ms = self.log_clock.next(in_force(&self.members));
        let entries = vec![Entry { position, log_time_ms, kind: EntryKind::Membership, payload }];
        let bytes = bytes_of(&entries);
        self.unwritten.push_back((write, position.offset, bytes));
        self.unwritten_bytes += bytes;
        self.cache.append(&entries);
        let committed = self.replica.committed();
        outs.push(NodeOut::Write(WriterJob::Append { write, entries, committed }));
    }

    /// Every member with the address that it has in the membership before, or was given with the change.
    fn with_addresses(&self, membership: &Membership) -> wire::Membership {
        let before = self.members.last().map(|(_, members)| members);
        let all = before.into_iter().flat_map(|m| m.voters.iter().chain(&m.outgoing).chain(&m.learners));
        let newcomer = self.changing.as_ref().and_then(|changing| changing.newcomer.as_ref());
        let known: HashMap<Member, &wire::Member> =
            all.chain(newcomer).map(|member| (member_of(member), member)).collect();
        let with_address = |member: &Member| {
            let found = known.get(member).map(|member| (*member).clone());
            found.expect("a change adds nobody whose address was not given with it")
        };
        wire::Membership {
            voters: membership.voters.iter().map(with_address).collect(),
            outgoing: membership.outgoing.iter().map(with_address).collect(),
            learners: membership.learners.iter().map(with_address).collect(),
            // What a group owns is said once, by the membership that founds it.
            owned: None,
        }
    }
}

fn member_of(member: &wire::Member) -> Member {
    Member { node: NodeId(member.node), incarnation: Incarnation(member.incarnation) }
}
