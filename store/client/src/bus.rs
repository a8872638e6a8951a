//! The envelope of messages on the bus, and their topics: the same for nodes and portals.
//!
//! ```text
//!   Sealed { content, cluster_id, mac }     mac = MAC(bus key; direction, topic, cluster id, group, content)
//! ```
//!
//! **Promise: a message that the cluster did not write changes nothing.** Anybody on the broker can publish to our topics.
//! A message from [`Seal::open`] was written by a holder of this cluster's bus key, for this topic, in this direction, about
//! this group; so a message that is forged, changed, or repeated under another topic is [`Foreign`]. A repetition under its
//! own topic is told by its content (`portal::coherence`: offsets and nonces), not here.
//!
//! During a rotation of keys both are believed, and the first proves; a hearer of the leader proves with the leader's key.
//! Pure: no I/O, no clock.

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use proto::store::Sealed;
use store_keys::{ClusterId, ClusterKey, Covered, KeyFile, Keys, Purpose};
use tokio::sync::watch;

/// Bytes that the envelope adds to its content: three field keys, two lengths, the id and the MAC.
pub const SEAL_BYTES_MAX: usize = 48;
/// What the MAC covers begins with this: proofs on the bus prove nothing elsewhere.
const DOMAIN: &str = "feira bus 1";

/// Where a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From a group's leader to portals: change events and freshness heartbeats.
    Changes,
    /// From portals to a group's leader: nonces.
    Nonces,
}

/// A topic of a group, and what a message on it must be proven for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    direction: Direction,
    group: u64,
    name: String,
}

impl Topic {
    /// Of a cluster, by its name, and a group.
    #[must_use]
    pub fn new(direction: Direction, cluster: &str, group: u64) -> Topic {
        let word = match direction {
            Direction::Changes => "changes",
            Direction::Nonces => "nonce",
        };
        Topic { direction, group, name: format!("feira/{cluster}/{word}/{group}") }
    }

    /// As the broker knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Why a delivery is not listened to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Foreign {
    /// It is no message of ours.
    #[error("no message")]
    Malformed,
    /// It is of another cluster, and says so.
    #[error("of another cluster of this name")]
    OtherCluster,
    /// It claims to be of this cluster, and its bus key does not prove that.
    #[error("not proven by this cluster's bus key")]
    Unproven,
}

/// The right to speak on the bus of one cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seal {
    cluster: ClusterId,
    keys: Keys,
}

impl From<&KeyFile> for Seal {
    fn from(file: &KeyFile) -> Seal {
        Seal { cluster: file.id(), keys: file.bus() }
    }
}

impl From<&ClusterKey> for Seal {
    fn from(key: &ClusterKey) -> Seal {
        Seal { cluster: key.id(), keys: key.keys(Purpose::Bus) }
    }
}

impl Seal {
    /// What is published on a topic to say `content`.
    #[must_use]
    pub fn seal(&self, topic: &Topic, content: Vec<u8>) -> Bytes {
        let mac = self.keys.mac(covered(topic, self.cluster.get(), &content));
        let mac = Bytes::copy_from_slice(&mac.0);
        let sealed = Sealed { content: content.into(), cluster_id: self.cluster.get(), mac };
        sealed.encode_to_vec().into()
    }

    /// The content of a delivery on a topic, if the cluster wrote it for that topic.
    ///
    /// # Errors
    /// It did not.
    pub fn open(&self, topic: &Topic, payload: Bytes) -> Result<Bytes, Foreign> {
        let Sealed { content, mac, .. } = self.ours(payload)?;
        let proven = self.keys.check(covered(topic, self.cluster.get(), &content), &mac);
        proven.map(|()| content).map_err(|_| Foreign::Unproven)
    }

    /// The same. What the leader proves with, this proves with from then on: a machine whose key file is of the middle of a
    /// rotation believes both keys, and is to be believed when the earlier one is gone.
    fn open_following(&mut self, topic: &Topic, payload: Bytes) -> Result<Bytes, Foreign> {
        if topic.direction == Direction::Nonces {
            return self.open(topic, payload);
        }
        let Sealed { content, mac, .. } = self.ours(payload)?;
        let proven = self.keys.follow(covered(topic, self.cluster.get(), &content), &mac);
        proven.map(|()| content).map_err(|_| Foreign::Unproven)
    }

    fn ours(&self, payload: Bytes) -> Result<Sealed, Foreign> {
        let sealed = Sealed::decode(payload).map_err(|_| Foreign::Malformed)?;
        match sealed.cluster_id {
            0 => Err(Foreign::Malformed),
            id if id != self.cluster.get() => Err(Foreign::OtherCluster),
            _ => Ok(sealed),
        }
    }
}

/// The seal of a key that may be rotated meanwhile: always that of the key as it is now.
#[derive(Debug)]
pub struct Seals<K> {
    current: Mutex<(watch::Receiver<K>, Seal)>,
}

impl<K> Seals<K>
where
    for<'k> Seal: From<&'k K>,
{
    /// Of what its holder says.
    #[must_use]
    pub fn new(mut keys: watch::Receiver<K>) -> Seals<K> {
        let seal = Seal::from(&*keys.borrow_and_update());
        Seals { current: Mutex::new((keys, seal)) }
    }

    /// [`Seal::seal`].
    pub fn seal(&self, topic: &Topic, content: Vec<u8>) -> Bytes {
        self.now(|seal| seal.seal(topic, content))
    }

    /// [`Seal::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(&self, topic: &Topic, payload: Bytes) -> Result<Bytes, Foreign> {
        self.now(|seal| seal.open_following(topic, payload))
    }

    fn now<T>(&self, with: impl FnOnce(&mut Seal) -> T) -> T {
        let mut current = self.current.lock();
        let (keys, seal) = &mut *current;
        // Without its holder it stays as it was last.
        if keys.has_changed().unwrap_or(false) {
            *seal = Seal::from(&*keys.borrow_and_update());
        }
        with(seal)
    }
}

fn covered<'a>(topic: &'a Topic, cluster: u64, content: &'a [u8]) -> Covered<'a> {
    let direction = match topic.direction {
        Direction::Changes => 1,
        Direction::Nonces => 2,
    };
    let covered = Covered::new(DOMAIN).number(direction).bytes(topic.name.as_bytes());
    covered.number(cluster).number(topic.group).bytes(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_keys::{KEY_BYTES, Secret};

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; KEY_BYTES])
    }

    fn key(id: u64, byte: u8) -> ClusterKey {
        ClusterKey::new(ClusterId::new(id).expect("an id"), secret(byte))
    }

    fn seal(key: ClusterKey) -> Seal {
        Seal::from(&KeyFile::Cluster(key))
    }

    fn changes() -> Topic {
        Topic::new(Direction::Changes, "feira", 1)
    }

    #[test]
    fn topics_are_as_documented() {
        assert_eq!(changes().name(), "feira/feira/changes/1");
        assert_eq!(Topic::new(Direction::Nonces, "x", 7).name(), "feira/x/nonce/7");
    }

    #[test]
    fn a_portal_whose_key_file_was_left_in_the_middle_of_a_rotation_is_believed_by_the_leader() {
        let (first, second) = (key(5, 1), key(5, 2));
        let between = first.with_second(secret(2));
        let (_holder, file) = watch::channel(KeyFile::Cluster(between));
        let portal = Seals::new(file);
        let nonces = Topic::new(Direction::Nonces, "feira", 1);
        let leader = seal(second);
        let nonce = || portal.seal(&nonces, b"nonce".to_vec());
        assert_eq!(leader.open(&nonces, nonce()), Err(Foreign::Unproven), "it proves with the first");
        let heartbeat = leader.seal(&changes(), b"heartbeat".to_vec());
        assert!(portal.open(&changes(), heartbeat).is_ok());
        assert!(leader.open(&nonces, nonce()).is_ok(), "it proves with what the leader proves with");
        assert!(portal.open(&nonces, seal(first).seal(&nonces, b"n".to_vec())).is_ok());
        assert!(leader.open(&nonces, nonce()).is_ok(), "what a portal says moves nothing");
    }

    #[test]
    fn a_message_is_believed_on_its_topic_in_its_direction_of_its_group_only() {
        let seal = seal(key(5, 1));
        let sent = seal.seal(&changes(), b"hello".to_vec());
        assert_eq!(seal.open(&changes(), sent.clone()), Ok(Bytes::from_static(b"hello")));
        let renamed = |direction, group, name: &str| Topic { direction, group, name: name.to_owned() };
        for other in [
            Topic::new(Direction::Nonces, "feira", 1),
            Topic::new(Direction::Changes, "feira", 2),
            Topic::new(Direction::Changes, "feira-2", 1),
            renamed(Direction::Nonces, 1, changes().name()),
            renamed(Direction::Changes, 2, changes().name()),
        ] {
            assert_eq!(seal.open(&other, sent.clone()), Err(Foreign::Unproven), "{other:?}");
        }
    }

    #[test]
    fn any_changed_byte_makes_a_message_foreign() {
        let seal = seal(key(5, 1));
        let sent = seal.seal(&changes(), b"content".to_vec());
        for at in 0..sent.len() {
            for bit in 0..8 {
                let mut changed = sent.to_vec();
                changed[at] ^= 1 << bit;
                let opened = seal.open(&changes(), changed.into());
                // Unknown fields are skipped: then the content is missing, and not proven.
                assert!(opened.is_err(), "byte {at}, bit {bit}: {opened:?}");
            }
        }
        for length in 0..sent.len() {
            assert!(seal.open(&changes(), sent.slice(..length)).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn another_cluster_and_another_key_are_told_apart_and_neither_is_believed() {
        let ours = seal(key(5, 1));
        let other = seal(key(6, 1)).seal(&changes(), b"x".to_vec());
        assert_eq!(ours.open(&changes(), other), Err(Foreign::OtherCluster));
        let forged = seal(key(5, 2)).seal(&changes(), b"x".to_vec());
        assert_eq!(ours.open(&changes(), forged), Err(Foreign::Unproven));
        let bare = Sealed { content: Bytes::from_static(b"x"), ..Sealed::default() };
        assert_eq!(ours.open(&changes(), bare.encode_to_vec().into()), Err(Foreign::Malformed));
    }

    #[test]
    fn during_a_rotation_both_keys_are_believed_and_afterwards_the_old_one_is_not() {
        let (before, both) = (key(5, 1), key(5, 1).with_second(secret(2)));
        let (turned, after) = (both.turned(), both.turned().with_first_only());
        let says = |key: &ClusterKey| seal(key.clone()).seal(&changes(), b"x".to_vec());
        for (reader, writer, believed) in [
            (&before, &both, true),
            (&both, &before, true),
            (&both, &turned, true),
            (&turned, &both, true),
            (&after, &turned, true),
            (&turned, &after, true),
            (&after, &before, false),
            (&before, &after, false),
        ] {
            assert_eq!(seal(reader.clone()).open(&changes(), says(writer)).is_ok(), believed);
        }
    }

    #[test]
    fn a_rotation_is_followed_while_the_bus_is_used() {
        let (tell, keys) = watch::channel(key(5, 1));
        let seals = Seals::new(keys);
        let with_new = seal(key(5, 2)).seal(&changes(), b"x".to_vec());
        assert_eq!(seals.open(&changes(), with_new.clone()), Err(Foreign::Unproven));
        tell.send_replace(key(5, 1).with_second(secret(2)));
        assert!(seals.open(&changes(), with_new).is_ok());
        tell.send_replace(key(5, 2));
        let sent = seals.seal(&changes(), b"x".to_vec());
        drop(tell);
        assert_eq!(sent, seals.seal(&changes(), b"x".to_vec()), "without its holder it stays as it was");
        assert!(seal(key(5, 2)).open(&changes(), sent.clone()).is_ok());
        assert!(seal(key(5, 1)).open(&changes(), sent).is_err());
    }

    #[test]
    fn a_portals_key_file_speaks_as_the_clusters_does() {
        let portal = Seal::from(&KeyFile::Portals(key(5, 1).for_portals()));
        assert_eq!(portal, seal(key(5, 1)));
    }

    #[test]
    fn the_envelope_adds_no_more_than_it_says() {
        let content = vec![7; 1 << 20];
        let sealed = seal(key(u64::MAX, 1)).seal(&changes(), content.clone());
        assert!(sealed.len() <= content.len() + SEAL_BYTES_MAX, "{}", sealed.len() - content.len());
    }
}
