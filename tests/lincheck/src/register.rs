//! A register with compare-and-set: the model `cas-register`. It holds null at first.

use std::collections::HashSet;

use serde_json::Value;

use crate::model::Model;
use crate::operation::Operation;

/// What a register may be asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RegisterOp {
    /// What does it hold?
    Read,
    /// Hold this.
    Write(Value),
    /// Hold `to` if it holds `from`.
    CompareAndSet {
        /// What it must hold.
        from: Value,
        /// What it then holds.
        to: Value,
    },
}

/// What a register may answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RegisterAnswer {
    /// To a read: it holds this.
    Holds(Value),
    /// To a write.
    Written,
    /// To a compare-and-set: whether it held `from`.
    Matched(bool),
}

/// The model. See [`RegisterOp`] and [`RegisterAnswer`].
///
/// **What it learns.** A value that no read answered, that no compare-and-set compares with and that is not null is
/// *unseen*: no step depends on which unseen value is held. So one of them stands for all, and unknown writes of
/// unseen values are all the same operation.
#[derive(Clone, Default, Debug)]
pub struct CasRegister {
    /// Values that a step may depend on; `None`: nothing learned, every value counts.
    seen: Option<HashSet<Value>>,
    /// Stands for every value that is not seen; `None`: there is none.
    unseen: Option<Value>,
}

impl CasRegister {
    fn stand_in(&self, value: &Value) -> Value {
        match (&self.seen, &self.unseen) {
            (Some(seen), Some(unseen)) if !seen.contains(value) => unseen.clone(),
            _ => value.clone(),
        }
    }
}

impl Model for CasRegister {
    type Op = RegisterOp;
    type Answer = RegisterAnswer;
    type State = Value;

    fn initial(&self) -> Value {
        Value::Null
    }

    fn step(&self, state: &Value, op: &RegisterOp, answer: Option<&RegisterAnswer>) -> Option<Value> {
        let (after, told) = match op {
            RegisterOp::Read => (state, RegisterAnswer::Holds(state.clone())),
            RegisterOp::Write(value) => (value, RegisterAnswer::Written),
            RegisterOp::CompareAndSet { from, to } if from == state => (to, RegisterAnswer::Matched(true)),
            RegisterOp::CompareAndSet { .. } => (state, RegisterAnswer::Matched(false)),
        };
        answer.is_none_or(|answer| *answer == told).then(|| after.clone())
    }

    fn only_observes(&self, op: &RegisterOp, answer: Option<&RegisterAnswer>) -> bool {
        match op {
            RegisterOp::Read => true,
            RegisterOp::Write(_) => false,
            RegisterOp::CompareAndSet { from, to } => {
                answer == Some(&RegisterAnswer::Matched(false)) || from == to
            }
        }
    }

    fn learn(&mut self, history: &[&Operation<RegisterOp, RegisterAnswer>]) {
        let mut seen = HashSet::from([Value::Null]);
        for operation in history {
            if let Some(RegisterAnswer::Holds(value)) = operation.answer() {
                seen.insert(value.clone());
            }
            if let RegisterOp::CompareAndSet { from, .. } = &operation.asked {
                seen.insert(from.clone());
            }
        }
        self.unseen = history.iter().find_map(|operation| match &operation.asked {
            RegisterOp::Write(value) | RegisterOp::CompareAndSet { to: value, .. } => {
                (!seen.contains(value)).then(|| value.clone())
            }
            RegisterOp::Read => None,
        });
        self.seen = Some(seen);
    }

    fn canonical(&self, op: &RegisterOp) -> RegisterOp {
        match op {
            RegisterOp::Read => RegisterOp::Read,
            RegisterOp::Write(value) => RegisterOp::Write(self.stand_in(value)),
            RegisterOp::CompareAndSet { from, to } => {
                RegisterOp::CompareAndSet { from: from.clone(), to: self.stand_in(to) }
            }
        }
    }

    /// A write does in every state what a compare-and-set does in one.
    fn stands_in(&self, strong: &RegisterOp, weak: &RegisterOp) -> bool {
        match (strong, weak) {
            (RegisterOp::Write(value), RegisterOp::CompareAndSet { to, .. }) => value == to,
            _ => false,
        }
    }

    fn describe(&self, op: &RegisterOp, answer: Option<&RegisterAnswer>) -> String {
        let asked = match op {
            RegisterOp::Read => "read".to_owned(),
            RegisterOp::Write(value) => format!("write {value}"),
            RegisterOp::CompareAndSet { from, to } => format!("cas {from} to {to}"),
        };
        match answer {
            None => format!("{asked}: unknown"),
            Some(RegisterAnswer::Holds(value)) => format!("{asked}: {value}"),
            Some(RegisterAnswer::Written | RegisterAnswer::Matched(true)) => format!("{asked}: done"),
            Some(RegisterAnswer::Matched(false)) => format!("{asked}: held another"),
        }
    }

    fn describe_state(&self, state: &Value) -> String {
        if self.unseen.as_ref() == Some(state) {
            return "a value that nobody looked at".to_owned();
        }
        state.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Outcome;

    #[test]
    fn a_register_matches_by_value() {
        let register = CasRegister::default();
        let cas = RegisterOp::CompareAndSet { from: Value::from(1), to: Value::from(2) };
        let (one, other) = (Value::from(1), Value::from("1"));
        assert_eq!(register.step(&one, &cas, Some(&RegisterAnswer::Matched(true))), Some(Value::from(2)));
        assert_eq!(register.step(&one, &cas, Some(&RegisterAnswer::Matched(false))), None);
        assert_eq!(register.step(&other, &cas, None), Some(other.clone()));
        assert_eq!(
            register.step(&other, &RegisterOp::Read, Some(&RegisterAnswer::Holds(Value::from(1)))),
            None
        );
    }

    #[test]
    fn writes_that_nobody_looks_at_are_one() {
        let write = |value: i64| Operation {
            process: 0,
            key: String::new(),
            asked: RegisterOp::Write(Value::from(value)),
            called: 0,
            outcome: Outcome::<RegisterAnswer>::Unknown,
        };
        let read = Operation {
            asked: RegisterOp::Read,
            outcome: Outcome::Answered { returned: 1, answer: RegisterAnswer::Holds(Value::from(3)) },
            ..write(0)
        };
        let mut register = CasRegister::default();
        register.learn(&[&write(1), &write(2), &write(3), &read]);
        let canonical = |value| register.canonical(&write(value).asked);
        assert_eq!(canonical(1), canonical(2));
        assert_ne!(canonical(1), canonical(3));
    }
}
