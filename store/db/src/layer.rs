//! One layer of rows in memory, and a walk over several of them and what is below. Pure.
//!
//! A row that is deleted stays and says so, since there may be one in an older layer or below; a row that was new there goes
//! without a trace.
//!
//! Keys of eight bytes, which are offsets most often, are kept as numbers: a search compares them without a look at bytes
//! that lie elsewhere. Of a large layer's records, bits say which keys it surely has not: most that are asked for are in none.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::{Entry, Range};
use std::iter::Peekable;
use std::ops::{Bound, Deref};

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Error;
use crate::table::{Read, Space, Visit};

/// What a row takes in memory beside its key and value, about: its place in the map, which is seldom full, and an allocation.
const ROW_BYTES: usize = 128;
/// Rows that lie side by side below and share a page, about.
const SIDE_BY_SIDE: usize = 32;

/// Bounds of the layers: a flush is due as soon as the active layer reaches one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The bytes of its rows in memory.
    pub layer_bytes: usize,
    /// Its rows that are a page each below.
    pub layer_rows: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { layer_bytes: 8 << 20, layer_rows: 16_384 }
    }
}

/// One row of a layer.
#[derive(Debug)]
pub(crate) struct Row {
    /// `None`: the row is deleted.
    pub(crate) value: Option<Box<[u8]>>,
    /// No older layer has the key, nor the table below: once it is deleted, nothing is to be said of it.
    pub(crate) is_new: bool,
}

/// A key that is no number: those of everyday length lie in the map itself, where a search compares them without a detour.
type Name = SmallVec<[u8; 40]>;

/// A key as a map has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key<'l> {
    /// Of eight bytes.
    Number([u8; 8]),
    /// Of any other length.
    Name(&'l [u8]),
}

impl<'l> Key<'l> {
    fn of(bytes: &'l [u8]) -> Key<'l> {
        bytes.try_into().map_or(Key::Name(bytes), Key::Number)
    }
}

impl Deref for Key<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Key::Number(bytes) => bytes,
            Key::Name(bytes) => bytes,
        }
    }
}

/// The rows of one space.
#[derive(Default, Debug)]
pub(crate) struct Rows {
    numbers: BTreeMap<u64, Row>,
    names: BTreeMap<Name, Row>,
}

impl Rows {
    fn get(&self, key: &[u8]) -> Option<&Row> {
        match Key::of(key) {
            Key::Number(number) => self.numbers.get(&u64::from_be_bytes(number)),
            Key::Name(name) => self.names.get(name),
        }
    }

    /// In key order, from this key on.
    pub(crate) fn from(&self, key: &[u8]) -> RowsFrom<'_> {
        RowsFrom {
            numbers: self.numbers.range((first_number(key), Bound::Unbounded)).peekable(),
            names: self.names.range::<[u8], _>((Bound::Included(key), Bound::Unbounded)).peekable(),
        }
    }
}

/// The first number whose bytes are not before these.
fn first_number(key: &[u8]) -> Bound<u64> {
    let mut bytes = [0; 8];
    let length = key.len().min(bytes.len());
    bytes[..length].copy_from_slice(&key[..length]);
    let number = u64::from_be_bytes(bytes);
    if key.len() > bytes.len() { Bound::Excluded(number) } else { Bound::Included(number) }
}

/// Rows of one space, in key order.
pub(crate) struct RowsFrom<'l> {
    numbers: Peekable<Range<'l, u64, Row>>,
    names: Peekable<Range<'l, Name, Row>>,
}

impl<'l> RowsFrom<'l> {
    fn peek(&mut self) -> Option<Key<'l>> {
        let number = self.numbers.peek().map(|(number, _)| Key::Number(number.to_be_bytes()));
        let name = self.names.peek().map(|(name, _)| Key::Name(name));
        match (number, name) {
            (Some(number), Some(name)) => Some(if *number < *name { number } else { name }),
            (number, name) => number.or(name),
        }
    }

    /// The next row, if it has this key.
    fn next_if(&mut self, key: &[u8]) -> Option<&'l Row> {
        self.peek().filter(|next| **next == *key)?;
        self.next().map(|(_, row)| row)
    }
}

impl<'l> Iterator for RowsFrom<'l> {
    type Item = (Key<'l>, &'l Row);

    fn next(&mut self) -> Option<(Key<'l>, &'l Row)> {
        let key = self.peek()?;
        let row = match key {
            Key::Number(_) => self.numbers.next().map(|(_, row)| row),
            Key::Name(_) => self.names.next().map(|(_, row)| row),
        };
        Some((key, row?))
    }
}

/// A key that is looked for, in one layer after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought<'k> {
    pub(crate) space: Space,
    pub(crate) key: &'k [u8],
    /// Of a record's key.
    hash: u64,
}

impl<'k> Sought<'k> {
    pub(crate) fn new(space: Space, key: &'k [u8]) -> Sought<'k> {
        Sought { space, key, hash: if space == Space::Records { xxh3_64(key) } else { 0 } }
    }
}

/// Of many records which keys are surely not among them: a bit for each, where its hash says.
#[derive(Default, Debug)]
struct Filter {
    /// Empty: nothing is known.
    bits: Vec<u64>,
}

impl Filter {
    /// A search among fewer costs as little.
    const RECORDS_MIN: usize = 512;
    /// A power of two, 64 KiB: of a layer of 16,384 records one key in thirty is looked for in vain.
    const WORDS: usize = 8_192;

    fn place(hash: u64) -> (usize, u64) {
        // Within the number of words.
        ((hash >> 6) as usize % Filter::WORDS, 1 << (hash % 64))
    }

    fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = Filter::place(hash);
        self.bits.get(word).is_none_or(|bits| bits & bit != 0)
    }

    /// Takes a key that is among them from now on.
    fn note(&mut self, key: &[u8]) {
        if !self.bits.is_empty() {
            let (word, bit) = Filter::place(xxh3_64(key));
            self.bits[word] |= bit;
        }
    }

    /// Begins once they are many.
    fn grow(&mut self, rows: &Rows) {
        if self.bits.is_empty() && rows.names.len() + rows.numbers.len() >= Filter::RECORDS_MIN {
            self.bits = vec![0; Filter::WORDS];
            rows.from(&[]).for_each(|(key, _)| self.note(&key));
        }
    }
}

/// Rows of all spaces, by [`Space::number`].
#[derive(Default, Debug)]
pub(crate) struct Layer {
    spaces: [Rows; Space::ALL.len()],
    /// Of the records.
    filter: Filter,
    /// What they take in memory.
    pub(crate) bytes: usize,
    /// How many there are.
    pub(crate) count: usize,
    /// Those of them that lie side by side below.
    side_by_side: usize,
}

/// Whether a space's rows come in the order of their keys, and mostly go in it. (A session gives its answers up out of order; each
/// goes with rows in two other spaces, which count for it.)
fn is_in_order(space: Space) -> bool {
    matches!(space, Space::ReplyOrder | Space::Changes)
}

impl Layer {
    pub(crate) fn rows(&self, space: Space) -> &Rows {
        &self.spaces[usize::from(space.number())]
    }

    pub(crate) fn get(&self, Sought { space, key, hash }: Sought<'_>) -> Option<Option<&[u8]>> {
        if space == Space::Records && !self.filter.may_have(hash) {
            return None;
        }
        self.rows(space).get(key).map(|row| row.value.as_deref())
    }

    /// Pages below that a flush of these rows writes, at most, about.
    pub(crate) fn pages(&self) -> usize {
        self.count - self.side_by_side + self.side_by_side.div_ceil(SIDE_BY_SIDE)
    }

    /// Takes a newer row.
    pub(crate) fn set(&mut self, space: Space, key: &[u8], newer: Row) {
        let rows = &mut self.spaces[usize::from(space.number())];
        let laid = match Key::of(key) {
            Key::Number(number) => lay(rows.numbers.entry(u64::from_be_bytes(number)), newer),
            Key::Name(name) => lay(rows.names.entry(Name::from_slice(name)), newer),
        };
        if space == Space::Records {
            self.filter.note(key);
            self.filter.grow(rows);
        }
        self.count_in(space, key.len(), &laid);
    }

    /// Lays a newer layer over this one.
    pub(crate) fn cover(&mut self, newer: Layer) {
        if self.is_empty() {
            *self = newer;
            return;
        }
        for (space, newer) in Space::ALL.into_iter().zip(newer.spaces) {
            let (at, is_records) = (usize::from(space.number()), space == Space::Records);
            for (number, row) in newer.numbers {
                if is_records {
                    self.filter.note(&number.to_be_bytes());
                }
                let laid = lay(self.spaces[at].numbers.entry(number), row);
                self.count_in(space, size_of::<u64>(), &laid);
            }
            for (name, row) in newer.names {
                if is_records {
                    self.filter.note(&name);
                }
                let length = name.len();
                let laid = lay(self.spaces[at].names.entry(name), row);
                self.count_in(space, length, &laid);
            }
            if is_records {
                self.filter.grow(&self.spaces[at]);
            }
        }
    }

    fn count_in(&mut self, space: Space, key_bytes: usize, laid: &Laid) {
        let row_bytes = ROW_BYTES + key_bytes;
        match laid.rows {
            Ordering::Greater => {
                self.count += 1;
                self.side_by_side += usize::from(is_in_order(space));
                self.bytes += row_bytes;
            }
            Ordering::Less => {
                self.count -= 1;
                self.side_by_side -= usize::from(is_in_order(space));
                self.bytes -= row_bytes;
            }
            Ordering::Equal => {}
        }
        self.bytes = self.bytes + laid.bytes_in - laid.bytes_out;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it has so many times what the limits say.
    pub(crate) fn reaches(&self, times: usize, limits: Limits) -> bool {
        self.bytes >= limits.layer_bytes.saturating_mul(times)
            || self.pages() >= limits.layer_rows.saturating_mul(times)
    }
}

/// What a newer row changed.
struct Laid {
    /// One more, one less, or as many as before.
    rows: Ordering,
    /// Bytes of values.
    bytes_in: usize,
    bytes_out: usize,
}

/// Takes a newer row in its place.
fn lay<K: Ord>(place: Entry<'_, K, Row>, newer: Row) -> Laid {
    let bytes_of = |row: &Row| row.value.as_ref().map_or(0, |value| value.len());
    let bytes_in = bytes_of(&newer);
    match place {
        Entry::Vacant(vacant) => {
            vacant.insert(newer);
            Laid { rows: Ordering::Greater, bytes_in, bytes_out: 0 }
        }
        Entry::Occupied(older) if older.get().is_new && newer.value.is_none() => {
            Laid { rows: Ordering::Less, bytes_in: 0, bytes_out: bytes_of(&older.remove()) }
        }
        Entry::Occupied(mut older) => {
            let bytes_out = bytes_of(older.get());
            older.get_mut().value = newer.value;
            Laid { rows: Ordering::Equal, bytes_in, bytes_out }
        }
    }
}

/// The rows of layers from one key on, in key order.
struct Merge<'l> {
    /// The newest layer first.
    layers: Vec<RowsFrom<'l>>,
}

impl<'l> Merge<'l> {
    /// The next key, if it is not behind this one.
    fn next_up_to(&mut self, last: Option<&[u8]>) -> Option<Key<'l>> {
        let keys = self.layers.iter_mut().filter_map(RowsFrom::peek);
        keys.min_by(|one, other| one.cmp(other)).filter(|key| last.is_none_or(|last| **key <= *last))
    }

    /// The newest value of this key, which is next.
    fn take(&mut self, key: &[u8]) -> Option<&'l [u8]> {
        let mut newest = None;
        for rows in &mut self.layers {
            if let Some(row) = rows.next_if(key) {
                newest.get_or_insert(row.value.as_deref());
            }
        }
        newest.flatten()
    }
}

/// Walks layers, the newest first, and what is below them.
pub(crate) fn walk_over<'l>(
    layers: impl Iterator<Item = &'l Layer>,
    below: &dyn Read,
    (space, from): (Space, &[u8]),
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    let mut merge = Merge { layers: layers.map(|layer| layer.rows(space).from(from)).collect() };
    let mut goes_on = true;
    below.walk(space, from, &mut |key, value| {
        let mut is_covered = false;
        while let Some(next) = merge.next_up_to(Some(key)) {
            is_covered = *next == *key;
            if let Some(value) = merge.take(&next) {
                goes_on = visit(&next, value)?;
            }
            if !goes_on {
                return Ok(false);
            }
        }
        if !is_covered {
            goes_on = visit(key, value)?;
        }
        Ok(goes_on)
    })?;
    while goes_on && let Some(next) = merge.next_up_to(None) {
        if let Some(value) = merge.take(&next) {
            goes_on = visit(&next, value)?;
        }
    }
    Ok(())
}
