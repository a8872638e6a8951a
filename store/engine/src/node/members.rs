//! Membership as the log has it, with addresses: the core knows members only by node and incarnation.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use proto::store as wire;
use store_core::{Entry, EntryKind, Incarnation, Member, Membership, NodeId, Position, WriteSeq};
use store_db::Table;
use store_log::Disk;

use super::Node;
use crate::clock::Clock;
use crate::job::{NodeOut, WriterJob};

impl<D: Disk, T: Table, C: Clock> Node<D, T, C> {
    /// The leader's membership entry: in force from here on, so whoever speaks to peers hears of it first.
    pub(super) fn append_membership(
        &mut self,
        write: WriteSeq,
        position: Position,
        membership: &Membership,
        outs: &mut Vec<NodeOut>,
    ) {
        let membership = self.with_addresses(membership);
        let payload = Bytes::from(membership.encode_to_vec());
        self.members.push((position.offset, membership));
        self.tell_members(outs);
        let stamp_ms = self.stamps.next();
        self.unwritten.push_back((write, position.offset, payload.len()));
        self.unwritten_bytes += payload.len();
        let entries = vec![Entry { position, stamp_ms, kind: EntryKind::Membership, payload }];
        self.cache.append(&entries);
        let committed = self.replica.committed();
        outs.push(NodeOut::Write(WriterJob::Append { write, entries, committed }));
    }

    /// Every member with the address that it has in the membership before.
    fn with_addresses(&self, membership: &Membership) -> wire::Membership {
        let before = self.members.last().map(|(_, members)| members);
        let all = before.into_iter().flat_map(|m| m.voters.iter().chain(&m.outgoing).chain(&m.learners));
        let known: HashMap<Member, &wire::Member> = all.map(|member| (member_of(member), member)).collect();
        let with_address = |member: &Member| {
            let found = known.get(member).map(|member| (*member).clone());
            found.expect("a change adds nobody whose address was not given with it")
        };
        wire::Membership {
            voters: membership.voters.iter().map(with_address).collect(),
            outgoing: membership.outgoing.iter().map(with_address).collect(),
            learners: membership.learners.iter().map(with_address).collect(),
        }
    }
}

fn member_of(member: &wire::Member) -> Member {
    Member { node: NodeId(member.node), incarnation: Incarnation(member.incarnation) }
}
