//! The decider's side: the decision in a transaction's entry, and its end (docs/PROTOCOL.md, 10).
//!
//! Promises: a decision of another epoch than its leader's, or one whose parts do not make one whole, is refused without effect.
//! The answer is that of the whole transaction. The row of a decision stays until the log says that it is forgotten.

use prost::Message as _;
use proto::check;
use proto::store::{
    AppliedState, CrossId, Decide, DecidedBranch, Decision, FailureReason, ForgetCommand, GroupOffset,
    Position, Touched, Txn, TxnResponse,
};
use store_core::mutant;

use super::rows::{decision, id_key};
use crate::applying::Applying;
use crate::effects::RowChange;
use crate::error::Error;
use crate::limits::DECIDED_COUNT_MAX;
use crate::replies::Refused;
use crate::table::{Space, Write};

/// Why a decision is not one that this entry can make.
pub(crate) fn misfit(state: &AppliedState, at: Position, decide: &Decide, txn: &Txn) -> Option<Refused> {
    let invalid = |message: &str| Some(Refused::new(FailureReason::Invalid, message));
    if state.owned.is_none() {
        return invalid("there is no other group: this one was not founded as one of several");
    }
    let Some(id) = decide.id else { return invalid("the transaction has no name") };
    if id.epoch != at.epoch && !mutant!(DecisionOfOtherEpoch) {
        return invalid("only the leader that began a transaction decides it, in its epoch");
    }
    if let Err(violation) = check::cross::places(txn, &decide.guards, &decide.operations) {
        return invalid(&violation.to_string());
    }
    if decide.refusal.is_some() {
        return None;
    }
    let count = decide.branches.len();
    if count == 0 || count >= check::cross::GROUPS_MAX {
        return invalid("a transaction over several groups has 2 to 64 of them");
    }
    if decide.branches.iter().any(|branch| branch.range.is_none() || branch.offset == 0) {
        return invalid("a branch of the decision has no range, or no prepare");
    }
    let results = decide.branches.iter().flat_map(|branch| &branch.results);
    let mut places: Vec<u32> =
        decide.operations.iter().copied().chain(results.map(|it| it.operation)).collect();
    places.sort_unstable();
    let is_whole = (0u32..).zip(&places).all(|(expected, place)| expected == *place);
    if !is_whole { invalid("the results do not make one whole") } else { None }
}

/// Why a decision that nothing is remembered of is not executed all the same.
pub(crate) fn stops<W: Write>(on: &Applying<'_, W>, decide: &Decide) -> Result<Option<Refused>, Error> {
    if decision(&*on.write, decide.id.unwrap_or_default())?.is_some() {
        let message = "the transaction is decided already";
        return Ok(Some(Refused::new(FailureReason::Invalid, message)));
    }
    let is_full = on.state.decided_count >= DECIDED_COUNT_MAX;
    let message = "too many decisions wait for their ends";
    Ok(is_full.then(|| Refused::new(FailureReason::Overloaded, message)))
}

/// Notes a decision whose own part was done; the answer of the whole, from that of the own part.
pub(crate) fn decided<W: Write>(
    on: &mut Applying<'_, W>,
    txn: &Txn,
    decide: &Decide,
    response: TxnResponse,
) -> Result<TxnResponse, Error> {
    let id = decide.id.unwrap_or_default();
    let without_results =
        decide.branches.iter().map(|branch| DecidedBranch { results: Vec::new(), ..branch.clone() });
    let row = Decision {
        position: Some(on.at),
        decider_tag_hash: txn.tag().map_or(0, |tag| proto::hash::ring_hash(tag)),
        branches: without_results.collect(),
    };
    let key = id_key(id).to_vec();
    on.store_rows(&[RowChange { space: Space::Decisions, key, value: Some(row.encode_to_vec()) }])?;
    on.state.decided_count += 1;
    Ok(whole(on.at, id, decide, response))
}

fn whole(at: Position, id: CrossId, decide: &Decide, response: TxnResponse) -> TxnResponse {
    let own = decide.operations.iter().copied().zip(response.results);
    let of_others = decide.branches.iter().flat_map(|branch| &branch.results);
    let mut results: Vec<(u32, Touched)> =
        own.chain(of_others.map(|it| (it.operation, it.touched.clone().unwrap_or_default()))).collect();
    results.sort_unstable_by_key(|(place, _)| *place);
    let here = GroupOffset { group: id.group, offset: at.offset };
    let elsewhere =
        decide.branches.iter().map(|branch| GroupOffset { group: branch.group, offset: branch.offset });
    TxnResponse {
        results: results.into_iter().map(|(_, touched)| touched).collect(),
        positions: std::iter::once(here).chain(elsewhere).collect(),
        ..response
    }
}

/// Forgets decisions; those that are not there stay so.
pub(crate) fn forget<W: Write>(on: &mut Applying<'_, W>, command: &ForgetCommand) -> Result<(), Error> {
    for id in &command.ids {
        if decision(&*on.write, *id)?.is_some() {
            let key = id_key(*id).to_vec();
            on.store_rows(&[RowChange { space: Space::Decisions, key, value: None }])?;
            on.state.decided_count -= 1;
        }
    }
    Ok(())
}
