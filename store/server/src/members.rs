//! Changes of membership as the wire has them, and members as people see them.
//!
//! Promises: a request without sense is refused here, with the field's name; a node is turned into its folder
//! only where exactly one can be meant. The core decides which change is allowed.

use proto::store as wire;
use proto::store::change_members_request::Change;
use proto::store::{Failure, FailureReason, MemberPart, MemberStatus};
use store_client::failure::{failure, invalid};
use store_core::{Incarnation, Member, MemberChange, NodeId};

use crate::config::{ADDRESS_BYTES_MAX, reachable_address};

/// What is asked for, and the address of the member that it adds.
pub(crate) fn change_in(
    change: Option<Change>,
    members: &wire::Membership,
) -> Result<(MemberChange, String), Failure> {
    let named = |field: &str, name: Option<wire::MemberName>| {
        let member = name_in(field, name, members)?;
        let gone = |node| failure(FailureReason::ChangeRefused, format!("node {node} is not a member"));
        if member.incarnation == NO_FOLDER { Err(gone(member.node.0)) } else { Ok(member) }
    };
    // A member that is gone need not go: the leader says that it is so already, when that is committed.
    let leaving = |field: &str, name: Option<wire::MemberName>| name_in(field, name, members);
    let change = change.ok_or_else(|| invalid("change", "is missing"))?;
    Ok(match change {
        Change::AddLearner(member) => return add_in(member),
        Change::Promote(name) => (MemberChange::Promote(named("promote", Some(name))?), String::new()),
        Change::Remove(name) => (MemberChange::Remove(leaving("remove", Some(name))?), String::new()),
        Change::Replace(replacement) => {
            let old = leaving("replace.old", replacement.old)?;
            let new = named("replace.new", replacement.new)?;
            (MemberChange::Replace { old, new }, String::new())
        }
    })
}

fn add_in(member: wire::Member) -> Result<(MemberChange, String), Failure> {
    if member.node == 0 {
        return Err(invalid("add_learner.node", "node 0 is nobody"));
    }
    if member.incarnation == 0 {
        return Err(invalid(
            "add_learner.incarnation",
            "is missing: it is made with the new member's folder",
        ));
    }
    if member.address.len() > ADDRESS_BYTES_MAX || reachable_address(&member.address).is_none() {
        return Err(invalid(
            "add_learner.address",
            format!("{:?} is not host:port where others reach it", member.address),
        ));
    }
    let who = Member { node: NodeId(member.node), incarnation: Incarnation(member.incarnation) };
    Ok((MemberChange::AddLearner(who), member.address))
}

/// No folder has it.
const NO_FOLDER: Incarnation = Incarnation(0);

/// The member that is meant; with [`NO_FOLDER`] if its node is not in the group.
fn name_in(
    field: &str,
    name: Option<wire::MemberName>,
    members: &wire::Membership,
) -> Result<Member, Failure> {
    let name = name.filter(|name| name.node != 0).ok_or_else(|| invalid(field, "names no node"))?;
    if name.incarnation != 0 {
        return Ok(Member { node: NodeId(name.node), incarnation: Incarnation(name.incarnation) });
    }
    let mut folders: Vec<u64> = members
        .voters
        .iter()
        .chain(&members.outgoing)
        .chain(&members.learners)
        .filter(|member| member.node == name.node)
        .map(|member| member.incarnation)
        .collect();
    folders.sort_unstable();
    folders.dedup();
    match folders[..] {
        [incarnation] => Ok(Member { node: NodeId(name.node), incarnation: Incarnation(incarnation) }),
        [] => Ok(Member { node: NodeId(name.node), incarnation: NO_FOLDER }),
        _ => {
            let message =
                format!("node {} is in the group with several folders: give the incarnation", name.node);
            Err(invalid(format!("{field}.incarnation"), message))
        }
    }
}

/// Everybody in the group, with the part that each has.
pub(crate) fn statuses(members: &wire::Membership) -> Vec<MemberStatus> {
    let is_joint = !members.outgoing.is_empty();
    let status = |member: &wire::Member, part: MemberPart| MemberStatus {
        member: Some(member.clone()),
        part: part.into(),
    };
    let voter = |member: &wire::Member| {
        let stays = !is_joint || members.outgoing.contains(member);
        status(member, if stays { MemberPart::Voter } else { MemberPart::Incoming })
    };
    let leaving = members.outgoing.iter().filter(|member| !members.voters.contains(member));
    let mut all: Vec<MemberStatus> = members.voters.iter().map(voter).collect();
    all.extend(leaving.map(|member| status(member, MemberPart::Outgoing)));
    all.extend(members.learners.iter().map(|member| status(member, MemberPart::MemberLearner)));
    all.sort_by_key(|one| one.member.as_ref().map(|member| (member.node, member.incarnation)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64, incarnation: u64) -> wire::Member {
        wire::Member { node, incarnation, address: format!("127.0.0.1:{}", 7_000 + node), joined: false }
    }

    /// The lost folder of node 3 is being replaced by its new one.
    fn replacing() -> wire::Membership {
        wire::Membership {
            voters: vec![member(1, 1), member(3, 103)],
            outgoing: vec![member(1, 1), member(3, 3)],
            learners: vec![member(4, 4)],
            owned: None,
        }
    }

    #[test]
    fn every_member_is_shown_once_with_its_part() {
        let shown: Vec<(u64, MemberPart)> = statuses(&replacing())
            .iter()
            .map(|one| (one.member.as_ref().expect("a member").incarnation, one.part()))
            .collect();
        let (voter, learner) = (MemberPart::Voter, MemberPart::MemberLearner);
        let (incoming, outgoing) = (MemberPart::Incoming, MemberPart::Outgoing);
        assert_eq!(shown, [(1, voter), (3, outgoing), (103, incoming), (4, learner)]);
    }

    #[test]
    fn a_node_alone_names_a_folder_only_without_doubt() {
        let name = |node, incarnation| Change::Remove(wire::MemberName { node, incarnation });
        let removed = |node, incarnation| change_in(Some(name(node, incarnation)), &replacing());
        let of = |node, incarnation| {
            MemberChange::Remove(Member { node: NodeId(node), incarnation: Incarnation(incarnation) })
        };
        assert_eq!(removed(1, 0).expect("one folder").0, of(1, 1));
        assert_eq!(removed(3, 3).expect("that folder").0, of(3, 3));
        assert_eq!(removed(3, 0).expect_err("two folders").field, "remove.incarnation");
        assert_eq!(removed(9, 0).expect("gone already").0, of(9, 0));
        let promoted =
            change_in(Some(Change::Promote(wire::MemberName { node: 9, incarnation: 0 })), &replacing());
        assert_eq!(promoted.expect_err("nobody").reason(), FailureReason::ChangeRefused);
        assert_eq!(removed(0, 0).expect_err("nobody").field, "remove");
    }

    #[test]
    fn a_learner_comes_with_all_that_the_others_need() {
        let refused = |change: wire::Member| {
            change_in(Some(Change::AddLearner(change)), &replacing()).expect_err("something lacks").field
        };
        assert_eq!(refused(wire::Member { node: 0, ..member(5, 5) }), "add_learner.node");
        assert_eq!(refused(wire::Member { incarnation: 0, ..member(5, 5) }), "add_learner.incarnation");
        assert_eq!(
            refused(wire::Member { address: "here".to_owned(), ..member(5, 5) }),
            "add_learner.address"
        );
        assert!(change_in(None, &replacing()).is_err());
        assert_eq!(
            change_in(Some(Change::AddLearner(member(5, 5))), &replacing()).expect("whole").1,
            "127.0.0.1:7005"
        );
    }
}
