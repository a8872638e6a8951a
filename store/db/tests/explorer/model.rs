//! The abstract store: transactions executed whole, at once, in the order of their decisions; and what everybody was told.

use std::collections::{BTreeMap, BTreeSet};

use proto::store::CrossId;

use super::scene::{Scene, Want};

#[derive(Debug)]
pub struct Model {
    /// The value of each key.
    pub values: Vec<i64>,
    /// All that they were, the present ones last.
    pub history: Vec<Vec<i64>>,
    /// How often each request was executed.
    executed: BTreeMap<usize, u32>,
    /// The highest attempt of each request that was told to be refused.
    refused: BTreeMap<usize, u32>,
    /// Requests that were told to be not done.
    not_done: BTreeSet<usize>,
    /// Prepares by the group where they are, and their offset: of decisions to commit.
    committed: BTreeSet<(CrossKey, usize, u64)>,
    aborted: BTreeSet<(CrossKey, usize, u64)>,
}

pub type CrossKey = (u64, u64, u64);

pub fn key_of(id: CrossId) -> CrossKey {
    (id.group, id.epoch, id.number)
}

impl Model {
    pub fn new(scene: &Scene) -> Model {
        Model {
            values: scene.values.clone(),
            history: vec![scene.values.clone()],
            executed: BTreeMap::new(),
            refused: BTreeMap::new(),
            not_done: BTreeSet::new(),
            committed: BTreeSet::new(),
            aborted: BTreeSet::new(),
        }
    }

    /// Whether a try, or what of it is in one group, can be done now.
    pub fn can_do(&self, scene: &Scene, number: usize, group: Option<usize>) -> bool {
        let here = |key: usize| group.is_none_or(|group| scene.groups[key] == group);
        scene.tries[number].wants.iter().filter(|(key, _)| here(*key)).all(|(key, want)| match want {
            Want::Is(value) => self.values[*key] == *value,
            Want::Add(amount, minimum) => self.values[*key] + amount >= *minimum,
            Want::Put(_) => true,
        })
    }

    /// The decision on a try.
    pub fn execute(&mut self, scene: &Scene, number: usize) {
        let of = &scene.tries[number];
        assert!(self.can_do(scene, number, None), "guards and minima hold at the decision: try {number}");
        let count = self.executed.entry(of.request).or_default();
        *count += 1;
        assert_eq!(*count, 1, "a request is executed once: {}", of.request);
        assert!(!self.not_done.contains(&of.request), "what was told to be not done is not done");
        let refused = self.refused.get(&of.request).copied().unwrap_or_default();
        assert!(of.attempt > refused, "a refused attempt is not done");
        for (key, want) in &of.wants {
            match want {
                Want::Add(amount, _) => self.values[*key] += amount,
                Want::Put(value) => self.values[*key] = *value,
                Want::Is(_) => {}
            }
        }
        self.history.push(self.values.clone());
    }

    pub fn told_refused(&mut self, request: usize, attempt: u32) {
        assert!(!self.executed.contains_key(&request), "what is done is not refused: request {request}");
        let highest = self.refused.entry(request).or_default();
        *highest = (*highest).max(attempt);
    }

    pub fn told_not_done(&mut self, request: usize) {
        assert!(!self.executed.contains_key(&request), "what is done is not told to be not done");
        self.not_done.insert(request);
    }

    pub fn told_done(&self, request: usize) {
        assert!(self.executed.contains_key(&request), "what is told to be done is done");
    }

    pub fn committed(&mut self, id: CrossId, group: usize, offset: u64) {
        let prepare = (key_of(id), group, offset);
        assert!(!self.aborted.contains(&prepare), "abort is final: {prepare:?}");
        self.committed.insert(prepare);
    }

    pub fn told_aborted(&mut self, id: CrossId, group: usize, offset: u64) {
        let prepare = (key_of(id), group, offset);
        assert!(!self.committed.contains(&prepare), "what is committed is not aborted: {prepare:?}");
        self.aborted.insert(prepare);
    }

    pub fn is_committed(&self, id: CrossId, group: usize, offset: u64) -> bool {
        self.committed.contains(&(key_of(id), group, offset))
    }
}
