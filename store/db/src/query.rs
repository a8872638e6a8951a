//! Reads: a record, a page of records, the remembered answer to a write. Each is a function of one consistent view.
//!
//! Promises: bounded answers. Leaves out: how fresh the consistent view is (the engine waits before it asks), and the change
//! feed ([`crate::changes::since`]).

use bytes::Bytes;
use proto::check::{SCAN_LIMIT_DEFAULT, SCAN_LIMIT_MAX};
use proto::store::outcome_response::Verdict;
use proto::store::scan_request::Range;
use proto::store::{FailureReason, Identity, KeyRecord, OutcomeResponse, Record};

use crate::error::Error;
use crate::limits::SCAN_BYTES_MAX;
use crate::record::View;
use crate::replies::{self, Known, Place};
use crate::state;
use crate::table::{Read, Space};

/// The record under `key`, which has 1 to 480 bytes.
///
/// # Errors
/// The table cannot be read or is damaged.
pub fn get(read: &impl Read, key: &[u8]) -> Result<Option<Record>, Error> {
    let stored = read.get(Space::Records, key)?;
    stored.map(|stored| Ok(View::of(stored)?.record(true))).transpose()
}

/// One page of records in key order, and the cursor of the next (`None`: that was all). A page has up to `limit`
/// records (0: 100) and ends early after about 1 MiB of keys and data.
///
/// # Errors
/// The table cannot be read or is damaged.
pub fn scan(
    read: &impl Read,
    range: &Range,
    limit: u32,
    after: &[u8],
) -> Result<(Vec<KeyRecord>, Option<Bytes>), Error> {
    let limit = if limit == 0 { SCAN_LIMIT_DEFAULT } else { limit.min(SCAN_LIMIT_MAX) };
    let start = match range {
        Range::Prefix(prefix) => prefix,
        Range::Between(between) => &between.from,
    };
    let is_inside = |key: &[u8]| match range {
        Range::Prefix(prefix) => key.starts_with(prefix),
        Range::Between(between) => between.to.is_empty() || key < &between.to[..],
    };
    let mut records: Vec<KeyRecord> = Vec::new();
    let (mut bytes, mut more) = (0, false);
    read.walk(Space::Records, start.as_ref().max(after), &mut |key, stored| {
        if !is_inside(key) {
            return Ok(false);
        }
        // An empty cursor is before every key, and so never equal to one.
        if key == after {
            return Ok(true);
        }
        if records.len() >= limit as usize || bytes > SCAN_BYTES_MAX {
            more = true;
            return Ok(false);
        }
        bytes += key.len() + stored.len();
        records.push(KeyRecord {
            key: Bytes::copy_from_slice(key),
            record: Some(View::of(stored)?.record(true)),
        });
        Ok(true)
    })?;
    let next = records.last().filter(|_| more).map(|last| last.key.clone());
    Ok((records, next))
}

/// Calls `visit` with every record under a prefix, in key order, until it returns false: for audits, which read a
/// whole consistent view.
///
/// # Errors
/// The table cannot be read or is damaged, or what `visit` returns.
pub fn each(
    read: &impl Read,
    prefix: &[u8],
    visit: &mut dyn FnMut(KeyRecord) -> Result<bool, Error>,
) -> Result<(), Error> {
    read.walk(Space::Records, prefix, &mut |key, stored| {
        if !key.starts_with(prefix) {
            return Ok(false);
        }
        visit(KeyRecord { key: Bytes::copy_from_slice(key), record: Some(View::of(stored)?.record(true)) })
    })
}

/// What is remembered of a write, without closing its id: `None` if nothing is, or if the identity cannot be
/// remembered. (`Outcome` itself is a command of the log.)
///
/// # Errors
/// The table cannot be read or is damaged.
pub fn remembered(
    read: &impl Read,
    tag: &[u8],
    identity: &Identity,
) -> Result<Option<OutcomeResponse>, Error> {
    let state = state::read(read)?;
    let Some(place) = Place::of(tag, identity) else { return Ok(None) };
    let answer = |verdict: Verdict, response| OutcomeResponse {
        verdict: verdict.into(),
        response,
        position: Some(state::applied(&state)),
    };
    Ok(match replies::known(read, None, &state, &place)? {
        Known::Refused(refused) if refused.reason == FailureReason::ExpiredId => {
            Some(answer(Verdict::Expired, None))
        }
        Known::Refused(_) | Known::New => None,
        Known::Answer(remembered) => Some(match remembered.response {
            None => answer(Verdict::NotDone, None),
            Some(response) if response.success => answer(Verdict::Done, Some(response)),
            Some(response) => answer(Verdict::Refused, Some(response)),
        }),
    })
}
