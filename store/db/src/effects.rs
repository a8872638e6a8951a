//! Changes on their way into the table, and the running state hash that covers them.
//!
//! Promises: whatever is written through here is under the state hash: records by key, and rows of transactions over several
//! groups by space and key. An entry without changes leaves the hash.
//!
//! Leaves out: remembered replies and the change feed, which have rules of their own.

use bytes::Bytes;
use proto::store::AppliedState;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Error;
use crate::table::{Space, Write};

/// A key and the record it has from now on, as stored; `None`: none.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    pub(crate) key: Bytes,
    pub(crate) stored: Option<Vec<u8>>,
}

/// A row of another space: a new one, or `None`: it goes. No row of a transaction over several groups is written over, and most
/// are gone within a millisecond.
#[derive(Clone, Debug)]
pub(crate) struct RowChange {
    pub(crate) space: Space,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// Writes records, which are in key order; their keys.
pub(crate) fn store(
    write: &mut impl Write,
    state: &mut AppliedState,
    effects: Vec<Effect>,
) -> Result<Vec<Bytes>, Error> {
    state.state_hash = hashed(state.state_hash, &effects);
    let mut keys = Vec::with_capacity(effects.len());
    for Effect { key, stored } in effects {
        match stored {
            Some(stored) => write.put_owned(Space::Records, &key, stored)?,
            None => {
                let was_there = write.delete(Space::Records, &key)?;
                assert!(was_there, "only what is there is deleted");
            }
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Writes rows of transactions over several groups.
pub(crate) fn store_rows(
    write: &mut impl Write,
    state: &mut AppliedState,
    rows: &[RowChange],
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut text = state.state_hash.to_le_bytes().to_vec();
    for row in rows {
        text.push(row.space.number());
        push(&mut text, &row.key, row.value.as_deref());
        match &row.value {
            // As a new one it goes without a trace that each later look at the locks would walk over ([`crate::layer`]).
            Some(value) => write.insert(row.space, &row.key, value)?,
            None => {
                let was_there = write.delete(row.space, &row.key)?;
                assert!(was_there, "only what is there is deleted");
            }
        }
    }
    state.state_hash = xxh3_64(&text);
    Ok(())
}

/// The running hash after one entry: xxh3-64 of the hash before it and, for each effect in key order, length and
/// bytes of the key and of the stored record (length 2^32 − 1: none). An entry without effects leaves it.
fn hashed(before: u64, effects: &[Effect]) -> u64 {
    if effects.is_empty() {
        return before;
    }
    let bytes =
        effects.iter().map(|effect| 8 + effect.key.len() + effect.stored.as_ref().map_or(0, Vec::len));
    let mut text = Vec::with_capacity(8 + bytes.sum::<usize>());
    text.extend_from_slice(&before.to_le_bytes());
    for effect in effects {
        push(&mut text, &effect.key, effect.stored.as_deref());
    }
    xxh3_64(&text)
}

fn push(text: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let length =
        |bytes: &[u8]| u32::try_from(bytes.len()).expect("keys and records are bounded").to_le_bytes();
    text.extend_from_slice(&length(key));
    text.extend_from_slice(key);
    match value {
        Some(value) => {
            text.extend_from_slice(&length(value));
            text.extend_from_slice(value);
        }
        None => text.extend_from_slice(&u32::MAX.to_le_bytes()),
    }
}
