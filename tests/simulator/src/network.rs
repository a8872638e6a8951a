//! The network between nodes: a message arrives after a while, or late, twice, out of order, never. Messages of
//! one stream arrive in order unless a fault says otherwise. Everything goes over the wire format, both ways.
//!
//! Leaves out when faults come, and the clients' side of the network (`handle`).

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use proto::store as wire;
use store_core::{Incarnation, Member, NodeId, Position, PushReply, VoteMessage};
use store_engine::{Job, convert};
use store_log::SnapshotFile;

use crate::seal::Seal;
use crate::time::{MS, Micros};

/// Which stream between two nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Channel {
    Push,
    Reply,
    Vote,
    VoteReply,
    Snapshot,
}

/// What is said.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// An encoded message of the protocol.
    Wire(Bytes),
    /// Send me the snapshot of at least this position, from this byte on.
    Ask { at: Position, from_byte: u64 },
    /// A piece of it.
    Block { file: SnapshotFile, at_byte: u64, data: Bytes },
}

impl Body {
    /// What its proof covers.
    pub(crate) fn covered(&self) -> Bytes {
        match self {
            Body::Wire(bytes) => bytes.clone(),
            Body::Ask { at, from_byte } => {
                [at.epoch.0, at.offset.0, *from_byte].map(u64::to_be_bytes).concat().into()
            }
            Body::Block { file, at_byte, data } => {
                [&file.info.number.to_be_bytes()[..], &at_byte.to_be_bytes(), data].concat().into()
            }
        }
    }
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: usize,
    /// The folder that speaks.
    pub(crate) speaker: Member,
    pub(crate) to: usize,
    /// The folder that is meant: no other takes it.
    pub(crate) folder: Incarnation,
    pub(crate) channel: Channel,
    pub(crate) body: Body,
    /// Its proof; `None`: not sent yet, or to a node that was down then.
    pub(crate) seal: Option<Seal>,
    /// What a stranger did to it; `None`: a member sent it.
    pub(crate) stranger: Option<&'static str>,
}

/// What a node tells of itself with an answer to a push.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    /// It lacks room.
    pub(crate) out_of_space: bool,
    /// Its wall clock.
    pub(crate) clock_ms: i64,
    /// The last version of the state machine that its program can run.
    pub(crate) version: u32,
}

/// What a node is told by a packet.
pub(crate) struct Heard {
    pub(crate) job: Job,
    /// Of an answer to a push: the peer lacks room.
    pub(crate) out_of_space: Option<bool>,
    /// Of an answer to a push and a vote: the peer's clock.
    pub(crate) clock_ms: Option<i64>,
    /// Of an answer to a push: what the peer's program can run.
    pub(crate) version: Option<u32>,
}

impl Packet {
    fn wire(speaker: Member, to: Member, channel: Channel, message: &impl prost::Message) -> Packet {
        Packet::new(speaker, to, channel, Body::Wire(message.encode_to_vec().into()))
    }

    pub(crate) fn new(speaker: Member, to: Member, channel: Channel, body: Body) -> Packet {
        let (from, folder) = (index_of(speaker.node), to.incarnation);
        Packet { from, speaker, to: index_of(to.node), folder, channel, body, seal: None, stranger: None }
    }

    /// The folder that it is for.
    pub(crate) fn meant(&self) -> Member {
        Member { node: NodeId(self.to as u64 + 1), incarnation: self.folder }
    }

    /// Whether it answers a call of the node that gets it.
    pub(crate) fn is_answer(&self) -> bool {
        let is_block = matches!(self.body, Body::Block { .. });
        is_block || matches!(self.channel, Channel::Reply | Channel::VoteReply)
    }

    pub(crate) fn push(speaker: Member, to: Member, message: &wire::PushMessage) -> Packet {
        Packet::wire(speaker, to, Channel::Push, message)
    }

    pub(crate) fn reply(speaker: Member, to: Member, message: &PushReply, told: Told) -> Packet {
        let Told { out_of_space, clock_ms, version: state_machine_version } = told;
        let reply =
            wire::PushReply { out_of_space, clock_ms, state_machine_version, ..convert::reply_out(message) };
        Packet::wire(speaker, to, Channel::Reply, &reply)
    }

    pub(crate) fn vote(speaker: Member, to: Member, message: &VoteMessage, clock_ms: i64) -> Packet {
        match message {
            VoteMessage::Request(request) => {
                Packet::wire(speaker, to, Channel::Vote, &convert::vote_request_out(request))
            }
            VoteMessage::Reply(reply) => {
                let reply = wire::VoteReply { clock_ms, ..convert::vote_reply_out(reply) };
                Packet::wire(speaker, to, Channel::VoteReply, &reply)
            }
        }
    }

    /// What the node that gets it is told; `None`: it is not for the node itself.
    pub(crate) fn heard(&self) -> Option<Heard> {
        let Body::Wire(bytes) = &self.body else { return None };
        let bytes = bytes.clone();
        let sound = "a node says only what another understands";
        let (mut entries, mut out_of_space, mut clock_ms, mut version) = (Vec::new(), None, None, None);
        let message = match self.channel {
            Channel::Push => {
                let (message, brought) =
                    convert::push_in(wire::PushMessage::decode(bytes).expect(sound)).expect(sound);
                entries = brought;
                message
            }
            Channel::Reply => {
                let reply = wire::PushReply::decode(bytes).expect(sound);
                out_of_space = Some(reply.out_of_space);
                clock_ms = Some(reply.clock_ms);
                version = Some(reply.state_machine_version);
                convert::reply_in(reply).expect(sound)
            }
            Channel::Vote => {
                convert::vote_request_in(&wire::VoteRequest::decode(bytes).expect(sound)).expect(sound)
            }
            Channel::VoteReply => {
                let reply = wire::VoteReply::decode(bytes).expect(sound);
                clock_ms = Some(reply.clock_ms);
                convert::vote_reply_in(&reply).expect(sound)
            }
            Channel::Snapshot => return None,
        };
        Some(Heard {
            job: Job::Peer { from: self.speaker, message, entries },
            out_of_space,
            clock_ms,
            version,
        })
    }

    /// A number that is the same for the same message.
    pub(crate) fn digest(&self) -> u64 {
        let bytes = match &self.body {
            Body::Wire(bytes) | Body::Block { data: bytes, .. } => xxhash_rust::xxh3::xxh3_64(bytes),
            Body::Ask { at, from_byte } => at.offset.0 ^ from_byte << 20,
        };
        bytes ^ (self.from as u64) << 8 ^ (self.to as u64) << 4 ^ self.channel as u64
    }
}

/// The index of a node by its id.
pub(crate) fn index_of(node: NodeId) -> usize {
    usize::try_from(node.0).expect("few nodes") - 1
}

/// What became of a message that was sent.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// When it arrives: once, twice, or never.
    pub(crate) arrivals: Vec<Micros>,
    /// Its stream breaks now, as a connection does that lost something.
    pub(crate) breaks: bool,
}

/// The state of the network.
#[derive(Debug)]
pub(crate) struct Network {
    /// Faults that cut the way from one node to another now.
    cuts: Vec<Vec<u32>>,
    /// Faults that hold what is for or from a node.
    clogs: Vec<u32>,
    /// What they hold.
    held: Vec<Packet>,
    /// The longest extra delay.
    pub(crate) delay_us: Micros,
    /// Messages lost and doubled, of a hundred.
    pub(crate) loss: u32,
    pub(crate) duplication: u32,
    /// Messages overtake each other.
    pub(crate) reorder: bool,
    /// When the last message of a stream arrives.
    last: BTreeMap<(usize, usize, Channel), Micros>,
}

impl Network {
    pub(crate) fn new(nodes: usize) -> Network {
        Network {
            cuts: vec![vec![0; nodes]; nodes],
            clogs: vec![0; nodes],
            held: Vec::new(),
            delay_us: 0,
            loss: 0,
            duplication: 0,
            reorder: false,
            last: BTreeMap::new(),
        }
    }

    /// One more fault cuts this way.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cuts[from][to] += 1;
    }

    /// One fault less; true if the way is open again.
    pub(crate) fn mend(&mut self, from: usize, to: usize) -> bool {
        self.cuts[from][to] -= 1;
        self.cuts[from][to] == 0
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[from][to] > 0
    }

    /// Whether no fault disturbs it.
    pub(crate) fn is_fair(&self) -> bool {
        let open = self.cuts.iter().flatten().chain(&self.clogs).all(|faults| *faults == 0);
        open && self.delay_us == 0 && self.loss == 0 && self.duplication == 0 && !self.reorder
    }

    pub(crate) fn clog(&mut self, node: usize) {
        self.clogs[node] += 1;
    }

    /// Releases a node; what was held for or from it and is held by nobody else goes on.
    pub(crate) fn release(&mut self, node: usize) -> Vec<Packet> {
        self.clogs[node] -= 1;
        let held = std::mem::take(&mut self.held);
        let (held, released) = held.into_iter().partition(|packet| self.is_clogged(packet));
        self.held = held;
        released
    }

    pub(crate) fn is_clogged(&self, packet: &Packet) -> bool {
        self.clogs[packet.from] > 0 || self.clogs[packet.to] > 0
    }

    /// Holds a message of a clogged node.
    pub(crate) fn hold(&mut self, packet: Packet) {
        self.held.push(packet);
    }

    /// Decides what becomes of a message sent now.
    pub(crate) fn send(&mut self, packet: &Packet, now: Micros, random: &mut fastrand::Rng) -> Fate {
        let mut fate = Fate::default();
        if self.is_cut(packet.from, packet.to) {
            return fate;
        }
        if random.u32(..100) < self.loss {
            fate.breaks = random.bool();
            return fate;
        }
        let copies = if random.u32(..100) < self.duplication { 2 } else { 1 };
        for copy in 0..copies {
            let usual = random.u64(80..600);
            let extra =
                if self.delay_us > 0 && random.u32(..4) == 0 { random.u64(..self.delay_us) } else { 0 };
            let late = if copy > 0 { random.u64(..50 * MS) } else { 0 };
            let mut at = now + usual + extra + late;
            let last = self.last.entry((packet.from, packet.to, packet.channel)).or_insert(0);
            if !self.reorder && copy == 0 {
                at = at.max(*last + 1);
                *last = at;
            }
            fate.arrivals.push(at);
        }
        fate
    }
}
