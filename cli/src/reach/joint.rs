//! A change of members that is half made: whose majorities it needs, and the nodes that it waits for. Pure.
//!
//! Promises: what the leader says goes first. Where nobody leads, which is what such a change ends in that waits for a node that
//! stopped, it waits for those voters before it or after it that do not answer and without whom there is no majority.

use proto::store::{MemberPart, Role, StatusResponse};

/// A node, and the incarnation of its folder.
pub type Folder = (u64, u64);

/// Which of several statuses knows best: the leader's, then that of the latest epoch and of the longest log.
#[must_use]
pub fn rank(status: &StatusResponse) -> (bool, u64, u64, u64) {
    let last = status.last.unwrap_or_default();
    (status.role() == Role::Leader, status.epoch, last.epoch, last.offset)
}

/// The voters of whom a majority is needed: those before a change that is under way, and those after it; without one the voters.
#[must_use]
pub fn electorates(status: &StatusResponse) -> Vec<Vec<Folder>> {
    let with = |parts: [MemberPart; 2]| -> Vec<Folder> {
        let some = status.members.iter().filter(|one| parts.contains(&one.part()));
        some.filter_map(|one| one.member.as_ref()).map(|one| (one.node, one.incarnation)).collect()
    };
    let before = with([MemberPart::Voter, MemberPart::Outgoing]);
    let after = with([MemberPart::Voter, MemberPart::Incoming]);
    if before == after { vec![after] } else { vec![before, after] }
}

/// Whether those who answer are a majority.
#[must_use]
pub fn is_majority(voters: &[Folder], answers: impl Fn(Folder) -> bool) -> bool {
    voters.iter().filter(|voter| answers(**voter)).count() * 2 > voters.len()
}

/// The nodes that a change under way waits for, as the node that knows best says, or for want of a leader by who answers; none:
/// no change waits.
#[must_use]
pub fn waited_for(status: &StatusResponse, answers: impl Fn(Folder) -> bool) -> Vec<u64> {
    if status.role() == Role::Leader {
        return status.change_waits_for.clone();
    }
    let electorates = electorates(status);
    if electorates.len() == 1 {
        return Vec::new();
    }
    let lacking = electorates.into_iter().filter(|voters| !is_majority(voters, &answers)).flatten();
    let mut silent: Vec<u64> = lacking.filter(|voter| !answers(*voter)).map(|(node, _)| node).collect();
    silent.sort_unstable();
    silent.dedup();
    silent
}

/// The same in words; `None`: no change waits.
#[must_use]
pub fn told(nodes: &[u64]) -> Option<String> {
    let names: Vec<String> = nodes.iter().map(u64::to_string).collect();
    let word = if names.len() == 1 { "node" } else { "nodes" };
    (!names.is_empty())
        .then(|| format!("a change of members is under way and waits for {word} {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::{Member, MemberStatus};

    fn status(role: Role, members: &[(u64, u64, MemberPart)]) -> StatusResponse {
        let member = |(node, incarnation, part): &(u64, u64, MemberPart)| MemberStatus {
            member: Some(Member { node: *node, incarnation: *incarnation, ..Member::default() }),
            part: (*part).into(),
        };
        StatusResponse {
            role: role.into(),
            members: members.iter().map(member).collect(),
            change_waits_for: vec![9],
            ..StatusResponse::default()
        }
    }

    #[test]
    fn what_a_leader_says_goes_first_and_without_one_it_is_whoever_does_not_answer() {
        use MemberPart::{Incoming, MemberLearner, Outgoing, Voter};
        let removal = [(1, 1, Outgoing), (2, 2, Voter), (3, 3, Voter), (4, 4, MemberLearner)];
        let of = |role, members: &[_], up: &[Folder]| {
            waited_for(&status(role, members), |folder| up.contains(&folder))
        };
        assert_eq!(of(Role::Leader, &removal, &[(1, 1)]), [9]);
        assert_eq!(
            of(Role::Candidate, &removal, &[(1, 1), (2, 2)]),
            [3],
            "two of three before, one of two after"
        );
        assert_eq!(of(Role::Candidate, &removal, &[(2, 2), (3, 3)]), [0; 0], "an election is under way");
        assert_eq!(of(Role::Candidate, &removal, &[(2, 2)]), [1, 3]);
        let settled = [(2, 2, Voter), (3, 3, Voter)];
        assert_eq!(of(Role::Candidate, &settled, &[(2, 2)]), [0; 0], "no change is under way");
        // A new folder says nothing for the one whose place it takes.
        let replacement = [(1, 1, Voter), (2, 2, Outgoing), (2, 7, Incoming)];
        assert_eq!(of(Role::Follower, &replacement, &[(1, 1), (2, 7)]), [2]);
    }

    #[test]
    fn a_change_that_waits_is_told_with_the_nodes_that_it_waits_for() {
        assert_eq!(told(&[]), None);
        assert!(told(&[2]).is_some_and(|told| told.ends_with("waits for node 2")));
        assert!(told(&[2, 3]).is_some_and(|told| told.ends_with("waits for nodes 2, 3")));
    }
}
