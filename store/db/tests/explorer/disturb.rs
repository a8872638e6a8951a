//! Disturbances: leaders that give up and change, entries that are carried on, requests for outcomes.

use proto::store::OutcomeCommand;
use proto::store::command::Kind;
use store_core::coordinate::{self, Coordinator, Hindrance, Input};
use store_core::cut::{FreezeInput, FreezeLeader};
use store_core::types::Epoch;

use super::world::{Pending, Purpose};
use super::{Seen, World};

impl World {
    pub(super) fn hinder(&mut self, group: usize) {
        let at = self.random.below(self.groups[group].leaders.len());
        let number = 1 + self.random.below(4) as u64;
        let id = coordinate::CrossId { group: group as u64 + 1, epoch: Epoch(at as u64 + 1), number };
        self.lead(group, at, Input::Hindered(id, Hindrance::Silent));
    }

    /// A new leader has some of the entries that were appended, and an empty one of its own behind them.
    pub(super) fn change_leader(&mut self, group: usize, seen: &mut Seen) {
        if self.changes_left == 0 {
            return;
        }
        self.changes_left -= 1;
        seen.leader_changes += 1;
        let count = self.groups[group].log.len();
        let kept = self.random.below(count + 1);
        let lost = self.groups[group].log.split_off(kept);
        self.strays.extend(lost.into_iter().map(|pending| (group, pending)));
        let of = &mut self.groups[group];
        of.epoch += 1;
        let epoch = of.epoch;
        of.log.push(Pending { epoch, kind: None, purpose: Purpose::First });
        let mut leader = Coordinator::new(group as u64 + 1);
        leader.step(Input::Lead(Epoch(epoch)));
        of.leaders.push(leader);
        let mut freezer = FreezeLeader::default();
        freezer.step(FreezeInput::Lead(Epoch(epoch)));
        of.freezers.push(freezer);
    }

    /// Somebody carries what a deposed leader appended to its successor.
    pub(super) fn carry_stray(&mut self) {
        if self.strays.is_empty() {
            return;
        }
        let at = self.random.below(self.strays.len());
        let (group, stray) = self.strays.swap_remove(at);
        let is_first = matches!(stray.purpose, Purpose::First);
        if let Some(kind) = stray.kind.filter(|_| !is_first) {
            self.append(group, self.groups[group].epoch, kind, stray.purpose);
        }
    }

    pub(super) fn ask_outcome(&mut self) {
        let number = self.random.below(self.scene.tries.len());
        let of = &self.scene.tries[number];
        let (tag, request) = (self.keys[of.tag].clone(), of.request);
        let group = self.scene.groups[of.tag];
        let identity = Some(self.scene.identity(number));
        let kind = Kind::Outcome(OutcomeCommand { tag, identity });
        self.append(group, self.groups[group].epoch, kind, Purpose::Outcome(request));
    }
}
