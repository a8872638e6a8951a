//! The locks of prepared branches on keys, one row a key and branch (docs/PROTOCOL.md, 10).
//!
//! ```text
//!   held \ wanted          exists   shared at a pointer   shared   increment   exclusive
//!   exists                   ✓              ✓               ✓          ✓           ✗
//!   shared at a pointer      ✓              ✓               ✓     ✗ if they meet   ✗
//!   shared                   ✓              ✓               ✓          ✗           ✗
//!   increment                ✓        ✗ if they meet        ✗          ✓           ✗
//!   exclusive                ✗              ✗               ✗          ✗           ✗
//!
//!   Locks   ring hash (8) | length of the key (2) | key | offset of the prepare (8) | its place in the entry (2)  → KeyLocks
//! ```
//!
//! Promises: the rows of a key are found without meeting those of another. A row is a function of the branch, so that whoever
//! has the branch can take it away.
//!
//! Leaves out: queues, which are the leader's; and what increments do to each other ([`crate::escrow`]).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use proto::store::guard::Condition;
use proto::store::operation::Action;
use proto::store::{CrossId, Guard, Holder, KeyLocks, Operation, PendingAdd, PendingNumber, Returning, Txn};
use store_core::mutant;

use crate::error::Error;
use crate::json;
use crate::table::{Read, Space};

/// What a guard or an operation wants of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Want<'t> {
    /// That it stays, or stays away.
    Exists,
    /// That the value at a pointer stays.
    SharedAt(&'t str),
    /// That the record stays as it is.
    Shared,
    /// To add to the number at a pointer.
    Increment(&'t str),
    /// To change the record.
    Exclusive,
}

impl<'t> Want<'t> {
    pub(crate) fn of_guard(guard: &'t Guard) -> Want<'t> {
        match &guard.condition {
            Some(Condition::Exists(_)) => Want::Exists,
            Some(Condition::Json(equals)) => Want::SharedAt(&equals.pointer),
            _ => Want::Shared,
        }
    }

    /// Whether a lock on the same key is in the way.
    pub(crate) fn meets(self, held: &KeyLocks) -> bool {
        let meet = |one: &str, other: &str| {
            let same = json::is_same_pointer(one, other);
            same || (json::meet(one, other) && !mutant!(PrefixPointersDisjoint))
        };
        let is_exclusive = held.exclusive && !mutant!(NoExclusiveLock);
        let is_shared = held.shared && !mutant!(NoSharedLock);
        let mut guarded = held.pointers.iter().filter(|_| !mutant!(NoSharedLock));
        match self {
            Want::Exists => is_exclusive,
            Want::SharedAt(pointer) => {
                is_exclusive || held.numbers.iter().any(|number| meet(&number.pointer, pointer))
            }
            Want::Shared => is_exclusive || !held.numbers.is_empty(),
            Want::Increment(pointer) => {
                is_exclusive || is_shared || guarded.any(|guarded| meet(guarded, pointer))
            }
            Want::Exclusive => {
                let is_guarded =
                    is_shared || guarded.next().is_some() || (held.exists && !mutant!(NoSharedLock));
                is_exclusive || is_guarded || !held.numbers.is_empty()
            }
        }
    }
}

/// What the operations of a transaction want, which depends on the others of the same key.
#[derive(Debug, Default)]
pub(crate) struct Wants<'t> {
    /// Keys with an operation that reads, replaces or tells of the record: an addition there is not one among many.
    whole: BTreeSet<&'t [u8]>,
    /// Operations that a later append quotes, by their places in the whole transaction.
    pub(crate) quoted: BTreeSet<u32>,
}

impl<'t> Wants<'t> {
    /// Of a transaction that nothing can be in the way of, and that is done at once: only what is quoted counts.
    pub(crate) fn alone(txn: &'t Txn) -> Wants<'t> {
        let appends = txn.operations.iter().filter_map(|operation| match &operation.action {
            Some(Action::Append(append)) => Some(append),
            _ => None,
        });
        let quoted = appends.flat_map(|append| append.quotes.iter().map(|quote| quote.operation)).collect();
        Wants { whole: BTreeSet::new(), quoted }
    }

    /// `places` are those of the operations in the whole transaction; `None`: this is the whole.
    pub(crate) fn of(txn: &'t Txn, places: Option<&[u32]>) -> Wants<'t> {
        let mut wants = Wants::alone(txn);
        for (place, operation) in (0u32..).zip(&txn.operations) {
            let place = places.map_or(place, |places| places[place as usize]);
            let is_add = matches!(operation.action, Some(Action::Add(_)));
            let tells = operation.returning() != Returning::Meta || wants.quoted.contains(&place);
            if !is_add || tells {
                wants.whole.insert(&operation.key);
            }
        }
        wants
    }

    /// What one operation wants.
    pub(crate) fn of_operation(&self, operation: &'t Operation) -> Want<'t> {
        match &operation.action {
            Some(Action::Get(_)) | None => Want::Shared,
            Some(Action::Add(add)) => {
                let is_whole = self.whole.contains(&operation.key[..]);
                if is_whole { Want::Exclusive } else { Want::Increment(&add.pointer) }
            }
            Some(_) => Want::Exclusive,
        }
    }
}

/// Whose locks, and where they were prepared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) id: CrossId,
    pub(crate) decider_tag_hash: u64,
    pub(crate) offset: u64,
    /// The place in the entry.
    pub(crate) index: u32,
}

/// The rows of the locks of a branch, by their keys in the table. `keys` are those of its operations, appended ones as made.
pub(crate) fn rows(owner: Owner, txn: &Txn, places: &[u32], keys: &[Bytes]) -> BTreeMap<Vec<u8>, KeyLocks> {
    let mut by_key: BTreeMap<&[u8], KeyLocks> = BTreeMap::new();
    let empty = || KeyLocks {
        id: Some(owner.id),
        offset: owner.offset,
        decider_tag_hash: owner.decider_tag_hash,
        ..KeyLocks::default()
    };
    for guard in &txn.guards {
        add(by_key.entry(&guard.key).or_insert_with(empty), Want::of_guard(guard), None);
    }
    let wants = Wants::of(txn, Some(places));
    for (operation, key) in txn.operations.iter().zip(keys) {
        let adding = match &operation.action {
            Some(Action::Add(add)) => Some(PendingAdd { amount: add.amount, minimum: add.minimum }),
            _ => None,
        };
        add(by_key.entry(key).or_insert_with(empty), wants.of_operation(operation), adding);
    }
    for locks in by_key.values_mut().filter(|locks| locks.exclusive) {
        // It says all.
        (locks.shared, locks.exists) = (false, false);
        locks.pointers.clear();
        locks.numbers.clear();
    }
    by_key.into_iter().map(|(key, locks)| (row_key(key, owner.offset, owner.index), locks)).collect()
}

fn add(locks: &mut KeyLocks, want: Want<'_>, adding: Option<PendingAdd>) {
    match want {
        Want::Exists => locks.exists = true,
        Want::SharedAt(pointer) => locks.pointers.push(pointer.to_owned()),
        Want::Shared => locks.shared = true,
        Want::Exclusive => locks.exclusive = true,
        Want::Increment(pointer) => {
            let known = locks.numbers.iter_mut().find(|it| json::is_same_pointer(&it.pointer, pointer));
            match known {
                Some(number) => number.adds.extend(adding),
                None => locks
                    .numbers
                    .push(PendingNumber { pointer: pointer.to_owned(), adds: adding.into_iter().collect() }),
            }
        }
    }
}

fn key_prefix(key: &[u8]) -> Vec<u8> {
    let length = u16::try_from(key.len()).expect("keys have up to 480 bytes");
    [&proto::hash::ring_hash(key).to_be_bytes()[..], &length.to_be_bytes(), key].concat()
}

fn row_key(key: &[u8], offset: u64, index: u32) -> Vec<u8> {
    let index = u16::try_from(index).expect("an entry has up to 1,024 branches");
    [&key_prefix(key)[..], &offset.to_be_bytes(), &index.to_be_bytes()].concat()
}

/// The key in the key of a row.
pub(crate) fn key_of(row_key: &[u8]) -> Result<&[u8], Error> {
    let parts = || {
        let (_, rest) = row_key.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        rest.get(..usize::from(u16::from_be_bytes(*length)))
    };
    parts().ok_or_else(|| Error::damaged("the key of a lock's row"))
}

/// All locks on a key, in the order of their prepares.
pub(crate) fn on(read: &impl Read, key: &[u8]) -> Result<Vec<KeyLocks>, Error> {
    let prefix = key_prefix(key);
    let mut found = Vec::new();
    read.walk(Space::Locks, &prefix, &mut |row_key, row| {
        if !row_key.starts_with(&prefix) {
            return Ok(false);
        }
        found.push(decoded(row)?);
        Ok(true)
    })?;
    Ok(found)
}

pub(crate) fn decoded(row: &[u8]) -> Result<KeyLocks, Error> {
    KeyLocks::decode(row).map_err(|error| Error::damaged(format!("the locks on a key: {error}")))
}

/// Whether the record may be written at the end of what is prepared.
pub(crate) fn is_intent(locks: &KeyLocks) -> bool {
    locks.exclusive || !locks.numbers.is_empty()
}

pub(crate) fn holder(locks: &KeyLocks) -> Holder {
    Holder { id: locks.id, offset: locks.offset, decider_tag_hash: locks.decider_tag_hash }
}
