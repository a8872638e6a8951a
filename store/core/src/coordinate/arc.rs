//! Arcs of the ring of hashes, and the part of one that acknowledgements do not cover yet.
//!
//! Promises: an arc is `(after, up_to]`; one whose ends are equal is the whole ring. Leaves out: who owns which arc.

use alloc::vec::Vec;

/// The arc (after, up_to] of ring hashes, which may go around the end of the ring. Equal: the whole ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arc {
    /// The hash before its first.
    pub after: u64,
    /// Its last hash.
    pub up_to: u64,
}

impl Arc {
    /// Every hash.
    pub const WHOLE: Arc = Arc { after: 0, up_to: 0 };

    /// Its one or two parts, each with both ends, that do not go around the end of the ring.
    fn straight(self) -> impl Iterator<Item = (u64, u64)> {
        let first = self.after.wrapping_add(1);
        let parts = if first <= self.up_to {
            [Some((first, self.up_to)), None]
        } else {
            [Some((0, self.up_to)), Some((first, u64::MAX))]
        };
        parts.into_iter().flatten()
    }
}

/// The part of an arc that nothing covers yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uncovered {
    /// Both ends of each piece; apart from each other.
    pieces: Vec<(u64, u64)>,
}

impl Uncovered {
    /// All of an arc.
    #[must_use]
    pub fn all_of(arc: Arc) -> Uncovered {
        Uncovered { pieces: arc.straight().collect() }
    }

    /// Takes away what an arc covers.
    pub fn cover(&mut self, arc: Arc) {
        for (first, last) in arc.straight() {
            let before = core::mem::take(&mut self.pieces);
            for (from, to) in before {
                if last < from || to < first {
                    self.pieces.push((from, to));
                    continue;
                }
                if from < first {
                    self.pieces.push((from, first - 1));
                }
                if last < to {
                    self.pieces.push((last + 1, to));
                }
            }
        }
    }

    /// Whether all is covered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hashes near both ends of the ring, so that arcs go around it and touch.
    fn hash() -> impl Strategy<Value = u64> {
        prop_oneof![0u64..6, (u64::MAX - 5)..=u64::MAX]
    }

    fn contains(arc: Arc, hash: u64) -> bool {
        arc.after == arc.up_to
            || if arc.after < arc.up_to {
                arc.after < hash && hash <= arc.up_to
            } else {
                hash > arc.after || hash <= arc.up_to
            }
    }

    fn samples() -> impl Iterator<Item = u64> {
        (0..8).chain(u64::MAX - 7..=u64::MAX).chain([1 << 40])
    }

    proptest! {
        #[test]
        fn what_is_uncovered_is_what_no_acknowledgement_had(
            of in (hash(), hash()), acks in prop::collection::vec((hash(), hash()), 0..5),
        ) {
            let arc = |(after, up_to)| Arc { after, up_to };
            let mut uncovered = Uncovered::all_of(arc(of));
            acks.iter().for_each(|ack| uncovered.cover(arc(*ack)));
            let is_left = |hash| contains(arc(of), hash) && !acks.iter().any(|ack| contains(arc(*ack), hash));
            for hash in samples() {
                let found = uncovered.pieces.iter().any(|(from, to)| (*from..=*to).contains(&hash));
                prop_assert_eq!(found, is_left(hash), "{}", hash);
            }
            prop_assert_eq!(uncovered.is_empty(), !samples().any(is_left));
        }
    }
}
