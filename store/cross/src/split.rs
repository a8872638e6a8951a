//! A transaction cut into the parts of its groups.
//!
//! Promises: each guard and operation is in exactly one part, that of the group that owns its key, in order and with its place in the
//! whole. Leaves out: who prepares and decides.

use std::collections::BTreeMap;

use proto::check;
use proto::hash::ring_hash;
use proto::store::{Failure, Txn};
use store_client::failure::invalid;
use store_core::ring::Ring;

/// What of a transaction is one group's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Part {
    /// Guards and operations.
    pub(crate) txn: Txn,
    /// Which guard of the whole each guard is.
    pub(crate) guards: Vec<u32>,
    /// Which operation of the whole each operation is.
    pub(crate) operations: Vec<u32>,
}

/// The part of the slot that decides, and those of the others by slot.
///
/// # Errors
/// An operation quotes one of another group, or there are too many groups.
pub(crate) fn split(ring: &Ring, decider: usize, txn: Txn) -> Result<(Part, Vec<(usize, Part)>), Failure> {
    let mut parts: BTreeMap<usize, Part> = BTreeMap::new();
    for (place, guard) in (0u32..).zip(txn.guards) {
        let part = parts.entry(ring.owner(ring_hash(&guard.key))).or_default();
        part.txn.guards.push(guard);
        part.guards.push(place);
    }
    for (place, operation) in (0u32..).zip(txn.operations) {
        let part = parts.entry(ring.owner(ring_hash(&operation.key))).or_default();
        part.txn.operations.push(operation);
        part.operations.push(place);
    }
    for part in parts.values() {
        check::cross::places(&part.txn, &part.guards, &part.operations)
            .map_err(|violation| invalid(violation.field, violation.problem))?;
    }
    let own = parts.remove(&decider).unwrap_or_default();
    Ok((own, parts.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// A key of each slot of a ring of three.
    fn keys() -> Vec<Bytes> {
        let ring = Ring::even(3).unwrap();
        let of = |slot| {
            let key =
                (0..).map(|n| format!("k{n}")).find(|key| ring.owner(ring_hash(key.as_bytes())) == slot);
            Bytes::from(key.unwrap())
        };
        (0..3).map(of).collect()
    }

    #[test]
    fn every_guard_and_operation_is_in_the_part_of_its_owner_with_its_place() {
        let (ring, keys) = (Ring::even(3).unwrap(), keys());
        let txn = Txn::new()
            .guard_exists(keys[1].clone())
            .guard_absent(keys[0].clone())
            .put(keys[0].clone(), 1, "a")
            .put(keys[2].clone(), 1, "b")
            .put(keys[0].clone(), 1, "c");
        let (own, others) = split(&ring, 1, txn).unwrap();
        assert_eq!((&own.guards[..], own.operations.len()), (&[0][..], 0));
        let places: Vec<_> =
            others.iter().map(|(slot, part)| (*slot, part.guards.clone(), part.operations.clone())).collect();
        assert_eq!(places, [(0, vec![1], vec![0, 2]), (2, vec![], vec![1])]);
        assert_eq!(others[0].1.txn.operations[1].key, keys[0]);
    }
}
