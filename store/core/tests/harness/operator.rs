//! The operator of a simulated cluster: asks for changes of membership, sensible and not, wipes disks that the cluster
//! can do without, and mends what was wiped.

use store_core::{Member, MemberChange, Membership, NodeId};

use super::chaos::Chaos;
use super::disk::memberships;

impl Chaos {
    /// Asks a leader, or somebody who is none, for a change.
    pub(super) fn change_members(&mut self) {
        if !self.dice.in_thousand(self.hardship.change) {
            return;
        }
        let anybody = if self.dice.in_thousand(50) { self.cluster.ids_up() } else { self.cluster.leaders() };
        let Some(id) = self.dice.pick(&anybody) else { return };
        let membership = self.cluster.nodes[&id].up().membership().clone();
        let wanted = self.repair(&membership).or_else(|| self.draw_change(&membership));
        let Some(change) = wanted else { return };
        let begun = self.cluster.counts.memberships;
        self.cluster.change_members(id, change);
        if self.cluster.counts.memberships > begun && self.dice.in_thousand(400) {
            // The worst moment: only one side hears of it.
            self.cluster.cut.clear();
            let ids = self.cluster.ids();
            self.split(&ids);
        }
    }

    /// Any change of a membership whose members are all there.
    fn draw_change(&mut self, membership: &Membership) -> Option<MemberChange> {
        let ids = self.cluster.ids();
        let anybody = self.dice.pick(&ids).map(|id| self.cluster.member(id))?;
        let (members, learners) = (membership.members(), membership.learners.clone());
        match self.dice.below(10) {
            0..=3 => Some(MemberChange::AddLearner(anybody)),
            4 | 5 => Some(MemberChange::Promote(self.dice.pick(&learners).unwrap_or(anybody))),
            // Where a disk may lie, one voter alone is too few: what it loses nobody else need have.
            6 if self.hardship.lying_disks && membership.voters.len() == 2 => None,
            6 => self.dice.pick(&members).map(MemberChange::Remove),
            _ => {
                let old = self.dice.pick(&membership.voters)?;
                Some(MemberChange::Replace { old, new: self.dice.pick(&learners).unwrap_or(anybody) })
            }
        }
    }

    /// What to do about a member whose folder is gone, if there is one. Nothing else is asked for meanwhile: an operator
    /// who removes sound voters first would stop the group.
    fn repair(&mut self, membership: &Membership) -> Option<MemberChange> {
        let is_gone = |member: &&Member| self.cluster.member(member.node) != **member;
        if let Some(learner) = membership.learners.iter().find(is_gone) {
            return Some(MemberChange::Remove(*learner));
        }
        let old = *membership.voters.iter().find(is_gone)?;
        let new = self.cluster.member(old.node);
        if membership.learners.contains(&new) {
            return Some(MemberChange::Replace { old, new });
        }
        if membership.voters.len() > 3 && self.dice.in_thousand(200) {
            return Some(MemberChange::Remove(old));
        }
        Some(MemberChange::AddLearner(new))
    }

    /// After the faults: asks until no member is gone.
    pub(super) fn mend(&mut self) {
        let [leader] = self.cluster.leaders()[..] else { return };
        let membership = self.cluster.nodes[&leader].up().membership().clone();
        if let Some(change) = self.repair(&membership) {
            self.cluster.change_members(leader, change);
        }
    }

    /// Whether a node that is down may lose its disk for good: at most one voter of three or more, and the next one only
    /// when the first was replaced on every member's disk.
    pub(super) fn may_wipe(&self, id: NodeId) -> bool {
        if self.hardship.lying_disks {
            return false;
        }
        let committed = memberships(self.cluster.oracle.committed()).pop();
        let (_, membership) = committed.expect("entry 1 is a membership");
        let members = membership.members();
        let agree = members.iter().all(|member| {
            let node = &self.cluster.nodes[&member.node];
            let in_memory = node.is_up().then(|| node.membership_in(&node.memory)).flatten();
            node.config.member == *member
                && node.membership_in(&node.disk.log).as_ref() == Some(&membership)
                && in_memory.is_none_or(|in_memory| in_memory == membership)
        });
        let is_voter = membership.is_voter(self.cluster.member(id));
        agree && !membership.is_joint() && (!is_voter || membership.voters.len() >= 3)
    }
}
