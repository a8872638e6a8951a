//! Authentication codes, and what they cover.

use std::fmt;

/// Bytes of a MAC: HMAC-SHA-256 cut to its left half (RFC 2104, section 5), which leaves 128 bits to guess.
pub const MAC_BYTES: usize = 16;

/// A message authentication code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; MAC_BYTES]);

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(..)")
    }
}

/// What is said is proven by no key that is believed here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the proof is missing, or was made with another cluster's key, for another call, or is a repetition")]
pub struct Unproven;

/// Parts that one MAC covers at most: a bound, so that nothing is allocated.
const PARTS_MAX: usize = 16;

/// One part.
#[derive(Clone, Copy)]
enum Part<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// What a MAC covers: a domain, then numbers and bytes in a fixed order. Lengths and kinds are covered, so that no two
/// sequences of parts have the same code.
#[derive(Clone, Copy)]
pub struct Covered<'a> {
    domain: &'static str,
    parts: [Part<'a>; PARTS_MAX],
    count: usize,
}

impl<'a> Covered<'a> {
    /// Nothing yet, for one use: what is proven for a domain proves nothing in another.
    #[must_use]
    pub fn new(domain: &'static str) -> Covered<'a> {
        Covered { domain, parts: [Part::Number(0); PARTS_MAX], count: 0 }
    }

    /// And a number.
    #[must_use]
    pub fn number(self, number: u64) -> Covered<'a> {
        self.with(Part::Number(number))
    }

    /// And bytes.
    #[must_use]
    pub fn bytes(self, bytes: &'a [u8]) -> Covered<'a> {
        self.with(Part::Bytes(bytes))
    }

    fn with(mut self, part: Part<'a>) -> Covered<'a> {
        assert!(self.count < PARTS_MAX, "a MAC covers at most {PARTS_MAX} parts");
        self.parts[self.count] = part;
        self.count += 1;
        self
    }

    /// Gives the bytes to authenticate, piece by piece: `length domain (kind number | kind length bytes)*`.
    pub(crate) fn each(&self, mut take: impl FnMut(&[u8])) {
        take(&(self.domain.len() as u64).to_be_bytes());
        take(self.domain.as_bytes());
        for part in &self.parts[..self.count] {
            match part {
                Part::Number(number) => {
                    take(&[1]);
                    take(&number.to_be_bytes());
                }
                Part::Bytes(bytes) => {
                    take(&[2]);
                    take(&(bytes.len() as u64).to_be_bytes());
                    take(bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(covered: Covered<'_>) -> Vec<u8> {
        let mut all = Vec::new();
        covered.each(|bytes| all.extend_from_slice(bytes));
        all
    }

    /// Mostly bytes that could be taken for the beginning of a part, so that without lengths many would be alike.
    fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = prop_oneof![9 => Just(2u8), 1 => 0u8..3];
        prop::collection::vec(prop::collection::vec(byte, 0..4), 0..4)
    }

    proptest! {
        #[test]
        fn no_two_sequences_of_parts_are_covered_alike(one in parts(), other in parts()) {
            let of = |parts: &[Vec<u8>]| whole(parts.iter().fold(Covered::new("d"), |c, part| c.bytes(part)));
            prop_assert_eq!(one == other, of(&one) == of(&other));
        }
    }

    #[test]
    fn numbers_bytes_and_domains_are_told_apart() {
        let eight = 5u64.to_be_bytes();
        assert_ne!(whole(Covered::new("d").number(5)), whole(Covered::new("d").bytes(&eight)));
        assert_ne!(whole(Covered::new("d")), whole(Covered::new("e")));
        assert_ne!(whole(Covered::new("d").bytes(b"")), whole(Covered::new("d")));
    }
}
