//! The versions of the state machine that the members' programs can run, as they tell them in acks.
//!
//! An entry that a program does not understand stops its replica, since skipping it would make the replicas differ. So new rules begin
//! with an entry that says so, and a leader proposes that only when every member has told it, in this leadership, that it can run
//! them: learners too, and none that was removed is fed any more. What a member told is believed for ten seconds, as its clock is, so
//! that one that is down, and may come back as an earlier program, is waited for. An earlier program refuses a folder that a later one has opened.

use std::collections::BTreeMap;

use proto::store::{AppliedState, Membership};
use store_core::NodeId;
use store_db::limits::STATE_MACHINE_VERSION;

use crate::convert::nodes_of;
use crate::error::Error;
use crate::limits::MEMBER_TOLD_MS_MAX;

/// What a leader has been told.
#[derive(Debug)]
pub(crate) struct MemberVersions {
    /// This node, and what its program can run.
    own: (NodeId, u32),
    /// What each told, and when by the monotonic clock here.
    told: BTreeMap<NodeId, (u32, u64)>,
    /// The version that is proposed, until leadership changes.
    raising: u32,
}

impl MemberVersions {
    /// A node that has been told nothing.
    pub(crate) fn new(own: NodeId, version: u32) -> MemberVersions {
        MemberVersions { own: (own, version), told: BTreeMap::new(), raising: 0 }
    }

    /// A peer tells what it can run.
    pub(crate) fn hear(&mut self, peer: NodeId, version: u32, monotonic_ms: u64) {
        self.told.insert(peer, (version, monotonic_ms));
    }

    /// Another leads, or this one has just begun.
    pub(crate) fn forget(&mut self) {
        *self = MemberVersions::new(self.own.0, self.own.1);
    }

    /// The version to raise to: what all can run, if it is more than what is in force or proposed.
    pub(crate) fn to_raise(&self, in_force: u32, members: &Membership, monotonic_ms: u64) -> Option<u32> {
        let (own, own_version) = self.own;
        if in_force.max(self.raising) >= own_version {
            return None;
        }
        if store_core::mutant!(RaiseUnasked) {
            return Some(own_version);
        }
        let is_fresh = |(_, at): &&(u32, u64)| monotonic_ms.saturating_sub(*at) <= MEMBER_TOLD_MS_MAX;
        let told = |node| self.told.get(&node).filter(is_fresh).map(|(version, _)| *version);
        let can_run = |node| if node == own { Some(own_version) } else { told(node) };
        let all: Option<Vec<u32>> = nodes_of(members).map(can_run).collect();
        let version = all?.into_iter().min()?.min(own_version);
        (version > in_force.max(self.raising)).then_some(version)
    }

    /// It is proposed.
    pub(crate) fn raising(&mut self, version: u32) {
        self.raising = version;
    }

    /// What was proposed was not appended.
    pub(crate) fn not_raised(&mut self) {
        self.raising = 0;
    }
}

/// Refuses a table whose entries were applied by rules that this program does not know.
///
/// # Errors
/// [`store_log::Error::Version`].
pub(crate) fn known_version(state: &AppliedState) -> Result<(), Error> {
    let (found, known) = (state.state_machine_version, STATE_MACHINE_VERSION);
    if found <= known {
        return Ok(());
    }
    let (file, what) = ("the database".to_owned(), "state-machine version");
    Err(Error::Log(store_log::Error::Version { file, what, found, known }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(nodes: &[u64], learners: &[u64]) -> Membership {
        let all = |nodes: &[u64]| {
            let member = |node: &u64| proto::store::Member { node: *node, ..Default::default() };
            nodes.iter().map(member).collect()
        };
        Membership { voters: all(nodes), learners: all(learners), ..Default::default() }
    }

    #[test]
    fn a_version_is_raised_once_when_every_member_can_run_it() {
        let three = members(&[1, 2, 3], &[]);
        let mut versions = MemberVersions::new(NodeId(1), STATE_MACHINE_VERSION);
        versions.hear(NodeId(2), STATE_MACHINE_VERSION, 50);
        assert_eq!(versions.to_raise(1, &three, 60), None, "node 3 has not said");
        versions.hear(NodeId(3), 1, 50);
        assert_eq!(versions.to_raise(1, &three, 60), None, "node 3 cannot");
        versions.hear(NodeId(3), STATE_MACHINE_VERSION + 7, 50);
        assert_eq!(versions.to_raise(1, &three, 60), Some(STATE_MACHINE_VERSION), "this one can no more");
        let later_ms = 51 + MEMBER_TOLD_MS_MAX;
        assert_eq!(versions.to_raise(1, &three, later_ms), None, "who knows what runs there by now");
        versions.raising(STATE_MACHINE_VERSION);
        assert_eq!(versions.to_raise(1, &three, 60), None, "it is proposed");
        versions.not_raised();
        assert_eq!(versions.to_raise(1, &three, 60), Some(STATE_MACHINE_VERSION), "it was not appended");
        versions.raising(STATE_MACHINE_VERSION);
        versions.forget();
        assert_eq!(versions.to_raise(1, &three, 60), None, "another leadership asks anew");
        assert_eq!(versions.to_raise(STATE_MACHINE_VERSION, &members(&[1], &[]), 60), None, "it is in force");
    }

    #[test]
    fn a_table_of_a_later_version_is_refused_with_what_it_needs() {
        let state = |version| AppliedState { state_machine_version: version, ..AppliedState::default() };
        assert!(known_version(&state(STATE_MACHINE_VERSION)).is_ok());
        let refused = known_version(&state(STATE_MACHINE_VERSION + 1)).unwrap_err().to_string();
        assert!(refused.contains("state-machine version"), "{refused}");
    }

    #[test]
    fn learners_are_waited_for() {
        let versions = MemberVersions::new(NodeId(1), STATE_MACHINE_VERSION);
        assert_eq!(versions.to_raise(1, &members(&[1], &[]), 60), Some(STATE_MACHINE_VERSION));
        assert_eq!(versions.to_raise(1, &members(&[1], &[4]), 60), None);
    }
}
