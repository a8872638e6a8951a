//! One transaction: guards, then operations, over an overlay of the table, so that a transaction that fails writes
//! nothing and operations see the effects of those before them.
//!
//! Promises: a pure function of the table, the transaction and its position. A record that the transaction changes
//! rises by exactly one version, however many operations touch it; one that it creates has version 1; one that it
//! both creates and deletes is no effect. All failed guards are told of (up to a bound), or the first operation
//! that cannot be done, each with the record as it is stored.
//!
//! Leaves out: identities ([`crate::replies`]) and writing the effects down ([`crate::apply`]).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use bytes::Bytes;
use proto::check::DATA_BYTES_MAX;
use proto::store::failed_guard::Reason;
use proto::store::guard::Condition;
use proto::store::operation::Action;
use proto::store::{
    Add, Append, FailedGuard, Guard, Holder, KeyLocks, Operation, Position, Record, Returning, SetJson,
    Touched, Txn, TxnResponse,
};
use store_core::mutant;

use crate::appended;
use crate::effects::Effect;
use crate::error::Error;
use crate::escrow::{self, Step, Summed};
use crate::json;
use crate::limits::{
    BRANCH_RETURNED_BYTES_MAX, FAILED_GUARDS_MAX, NUMBER_BYTES_MAX, RETURNED_DATA_BYTES_MAX,
};
use crate::locks::{self, Want, Wants};
use crate::record::{self, Header, View};
use crate::table::{Read, Space};

/// What became of a transaction.
#[derive(Debug)]
pub(crate) enum Ran {
    /// Every guard holds and every operation can be done.
    Done {
        /// What the caller is told.
        response: TxnResponse,
        /// What changes, in key order.
        effects: Vec<Effect>,
    },
    /// What the caller is told; nothing changes.
    Failed(TxnResponse),
    /// A prepared branch is in the way; nothing changes.
    Locked(Holder),
}

/// In which way a transaction, or a part of one, is evaluated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// It is done at once.
    Here,
    /// It is to be prepared: additions are done when it is finished, and tell nothing.
    Participant,
    /// It was prepared and is done: guards held, and nothing can fail.
    Finish(Position),
}

/// The circumstances of an evaluation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'t> {
    /// The position of what is written; of additions to be finished, that of the role.
    pub(crate) at: Position,
    /// The places of guards and operations in the whole transaction; `None`: this is the whole.
    pub(crate) places: Option<(&'t [u32], &'t [u32])>,
    /// The log time of the entry; `None`: the state machine is of a version in which transactions see none.
    pub(crate) log_time_ms: Option<i64>,
    /// Appends have their offsets where they ask for them; in a branch and before that version at the ends of their keys.
    pub(crate) places_appends: bool,
    /// Others may hold locks.
    pub(crate) may_be_locked: bool,
    pub(crate) role: Role,
}

impl Frame<'_> {
    fn guard_place(&self, index: u32) -> u32 {
        self.places.map_or(index, |(guards, _)| guards[index as usize])
    }

    fn operation_place(&self, index: u32) -> u32 {
        self.places.map_or(index, |(_, operations)| operations[index as usize])
    }

    fn returned_bytes_max(&self) -> usize {
        match self.role {
            Role::Here => RETURNED_DATA_BYTES_MAX,
            Role::Participant | Role::Finish(_) => BRANCH_RETURNED_BYTES_MAX,
        }
    }
}

/// Evaluates a transaction.
pub(crate) fn run(read: &impl Read, txn: &Txn, frame: Frame<'_>) -> Result<Ran, Error> {
    let mut overlay =
        Overlay { read, frame, slots: Vec::new(), by_key: BTreeMap::new(), returned_bytes: 0, holder: None };
    let told = |response| TxnResponse { position: Some(frame.at), ..response };
    let failed = match frame.role {
        Role::Finish(_) => Vec::new(),
        Role::Here | Role::Participant => overlay.failed_guards(&txn.guards)?,
    };
    if !failed.is_empty() {
        return Ok(Ran::Failed(told(TxnResponse { failed, ..TxnResponse::default() })));
    }
    let mut results = Vec::with_capacity(txn.operations.len());
    let mut left = Left::of(txn, frame);
    for (index, operation) in (0u32..).zip(&txn.operations) {
        match overlay.operate(frame.operation_place(index), operation, &mut left)? {
            Done::Told(touched) => results.push(touched),
            Done::Locked => {}
            Done::Failed(reason) => {
                let place = frame.operation_place(index);
                let failed = vec![overlay.failed(true, place, &operation.key, reason)?];
                return Ok(Ran::Failed(told(TxnResponse { failed, ..TxnResponse::default() })));
            }
        }
    }
    if !matches!(frame.role, Role::Finish(_)) {
        overlay.lock_what_others_need()?;
    }
    if let Some(holder) = overlay.holder {
        return Ok(Ran::Locked(holder));
    }
    let response = told(TxnResponse { success: true, results, ..TxnResponse::default() });
    Ok(Ran::Done { response, effects: overlay.into_effects()? })
}

/// What an operation makes of a slot.
enum Made {
    Now(Now),
    Failed(Reason),
    Locked,
}

/// What became of one operation.
enum Done {
    Told(Touched),
    Failed(Reason),
    /// A prepared branch is in the way of it, or of one before it that it depends on.
    Locked,
}

/// The data that operations left, where a later append quotes it; and what each wants.
struct Left<'t> {
    wants: Wants<'t>,
    data: BTreeMap<u32, Vec<u8>>,
    /// Operations that are locked, by their places.
    locked: BTreeSet<u32>,
}

impl<'t> Left<'t> {
    fn of(txn: &'t Txn, frame: Frame<'_>) -> Left<'t> {
        let is_alone = matches!(frame.role, Role::Here) && !frame.may_be_locked;
        let places = frame.places.map(|(_, operations)| operations);
        let wants = if is_alone { Wants::alone(txn) } else { Wants::of(txn, places) };
        Left { wants, data: BTreeMap::new(), locked: BTreeSet::new() }
    }

    /// Whether an operation quotes one that is locked.
    fn waits(&self, operation: &Operation) -> bool {
        let Some(Action::Append(append)) = &operation.action else { return false };
        append.quotes.iter().any(|quote| self.locked.contains(&quote.operation))
    }
}

/// The table as the transaction sees it.
struct Overlay<'r, 't, R> {
    read: &'r R,
    frame: Frame<'t>,
    slots: Vec<Slot<'r>>,
    by_key: BTreeMap<Bytes, usize>,
    /// Data of records in the answer so far.
    returned_bytes: usize,
    /// Who is in the way.
    holder: Option<Holder>,
}

/// One key that the transaction touches.
struct Slot<'r> {
    key: Bytes,
    /// What the table has.
    stored: Option<&'r [u8]>,
    now: Now,
    /// The locks of others.
    held: Vec<KeyLocks>,
    /// What is left here is not known: somebody is in the way of an operation.
    is_locked: bool,
    /// What is added to each number, where others add to it too, or in the end.
    added: Vec<Added>,
}

/// An addition that is one among many.
struct Added {
    pointer: String,
    total: i128,
    timestamp_ms: i64,
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

    /// What others add to a number, and is not decided.
    fn waiting(&self, pointer: &str) -> Vec<Summed> {
        let numbers = self.held.iter().flat_map(|locks| &locks.numbers);
        let same = numbers.filter(|number| json::is_same_pointer(&number.pointer, pointer));
        same.map(|number| Summed::of(&number.adds)).collect()
    }

    fn note_added(&mut self, add: &Add) {
        let known = self.added.iter_mut().find(|it| json::is_same_pointer(&it.pointer, &add.pointer));
        let amount = i128::from(add.amount);
        match known {
            Some(known) => (known.total, known.timestamp_ms) = (known.total + amount, add.timestamp_ms),
            None => self.added.push(Added {
                pointer: add.pointer.clone(),
                total: amount,
                timestamp_ms: add.timestamp_ms,
            }),
        }
    }

    /// Whether all that waits on the record can still be done, in any order, with what this transaction adds.
    fn keeps_others(&self) -> Result<bool, Error> {
        let Some(view) = self.stored.map(View::of).transpose()? else { return Ok(true) };
        let mut numbers: Vec<&str> = self.added.iter().map(|added| &*added.pointer).collect();
        for number in self.held.iter().flat_map(|locks| &locks.numbers) {
            if !numbers.iter().any(|known| json::is_same_pointer(known, &number.pointer)) {
                numbers.push(&number.pointer);
            }
        }
        if view.data.len() + numbers.len() * NUMBER_BYTES_MAX > DATA_BYTES_MAX {
            return Ok(false);
        }
        let keeps = |added: &Added| {
            let stored = json::find_integer(view.data, &added.pointer).map(|(_, value)| value);
            stored.is_none_or(|stored| escrow::keeps(stored, added.total, &self.waiting(&added.pointer)))
        };
        Ok(self.added.iter().all(keeps))
    }

    /// Does what was added in the end.
    fn add_up(&mut self, at: Position) -> Result<(), Error> {
        for added in std::mem::take(&mut self.added) {
            let wrong = || Error::damaged("a prepared addition finds no number that it fits in");
            let view = self.current()?.ok_or_else(wrong)?;
            let (range, value) = json::find_integer(view.data, &added.pointer).ok_or_else(wrong)?;
            let sum = i64::try_from(i128::from(value) + added.total).map_err(|_| wrong())?;
            let header = self.header(at, added.timestamp_ms)?;
            self.now = Now::Made(view.spliced(header, range, sum.to_string().as_bytes()));
        }
        Ok(())
    }
}

impl<R: Read> Overlay<'_, '_, R> {
    fn slot(&mut self, key: &Bytes) -> Result<usize, Error> {
        if let Some(index) = self.by_key.get(key) {
            return Ok(*index);
        }
        let stored = self.read.get(Space::Records, key)?;
        let held = if self.frame.may_be_locked { locks::on(self.read, key)? } else { Vec::new() };
        let key_of_slot = key.clone();
        self.slots.push(Slot {
            key: key_of_slot,
            stored,
            now: Now::AsStored,
            held,
            is_locked: false,
            added: Vec::new(),
        });
        self.by_key.insert(key.clone(), self.slots.len() - 1);
        Ok(self.slots.len() - 1)
    }

    /// Whether somebody is in the way of what is wanted of a slot, of whom is noted.
    fn is_in_the_way(&mut self, slot: usize, want: Want<'_>) -> bool {
        let found = self.slots[slot].held.iter().find(|held| want.meets(held)).map(locks::holder);
        self.holder = self.holder.or(found);
        found.is_some()
    }

    /// Notes who is in the way of additions: those whose minimum they might break.
    fn lock_what_others_need(&mut self) -> Result<(), Error> {
        for slot in &self.slots {
            let waiting = slot.held.iter().find(|locks| !locks.numbers.is_empty());
            if let Some(waiting) = waiting.filter(|_| !slot.added.is_empty())
                && !slot.keeps_others()?
            {
                self.holder = self.holder.or(Some(locks::holder(waiting)));
            }
        }
        Ok(())
    }

    fn failed_guards(&mut self, guards: &[Guard]) -> Result<Vec<FailedGuard>, Error> {
        let (mut failed, log_time_ms) = (Vec::new(), self.frame.log_time_ms);
        for (index, guard) in (0u32..).zip(guards) {
            let slot = self.slot(&guard.key)?;
            if self.is_in_the_way(slot, Want::of_guard(guard)) {
                continue;
            }
            let current = self.slots[slot].current()?;
            if let Some(reason) =
                guard.condition.as_ref().and_then(|condition| breach(condition, current, log_time_ms))
            {
                let place = self.frame.guard_place(index);
                failed.push(self.failed(false, place, &guard.key, reason)?);
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
            let fits = self.returned_bytes + view.data.len() <= self.frame.returned_bytes_max();
            self.returned_bytes += if fits { view.data.len() } else { 0 };
            view.record(fits)
        });
        let log_time_ms = self.frame.log_time_ms.filter(|_| reason == Reason::TooEarly).unwrap_or_default();
        Ok(FailedGuard { operation, index, reason: reason.into(), key: key.clone(), record, log_time_ms })
    }

    /// Does one operation, or says why it cannot be done.
    fn operate<'o>(
        &mut self,
        place: u32,
        operation: &'o Operation,
        left: &mut Left<'o>,
    ) -> Result<Done, Error> {
        let key = appended::key_of(operation, self.frame.places_appends, self.frame.at, place);
        let slot = self.slot(&key)?;
        let want = left.wants.of_operation(operation);
        if self.is_in_the_way(slot, want) || self.slots[slot].is_locked || left.waits(operation) {
            self.slots[slot].is_locked = true;
            left.locked.insert(place);
            return Ok(Done::Locked);
        }
        if let (Role::Finish(_), Want::Increment(_), Some(Action::Add(add))) =
            (self.frame.role, want, &operation.action)
        {
            self.slots[slot].note_added(add);
            return Ok(Done::Told(Touched { key, record: None }));
        }
        let before = match operation.returning() {
            Returning::Before => match self.returned(slot, true)? {
                Ok(record) => Some(record),
                Err(reason) => return Ok(Done::Failed(reason)),
            },
            _ => None,
        };
        match self.made(slot, operation, left)? {
            Made::Now(Now::AsStored) => {}
            Made::Now(now) => self.slots[slot].now = now,
            Made::Failed(reason) => return Ok(Done::Failed(reason)),
            Made::Locked => {
                let waiting = self.slots[slot].held.iter().find(|locks| !locks.numbers.is_empty());
                self.holder = self.holder.or(waiting.map(locks::holder));
                self.slots[slot].is_locked = true;
                left.locked.insert(place);
                return Ok(Done::Locked);
            }
        }
        if left.wants.quoted.contains(&place)
            && let Some(view) = self.slots[slot].current()?
        {
            left.data.insert(place, view.data.to_vec());
        }
        let record = match (before, self.frame.role, want) {
            (Some(before), ..) => Ok(before),
            // Which version it makes is known when it is finished.
            (None, Role::Participant, Want::Increment(_)) => Ok(None),
            (None, ..) => self.returned(slot, operation.returning() == Returning::After)?,
        };
        Ok(match record {
            Ok(record) => Done::Told(Touched { key, record }),
            Err(reason) => Done::Failed(reason),
        })
    }

    /// What an operation makes of a slot.
    fn made(&mut self, slot: usize, operation: &Operation, left: &Left<'_>) -> Result<Made, Error> {
        let made = match &operation.action {
            Some(Action::Put(put)) => self.put(slot, put.timestamp_ms, &put.data)?,
            Some(Action::Set(set)) => self.set(slot, set)?,
            Some(Action::Add(add)) => return self.add(slot, add),
            Some(Action::Append(append)) => self.append(slot, append, left)?,
            Some(Action::Delete(_)) => Ok(Now::Gone),
            Some(Action::Get(_)) | None => Ok(Now::AsStored),
        };
        let stamped = match made {
            Ok(now) => self.stamped(now, operation)?,
            Err(reason) => Err(reason),
        };
        Ok(stamped.map_or_else(Made::Failed, Made::Now))
    }

    /// Sets the log time into what an operation has made.
    fn stamped(&self, now: Now, operation: &Operation) -> Result<Result<Now, Reason>, Error> {
        let (Some(log_time_ms), Role::Here, false) =
            (self.frame.log_time_ms, self.frame.role, operation.stamps.is_empty())
        else {
            return Ok(Ok(now));
        };
        let mut bytes = match now {
            Now::Made(bytes) => bytes,
            other => return Ok(Ok(other)),
        };
        let text = log_time_ms.to_string();
        for pointer in &operation.stamps {
            let Some(edit) = json::set(View::of(&bytes)?.data, pointer, text.as_bytes()) else {
                return Ok(Err(Reason::NoValue));
            };
            record::splice_data(&mut bytes, edit.range, &edit.text);
        }
        if View::of(&bytes)?.data.len() > DATA_BYTES_MAX {
            return Ok(Err(Reason::TooLarge));
        }
        Ok(Ok(Now::Made(bytes)))
    }

    /// The record of a slot as it goes out; TOO_LARGE if the answer has no room for its data.
    fn returned(&mut self, slot: usize, with_data: bool) -> Result<Result<Option<Record>, Reason>, Error> {
        let Some(view) = self.slots[slot].current()? else { return Ok(Ok(None)) };
        if with_data && self.returned_bytes + view.data.len() > self.frame.returned_bytes_max() {
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
        let header = self.slots[slot].header(self.frame.at, timestamp_ms)?;
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
        let header = self.slots[slot].header(self.frame.at, set.timestamp_ms)?;
        Ok(Ok(Now::Made(view.spliced(header, edit.range, &edit.text))))
    }

    fn add(&mut self, slot: usize, add: &Add) -> Result<Made, Error> {
        let waiting = self.slots[slot].waiting(&add.pointer);
        let Some(view) = self.slots[slot].current()? else { return Ok(Made::Failed(Reason::Absent)) };
        let Some((range, value)) = json::find_integer(view.data, &add.pointer) else {
            return Ok(Made::Failed(Reason::NoValue));
        };
        let sum = match escrow::step(value, add.amount, add.minimum, &waiting) {
            Step::Done(sum) => sum,
            Step::Failed(reason) => return Ok(Made::Failed(reason)),
            Step::Locked => return Ok(Made::Locked),
        };
        let mut digits = [0u8; NUMBER_BYTES_MAX];
        let mut rest = &mut digits[..];
        write!(rest, "{sum}").expect("a 64-bit integer has up to 20 characters");
        let length = NUMBER_BYTES_MAX - rest.len();
        let is_one_of_many = self.slots[slot].held.iter().any(|locks| !locks.numbers.is_empty());
        if view.data.len() - range.len() + length > DATA_BYTES_MAX {
            // Among others it depends on them how long the record is.
            return Ok(if is_one_of_many { Made::Locked } else { Made::Failed(Reason::TooLarge) });
        }
        let slot = &mut self.slots[slot];
        let header = slot.header(self.frame.at, add.timestamp_ms)?;
        let made = match (std::mem::replace(&mut slot.now, Now::AsStored), slot.stored) {
            (Now::Made(mut bytes), _) => {
                record::splice(&mut bytes, header, range, &digits[..length]);
                bytes
            }
            (Now::AsStored, Some(stored)) => View::of(stored)?.spliced(header, range, &digits[..length]),
            (Now::AsStored, None) | (Now::Gone, _) => unreachable!("there is a record to add to"),
        };
        if is_one_of_many {
            slot.note_added(add);
        }
        Ok(Made::Now(Now::Made(made)))
    }

    fn append(&self, slot: usize, append: &Append, left: &Left<'_>) -> Result<Result<Now, Reason>, Error> {
        if self.slots[slot].current()?.is_some() {
            return Ok(Err(Reason::Present));
        }
        let mut data = Cow::Borrowed(&append.data[..]);
        for quote in &append.quotes {
            let source = left.data.get(&quote.operation);
            let value = source.and_then(|source| Some(&source[json::find(source, &quote.source)?]));
            let edit = value.and_then(|value| json::set(&data, &quote.pointer, value));
            let Some(edit) = edit else { return Ok(Err(Reason::NoValue)) };
            data = Cow::Owned(json::edited(&data, &edit));
            if data.len() > DATA_BYTES_MAX {
                return Ok(Err(Reason::TooLarge));
            }
        }
        self.put(slot, append.timestamp_ms, &data)
    }

    /// What the transaction changes, in key order.
    fn into_effects(mut self) -> Result<Vec<Effect>, Error> {
        let mut effects = Vec::with_capacity(self.slots.len());
        for slot in self.by_key.values() {
            let slot = &mut self.slots[*slot];
            if let Role::Finish(at) = self.frame.role {
                slot.add_up(at)?;
            }
            let stored = match std::mem::replace(&mut slot.now, Now::AsStored) {
                Now::AsStored => continue,
                Now::Gone if slot.stored.is_none() => continue,
                Now::Gone => None,
                Now::Made(bytes) => Some(bytes),
            };
            effects.push(Effect { key: slot.key.clone(), stored });
        }
        Ok(effects)
    }
}

/// Why a condition does not hold; `None` if it does.
fn breach(condition: &Condition, record: Option<View<'_>>, log_time_ms: Option<i64>) -> Option<Reason> {
    let view = match (condition, record) {
        (Condition::NotBeforeMs(from_ms), _) => {
            let has_come = log_time_ms.is_some_and(|log_time_ms| log_time_ms >= *from_ms);
            return (!has_come).then_some(Reason::TooEarly);
        }
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
