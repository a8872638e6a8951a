//! The change feed: one row for each entry that changed keys, or prepared a change of them, trimmed by a rule that is part of the state machine.
//!
//! Promises: each row names the offset of the row before it, so that a gap shows; the last 65,536 rows are kept
//! unless they take more than 64 MiB, then as many as fit. At most two rows go with one entry for their number,
//! and for bytes only as many as make room for the entry's own, so the written bytes pay for the work.
//!
//! Leaves out: the readers of the feed, and sending it.

use bytes::Bytes;
use prost::Message as _;
use proto::store::{AppliedState, Change, ChangeBatch, Position};

use crate::error::Error;
use crate::limits::{CHANGE_BATCH_BYTES_MAX, CHANGE_BYTES_MAX, CHANGE_ROWS_MAX, CHANGE_TRIM_PER_ENTRY_MAX};
use crate::recent::Recent;
use crate::state;
use crate::table::{Read, Space, Write};

/// What a reader of the feed gets.
#[derive(Clone, PartialEq, Debug)]
pub enum Feed {
    /// The changes after the offset asked for, in order; `up_to` is how far that reaches.
    Changes(ChangeBatch),
    /// Some of what was asked for was trimmed; the first offset still there.
    CompactedBefore(u64),
}

/// The changes after offset `from`, up to `limit` of them or about 1 MiB.
///
/// # Errors
/// The table cannot be read or is damaged.
pub fn since(read: &impl Read, from: u64, limit: usize) -> Result<Feed, Error> {
    let state = state::read(read)?;
    let applied = state::applied(&state);
    let mut changes: Vec<Change> = Vec::new();
    let (mut bytes, mut more) = (0, false);
    read.walk(Space::Changes, &from.saturating_add(1).to_be_bytes(), &mut |_, row| {
        if changes.len() >= limit || bytes > CHANGE_BATCH_BYTES_MAX {
            more = true;
            return Ok(false);
        }
        bytes += row.len();
        changes.push(decoded(row)?);
        Ok(true)
    })?;
    let gap = changes.first().is_some_and(|first| first.previous > from);
    if gap || (changes.is_empty() && !more && state.last_change > from) {
        return Ok(Feed::CompactedBefore(state.first_change));
    }
    let end = changes.last().map(|change| Position { epoch: change.epoch, offset: change.offset });
    let up_to = if more { end } else { Some(applied) };
    Ok(Feed::Changes(ChangeBatch { changes, up_to }))
}

/// Adds the row of one entry, if there are keys to tell of, in their order, and trims.
pub(crate) fn add(
    write: &mut impl Write,
    recent: &mut Recent,
    state: &mut AppliedState,
    at: Position,
    keys: Vec<Bytes>,
) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let row =
        Change { offset: at.offset, previous: state.last_change, keys, epoch: at.epoch }.encode_to_vec();
    write.insert(Space::Changes, &at.offset.to_be_bytes(), &row)?;
    if state.change_rows == 0 {
        state.first_change = at.offset;
    }
    state.last_change = at.offset;
    state.change_rows += 1;
    state.change_bytes += row.len() as u64;
    trim(write, recent, state)
}

fn trim(write: &mut impl Write, recent: &mut Recent, state: &mut AppliedState) -> Result<(), Error> {
    let mut removed = 0;
    loop {
        let for_number = state.change_rows > CHANGE_ROWS_MAX && removed < CHANGE_TRIM_PER_ENTRY_MAX;
        if !for_number && state.change_bytes <= CHANGE_BYTES_MAX {
            return Ok(());
        }
        let first = state.first_change;
        let Some((bytes, next)) = recent.take_change(write, first)? else {
            return Err(Error::damaged("the first row of the change feed is missing"));
        };
        state.change_bytes = state.change_bytes.saturating_sub(bytes as u64);
        state.change_rows -= 1;
        write.remove(Space::Changes, &first.to_be_bytes())?;
        state.first_change = next.unwrap_or(first);
        removed += 1;
    }
}

fn decoded(row: &[u8]) -> Result<Change, Error> {
    Change::decode(row).map_err(|error| Error::damaged(format!("a row of the change feed: {error}")))
}
