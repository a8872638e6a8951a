//! Majorities, plain and joint: chosen cases, and all small ones against the definition.

use store_core::quorum::{committed_offset, has_quorum, majority};
use store_core::{Incarnation, Member, Membership, NodeId, Offset};

fn voters(ids: &[u64]) -> Vec<Member> {
    ids.iter().map(|id| Member { node: NodeId(*id), incarnation: Incarnation(*id) }).collect()
}

/// Voters 1, 2, 3 … as many as there are offsets; 0 is a voter that was not heard of.
fn committed(held: &[u64]) -> u64 {
    let ids: Vec<u64> = (1..=held.len() as u64).collect();
    committed_offset(&Membership::of(voters(&ids)), |voter| Offset(held[index(voter)])).0
}

fn index(voter: Member) -> usize {
    usize::try_from(voter.node.0 - 1).expect("a small id")
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Vote {
    Yes,
    No,
    Open,
}

/// Whether a ballot is won; and whether it can still be, if everybody who is open says yes.
fn ballot(votes: &[Vote]) -> (bool, bool) {
    let ids: Vec<u64> = (1..=votes.len() as u64).collect();
    let membership = Membership::of(voters(&ids));
    let won = has_quorum(&membership, |voter| votes[index(voter)] == Vote::Yes);
    (won, has_quorum(&membership, |voter| votes[index(voter)] != Vote::No))
}

#[test]
fn a_majority_is_more_than_half() {
    assert_eq!([1, 2, 3, 4, 5, 6, 7].map(majority), [1, 2, 2, 3, 3, 4, 4]);
}

#[test]
fn what_a_majority_holds_is_committed() {
    // One voter: what it holds; nothing, before it is heard of.
    assert_eq!((committed(&[0]), committed(&[40])), (0, 40));
    // Two: what both hold.
    assert_eq!((committed(&[0, 0]), committed(&[40, 0]), committed(&[40, 7])), (0, 0, 7));
    // Three: what two hold, however far the third is ahead or behind, and in any order.
    assert_eq!((committed(&[0, 0, 0]), committed(&[40, 0, 0]), committed(&[40, 7, 0])), (0, 0, 7));
    assert_eq!((committed(&[40, 7, 9]), committed(&[40, 7, 3])), (9, 7));
    assert_eq!((committed(&[7, 7, 0]), committed(&[7, 7, 40]), committed(&[200, 202, 206])), (7, 7, 202));
    // Four: what three hold; a leader and one replica are not enough.
    assert_eq!((committed(&[9, 9, 0, 0]), committed(&[9, 9, 5, 0]), committed(&[9, 9, 9, 0])), (0, 5, 9));
    // Five: what three hold.
    assert_eq!((committed(&[51, 54, 53, 53, 0]), committed(&[51, 52, 53, 53, 0])), (53, 52));
}

#[test]
fn nobody_commits_everything_and_elects_nobody() {
    // So that an outgoing configuration that is not there never limits; callers have at least one voter.
    assert_eq!(committed(&[]), u64::MAX);
    assert_eq!(ballot(&[]), (false, false));
}

#[test]
fn a_majority_elects() {
    use Vote::{No, Open, Yes};
    let open = (false, true);
    let won = (true, true);
    let lost = (false, false);
    for (votes, expected) in [
        (&[Open][..], open),
        (&[No], lost),
        (&[Yes], won),
        (&[Open, Open], open),
        (&[No, Open], lost),
        (&[Yes, Open], open),
        (&[No, Yes], lost),
        (&[Yes, Yes], won),
        (&[Open, Open, Open], open),
        (&[No, Open, Open], open),
        (&[Yes, Open, Open], open),
        (&[No, No, Open], lost),
        (&[Yes, No, Open], open),
        (&[Yes, Yes, Open], won),
        (&[Yes, Yes, No], won),
        (&[No, Yes, No], lost),
        // Four: two against two is lost for both.
        (&[Yes, Yes, No, Open], open),
        (&[Yes, Yes, No, No], lost),
        (&[Yes, Yes, Yes, No], won),
        // Seven.
        (&[Yes, Yes, No, Yes, Open, Open, Open], open),
        (&[Open, Yes, Yes, Open, No, Yes, No], open),
        (&[Yes, Yes, No, Yes, Open, No, Yes], won),
        (&[Yes, Yes, Open, No, Yes, No, No], open),
        (&[Yes, Yes, No, Yes, No, No, No], lost),
    ] {
        assert_eq!(ballot(votes), expected, "{votes:?}");
    }
}

#[test]
fn a_change_under_way_needs_both_majorities() {
    let change =
        |new: &[u64], old: &[u64]| Membership { outgoing: voters(old), ..Membership::of(voters(new)) };
    // One of three is replaced: 1 2 3 → 2 3 4.
    let replaced = change(&[2, 3, 4], &[1, 2, 3]);
    let agree =
        |membership: &Membership, who: &[u64]| has_quorum(membership, |voter| who.contains(&voter.node.0));
    assert!(agree(&replaced, &[2, 3]), "two who are in both");
    assert!(!agree(&replaced, &[1, 2]), "only the old majority");
    assert!(!agree(&replaced, &[2, 4]), "only the new majority");
    assert!(agree(&replaced, &[1, 2, 4]), "another pair on each side");
    // All are replaced: the slower side decides.
    let moved = change(&[4, 5, 6], &[1, 2, 3]);
    let held = |voter: Member| Offset([10, 20, 30, 7, 8, 9][index(voter)]);
    assert_eq!(committed_offset(&moved, held), Offset(8));
    assert_eq!(committed_offset(&change(&[1, 2, 3], &[4, 5, 6]), held), Offset(8));
    assert_eq!(committed_offset(&change(&[1, 2, 3], &[]), held), Offset(20));
}

#[test]
fn every_small_group_agrees_with_the_definition() {
    const HELD_MAX: u64 = 3;
    for size in 1..=6_u32 {
        for code in 0..(HELD_MAX + 1).pow(size) {
            let held: Vec<u64> =
                (0..size).map(|voter| code / (HELD_MAX + 1).pow(voter) % (HELD_MAX + 1)).collect();
            let holders = |offset: u64| held.iter().filter(|h| **h >= offset).count();
            let defined = (0..=HELD_MAX).rev().find(|offset| 2 * holders(*offset) > held.len());
            assert_eq!(Some(committed(&held)), defined, "{held:?}");
        }
    }
}
