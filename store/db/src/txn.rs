//! One transaction: guards, then operations, over an overlay of the table, so that a transaction that fails writes
//! nothing and operations see the effects of those before them.
//!
//! Promises: a pure function of the table, the transaction and its position. A record that the transaction changes
//! rises by exactly one version, however many operations touch it; one that it creates has version 1; one that it
//! both creates and deletes is no effect. All failed guards are told of (up to a bound), or the first operation
//! that cannot be done, each with the record as it is stored.
//!
//! Leaves out: identities ([`crate::replies`]) and writing the effects down ([`crate::apply`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use bytes::Bytes;
use proto::check::{DATA_BYTES_MAX, KEY_BYTES_MAX};
use proto::store::failed_guard::Reason;
use proto::store::guard::Condition;
use proto::store::operation::Action;
use proto::store::{
    Add, Append, FailedGuard, Guard, Operation, Position, Record, Returning, SetJson, Touched, Txn,
    TxnResponse,
};
use store_core::mutant;

use crate::error::Error;
use crate::json;
use crate::limits::{FAILED_GUARDS_MAX, RETURNED_DATA_BYTES_MAX};
use crate::record::{self, Header, View};
use crate::table::{Read, Space};

/// What became of a transaction.
#[derive(Debug)]
pub(crate) struct Ran {
    /// What the caller is told.
    pub(crate) response: TxnResponse,
    /// What changes, in key order; nothing if it failed.
    pub(crate) effects: Vec<Effect>,
}

/// A key and the record it has from now on, as stored; `None`: none.
#[derive(Debug)]
pub(crate) struct Effect {
    pub(crate) key: Bytes,
    pub(crate) stored: Option<Vec<u8>>,
}

/// Evaluates a transaction at `at`.
pub(crate) fn run(read: &impl Read, txn: &Txn, at: Position) -> Result<Ran, Error> {
    let mut overlay = Overlay { read, at, slots: Vec::new(), by_key: BTreeMap::new(), returned_bytes: 0 };
    let failed = overlay.failed_guards(&txn.guards)?;
    if !failed.is_empty() {
        let response = TxnResponse { position: Some(at), failed, ..TxnResponse::default() };
        return Ok(Ran { response, effects: Vec::new() });
    }
    let mut results = Vec::with_capacity(txn.operations.len());
    let mut left = Left::of(txn);
    for (index, operation) in (0u32..).zip(&txn.operations) {
        match overlay.operate(index, operation, &mut left)? {
            Ok(touched) => results.push(touched),
            Err(reason) => {
                let failed = overlay.failed(true, index, &operation.key, reason)?;
                let response =
                    TxnResponse { position: Some(at), failed: vec![failed], ..TxnResponse::default() };
                return Ok(Ran { response, effects: Vec::new() });
            }
        }
    }
    let response = TxnResponse { success: true, position: Some(at), results, ..TxnResponse::default() };
    Ok(Ran { response, effects: overlay.into_effects() })
}

/// The data that operations left, where a later append quotes it.
struct Left {
    quoted: BTreeSet<u32>,
    data: BTreeMap<u32, Vec<u8>>,
}

impl Left {
    fn of(txn: &Txn) -> Left {
        let appends = txn.operations.iter().filter_map(|operation| match &operation.action {
            Some(Action::Append(append)) => Some(append),
            _ => None,
        });
        let quoted = appends.flat_map(|append| append.quotes.iter().map(|quote| quote.operation)).collect();
        Left { quoted, data: BTreeMap::new() }
    }
}

/// The table as the transaction sees it.
struct Overlay<'r, R> {
    read: &'r R,
    at: Position,
    slots: Vec<Slot<'r>>,
    by_key: BTreeMap<Bytes, usize>,
    /// Data of records in the answer so far.
    returned_bytes: usize,
}

/// One key that the transaction touches.
struct Slot<'r> {
    key: Bytes,
    /// What the table has.
    stored: Option<&'r [u8]>,
    now: Now,
}

enum Now {
    AsStored,
    Made(Vec<u8>),
    Gone,
}

impl Slot<'_> {
    fn current(&self) -> Result<Option<View<'_>>, Error> {
        match &self.now {
            Now::AsStored => self.stored.map(View::of).transpose(),
            Now::Made(bytes) => View::of(bytes).map(Some),
            Now::Gone => Ok(None),
        }
    }

    /// The header of the record that this transaction leaves here.
    fn header(&self, at: Position, timestamp_ms: i64) -> Result<Header, Error> {
        let before = self.stored.map(View::of).transpose()?;
        let version = before.map_or(1, |view| view.header.version.saturating_add(1));
        Ok(Header { version, timestamp_ms, position: at })
    }
}

impl<'r, R: Read> Overlay<'r, R> {
    fn slot(&mut self, key: &Bytes) -> Result<usize, Error> {
        if let Some(index) = self.by_key.get(key) {
            return Ok(*index);
        }
        let stored = self.read.get(Space::Records, key)?;
        self.slots.push(Slot { key: key.clone(), stored, now: Now::AsStored });
        self.by_key.insert(key.clone(), self.slots.len() - 1);
        Ok(self.slots.len() - 1)
    }

    fn failed_guards(&mut self, guards: &[Guard]) -> Result<Vec<FailedGuard>, Error> {
        let mut failed = Vec::new();
        for (index, guard) in (0u32..).zip(guards) {
            let slot = self.slot(&guard.key)?;
            let current = self.slots[slot].current()?;
            if let Some(reason) = guard.condition.as_ref().and_then(|condition| breach(condition, current)) {
                failed.push(self.failed(false, index, &guard.key, reason)?);
                if failed.len() == FAILED_GUARDS_MAX {
                    break;
                }
            }
        }
        Ok(failed)
    }

    /// Tells of a failure with the record as it is stored; without its data once the answer is full.
    fn failed(
        &mut self,
        operation: bool,
        index: u32,
        key: &Bytes,
        reason: Reason,
    ) -> Result<FailedGuard, Error> {
        let slot = self.slot(key)?;
        let stored = self.slots[slot].stored.map(View::of).transpose()?;
        let record = stored.map(|view| {
            let fits = self.returned_bytes + view.data.len() <= RETURNED_DATA_BYTES_MAX;
            self.returned_bytes += if fits { view.data.len() } else { 0 };
            view.record(fits)
        });
        Ok(FailedGuard { operation, index, reason: reason.into(), key: key.clone(), record })
    }

    /// Does one operation, or says why it cannot be done.
    fn operate(
        &mut self,
        index: u32,
        operation: &Operation,
        left: &mut Left,
    ) -> Result<Result<Touched, Reason>, Error> {
        let key = match &operation.action {
            Some(Action::Append(_)) => appended_key(&operation.key, self.at, index),
            _ => operation.key.clone(),
        };
        let slot = self.slot(&key)?;
        let before = match operation.returning() {
            Returning::Before => match self.returned(slot, true)? {
                Ok(record) => Some(record),
                Err(reason) => return Ok(Err(reason)),
            },
            _ => None,
        };
        let made = match &operation.action {
            Some(Action::Put(put)) => self.put(slot, put.timestamp_ms, &put.data)?,
            Some(Action::Set(set)) => self.set(slot, set)?,
            Some(Action::Add(add)) => self.add(slot, add)?,
            Some(Action::Append(append)) => self.append(slot, append, left)?,
            Some(Action::Delete(_)) => Ok(Now::Gone),
            Some(Action::Get(_)) | None => Ok(Now::AsStored),
        };
        match made {
            Ok(Now::AsStored) => {}
            Ok(now) => self.slots[slot].now = now,
            Err(reason) => return Ok(Err(reason)),
        }
        if left.quoted.contains(&index)
            && let Some(view) = self.slots[slot].current()?
        {
            left.data.insert(index, view.data.to_vec());
        }
        let record = match before {
            Some(before) => Ok(before),
            None => self.returned(slot, operation.returning() == Returning::After)?,
        };
        Ok(record.map(|record| Touched { key, record }))
    }

    /// The record of a slot as it goes out; TOO_LARGE if the answer has no room for its data.
    fn returned(&mut self, slot: usize, with_data: bool) -> Result<Result<Option<Record>, Reason>, Error> {
        let Some(view) = self.slots[slot].current()? else { return Ok(Ok(None)) };
        if with_data && self.returned_bytes + view.data.len() > RETURNED_DATA_BYTES_MAX {
            return Ok(Err(Reason::TooLarge));
        }
        let (bytes, record) = (view.data.len(), view.record(with_data));
        self.returned_bytes += if with_data { bytes } else { 0 };
        Ok(Ok(Some(record)))
    }

    fn put(&self, slot: usize, timestamp_ms: i64, data: &[u8]) -> Result<Result<Now, Reason>, Error> {
        if data.len() > DATA_BYTES_MAX {
            return Ok(Err(Reason::TooLarge));
        }
        let header = self.slots[slot].header(self.at, timestamp_ms)?;
        Ok(Ok(Now::Made(record::encode(header, data))))
    }

    fn set(&self, slot: usize, set: &SetJson) -> Result<Result<Now, Reason>, Error> {
        let Some(view) = self.slots[slot].current()? else { return Ok(Err(Reason::Absent)) };
        let Some(edit) = json::set(view.data, &set.pointer, &set.value) else {
            return Ok(Err(Reason::NoValue));
        };
        if view.data.len() - edit.range.len() + edit.text.len() > DATA_BYTES_MAX {
            return Ok(Err(Reason::TooLarge));
        }
        let header = self.slots[slot].header(self.at, set.timestamp_ms)?;
        Ok(Ok(Now::Made(view.spliced(header, edit.range, &edit.text))))
    }

    fn add(&self, slot: usize, add: &Add) -> Result<Result<Now, Reason>, Error> {
        let Some(view) = self.slots[slot].current()? else { return Ok(Err(Reason::Absent)) };
        let Some((range, value)) = json::find_integer(view.data, &add.pointer) else {
            return Ok(Err(Reason::NoValue));
        };
        let Some(sum) = value.checked_add(add.amount) else { return Ok(Err(Reason::Overflow)) };
        if add.minimum.is_some_and(|minimum| sum < minimum) && !mutant!(MinimumIgnored) {
            return Ok(Err(Reason::BelowMinimum));
        }
        let mut digits = [0u8; 20];
        let mut rest = &mut digits[..];
        write!(rest, "{sum}").expect("a 64-bit integer has up to 20 characters");
        let length = 20 - rest.len();
        if view.data.len() - range.len() + length > DATA_BYTES_MAX {
            return Ok(Err(Reason::TooLarge));
        }
        let header = self.slots[slot].header(self.at, add.timestamp_ms)?;
        Ok(Ok(Now::Made(view.spliced(header, range, &digits[..length]))))
    }

    fn append(&self, slot: usize, append: &Append, left: &Left) -> Result<Result<Now, Reason>, Error> {
        if self.slots[slot].current()?.is_some() {
            return Ok(Err(Reason::Present));
        }
        let mut data = append.data.to_vec();
        for quote in &append.quotes {
            let source = left.data.get(&quote.operation);
            let value = source.and_then(|source| Some(&source[json::find(source, &quote.source)?]));
            let edit = value.and_then(|value| json::set(&data, &quote.pointer, value));
            let Some(edit) = edit else { return Ok(Err(Reason::NoValue)) };
            data = json::edited(&data, &edit);
            if data.len() > DATA_BYTES_MAX {
                return Ok(Err(Reason::TooLarge));
            }
        }
        self.put(slot, append.timestamp_ms, &data)
    }

    /// What the transaction changes, in key order.
    fn into_effects(mut self) -> Vec<Effect> {
        let mut effects = Vec::with_capacity(self.slots.len());
        for slot in self.by_key.values() {
            let slot = &mut self.slots[*slot];
            let stored = match std::mem::replace(&mut slot.now, Now::AsStored) {
                Now::AsStored => continue,
                Now::Gone if slot.stored.is_none() => continue,
                Now::Gone => None,
                Now::Made(bytes) => Some(bytes),
            };
            effects.push(Effect { key: slot.key.clone(), stored });
        }
        effects
    }
}

/// Why a condition does not hold; `None` if it does.
fn breach(condition: &Condition, record: Option<View<'_>>) -> Option<Reason> {
    let view = match (condition, record) {
        (Condition::Absent(_), None) => return None,
        (Condition::Absent(_), Some(_)) => return Some(Reason::Present),
        (_, None) => return Some(Reason::Absent),
        (_, Some(view)) => view,
    };
    match condition {
        Condition::Version(_) if mutant!(VersionGuardIgnored) => None,
        Condition::Version(version) if view.header.version != *version => Some(Reason::WrongVersion),
        Condition::Offset(offset) if view.header.position.offset != *offset => Some(Reason::WrongOffset),
        Condition::Json(equals) => match json::find(view.data, &equals.pointer) {
            None => Some(Reason::NoValue),
            Some(range) if json::equal(&view.data[range.clone()], &equals.value) => None,
            Some(_) => Some(Reason::WrongValue),
        },
        _ => None,
    }
}

/// The prefix, the offset in 16 hexadecimal digits so that keys sort by it, a dot, and the operation's index.
fn appended_key(prefix: &[u8], at: Position, index: u32) -> Bytes {
    let mut key = prefix.to_vec();
    key.extend_from_slice(format!("{:016x}.{index:04x}", at.offset).as_bytes());
    debug_assert!(key.len() <= KEY_BYTES_MAX, "checked before it ran");
    Bytes::from(key)
}
