//! Proof of a yes: an order of the operations, and the check that it is one.
//!
//! The check shares nothing with the search: it walks the order once with the plain model, so a wrong yes would need
//! an error in the model itself.

use std::collections::HashSet;

use crate::model::Model;
use crate::operation::Operation;

/// An order in which the operations on one key can have taken effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Oracle {
    /// Which key.
    pub key: String,
    /// Places in the history: every answered operation on the key once, and the unknown ones that took effect.
    pub order: Vec<usize>,
}

impl Oracle {
    /// Whether the order is what it says: complete, in accord with time, and possible for the model as it is before
    /// it has learned anything.
    #[must_use]
    pub fn holds<M: Model>(&self, model: &M, history: &[Operation<M::Op, M::Answer>]) -> bool {
        let answered = history.iter().filter(|o| o.key == self.key && o.answer().is_some()).count();
        self.holds_of(answered, model, history)
    }

    /// The same, for who has counted the answered operations on the key.
    pub(crate) fn holds_of<M: Model>(
        &self,
        answered: usize,
        model: &M,
        history: &[Operation<M::Op, M::Answer>],
    ) -> bool {
        let operations: Option<Vec<_>> = self.order.iter().map(|place| history.get(*place)).collect();
        let Some(operations) = operations else { return false };
        let once = self.order.iter().collect::<HashSet<_>>().len() == self.order.len();
        let complete = operations.iter().filter(|operation| operation.answer().is_some()).count() == answered;
        let of_the_key = operations.iter().all(|operation| operation.key == self.key);
        once && complete && of_the_key && in_time(&operations) && possible(model, &operations)
    }
}

/// Whether no operation stands after one that was called only after it had returned.
fn in_time<O, A>(operations: &[&Operation<O, A>]) -> bool {
    let mut called_last = 0;
    operations.iter().all(|operation| {
        called_last = called_last.max(operation.called);
        operation.returned().is_none_or(|returned| called_last <= returned)
    })
}

/// Whether the model can go this way.
fn possible<M: Model>(model: &M, operations: &[&Operation<M::Op, M::Answer>]) -> bool {
    let mut state = model.initial();
    operations.iter().all(|operation| match model.step(&state, &operation.asked, operation.answer()) {
        Some(after) => {
            state = after;
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::operation::Outcome;
    use crate::register::{CasRegister, RegisterAnswer, RegisterOp};

    fn history() -> Vec<Operation<RegisterOp, RegisterAnswer>> {
        let operation =
            |asked, called, outcome| Operation { process: 0, key: "k".into(), asked, called, outcome };
        let answered = |returned, answer| Outcome::Answered { returned, answer };
        let one = Value::from(1);
        vec![
            operation(RegisterOp::Write(one.clone()), 1, answered(3, RegisterAnswer::Written)),
            operation(RegisterOp::Read, 2, answered(4, RegisterAnswer::Holds(one))),
            operation(RegisterOp::Write(Value::from(2)), 5, Outcome::Unknown),
            operation(RegisterOp::Read, 6, answered(7, RegisterAnswer::Holds(Value::from(2)))),
        ]
    }

    #[test]
    fn only_a_real_order_holds() {
        let holds = |order: &[usize]| {
            let oracle = Oracle { key: "k".into(), order: order.to_vec() };
            oracle.holds(&CasRegister::default(), &history())
        };
        assert!(holds(&[0, 1, 2, 3]));
        assert!(!holds(&[1, 0, 2, 3]), "the read comes before its value");
        assert!(!holds(&[0, 1, 3]), "without the unknown write the last read is not possible");
        assert!(!holds(&[0, 1, 2]), "a read is missing");
        assert!(!holds(&[2, 3, 0, 1]), "against time");
        assert!(!holds(&[0, 1, 2, 3, 3]), "twice");
        assert!(!holds(&[0, 1, 2, 9]), "no such place");
        let other = Oracle { key: "l".into(), order: vec![0] };
        assert!(!other.holds(&CasRegister::default(), &history()), "of another key");
    }
}
