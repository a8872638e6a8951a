//! The model's steps, each computed once: states and operations become small numbers.
//!
//! Leaves out: any bound of its own. There are at most as many entries as the search takes steps, which are bounded.

use std::collections::HashMap;
use std::hash::Hash;

use crate::model::Model;

/// Values numbered in the order in which they came.
#[derive(Debug)]
struct Numbered<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn new() -> Self {
        Numbered { values: Vec::new(), numbers: HashMap::new() }
    }

    fn number(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).expect("the limits keep far fewer values than 2^32");
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    fn value(&self, number: u32) -> &T {
        &self.values[number as usize]
    }
}

/// An operation and its answer, `None`: unknown.
type Deed<M> = (<M as Model>::Op, Option<<M as Model>::Answer>);

/// The steps of one model over one key.
#[derive(Debug)]
pub(crate) struct Steps<M: Model> {
    model: M,
    states: Numbered<M::State>,
    deeds: Numbered<Deed<M>>,
    /// From (state, deed) to the state after it; `None`: not possible.
    known: HashMap<(u32, u32), Option<u32>>,
}

impl<M: Model> Steps<M> {
    /// No step is computed yet. State 0 is the first.
    pub(crate) fn new(model: M) -> Self {
        let mut states = Numbered::new();
        states.number(model.initial());
        Steps { model, states, deeds: Numbered::new(), known: HashMap::new() }
    }

    /// The number of an operation with its answer; equal ones have one number.
    pub(crate) fn deed(&mut self, op: &M::Op, answer: Option<&M::Answer>) -> u32 {
        self.deeds.number((self.model.canonical(op), answer.cloned()))
    }

    /// Whether one unknown deed can stand in for another.
    pub(crate) fn stands_in(&self, strong: u32, weak: u32) -> bool {
        self.model.stands_in(&self.deeds.value(strong).0, &self.deeds.value(weak).0)
    }

    /// The state after a deed, if it is possible in this state.
    pub(crate) fn after(&mut self, state: u32, deed: u32) -> Option<u32> {
        if let Some(known) = self.known.get(&(state, deed)) {
            return *known;
        }
        let (op, answer) = self.deeds.value(deed);
        let after = self.model.step(self.states.value(state), op, answer.as_ref());
        let after = after.map(|after| self.states.number(after));
        self.known.insert((state, deed), after);
        after
    }

    /// A state, for people.
    pub(crate) fn describe(&self, state: u32) -> String {
        self.model.describe_state(self.states.value(state))
    }
}
