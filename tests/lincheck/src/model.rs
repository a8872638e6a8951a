//! The sequential object that a history is checked against.
//!
//! Promises: a model is a pure function, and its `fresh` form (before [`Model::learn`]) is the plain definition of
//! the object; what it learns may only make states and operations coincide that nothing in the history can tell
//! apart. Tests hold each model to that: the naive checker uses the plain form, the search the learned one.
//!
//! Leaves out: keys. A model is one object; a history of many keys is judged key by key.

use std::fmt::Debug;
use std::hash::Hash;

use crate::operation::Operation;

/// A sequential object: a state, and which answer an operation may get there.
pub trait Model: Clone {
    /// What may be asked.
    type Op: Clone + Eq + Hash + Debug;
    /// What may be answered.
    type Answer: Clone + Eq + Hash + Debug;
    /// What the object remembers.
    type State: Clone + Eq + Hash + Debug;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after `op` if it can be answered so in `state`; `None`: it cannot. Without an answer (nobody knows
    /// it) every operation is possible, and the state after it depends on `state` and `op` alone.
    fn step(&self, state: &Self::State, op: &Self::Op, answer: Option<&Self::Answer>) -> Option<Self::State>;

    /// Whether `op`, answered so, changes no state in which that answer is possible; without an answer: whether it
    /// changes no state at all.
    fn only_observes(&self, op: &Self::Op, answer: Option<&Self::Answer>) -> bool;

    /// Looks at all operations on one key before they are judged, so that states and operations which differ only
    /// in what this history never looks at can be treated as one.
    ///
    /// What is learned must be a bisimulation: if `step` maps two states to one, then every continuation of this
    /// history is possible from both or from neither.
    fn learn(&mut self, history: &[&Operation<Self::Op, Self::Answer>]) {
        let _ = history;
    }

    /// The operation that stands for all that this history cannot tell from `op`. Every state after it must be, to
    /// this history, the same as after `op`.
    fn canonical(&self, op: &Self::Op) -> Self::Op {
        op.clone()
    }

    /// Whether `strong` can stand in for `weak`, both canonical and of unknown outcome: from every state that `weak`
    /// changes, `strong` leads to one from which this history can go on in at least as many ways.
    fn stands_in(&self, strong: &Self::Op, weak: &Self::Op) -> bool {
        let _ = (strong, weak);
        false
    }

    /// The operation and its answer, for people.
    fn describe(&self, op: &Self::Op, answer: Option<&Self::Answer>) -> String {
        match answer {
            Some(answer) => format!("{op:?} -> {answer:?}"),
            None => format!("{op:?} -> unknown"),
        }
    }

    /// A state, for people.
    fn describe_state(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }
}
