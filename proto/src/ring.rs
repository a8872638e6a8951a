//! Arcs of the ring of hashes, and the names of transactions over several groups (docs/PROTOCOL.md, 10).
//!
//! Promises: an arc is `(after, up_to]`; one whose ends are equal is the whole ring, so that no arc is empty.
//! Leaves out: who owns which arc.

use crate::store::{CrossId, Owned};

impl Owned {
    /// Every hash.
    #[must_use]
    pub fn whole() -> Owned {
        Owned::default()
    }

    /// The arc (after, up_to] of the first version of a ring.
    #[must_use]
    pub fn arc(after: u64, up_to: u64) -> Owned {
        Owned { after, up_to, ring_version: 0 }
    }

    /// Whether a hash is in the arc.
    #[must_use]
    pub fn contains(&self, hash: u64) -> bool {
        // Steps from `after`, of which the first is 0 here; the whole ring has as many as there are.
        let steps = |to: u64| to.wrapping_sub(self.after).wrapping_sub(1);
        steps(hash) <= steps(self.up_to)
    }

    /// Whether a key is in the arc.
    #[must_use]
    pub fn contains_key(&self, key: &[u8]) -> bool {
        self.contains(crate::hash::ring_hash(key))
    }
}

impl CrossId {
    /// The transaction that the leader of this epoch of this group began as its nth.
    #[must_use]
    pub fn of(group: u64, epoch: u64, number: u64) -> CrossId {
        CrossId { group, epoch, number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arc_has_its_end_and_not_its_beginning_and_goes_around() {
        for (after, up_to, inside, outside) in [
            (10, 20, vec![11, 15, 20], vec![10, 21, 0, u64::MAX]),
            (u64::MAX - 1, 3, vec![u64::MAX, 0, 3], vec![u64::MAX - 1, 4, 1 << 40]),
            (u64::MAX, 0, vec![0], vec![u64::MAX, 1]),
            (7, 7, vec![7, 8, 6, 0, u64::MAX], vec![]),
            (0, 0, vec![0, 1, u64::MAX], vec![]),
        ] {
            let arc = Owned::arc(after, up_to);
            assert!(inside.iter().all(|hash| arc.contains(*hash)), "({after}, {up_to}]");
            assert!(!outside.iter().any(|hash| arc.contains(*hash)), "({after}, {up_to}]");
        }
        assert!(Owned::whole().contains_key(b"any"));
    }
}
