//! The keys of appended records.

use bytes::Bytes;
use proto::check::KEY_BYTES_MAX;
use proto::store::operation::Action;
use proto::store::{Operation, Position, Txn};

/// The key of what an operation touches. `places`: an append has its offset where it asks for it, and not at the end of its key.
pub(crate) fn key_of(operation: &Operation, places: bool, at: Position, index: u32) -> Bytes {
    match &operation.action {
        Some(Action::Append(append)) => {
            appended(&operation.key, if places { append.within } else { 0 }, at, index)
        }
        _ => operation.key.clone(),
    }
}

/// The keys of the operations of a branch. `indices`: which operation of the whole transaction each is.
pub(crate) fn keys_of_branch(txn: &Txn, at: Position, indices: &[u32]) -> Vec<Bytes> {
    let each = txn.operations.iter().zip(indices);
    each.map(|(operation, index)| key_of(operation, false, at, *index)).collect()
}

/// The key with the offset in 16 hexadecimal digits, so that keys sort by it, a dot, and the operation's index before the byte
/// `within`; 0: at its end.
fn appended(key: &[u8], within: u32, at: Position, index: u32) -> Bytes {
    // A place beyond the end was refused before it came into a log.
    let within = usize::try_from(within).ok().filter(|within| (1..key.len()).contains(within));
    let (before, after) = key.split_at(within.unwrap_or(key.len()));
    let made = format!("{:016x}.{index:04x}", at.offset);
    let key = [before, made.as_bytes(), after].concat();
    debug_assert!(key.len() <= KEY_BYTES_MAX, "checked before it ran");
    Bytes::from(key)
}
