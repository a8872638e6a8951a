//! The ring: every place has one owner, the specification's ids, and every request arrives within the hops of theory.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use store_core::GroupId;
use store_core::ring::{Arc, RING_SLOTS_MAX, Ring, RingError, RoutingTable, Slot};

/// Hops from one slot to another.
fn hops(ring: &Ring, table: RoutingTable, from: usize, to: usize) -> usize {
    let (mut at, mut hops) = (from, 0);
    while let Some(next) = ring.next(table, at, to) {
        assert!(ring.distance(next, to) < ring.distance(at, to), "every hop comes nearer");
        (at, hops) = (next, hops + 1);
    }
    hops
}

#[test]
fn ids_fall_from_the_highest_by_equal_parts() {
    assert_eq!(Ring::even(1).unwrap().slots(), [Slot { id: u64::MAX, group: GroupId(1) }]);
    let ids = |count| Ring::even(count).unwrap().slots().iter().map(|slot| slot.id).collect::<Vec<_>>();
    assert_eq!(ids(2), [u64::MAX, 0x7fff_ffff_ffff_ffff]);
    assert_eq!(ids(3), [u64::MAX, 0xaaaa_aaaa_aaaa_aaaa, 0x5555_5555_5555_5555]);
    assert_eq!(ids(4), [u64::MAX, 0xbfff_ffff_ffff_ffff, 0x7fff_ffff_ffff_ffff, 0x3fff_ffff_ffff_ffff]);
}

#[test]
fn the_group_at_y_owns_what_is_above_x_up_to_y() {
    let ring = Ring::even(3).unwrap();
    let (low, middle) = (0x5555_5555_5555_5555, 0xaaaa_aaaa_aaaa_aaaa);
    let owned = [(0, 3), (low, 3), (low + 1, 2), (middle, 2), (middle + 1, 1), (u64::MAX, 1)];
    for (place, group) in owned {
        assert_eq!(ring.group_of(place), GroupId(group), "{place:016x}");
    }
    let alone = Ring::even(1).unwrap();
    assert_eq!(alone.arc(0), Arc { after: u64::MAX, up_to: u64::MAX });
    assert!([0, 1, u64::MAX].iter().all(|place| alone.arc(0).contains(*place)));
}

#[test]
fn what_is_no_ring_is_refused() {
    let slot = |id, group| Slot { id, group: GroupId(group) };
    let refused = |slots: &[Slot]| Ring::new(slots.to_vec()).unwrap_err();
    assert_eq!(refused(&[]), RingError::Count(0));
    assert_eq!(refused(&[slot(7, 1)]), RingError::NoFirst);
    assert_eq!(refused(&[slot(u64::MAX, 1), slot(7, 2), slot(7, 3)]), RingError::SameId(7));
    assert_eq!(refused(&[slot(u64::MAX, 1), slot(7, 1)]), RingError::SameGroup(GroupId(1)));
    assert_eq!(Ring::even(0).unwrap_err(), RingError::Count(0));
    assert_eq!(Ring::even(usize::MAX).unwrap_err(), RingError::Count(RING_SLOTS_MAX + 1));
    assert!(Ring::even(RING_SLOTS_MAX).is_ok());
}

#[test]
fn hops_are_as_theory_says_for_every_ring_up_to_sixteen_and_the_largest() {
    for count in (1..=16).chain([RING_SLOTS_MAX]) {
        let ring = Ring::even(count).unwrap();
        for table in RoutingTable::ALL {
            let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
            let most = pairs.map(|(from, to)| hops(&ring, table, from, to)).max().unwrap();
            assert!(most <= table.hops_max(count), "{table:?} of {count}: {most}");
            // Neighbours and full tables have exactly so many; fingers both ways round may do with fewer.
            if table != RoutingTable::Fingers {
                assert_eq!(most, table.hops_max(count), "{table:?} of {count}");
            }
        }
    }
}

#[test]
fn fingers_are_few() {
    let ring = Ring::even(64).unwrap();
    assert_eq!(ring.known(RoutingTable::Fingers, 0), [1, 2, 4, 8, 16, 32, 48, 56, 60, 62, 63]);
    assert_eq!(ring.known(RoutingTable::Neighbours, 0), [1, 63]);
    assert_eq!(ring.known(RoutingTable::Full, 5).len(), 63);
    for table in RoutingTable::ALL {
        assert_eq!(Ring::even(1).unwrap().known(table, 0), []);
        assert_eq!(Ring::even(2).unwrap().known(table, 0), [1]);
    }
}

fn any_ring() -> impl Strategy<Value = Ring> {
    prop::collection::btree_set(any::<u64>(), 0..RING_SLOTS_MAX - 1).prop_map(|mut ids| {
        ids.insert(u64::MAX);
        let slots = ids.into_iter().enumerate();
        Ring::new(slots.map(|(at, id)| Slot { id, group: GroupId(at as u64 + 1) }).collect()).unwrap()
    })
}

proptest! {
    #[test]
    fn every_place_is_in_the_arc_of_its_owner_and_in_no_other(ring in any_ring(), places: [u64; 8]) {
        let edges = ring.slots().iter().flat_map(|slot| [slot.id, slot.id.wrapping_add(1)]);
        for place in edges.chain(places) {
            let owners: Vec<usize> =
                (0..ring.slots().len()).filter(|slot| ring.arc(*slot).contains(place)).collect();
            prop_assert_eq!(owners, [ring.owner(place)]);
        }
    }

    #[test]
    fn every_request_arrives_on_any_ring(ring in any_ring(), from: prop::sample::Index, to: prop::sample::Index) {
        let count = ring.slots().len();
        for table in RoutingTable::ALL {
            prop_assert!(hops(&ring, table, from.index(count), to.index(count)) <= table.hops_max(count));
        }
    }
}
