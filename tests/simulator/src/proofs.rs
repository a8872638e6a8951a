//! Proofs of what nodes say to each other, by the machine that servers run ([`store_keys::Admission`] and its kin): each packet is
//! sealed when it is sent and opened where it arrives.
//!
//! Introductions take no time here, and every packet of a stream is a call of its session. This network is worse than the
//! streams of servers: it doubles and delays single packets, and what an honest node said is brought to the core however late
//! (the machine would refuse it as a repetition), as it was before there were proofs. The verdict is on the machine: an honest
//! packet is never taken for a forged one, and every packet of a stranger ([`crate::strangers`]) is refused.

use std::collections::BTreeMap;

use bytes::Bytes;
use store_core::Member;
use store_keys::{
    Admission, Caller, ClusterId, ClusterKey, Cookie, End, Hello, KEY_BYTES, Keys, Kind, NONCE_BYTES,
    Purpose, Refused, Responder, Secret,
};

use crate::network::{Channel, Packet};
use crate::seal::Seal;
use crate::violation::{ensure, violated};

/// The promise that is judged here.
pub(crate) const PROMISE: &str = "only members are heard";

/// A session that this node began, and which life of the peer it is with.
struct Begun {
    boot: (usize, u64),
    hello: Hello,
    cookie: Cookie,
    caller: Caller,
    /// The number of the last call.
    number: u64,
    /// The parts of its answer that were heard.
    heard: u64,
}

/// The last call of a peer, to be answered.
struct Answering {
    hello: Hello,
    cookie: Cookie,
    responder: Responder,
    number: u64,
    part: u64,
}

/// The proofs of one life of a node.
pub(crate) struct Proofs {
    own: Member,
    /// The node, and which life of it.
    boot: (usize, u64),
    keys: Keys,
    pub(crate) admission: Admission,
    begun: BTreeMap<(Member, Kind), Begun>,
    answering: BTreeMap<(Member, Kind), Answering>,
    nonces: u64,
}

/// The result of a packet's admission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opened {
    /// It is believed.
    Believed,
    /// It is not, or was already.
    Refused,
}

fn end(member: Member) -> End {
    End { node: member.node.0, incarnation: member.incarnation.0 }
}

/// The keys of the simulated cluster.
pub(crate) fn keys() -> Keys {
    let id = ClusterId::new(7).expect("it is not 0");
    ClusterKey::new(id, Secret::new([7; KEY_BYTES])).keys(Purpose::Peer)
}

/// The kind of call that a channel is part of.
pub(crate) fn kind_of(channel: Channel) -> Kind {
    match channel {
        Channel::Push | Channel::Reply => Kind::Push,
        Channel::Vote | Channel::VoteReply => Kind::Vote,
        Channel::Snapshot => Kind::Fetch,
    }
}

/// An introduction in this cluster.
pub(crate) fn hello(kind: Kind, caller: Member, responder: Member, nonce: u64) -> Hello {
    let mut bytes = [0; NONCE_BYTES];
    bytes[..8].copy_from_slice(&nonce.to_be_bytes());
    Hello {
        kind,
        cluster: ClusterId::new(7).expect("it is not 0"),
        group: 1,
        ring: 1,
        caller: end(caller),
        responder: end(responder),
        address: format!("node-{}", caller.node.0),
        nonce: bytes,
        key: keys().first().id(),
    }
}

impl Proofs {
    pub(crate) fn new(own: Member, boot: (usize, u64)) -> Proofs {
        let mut random = [0; KEY_BYTES];
        random[..8].copy_from_slice(&(boot.0 as u64).to_be_bytes());
        random[8..16].copy_from_slice(&boot.1.to_be_bytes());
        Proofs {
            own,
            boot,
            keys: keys(),
            admission: Admission::new(random),
            begun: BTreeMap::new(),
            answering: BTreeMap::new(),
            nonces: 0,
        }
    }

    /// Seals an answer to the last call of a peer.
    pub(crate) fn answer(&mut self, packet: &Packet) -> Option<Seal> {
        let kind = kind_of(packet.channel);
        let answering = self.answering.get_mut(&(packet.meant(), kind))?;
        let part = answering.part;
        answering.part += 1;
        let mac = answering.responder.answer(part, &packet.body.covered());
        let (hello, cookie) = (answering.hello.clone(), answering.cookie);
        Some(Seal { hello, cookie, number: answering.number, part, mac })
    }

    /// Begins a session with the peer that a packet is for, unless there is one.
    pub(crate) fn begin(&mut self, packet: &Packet, peer: &mut Proofs) {
        let (to, kind) = (packet.meant(), kind_of(packet.channel));
        let is_there = self.begun.get(&(to, kind)).is_some_and(|begun| begun.boot == peer.boot);
        if is_there || peer.own != to {
            return;
        }
        self.nonces += 1;
        let hello = hello(kind, self.own, to, self.nonces);
        let welcome = peer.admission.welcome(&self.keys, &hello).expect("the key is believed");
        let caller = Caller::welcomed(&hello, &self.keys, &welcome).expect("the welcome is proven");
        let begun = Begun { boot: peer.boot, hello, cookie: welcome.cookie, caller, number: 0, heard: 0 };
        self.begun.insert((to, kind), begun);
    }

    /// Seals a call; `None`: there is no session, since the peer is down.
    pub(crate) fn call(&mut self, packet: &Packet) -> Option<Seal> {
        let begun = self.begun.get_mut(&(packet.meant(), kind_of(packet.channel)))?;
        let sealed = begun.caller.seal(&packet.body.covered());
        (begun.number, begun.heard) = (sealed.number, 0);
        let (hello, cookie) = (begun.hello.clone(), begun.cookie);
        Some(Seal { hello, cookie, number: sealed.number, part: 0, mac: sealed.mac })
    }

    /// Opens a packet that has arrived.
    pub(crate) fn open(&mut self, packet: &Packet) -> Opened {
        let Some(seal) = &packet.seal else { return Opened::Refused };
        let body = packet.body.covered();
        let opened =
            if packet.is_answer() { self.hear(packet, seal, &body) } else { self.take(packet, seal, &body) };
        if let (Some(how), Opened::Believed) = (packet.stranger, opened) {
            violated(PROMISE, format!("{} believes a packet that is {how}: {packet:?}", self.own.node));
        }
        opened
    }

    fn take(&mut self, packet: &Packet, seal: &Seal, body: &Bytes) -> Opened {
        let opened =
            self.admission.open(&self.keys, &seal.hello, &seal.cookie, seal.number, body, &seal.mac.0);
        match opened {
            Ok(responder) => {
                let Seal { hello, cookie, number, .. } = seal.clone();
                let answering = Answering { hello, cookie, responder, number, part: 0 };
                self.answering.insert((packet.speaker, kind_of(packet.channel)), answering);
                Opened::Believed
            }
            Err(Refused::Introduce | Refused::Repeated) => Opened::Refused,
            Err(refused) => {
                ensure(packet.stranger.is_some(), PROMISE, || {
                    format!("{} refuses what {} said: {refused}", self.own.node, packet.speaker.node)
                });
                Opened::Refused
            }
        }
    }

    fn hear(&mut self, packet: &Packet, seal: &Seal, body: &Bytes) -> Opened {
        let Some(begun) = self.begun.get_mut(&(packet.speaker, kind_of(packet.channel))) else {
            return Opened::Refused;
        };
        let is_current = begun.cookie == seal.cookie && begun.number == seal.number;
        if seal.part < begun.heard {
            return Opened::Refused;
        }
        match begun.caller.believe(seal.part, body, &seal.mac.0) {
            Ok(()) => {
                begun.heard = seal.part + 1;
                Opened::Believed
            }
            Err(_) => {
                ensure(packet.stranger.is_some() || !is_current, PROMISE, || {
                    format!("{} refuses an answer of {}", self.own.node, packet.speaker.node)
                });
                Opened::Refused
            }
        }
    }
}
