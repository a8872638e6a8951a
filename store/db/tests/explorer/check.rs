//! The promises that are checked after every step, and the healing after every walk.

use store_core::coordinate::Input;
use store_core::cut::THAW_TICKS;
use store_db::{Read as _, Space, Table as _, cross, query};

use super::scene::Want;
use super::{Seen, World};

impl World {
    pub(super) fn stored(&self, key: usize) -> i64 {
        let group = &self.groups[self.scene.groups[key]];
        let record = group.table.read(|read| query::get(read, &self.keys[key])).unwrap().expect("a record");
        let text = String::from_utf8(record.data.to_vec()).unwrap();
        text.trim_start_matches("{\"n\":").trim_end_matches('}').parse().expect("a number")
    }

    pub fn check(&self) {
        let mut values: Vec<i64> = (0..self.keys.len()).map(|key| self.stored(key)).collect();
        for (group, of) in self.groups.iter().enumerate() {
            for row in of.table.read(|read| cross::prepared_branches(read, 100)).unwrap() {
                let branch = row.branch.unwrap();
                if !self.model.is_committed(branch.id.unwrap(), group, row.position.unwrap().offset) {
                    continue;
                }
                for operation in &branch.txn.as_ref().unwrap().operations {
                    let key = self.keys.iter().position(|key| *key == operation.key).unwrap();
                    match self.want_of(operation) {
                        Want::Add(amount, _) => values[key] += amount,
                        Want::Put(value) => values[key] = value,
                        Want::Is(_) => {}
                    }
                }
            }
        }
        assert_eq!(values, self.model.values, "stored values and decided effects make the decided values");
    }

    fn want_of(&self, operation: &proto::store::Operation) -> Want {
        use proto::store::operation::Action;
        match operation.action.as_ref().unwrap() {
            Action::Add(add) => Want::Add(add.amount, 0),
            Action::Put(put) => {
                let text = String::from_utf8(put.data.to_vec()).unwrap();
                Want::Put(text.trim_start_matches("{\"n\":").trim_end_matches('}').parse().unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    /// New leaders without memory, and nothing that was said before: everything ends.
    pub fn heal(&mut self, seen: &mut Seen) {
        self.changes_left = self.groups.len();
        for group in 0..self.groups.len() {
            self.change_leader(group, seen);
        }
        self.strays.clear();
        self.facts.clear();
        self.drivers.clear();
        // Nobody thaws but the new leaders themselves.
        (0..self.groups.len()).for_each(|group| self.pass_time(group, 2 * THAW_TICKS));
        for _ in 0..200 {
            for group in 0..self.groups.len() {
                while !self.groups[group].log.is_empty() {
                    self.apply_next(group, seen);
                    self.check();
                }
                let at = self.groups[group].leaders.len() - 1;
                self.lead(group, at, Input::Resend);
                self.pass_time(group, 2 * THAW_TICKS);
                for _ in 0..4 {
                    self.ask(group, seen);
                }
            }
            for fact in std::mem::take(&mut self.facts) {
                // What a new leader begins is not to be waited for.
                self.hear(fact);
            }
            if self.is_clear() {
                return self.check();
            }
        }
        panic!("everything comes to an end: {:?}", self.rows_left());
    }

    fn is_clear(&self) -> bool {
        let is_still = |group| self.frozen(group).is_some();
        self.rows_left().is_empty()
            && self.groups.iter().all(|group| group.log.is_empty())
            && !(0..self.groups.len()).any(is_still)
    }

    fn rows_left(&self) -> Vec<(usize, Space)> {
        let mut left = Vec::new();
        for (at, group) in self.groups.iter().enumerate() {
            for space in [Space::Prepared, Space::Locks, Space::Decisions] {
                let walked = group.table.read(|read| {
                    read.walk(space, &[], &mut |_, _| {
                        left.push((at, space));
                        Ok(true)
                    })
                });
                walked.unwrap();
            }
        }
        left
    }
}
