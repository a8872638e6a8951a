//! The definition of linearizability, tried out: every order that time allows, with the plain model, remembering
//! nothing. It shares no code with the search. For a handful of operations only.

use std::collections::BTreeMap;

use feira_lincheck::{Model, Operation};

/// Whether some order of the operations is possible. All keys at once: that keys may be judged one by one is not
/// taken for granted here.
pub(crate) fn is_linearizable<M: Model>(model: &M, history: &[Operation<M::Op, M::Answer>]) -> bool {
    can_go_on(model, history, &mut vec![false; history.len()], &BTreeMap::new())
}

fn can_go_on<M: Model>(
    model: &M,
    history: &[Operation<M::Op, M::Answer>],
    placed: &mut Vec<bool>,
    states: &BTreeMap<String, M::State>,
) -> bool {
    if (0..history.len()).all(|place| placed[place] || history[place].answer().is_none()) {
        return true;
    }
    for place in 0..history.len() {
        let operation = &history[place];
        let too_early = (0..history.len())
            .any(|other| !placed[other] && history[other].returned().is_some_and(|at| at < operation.called));
        if placed[place] || too_early {
            continue;
        }
        let state = states.get(&operation.key).cloned().unwrap_or_else(|| model.initial());
        let Some(after) = model.step(&state, &operation.asked, operation.answer()) else { continue };
        let mut states = states.clone();
        states.insert(operation.key.clone(), after);
        placed[place] = true;
        let possible = can_go_on(model, history, placed, &states);
        placed[place] = false;
        if possible {
            return true;
        }
    }
    false
}
