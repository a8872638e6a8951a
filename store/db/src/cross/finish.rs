//! The entry that ends prepared branches, either way (docs/PROTOCOL.md, 10).
//!
//! Promises: nothing in it can fail. An end that names another prepare than the live one has no effect, and says so. One entry
//! ends as many branches as one change of the feed can tell of, and at least one; the others are not answered.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use proto::check::{TXN_BYTES_MAX, cross};
use proto::store::{Branch, CrossId, FinishAck, FinishCommand, Finishing, Owned, PreparedBranch, Txn};
use store_core::mutant;

use super::prepare::bytes_of;
use super::rows::{branch_key, branches_of};
use crate::appended;
use crate::applying::Applying;
use crate::effects::RowChange;
use crate::error::Error;
use crate::locks::{self, Owner};
use crate::table::{Space, Write};
use crate::txn::{self, Frame, Ran, Role};

/// Ends branches; what is done with.
pub(crate) fn finish<W: Write>(
    on: &mut Applying<'_, W>,
    command: &FinishCommand,
) -> Result<Vec<FinishAck>, Error> {
    let mut acks = Vec::with_capacity(command.finishes.len());
    let mut written = BTreeSet::new();
    let mut room = TXN_BYTES_MAX;
    for finishing in &command.finishes {
        let (Ok(()), Some(id), Some(range)) = (cross::finishing(finishing), finishing.id, finishing.range)
        else {
            continue;
        };
        let (mut is_live, mut is_full) = (false, false);
        for live in branches_of(&*on.write, id)? {
            let offset = live.position.unwrap_or_default().offset;
            let is_meant = offset == finishing.offset || (finishing.offset == 0 && !finishing.commit);
            if !is_meant && !mutant!(FinishNamesNoOffset) {
                continue;
            }
            let bytes = live.encoded_len();
            is_full = bytes > room && !written.is_empty();
            is_live = !is_inside(&range, &live);
            if is_full || is_live {
                break;
            }
            room = room.saturating_sub(bytes);
            end(on, id, &live, finishing, &mut written)?;
        }
        if is_full {
            break;
        }
        if !is_live {
            acks.push(FinishAck { id: Some(id), offset: finishing.offset, range: on.state.owned });
        }
    }
    on.tell_of(written.into_iter().collect())?;
    Ok(acks)
}

/// Whether all of a branch is in a range.
fn is_inside(range: &Owned, live: &PreparedBranch) -> bool {
    let Some(txn) = live.branch.as_ref().and_then(|branch| branch.txn.as_ref()) else { return false };
    let guarded = txn.guards.iter().map(|guard| &guard.key);
    let mut keys = guarded.chain(txn.operations.iter().map(|operation| &operation.key));
    keys.all(|key| range.contains_key(key))
}

fn end<W: Write>(
    on: &mut Applying<'_, W>,
    id: CrossId,
    live: &PreparedBranch,
    finishing: &Finishing,
    written: &mut BTreeSet<Bytes>,
) -> Result<(), Error> {
    let none = Branch::default();
    let branch = live.branch.as_ref().unwrap_or(&none);
    let (nothing, at) = (Txn::default(), live.position.unwrap_or_default());
    let txn = branch.txn.as_ref().unwrap_or(&nothing);
    if finishing.commit || mutant!(NoGiveBack) {
        let frame = Frame {
            at,
            places: Some((&branch.guards, &branch.operations)),
            log_time_ms: on.log_time_ms(),
            places_appends: false,
            may_be_locked: false,
            role: Role::Finish(on.at),
        };
        let Ran::Done { effects, .. } = txn::run(&*on.write, txn, frame)? else {
            return Err(Error::damaged("what is prepared cannot be done"));
        };
        on.store(effects)?;
    }
    let keys = appended::keys_of_branch(txn, at, &branch.operations);
    let owner = Owner { id, decider_tag_hash: branch.decider_tag_hash, offset: at.offset, index: live.index };
    let mut rows = Vec::new();
    for (key, row) in locks::rows(owner, txn, &branch.operations, &keys) {
        if locks::is_intent(&row) {
            written.insert(Bytes::copy_from_slice(locks::key_of(&key)?));
        }
        rows.push(RowChange { space: Space::Locks, key, value: Some(row.encode_to_vec()) });
    }
    rows.push(RowChange {
        space: Space::Prepared,
        key: branch_key(id, at.offset),
        value: Some(live.encode_to_vec()),
    });
    on.state.prepared_count -= 1;
    on.state.prepared_bytes = on.state.prepared_bytes.saturating_sub(bytes_of(&rows));
    for row in &mut rows {
        row.value = None;
    }
    on.store_rows(&rows)
}
