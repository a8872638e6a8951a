//! Judging a whole history: key by key, within the limits.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::limits::{Budget, Limits};
use crate::model::Model;
use crate::operation::Operation;
use crate::oracle::Oracle;
use crate::search::{Search, Searched, Stuck};
use crate::verdict::{CheckReport, Explanation, Verdict};

/// Whether a history is linearizable: whether its operations on each key have an order that the model can go and in
/// which each operation stands between its call and its return. Two operations of which one returned at the very
/// time at which the other was called may be in either order.
///
/// Without a limit of time the judgement is a function of the history and the limits.
///
/// # Panics
/// If an operation returned before it was called, or there are 2^32 operations.
pub fn check_history<M: Model>(
    model: &M,
    history: &[Operation<M::Op, M::Answer>],
    limits: &Limits,
) -> CheckReport {
    assert!(u32::try_from(history.len()).is_ok(), "a history has under 2^32 operations");
    let mut keys: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, operation) in history.iter().enumerate() {
        let in_order = operation.returned().is_none_or(|returned| operation.called <= returned);
        assert!(in_order, "operation {place} returned before it was called");
        keys.entry(&operation.key).or_default().push(place);
    }
    let deadline = limits.time_max.and_then(|time| Instant::now().checked_add(time));
    let (mut steps, mut oracles, mut undecided) = (0, Vec::new(), None);
    for (key, places) in keys {
        let mut budget = Budget::new(limits, deadline);
        let found = Search::new(model, history, &places).run(&mut budget);
        steps += budget.spent();
        match found {
            Searched::Order(order) => {
                let oracle = Oracle { key: key.to_owned(), order };
                let answered = places.iter().filter(|place| history[**place].answer().is_some()).count();
                assert!(oracle.holds_of(answered, model, history), "the order found for key {key:?} is none");
                oracles.push(oracle);
            }
            Searched::Nothing(stuck) => {
                return CheckReport { verdict: Verdict::NotLinearizable(explanation(key, stuck)), steps };
            }
            // Another key may still be wrong for sure.
            Searched::OutOfBudget(stuck) => {
                undecided.get_or_insert_with(|| (budget.reason(), explanation(key, stuck)));
            }
        }
    }
    let verdict = match undecided {
        Some((reason, explanation)) => Verdict::Undecided { reason, explanation },
        None => Verdict::Linearizable(oracles),
    };
    CheckReport { verdict, steps }
}

fn explanation(key: &str, stuck: Stuck) -> Explanation {
    Explanation { key: key.to_owned(), prefix: stuck.prefix, stuck: stuck.next, state: stuck.state }
}
