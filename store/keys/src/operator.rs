//! Proofs of operators' tools: each call is proven by itself, for one node, one method and one request, within seconds.
//!
//! ```text
//!  tool: Status ──► node          {node, incarnation, challenge}: the time of the node's own clock, a count, and a MAC
//!  tool: TransferLeadership + proof ──► node    proof = challenge, nonce of the tool, MAC under the operator key over all of it
//! ```
//!
//! A challenge costs the node nothing to remember. A proof is believed once: those that were believed are remembered until
//! their challenge has expired ([`CHALLENGE_MS_MAX`]), and are bounded in number ([`USED_MAX`]): beyond it nothing is believed.

use std::collections::BTreeSet;

use crate::id::ClusterId;
use crate::key::{KEY_BYTES, Key, Keys};
use crate::mac::{Covered, MAC_BYTES, Mac, Unproven};
use crate::session::{End, NONCE_BYTES};

/// Bytes of a challenge: a time, a count, and a MAC.
pub const CHALLENGE_BYTES: usize = 16 + MAC_BYTES;
/// Bytes of a proof: a challenge, a nonce, and a MAC.
pub const PROOF_BYTES: usize = CHALLENGE_BYTES + NONCE_BYTES + MAC_BYTES;
/// A challenge is good for so long, in milliseconds of the node's clock.
pub const CHALLENGE_MS_MAX: u64 = 30_000;
/// Proofs remembered at once.
pub const USED_MAX: usize = 4_096;

/// What a proof is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call<'a> {
    /// Of which cluster the operator is.
    pub cluster: ClusterId,
    /// Of which replica group.
    pub group: u64,
    /// Which node is asked.
    pub node: End,
    /// Which method.
    pub method: &'a str,
    /// The request, encoded.
    pub request: &'a [u8],
}

impl<'a> Call<'a> {
    fn covered(&self, challenge: &'a [u8], nonce: &'a [u8]) -> Covered<'a> {
        Covered::new("operator")
            .number(self.cluster.get())
            .number(self.group)
            .number(self.node.node)
            .number(self.node.incarnation)
            .bytes(self.method.as_bytes())
            .bytes(self.request)
            .bytes(challenge)
            .bytes(nonce)
    }
}

/// Proves a call, with a challenge of the node that is asked and a random nonce.
#[must_use]
pub fn prove(
    keys: &Keys,
    call: &Call<'_>,
    challenge: &[u8; CHALLENGE_BYTES],
    nonce: &[u8; NONCE_BYTES],
) -> [u8; PROOF_BYTES] {
    let Mac(mac) = keys.mac(call.covered(challenge, nonce));
    let mut proof = [0; PROOF_BYTES];
    proof[..CHALLENGE_BYTES].copy_from_slice(challenge);
    proof[CHALLENGE_BYTES..CHALLENGE_BYTES + NONCE_BYTES].copy_from_slice(nonce);
    proof[CHALLENGE_BYTES + NONCE_BYTES..].copy_from_slice(&mac);
    proof
}

/// Why an operator's call is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallRefused {
    /// There is no proof, or not one of this length.
    #[error("the call has no proof: operators' tools need the cluster's key file")]
    Missing,
    /// The challenge is none of this process, or too old.
    #[error("the challenge of the proof is not this node's, or older than {} s: ask for another", CHALLENGE_MS_MAX / 1_000)]
    Challenge,
    /// The proof is wrong.
    #[error("{0}")]
    Proof(#[from] Unproven),
    /// It was believed already.
    #[error("the call was made before")]
    Repeated,
    /// Too many calls at once.
    #[error("more than {USED_MAX} calls of operators within {} s", CHALLENGE_MS_MAX / 1_000)]
    TooMany,
}

/// The challenges of one process, and the proofs that it has believed.
#[derive(Debug)]
pub struct Challenges {
    /// Known to this process alone.
    process: Key,
    /// Challenges issued.
    issued: u64,
    /// When the challenge of each proof was issued, and the proof's MAC.
    used: BTreeSet<(u64, [u8; MAC_BYTES])>,
}

impl Challenges {
    /// Those of a process, with random bytes that nobody else has.
    #[must_use]
    pub fn new(random: [u8; KEY_BYTES]) -> Challenges {
        Challenges { process: Key::new(random), issued: 0, used: BTreeSet::new() }
    }

    /// A challenge, for any caller. `now_ms` is a clock that never goes back.
    pub fn issue(&mut self, now_ms: u64) -> [u8; CHALLENGE_BYTES] {
        self.issued += 1;
        self.challenge(now_ms, self.issued)
    }

    fn challenge(&self, at_ms: u64, count: u64) -> [u8; CHALLENGE_BYTES] {
        let Mac(mac) = self.process.mac(Covered::new("challenge").number(at_ms).number(count));
        let mut bytes = [0; CHALLENGE_BYTES];
        bytes[..8].copy_from_slice(&at_ms.to_be_bytes());
        bytes[8..16].copy_from_slice(&count.to_be_bytes());
        bytes[16..].copy_from_slice(&mac);
        bytes
    }

    /// Believes a call, once.
    ///
    /// # Errors
    /// Why not; nothing has changed.
    pub fn take(
        &mut self,
        keys: &Keys,
        call: &Call<'_>,
        proof: &[u8],
        now_ms: u64,
    ) -> Result<(), CallRefused> {
        let proof: &[u8; PROOF_BYTES] = proof.try_into().map_err(|_| CallRefused::Missing)?;
        let (challenge, rest) = proof.split_at(CHALLENGE_BYTES);
        let (nonce, mac) = rest.split_at(NONCE_BYTES);
        let (at_ms, count) = (number(&challenge[..8]), number(&challenge[8..16]));
        let is_mine = self.challenge(at_ms, count) == *challenge;
        if !is_mine || at_ms > now_ms || now_ms - at_ms > CHALLENGE_MS_MAX {
            return Err(CallRefused::Challenge);
        }
        keys.check(call.covered(challenge, nonce), mac)?;
        // What has expired is refused by its age.
        let kept = now_ms.saturating_sub(CHALLENGE_MS_MAX);
        self.used = self.used.split_off(&(kept, [0; MAC_BYTES]));
        let mut own = [0; MAC_BYTES];
        own.copy_from_slice(mac);
        if self.used.contains(&(at_ms, own)) {
            return Err(CallRefused::Repeated);
        }
        if self.used.len() >= USED_MAX {
            return Err(CallRefused::TooMany);
        }
        self.used.insert((at_ms, own));
        Ok(())
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ClusterKey;
    use crate::key::{Purpose, Secret};

    fn keys(byte: u8, purpose: Purpose) -> Keys {
        ClusterKey::new(ClusterId::new(7).unwrap(), Secret::new([byte; KEY_BYTES])).keys(purpose)
    }

    const CALL: fn() -> Call<'static> = || Call {
        cluster: ClusterId::new(7).unwrap(),
        group: 1,
        node: End { node: 2, incarnation: 22 },
        method: "TransferLeadership",
        request: b"to 3",
    };

    #[test]
    fn a_call_is_believed_once_within_its_time() {
        let keys = keys(1, Purpose::Operator);
        let mut node = Challenges::new([9; KEY_BYTES]);
        let challenge = node.issue(1_000);
        let proof = prove(&keys, &CALL(), &challenge, &[1; NONCE_BYTES]);
        assert_eq!(node.take(&keys, &CALL(), &[], 1_000), Err(CallRefused::Missing));
        assert_eq!(node.take(&keys, &CALL(), &proof, 999), Err(CallRefused::Challenge));
        assert_eq!(node.take(&keys, &CALL(), &proof, 1_000 + CHALLENGE_MS_MAX), Ok(()));
        assert_eq!(node.take(&keys, &CALL(), &proof, 1_000 + CHALLENGE_MS_MAX), Err(CallRefused::Repeated));
        assert_eq!(node.take(&keys, &CALL(), &proof, 1_001 + CHALLENGE_MS_MAX), Err(CallRefused::Challenge));
        let mut restarted = Challenges::new([8; KEY_BYTES]);
        assert_eq!(restarted.take(&keys, &CALL(), &proof, 1_000), Err(CallRefused::Challenge));
    }

    #[test]
    fn every_word_of_a_call_is_bound_to_its_proof() {
        let (right, mut node) = (keys(1, Purpose::Operator), Challenges::new([9; KEY_BYTES]));
        let challenge = node.issue(5);
        let proof = prove(&right, &CALL(), &challenge, &[1; NONCE_BYTES]);
        for call in [
            Call { cluster: ClusterId::new(8).unwrap(), ..CALL() },
            Call { group: 2, ..CALL() },
            Call { node: End { node: 3, incarnation: 22 }, ..CALL() },
            Call { node: End { node: 2, incarnation: 23 }, ..CALL() },
            Call { method: "Resync", ..CALL() },
            Call { request: b"to 4", ..CALL() },
        ] {
            assert_eq!(node.take(&right, &call, &proof, 5), Err(CallRefused::Proof(Unproven)), "{call:?}");
        }
        for at in 0..PROOF_BYTES {
            let mut changed = proof;
            changed[at] ^= 1;
            assert!(node.take(&right, &CALL(), &changed, 5).is_err(), "byte {at}");
        }
        for wrong in [keys(1, Purpose::Peer), keys(1, Purpose::Bus), keys(2, Purpose::Operator)] {
            let proof = prove(&wrong, &CALL(), &challenge, &[1; NONCE_BYTES]);
            assert_eq!(node.take(&right, &CALL(), &proof, 5), Err(CallRefused::Proof(Unproven)));
        }
        assert_eq!(node.take(&right, &CALL(), &proof, 5), Ok(()));
    }

    #[test]
    fn what_is_remembered_of_calls_is_bounded_and_goes_with_their_time() {
        let (keys, mut node) = (keys(1, Purpose::Operator), Challenges::new([9; KEY_BYTES]));
        let call = |node: &mut Challenges, at_ms: u64| {
            let proof = prove(&keys, &CALL(), &node.issue(at_ms), &[1; NONCE_BYTES]);
            node.take(&keys, &CALL(), &proof, at_ms)
        };
        for _ in 0..USED_MAX {
            assert_eq!(call(&mut node, 7), Ok(()));
        }
        assert_eq!(call(&mut node, 8), Err(CallRefused::TooMany));
        assert_eq!(call(&mut node, 8 + CHALLENGE_MS_MAX), Ok(()));
        assert_eq!(node.used.len(), 1);
    }
}
