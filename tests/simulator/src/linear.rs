//! The history of a run before the linearizability checker. The value found by a change is taken for its comparison:
//! a change that was done is a compare-and-set that matched, a refused one is a read.

use feira_lincheck::append::{AppendAnswer, AppendOp, KvAppend};
use feira_lincheck::{
    CasRegister, Limits, Operation as Entry, Outcome, RegisterAnswer, RegisterOp, check_history,
};
use serde_json::Value;

use crate::history::{Action, Operation, Result};
use crate::violation::violated;

/// Steps of the search for one key: without a limit of time, so that the verdict is a function of the history.
const STEPS_MAX: u64 = 5_000_000;

/// The name of the promise.
const LINEARIZABLE: &str = "linearizable";

fn value(seen: Option<u64>) -> Value {
    seen.map_or(Value::Null, Value::from)
}

fn entry<O, A>(operation: &Operation, asked: O, answer: Option<A>) -> Entry<O, A> {
    let outcome = match (answer, operation.answered_at) {
        (Some(answer), Some(returned)) => Outcome::Answered { returned, answer },
        _ => Outcome::Unknown,
    };
    let (process, key) = (u64::from(operation.session), operation.key.to_string());
    Entry { process, key, asked, called: operation.asked_at, outcome }
}

fn register(operation: &Operation) -> Option<Entry<RegisterOp, RegisterAnswer>> {
    let held = |seen: Option<u64>| (RegisterOp::Read, RegisterAnswer::Holds(value(seen)));
    let set = |from: Option<u64>, to: Option<u64>| {
        let swap = RegisterOp::CompareAndSet { from: value(from), to: value(to) };
        (swap, RegisterAnswer::Matched(true))
    };
    let (asked, answer) = match (&operation.action, &operation.result) {
        (_, Result::Never) => return None,
        (_, Result::Value(seen) | Result::Refused(seen)) => held(*seen),
        (Action::Create(to), Result::Done(_)) => set(None, Some(*to)),
        (Action::Replace(_, to), Result::Done(from)) => set(*from, Some(*to)),
        (Action::Delete, Result::Done(from)) => set(*from, None),
        other => violated("every unknown is settled", format!("{other:?}")),
    };
    Some(entry(operation, asked, Some(answer)))
}

fn text(values: &[u64]) -> String {
    values.iter().map(|value| format!("{value};")).collect()
}

fn list(operation: &Operation) -> Option<Entry<AppendOp, AppendAnswer>> {
    let (asked, answer) = match (&operation.action, &operation.result) {
        (_, Result::Never) => return None,
        (Action::List, Result::Values(values)) => (AppendOp::Get, AppendAnswer::Text(text(values))),
        (Action::Append(value), Result::Done(_)) => (AppendOp::Append(text(&[*value])), AppendAnswer::Done),
        other => violated("every unknown is settled", format!("{other:?}")),
    };
    Some(entry(operation, asked, Some(answer)))
}

fn is_list(operation: &Operation) -> bool {
    matches!(operation.action, Action::Append(_) | Action::List)
}

/// *Linearizable*: the operations on each key have an order in which each stands between its call and its answer.
pub(crate) fn check(history: &[Operation]) {
    let limits = Limits { steps_max: STEPS_MAX, time_max: None };
    let registers: Vec<_> = history.iter().filter(|one| !is_list(one)).filter_map(register).collect();
    let checked = check_history(&CasRegister::default(), &registers, &limits);
    if !checked.verdict.is_linearizable() {
        violated(LINEARIZABLE, format!("registers: {:?}", checked.verdict));
    }
    let lists: Vec<_> = history.iter().filter(|one| is_list(one)).filter_map(list).collect();
    let checked = check_history(&KvAppend::default(), &lists, &limits);
    if !checked.verdict.is_linearizable() {
        violated(LINEARIZABLE, format!("lists: {:?}", checked.verdict));
    }
}
