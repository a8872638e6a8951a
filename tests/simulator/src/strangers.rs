//! Strangers on the network, without a key. They see the members' frames and send them again, elsewhere, changed, in the
//! other direction, in sessions of their own; and they send inventions. None of it may be believed.

use store_core::{Incarnation, Member};
use store_keys::{Kind, Mac};

use crate::network::{Body, Channel, Packet};
use crate::proofs::{hello, kind_of};
use crate::time::MS;
use crate::world::{Event, World};

/// Of so many packets of members one gives strangers something to do.
const ONE_OF: u32 = 4;
/// Ways to misuse a packet.
const WAYS: u32 = 10;
/// The one that turns a packet back.
const REFLECT: u32 = 5;
/// Less than any packet takes.
const QUICK_US: u64 = 60;

impl World {
    /// Strangers make something of a packet that was believed, or of nothing.
    pub(crate) fn misuse(&mut self, packet: &Packet) {
        if self.strangers == 0 || packet.stranger.is_some() || self.random.u32(..ONE_OF) > 0 {
            return;
        }
        let way = self.random.u32(..WAYS);
        let Some(misused) = self.misused(packet.clone(), way) else { return };
        // What is turned back comes before the right answer.
        let longest = if way == REFLECT { QUICK_US } else { 200 * MS };
        let at = self.now.us() + self.random.u64(1..longest);
        self.agenda.add(at, Event::Deliver(misused));
    }

    fn misused(&mut self, mut packet: Packet, way: u32) -> Option<Packet> {
        let seal = packet.seal.as_mut()?;
        let how = match way {
            0 => "again",
            1 => {
                packet.body = packet.body.changed(self.random.usize(..1 << 20));
                "changed"
            }
            2 => {
                let (at, bit) = (self.random.usize(..seal.mac.0.len()), self.random.u32(..8));
                seal.mac.0[at] ^= 1 << bit;
                "of another proof"
            }
            3 if packet.channel != Channel::Reply && packet.channel != Channel::VoteReply => {
                seal.number += self.random.u64(1..1_000);
                "of another call"
            }
            4 => {
                let others = self.drivers.len() - 1;
                packet.to = (packet.to + 1 + self.random.usize(..others)) % self.drivers.len();
                packet.folder = self.drivers[packet.to].member.incarnation;
                "for another node"
            }
            REFLECT => return self.reflected(packet),
            6 => {
                (seal.hello.kind, packet.channel) = match packet.channel {
                    Channel::Push => (Kind::Vote, Channel::Vote),
                    Channel::Vote => (Kind::Push, Channel::Push),
                    _ => return None,
                };
                "of another kind"
            }
            7 => return self.in_own_session(packet),
            8 => {
                seal.hello.caller.incarnation += 1;
                packet.speaker.incarnation = Incarnation(packet.speaker.incarnation.0 + 1);
                "of another folder"
            }
            3 => return None,
            _ => {
                seal.mac = Mac([0; 16]);
                packet = self.in_own_session(packet)?;
                packet.body = packet.body.changed(self.random.usize(..1 << 20));
                "made up"
            }
        };
        packet.stranger = Some(how);
        Some(packet)
    }

    /// Back to who said it, in the other direction.
    fn reflected(&self, packet: Packet) -> Option<Packet> {
        let channel = match packet.channel {
            Channel::Push => Channel::Reply,
            Channel::Reply => Channel::Push,
            Channel::Vote => Channel::VoteReply,
            Channel::VoteReply => Channel::Vote,
            Channel::Snapshot => return None,
        };
        let speaker = Member { incarnation: packet.folder, ..self.drivers[packet.to].member };
        let (from, to, folder) = (packet.to, packet.from, packet.speaker.incarnation);
        Some(Packet { from, to, folder, speaker, channel, stranger: Some("turned back"), ..packet })
    }

    /// In a session that the stranger begins in the member's name: everybody is welcomed.
    fn in_own_session(&mut self, mut packet: Packet) -> Option<Packet> {
        if packet.is_answer() {
            return None;
        }
        let said = hello(kind_of(packet.channel), packet.speaker, packet.meant(), self.random.u64(1 << 60..));
        let up = self.drivers[packet.to].up.as_mut()?;
        let welcome = up.proofs.admission.welcome(&crate::proofs::keys(), &said).ok()?;
        let seal = packet.seal.as_mut()?;
        (seal.hello, seal.cookie) = (said, welcome.cookie);
        packet.stranger = Some("in a session of another");
        Some(packet)
    }
}

impl Body {
    /// One bit differs.
    fn changed(self, dice: usize) -> Body {
        let flip = |bytes: bytes::Bytes| {
            let mut bytes = bytes.to_vec();
            match bytes.len() {
                0 => bytes.push(0),
                length => bytes[dice % length] ^= 1,
            }
            bytes::Bytes::from(bytes)
        };
        match self {
            Body::Wire(bytes) => Body::Wire(flip(bytes)),
            Body::Ask { at, from_byte } => Body::Ask { at, from_byte: from_byte ^ 1 },
            Body::Block { file, at_byte, data } => Body::Block { file, at_byte, data: flip(data) },
        }
    }
}
