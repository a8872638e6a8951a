//! The entry that prepares branches of transactions that other groups decide (docs/PROTOCOL.md, 10).
//!
//! Promises: a branch is prepared, with every lock, or nothing of it is kept. One that is prepared already is answered as
//! before. Keys that it may write are told of in the change feed.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use proto::check;
use proto::store::prepare_answer::Verdict;
use proto::store::{
    Branch, CrossId, Failure, FailureReason, IndexedResult, PrepareAnswer, PrepareCommand, PrepareFailed,
    Prepared, PreparedBranch, Touched, Txn,
};

use super::rows::{branch_key, branches_of};
use crate::appended;
use crate::applying::Applying;
use crate::effects::RowChange;
use crate::error::Error;
use crate::limits::{PREPARED_BYTES_MAX, PREPARED_COUNT_MAX, RETURNED_DATA_BYTES_MAX};
use crate::locks::{self, Owner};
use crate::parts::{fits, misplaced};
use crate::replies::Refused;
use crate::table::{Space, Write};
use crate::txn::{self, Frame, Ran, Role};

/// Prepares each branch, or says why not.
pub(crate) fn prepare<W: Write>(
    on: &mut Applying<'_, W>,
    command: PrepareCommand,
) -> Result<Vec<PrepareAnswer>, Error> {
    let mut answers = Vec::with_capacity(command.branches.len());
    let (mut written, mut bytes) = (BTreeSet::new(), 0);
    for (index, branch) in (0u32..).zip(command.branches) {
        let id = branch.id;
        let verdict = match checked(on, &branch) {
            Ok((id, txn)) if bytes <= RETURNED_DATA_BYTES_MAX => {
                one(on, index, id, &txn, branch, &mut written)?
            }
            Ok(_) => refused(Refused::new(FailureReason::Overloaded, "the answer has no room for more")),
            Err(why) => refused(why),
        };
        let answer = PrepareAnswer { id, verdict: Some(verdict) };
        bytes += answer.encoded_len();
        answers.push(answer);
    }
    on.tell_of(written.into_iter().collect())?;
    Ok(answers)
}

fn refused(why: Refused) -> Verdict {
    Verdict::Refused(Failure { reason: why.reason.into(), message: why.message, ..Failure::default() })
}

fn invalid(message: &str) -> Refused {
    Refused::new(FailureReason::Invalid, message)
}

/// What does not depend on what is stored.
fn checked<W>(on: &Applying<'_, W>, branch: &Branch) -> Result<(CrossId, Txn), Refused> {
    let id = branch.id.ok_or_else(|| invalid("the transaction has no name"))?;
    let txn = branch.txn.clone().unwrap_or_default();
    if txn.tag().is_none() || !fits(&txn) {
        return Err(invalid("the branch is empty, too long, or has a key of a length not allowed"));
    }
    check::cross::places(&txn, &branch.guards, &branch.operations)
        .map_err(|violation| Refused::new(FailureReason::Invalid, violation.to_string()))?;
    match misplaced(on.state, &txn) {
        Some(why) => Err(why),
        None => Ok((id, txn)),
    }
}

fn one<W: Write>(
    on: &mut Applying<'_, W>,
    index: u32,
    id: CrossId,
    txn: &Txn,
    branch: Branch,
    written: &mut BTreeSet<Bytes>,
) -> Result<Verdict, Error> {
    if let Some(live) = branches_of(&*on.write, id)?.into_iter().next() {
        return again(on, &live);
    }
    if on.state.prepared_count >= PREPARED_COUNT_MAX || on.state.prepared_bytes >= PREPARED_BYTES_MAX {
        let message = "too many branches are prepared";
        return Ok(refused(Refused::new(FailureReason::Overloaded, message)));
    }
    let frame = Frame {
        at: on.at,
        places: Some((&branch.guards, &branch.operations)),
        log_time_ms: on.log_time_ms(),
        places_appends: false,
        may_be_locked: on.state.prepared_count > 0,
        role: Role::Participant,
    };
    let results = match txn::run(&*on.write, txn, frame)? {
        Ran::Done { response, .. } => response.results,
        Ran::Failed(response) => return Ok(Verdict::Failed(PrepareFailed { failed: response.failed })),
        Ran::Locked(holder) => return Ok(Verdict::Locked(holder)),
    };
    let places = branch.operations.clone();
    keep(on, index, id, txn, branch, written)?;
    Ok(prepared(on, on.at.offset, &places, results))
}

/// Writes the rows of a branch.
fn keep<W: Write>(
    on: &mut Applying<'_, W>,
    index: u32,
    id: CrossId,
    txn: &Txn,
    branch: Branch,
    written: &mut BTreeSet<Bytes>,
) -> Result<(), Error> {
    let keys = appended::keys_of_branch(txn, on.at, &branch.operations);
    let owner = Owner { id, decider_tag_hash: branch.decider_tag_hash, offset: on.at.offset, index };
    let mut rows = Vec::new();
    for (key, row) in locks::rows(owner, txn, &branch.operations, &keys) {
        if locks::is_intent(&row) {
            written.insert(Bytes::copy_from_slice(locks::key_of(&key)?));
        }
        rows.push(RowChange { space: Space::Locks, key, value: Some(row.encode_to_vec()) });
    }
    let row = PreparedBranch { branch: Some(branch), position: Some(on.at), index };
    let key = branch_key(id, on.at.offset);
    rows.push(RowChange { space: Space::Prepared, key, value: Some(row.encode_to_vec()) });
    on.state.prepared_count += 1;
    on.state.prepared_bytes += bytes_of(&rows);
    on.store_rows(&rows)
}

/// What the rows of a branch take.
pub(crate) fn bytes_of(rows: &[RowChange]) -> u64 {
    let bytes = rows.iter().map(|row| row.key.len() + row.value.as_ref().map_or(0, Vec::len));
    bytes.sum::<usize>() as u64
}

/// The answer that a live branch got, which nothing can have changed since.
fn again<W: Write>(on: &Applying<'_, W>, live: &PreparedBranch) -> Result<Verdict, Error> {
    let branch = live.branch.clone().unwrap_or_default();
    let at = live.position.unwrap_or_default();
    let frame = Frame {
        at,
        places: Some((&branch.guards, &branch.operations)),
        log_time_ms: on.log_time_ms(),
        places_appends: false,
        may_be_locked: false,
        role: Role::Finish(on.at),
    };
    match txn::run(&*on.write, branch.txn.as_ref().unwrap_or(&Txn::default()), frame)? {
        Ran::Done { response, .. } => Ok(prepared(on, at.offset, &branch.operations, response.results)),
        Ran::Failed(_) | Ran::Locked(_) => Err(Error::damaged("what is prepared cannot be done")),
    }
}

fn prepared<W>(on: &Applying<'_, W>, offset: u64, places: &[u32], results: Vec<Touched>) -> Verdict {
    let indexed = places.iter().zip(results);
    let results =
        indexed.map(|(place, touched)| IndexedResult { operation: *place, touched: Some(touched) }).collect();
    Verdict::Prepared(Prepared { offset, results, range: on.state.owned })
}
