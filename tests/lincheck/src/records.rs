//! A record of feira's store, or its absence: the model `records`. It is absent at first.
//!
//! The answers of the store say which version they left or found, and so leave few orders possible: a history of
//! this model is judged much faster than the same writes as a register without versions.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::model::Model;
use crate::operation::Operation;

/// What a record may be asked: `Get`, `Set`, `Delete`, `DeleteVersion` and `TestAndSet` of the store, and the `Put`
/// of its transactions.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RecordOp {
    /// What is there?
    Get,
    /// Create it; refused if it is there.
    Set(Value),
    /// Create it, or replace it whatever its version.
    Put(Value),
    /// Delete it whatever its version; refused if it is absent.
    Delete,
    /// Delete this version; refused if it is absent or of another version.
    DeleteVersion(u64),
    /// Replace this version; refused if it is absent or of another version.
    TestAndSet {
        /// The version that must be there.
        version: u64,
        /// What is then there.
        value: Value,
    },
}

/// What an answer says of the record before the operation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Found {
    /// Nothing.
    Untold,
    /// There was none.
    Absent,
    /// There was one.
    Present {
        /// Its version, if told.
        version: Option<u64>,
        /// What was in it, if told.
        value: Option<Value>,
    },
}

/// What a record may answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RecordAnswer {
    /// Whether it was done; false: it was refused and changed nothing. Gets and puts are always done.
    pub done: bool,
    /// The record before: all that a get answers.
    pub found: Found,
    /// The version that a write left, if told.
    pub version: Option<u64>,
}

/// What is in a record, as far as this history can see it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    /// This.
    Value(Value),
    /// Something that no answer shows at this version.
    Unseen,
}

/// The model: [`RecordOp`], [`RecordAnswer`]; the state is the version and the content, or absence. Versions are 1
/// when created and one more with every change; a record that is created anew begins at 1 again.
///
/// **What it learns.** Only answers look at contents. If no answer shows a value together with a version (or with
/// its version untold), then no step depends on its being the content at that version: all such contents of a
/// version are one state. A value that no answer shows at all is *unseen*, and one of them stands for all.
#[derive(Clone, Default, Debug)]
pub struct Records {
    /// Values by the versions at which an answer shows them (`None`: at any); nothing learned: every value counts.
    shown: Option<HashMap<Value, HashSet<Option<u64>>>>,
    /// Stands for every value that no answer shows; `None`: there is none.
    unseen: Option<Value>,
}

/// A record: its version and content.
pub type RecordState = Option<(u64, Content)>;

impl Records {
    fn record(&self, version: u64, value: &Value) -> (u64, Content) {
        let seen = self.shown.as_ref().is_none_or(|shown| {
            shown.get(value).is_some_and(|at| at.contains(&None) || at.contains(&Some(version)))
        });
        (version, if seen { Content::Value(value.clone()) } else { Content::Unseen })
    }

    fn stand_in(&self, value: &Value) -> Value {
        match (&self.shown, &self.unseen) {
            (Some(shown), Some(unseen)) if !shown.contains_key(value) => unseen.clone(),
            _ => value.clone(),
        }
    }

    /// Whether it is done in this state, and the state after it.
    fn effect(&self, state: &RecordState, op: &RecordOp) -> (bool, RecordState) {
        let version = state.as_ref().map(|(version, _)| *version);
        match op {
            RecordOp::Get => (true, state.clone()),
            RecordOp::Set(value) if version.is_none() => (true, Some(self.record(1, value))),
            RecordOp::Put(value) => {
                (true, Some(self.record(version.map_or(1, |v| v.saturating_add(1)), value)))
            }
            RecordOp::Delete if version.is_some() => (true, None),
            RecordOp::DeleteVersion(asked) if version == Some(*asked) => (true, None),
            RecordOp::TestAndSet { version: asked, value } if version == Some(*asked) => {
                (true, Some(self.record(asked.saturating_add(1), value)))
            }
            _ => (false, state.clone()),
        }
    }
}

impl Found {
    /// Whether this is what is there.
    fn tells(&self, state: &RecordState) -> bool {
        match (self, state) {
            (Found::Untold, _) | (Found::Absent, None) => true,
            (Found::Present { version, value }, Some((held, content))) => {
                version.is_none_or(|version| version == *held)
                    && value.as_ref().is_none_or(|value| matches!(content, Content::Value(is) if is == value))
            }
            _ => false,
        }
    }
}

impl Model for Records {
    type Op = RecordOp;
    type Answer = RecordAnswer;
    type State = RecordState;

    fn initial(&self) -> RecordState {
        None
    }

    fn step(&self, state: &RecordState, op: &RecordOp, answer: Option<&RecordAnswer>) -> Option<RecordState> {
        let (done, after) = self.effect(state, op);
        let fits = answer.is_none_or(|answer| {
            let version = after.as_ref().map(|(version, _)| *version);
            answer.done == done
                && answer.found.tells(state)
                && answer.version.is_none_or(|told| done && version == Some(told))
        });
        fits.then_some(after)
    }

    fn only_observes(&self, op: &RecordOp, answer: Option<&RecordAnswer>) -> bool {
        *op == RecordOp::Get || answer.is_some_and(|answer| !answer.done)
    }

    fn learn(&mut self, history: &[&Operation<RecordOp, RecordAnswer>]) {
        let mut shown: HashMap<Value, HashSet<Option<u64>>> = HashMap::new();
        for answer in history.iter().filter_map(|operation| operation.answer()) {
            if let Found::Present { version, value: Some(value) } = &answer.found {
                shown.entry(value.clone()).or_default().insert(*version);
            }
        }
        self.unseen = history.iter().find_map(|operation| match &operation.asked {
            RecordOp::Set(value) | RecordOp::Put(value) | RecordOp::TestAndSet { value, .. } => {
                (!shown.contains_key(value)).then(|| value.clone())
            }
            RecordOp::Get | RecordOp::Delete | RecordOp::DeleteVersion(_) => None,
        });
        self.shown = Some(shown);
    }

    fn canonical(&self, op: &RecordOp) -> RecordOp {
        match op {
            RecordOp::Set(value) => RecordOp::Set(self.stand_in(value)),
            RecordOp::Put(value) => RecordOp::Put(self.stand_in(value)),
            RecordOp::TestAndSet { version, value } => {
                RecordOp::TestAndSet { version: *version, value: self.stand_in(value) }
            }
            RecordOp::Get | RecordOp::Delete | RecordOp::DeleteVersion(_) => op.clone(),
        }
    }

    /// A put does wherever it is done what a set or a test-and-set does in some states, a delete what a
    /// delete-version does. No answer tells that a value is *not* there, so any value does for an unseen one.
    fn stands_in(&self, strong: &RecordOp, weak: &RecordOp) -> bool {
        let does_for = |strong: &Value, weak: &Value| strong == weak || self.unseen.as_ref() == Some(weak);
        let written = match weak {
            RecordOp::Set(value) | RecordOp::Put(value) | RecordOp::TestAndSet { value, .. } => value,
            RecordOp::DeleteVersion(_) => return *strong == RecordOp::Delete,
            RecordOp::Get | RecordOp::Delete => return false,
        };
        match (strong, weak) {
            (RecordOp::Put(value), _) | (RecordOp::Set(value), RecordOp::Set(_)) => does_for(value, written),
            (RecordOp::TestAndSet { version, value }, RecordOp::TestAndSet { version: weak, .. }) => {
                version == weak && does_for(value, written)
            }
            _ => false,
        }
    }

    fn describe(&self, op: &RecordOp, answer: Option<&RecordAnswer>) -> String {
        let asked = match op {
            RecordOp::Get => "get".to_owned(),
            RecordOp::Set(value) => format!("set {value}"),
            RecordOp::Put(value) => format!("put {value}"),
            RecordOp::Delete => "delete".to_owned(),
            RecordOp::DeleteVersion(version) => format!("delete-version {version}"),
            RecordOp::TestAndSet { version, value } => format!("test-and-set {version} {value}"),
        };
        let Some(answer) = answer else { return format!("{asked}: unknown") };
        let done = if answer.done { "done" } else { "refused" };
        let version = answer.version.map(|version| format!(", now version {version}")).unwrap_or_default();
        let found = match &answer.found {
            Found::Untold => String::new(),
            Found::Absent => ", found nothing".to_owned(),
            Found::Present { version, value } => {
                let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
                let value = value.as_ref().map(|value| format!(" {value}")).unwrap_or_default();
                format!(", found{version}{value}")
            }
        };
        format!("{asked}: {done}{found}{version}")
    }

    fn describe_state(&self, state: &RecordState) -> String {
        match state {
            None => "absent".to_owned(),
            Some((version, Content::Value(value))) => format!("version {version}, {value}"),
            Some((version, Content::Unseen)) => {
                format!("version {version}, with something that no answer shows at this version")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(done: bool, found: Found, version: Option<u64>) -> RecordAnswer {
        RecordAnswer { done, found, version }
    }

    #[test]
    fn versions_count_changes_and_begin_again() {
        let records = Records::default();
        let after = |state: &RecordState, op: RecordOp| records.step(state, &op, None).unwrap();
        let value = || Value::from("a");
        let one = after(&None, RecordOp::Set(value()));
        assert_eq!(one, Some((1, Content::Value(value()))));
        assert_eq!(after(&one, RecordOp::Set(Value::from("b"))), one);
        let two = after(&one, RecordOp::TestAndSet { version: 1, value: Value::from("b") });
        assert_eq!(two, Some((2, Content::Value(Value::from("b")))));
        assert_eq!(after(&two, RecordOp::DeleteVersion(1)), two);
        assert_eq!(after(&two, RecordOp::DeleteVersion(2)), None);
        assert_eq!(after(&after(&two, RecordOp::Delete), RecordOp::Put(value())), one);
    }

    #[test]
    fn an_answer_must_fit_in_all_that_it_tells() {
        let records = Records::default();
        let state = Some((4, Content::Value(Value::from(9))));
        let possible =
            |op: &RecordOp, answer: RecordAnswer| records.step(&state, op, Some(&answer)).is_some();
        let found = |version, value: Option<i64>| Found::Present { version, value: value.map(Value::from) };
        assert!(possible(&RecordOp::Get, told(true, found(Some(4), Some(9)), None)));
        assert!(possible(&RecordOp::Get, told(true, found(None, Some(9)), None)));
        assert!(!possible(&RecordOp::Get, told(true, found(Some(5), Some(9)), None)));
        assert!(!possible(&RecordOp::Get, told(true, found(Some(4), Some(8)), None)));
        assert!(!possible(&RecordOp::Get, told(true, Found::Absent, None)));
        let put = RecordOp::Put(Value::from(1));
        assert!(possible(&put, told(true, Found::Untold, Some(5))));
        assert!(!possible(&put, told(true, Found::Untold, Some(4))));
        assert!(!possible(&put, told(false, Found::Untold, None)));
        let refused = RecordOp::TestAndSet { version: 3, value: Value::from(1) };
        assert!(possible(&refused, told(false, found(Some(4), None), None)));
        assert!(!possible(&refused, told(false, Found::Absent, None)));
        assert!(!possible(&refused, told(true, Found::Untold, None)));
    }
}
