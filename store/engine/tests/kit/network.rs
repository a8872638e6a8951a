//! Queues between nodes: what is sent on one stream arrives in order or not at all; different streams overtake each
//! other. Everything goes over the wire format, both ways.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use prost::Message as _;
use proto::store as wire;
use store_core::{Message, NodeId};
use store_engine::{Job, convert};

use super::replica::member;

/// Which stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Channel {
    Push,
    Reply,
    Vote,
    VoteReply,
}

/// A stream from one node to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Link {
    pub from: NodeId,
    pub to: NodeId,
    pub channel: Channel,
}

/// A message on its way, encoded.
pub struct Packet {
    pub link: Link,
    pub bytes: Vec<u8>,
}

/// All that is on its way.
#[derive(Default)]
pub struct Network {
    queues: BTreeMap<Link, VecDeque<Vec<u8>>>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    /// Appends delivered, and their entries.
    pub appends: u64,
    pub entries: u64,
}

fn pair(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

impl Packet {
    pub fn push(from: NodeId, to: NodeId, message: &wire::PushMessage) -> Packet {
        Packet { link: Link { from, to, channel: Channel::Push }, bytes: message.encode_to_vec() }
    }

    pub fn reply(from: NodeId, to: NodeId, message: &Message) -> Packet {
        let bytes = convert::reply_out(message).encode_to_vec();
        Packet { link: Link { from, to, channel: Channel::Reply }, bytes }
    }

    pub fn vote(from: NodeId, to: NodeId, message: &Message) -> Packet {
        let (channel, bytes) = match message {
            Message::VoteRequest(request) => {
                (Channel::Vote, convert::vote_request_out(request).encode_to_vec())
            }
            Message::VoteReply(reply) => (Channel::VoteReply, convert::vote_reply_out(reply).encode_to_vec()),
            other => panic!("not a vote: {other:?}"),
        };
        Packet { link: Link { from, to, channel }, bytes }
    }
}

impl Network {
    pub fn send(&mut self, packet: Packet) {
        if !self.is_cut(packet.link.from, packet.link.to) {
            self.queues.entry(packet.link).or_default().push_back(packet.bytes);
        }
    }

    /// Streams with something on them.
    pub fn waiting(&self) -> Vec<Link> {
        self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(link, _)| *link).collect()
    }

    /// The next message of a stream.
    pub fn deliver(&mut self, link: Link) -> Option<Job> {
        let bytes = self.queues.get_mut(&link)?.pop_front()?;
        let bytes = bytes.as_slice();
        let (message, entries) = match link.channel {
            Channel::Push => convert::push_in(wire::PushMessage::decode(bytes).unwrap()).unwrap(),
            Channel::Reply => {
                (convert::reply_in(wire::PushReply::decode(bytes).unwrap()).unwrap(), Vec::new())
            }
            Channel::Vote => {
                (convert::vote_request_in(&wire::VoteRequest::decode(bytes).unwrap()).unwrap(), Vec::new())
            }
            Channel::VoteReply => {
                (convert::vote_reply_in(&wire::VoteReply::decode(bytes).unwrap()).unwrap(), Vec::new())
            }
        };
        if !entries.is_empty() {
            self.appends += 1;
            self.entries += entries.len() as u64;
        }
        Some(Job::Peer { from: member(link.from), message, entries })
    }

    pub fn is_cut(&self, a: NodeId, b: NodeId) -> bool {
        self.cuts.contains(&pair(a, b))
    }

    pub fn cut(&mut self, a: NodeId, b: NodeId) {
        self.cuts.insert(pair(a, b));
        self.drop_between(a, b);
    }

    /// Mends all cuts and says which.
    pub fn heal(&mut self) -> BTreeSet<(NodeId, NodeId)> {
        std::mem::take(&mut self.cuts)
    }

    /// What is on its way between two nodes is lost.
    pub fn drop_between(&mut self, a: NodeId, b: NodeId) {
        self.queues.retain(|link, _| pair(link.from, link.to) != pair(a, b));
    }

    /// What is on its way to or from a node is lost.
    pub fn forget(&mut self, node: NodeId) {
        self.queues.retain(|link, _| link.from != node && link.to != node);
    }
}
