//! The checks of a transaction that are made again where it is applied, after admission has made them and more.
//!
//! Promises: what passes can be evaluated on every replica; what does not is refused, or stops them all.

use proto::check::{APPEND_SUFFIX_BYTES, KEY_BYTES_MAX, TXN_PARTS_MAX};
use proto::store::operation::Action;
use proto::store::{AppliedState, FailureReason, Txn};
use store_core::mutant;

use crate::replies::Refused;

/// A guard or operation of a kind that this release does not know: skipping it would make replicas differ.
pub(crate) fn unknown_part(txn: &Txn) -> Option<String> {
    if txn.guards.iter().any(|guard| guard.condition.is_none()) {
        return Some("a guard of an unknown kind".to_owned());
    }
    let unknown = txn.operations.iter().any(|operation| operation.action.is_none());
    unknown.then(|| "an operation of an unknown kind".to_owned())
}

/// Whether every key is one that the table can hold. Admission checks this and more; it is checked again because a
/// committed entry that no replica can apply would stop them all.
pub(crate) fn fits(txn: &Txn) -> bool {
    let guards = txn.guards.iter().all(|guard| (1..=KEY_BYTES_MAX).contains(&guard.key.len()));
    let operations = txn.operations.iter().all(|operation| {
        let is_append = matches!(operation.action, Some(Action::Append(_)));
        let suffix = if is_append { APPEND_SUFFIX_BYTES } else { 0 };
        (1..=KEY_BYTES_MAX - suffix).contains(&operation.key.len())
    });
    guards && operations && txn.guards.len() + txn.operations.len() <= TXN_PARTS_MAX
}

/// Why a transaction is not for this group: a key of it is another's. An appended key is where its prefix says, so that the
/// prefix needs a tag in braces where there are other groups.
pub(crate) fn misplaced(state: &AppliedState, txn: &Txn) -> Option<Refused> {
    let owned = state.owned.as_ref().filter(|owned| owned.after != owned.up_to)?;
    for operation in &txn.operations {
        let is_append = matches!(operation.action, Some(Action::Append(_)));
        if is_append && proto::hash::hashed_part(&operation.key).len() == operation.key.len() {
            let message = "the key of an append needs a tag in braces: its end is not known before";
            return Some(Refused::new(FailureReason::Invalid, message));
        }
    }
    let guarded = txn.guards.iter().map(|guard| &guard.key);
    let mut keys = guarded.chain(txn.operations.iter().map(|operation| &operation.key));
    let is_elsewhere = keys.any(|key| !owned.contains_key(key)) && !mutant!(NoRangeCheck);
    is_elsewhere.then(|| Refused::new(FailureReason::WrongRoute, "another group has one of the keys"))
}

/// Why a tag is not for this group.
pub(crate) fn misplaced_tag(state: &AppliedState, tag: &[u8]) -> Option<Refused> {
    let is_here = state.owned.as_ref().is_none_or(|owned| owned.contains_key(tag)) || mutant!(NoRangeCheck);
    (!is_here).then(|| Refused::new(FailureReason::WrongRoute, "another group has the tag"))
}
