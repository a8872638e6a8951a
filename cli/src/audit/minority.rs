//! The wrong replica, when they are not all equal, and its way back. Pure.

use super::read::{ReplicaState, first_difference};

/// What an audit says of replicas that differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    /// Who differs from whom, and where first.
    pub(super) what: String,
    /// What to do.
    pub(super) next: String,
}

/// Compares the consistent views of the replicas that could be read, of `nodes` in all. `None`: they are equal. `of` is what commands
/// need besides a node to mean its replica: nothing, or its shard.
#[must_use]
pub(super) fn verdict(views: &[(u64, ReplicaState)], nodes: usize, of: &str) -> Option<Verdict> {
    let (first, rest) = views.split_first()?;
    let differs =
        |a: &(u64, ReplicaState), b: &(u64, ReplicaState)| first_difference((a.0, &a.1), (b.0, &b.1));
    let difference = rest.iter().find_map(|other| differs(first, other))?;
    let alike =
        |one: &(u64, ReplicaState)| views.iter().filter(|other| differs(one, other).is_none()).count();
    let Some(right) = views.iter().find(|one| alike(one) > nodes / 2) else {
        return Some(Verdict {
            what: format!(
                "{difference}; no majority of the {nodes} replicas is equal, so nobody can say which is right"
            ),
            next: format!(
                "read the other nodes too if they are down; else look at the records on each node, transfer leadership to one \
                 that is right (feira node transfer-leadership NODE{of}), and have the others take its state (feira node resync \
                 NODE{of})"
            ),
        });
    };
    let (mut wrong, mut equal) = (Vec::new(), Vec::new());
    for one in views {
        if differs(right, one).is_some() { wrong.push(one) } else { equal.push(one.0.to_string()) }
    }
    let found: Vec<String> = wrong.iter().filter_map(|one| differs(right, one)).collect();
    let named: Vec<String> = wrong.iter().map(|one| one.0.to_string()).collect();
    let resyncs: Vec<String> =
        wrong.iter().map(|one| format!("feira node resync node-{}{of}", one.0)).collect();
    Some(Verdict {
        what: format!(
            "node {} is in the minority: {}; nodes {} are equal, and a majority",
            named.join(" and node "),
            found.join("; "),
            equal.join(" and ")
        ),
        next: format!(
            "have it take the state of the others: {} (if it leads: feira node transfer-leadership node-{}{of} first)",
            resyncs.join("; "),
            equal[0]
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(node: u64, state_hash: u64) -> (u64, ReplicaState) {
        (node, ReplicaState { state_hash, ..ReplicaState::default() })
    }

    #[test]
    fn the_minority_is_named_and_what_to_do() {
        assert_eq!(verdict(&[view(1, 7), view(2, 7), view(3, 7)], 3, ""), None);
        let one = verdict(&[view(1, 9), view(2, 7), view(3, 7)], 3, " --shard 2").expect("they differ");
        assert!(one.what.starts_with("node 1 is in the minority"), "{}", one.what);
        assert!(one.what.contains("nodes 2 and 3 are equal"), "{}", one.what);
        assert!(one.next.contains("feira node resync node-1 --shard 2 "), "{}", one.next);
        assert!(one.next.contains("feira node transfer-leadership node-2 --shard 2 first"), "{}", one.next);
    }

    #[test]
    fn without_a_majority_nobody_is_named() {
        for views in [&[view(1, 7), view(2, 9)][..], &[view(1, 7), view(2, 8), view(3, 9)]] {
            let all = verdict(views, 3, "").expect("they differ");
            assert!(all.what.contains("no majority of the 3 replicas"), "{}", all.what);
        }
    }
}
