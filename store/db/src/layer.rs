//! One layer of rows in memory, and a walk over several of them and what is below. Pure.
//!
//! A row that is deleted stays and says so, since there may be one in an older layer or below; a row that was new there goes
//! without a trace.

use std::collections::BTreeMap;
use std::collections::btree_map::{Entry, Range};
use std::iter::Peekable;
use std::ops::Bound;

use smallvec::SmallVec;

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

/// A key: those of everyday length lie in the map itself, where a search compares them without a detour.
pub(crate) type Key = SmallVec<[u8; 40]>;

pub(crate) type Rows = BTreeMap<Key, Row>;

/// Rows of all spaces, by [`Space::number`].
#[derive(Default, Debug)]
pub(crate) struct Layer {
    spaces: [Rows; Space::ALL.len()],
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

    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Option<Option<&[u8]>> {
        self.rows(space).get(key).map(|row| row.value.as_deref())
    }

    /// Pages below that a flush of these rows writes, at most, about.
    pub(crate) fn pages(&self) -> usize {
        self.count - self.side_by_side + self.side_by_side.div_ceil(SIDE_BY_SIDE)
    }

    /// Takes a newer row.
    pub(crate) fn set(&mut self, space: Space, key: Key, newer: Row) {
        let bytes_of = |value: &Option<Box<[u8]>>| value.as_ref().map_or(0, |value| value.len());
        let (key_bytes, value_bytes) = (ROW_BYTES + key.len(), bytes_of(&newer.value));
        match self.spaces[usize::from(space.number())].entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(newer);
                self.bytes += key_bytes + value_bytes;
                self.count += 1;
                self.side_by_side += usize::from(is_in_order(space));
            }
            Entry::Occupied(older) if older.get().is_new && newer.value.is_none() => {
                self.bytes -= key_bytes + bytes_of(&older.remove().value);
                self.count -= 1;
                self.side_by_side -= usize::from(is_in_order(space));
            }
            Entry::Occupied(mut older) => {
                let older = older.get_mut();
                self.bytes = self.bytes + value_bytes - bytes_of(&older.value);
                older.value = newer.value;
            }
        }
    }

    /// Lays a newer layer over this one.
    pub(crate) fn cover(&mut self, newer: Layer) {
        if self.is_empty() {
            *self = newer;
            return;
        }
        for (space, rows) in Space::ALL.into_iter().zip(newer.spaces) {
            for (key, row) in rows {
                self.set(space, key, row);
            }
        }
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

type RowRange<'l> = Range<'l, Key, Row>;

/// The rows of layers from one key on, in key order.
struct Merge<'l> {
    /// The newest layer first.
    layers: Vec<Peekable<RowRange<'l>>>,
}

impl<'l> Merge<'l> {
    /// The next key, if it is not behind this one.
    fn next_up_to(&mut self, last: Option<&[u8]>) -> Option<&'l [u8]> {
        let keys = self.layers.iter_mut().filter_map(|rows| rows.peek().map(|(key, _)| &***key));
        keys.min().filter(|key| last.is_none_or(|last| *key <= last))
    }

    /// The newest value of this key, which is next.
    fn take(&mut self, key: &[u8]) -> Option<&'l [u8]> {
        let mut newest = None;
        for rows in &mut self.layers {
            if let Some((_, row)) = rows.next_if(|(next, _)| ***next == *key) {
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
    let range = (Bound::Included(from), Bound::Unbounded);
    let rows = layers.map(|layer| layer.rows(space).range::<[u8], _>(range).peekable());
    let mut merge = Merge { layers: rows.collect() };
    let mut goes_on = true;
    below.walk(space, from, &mut |key, value| {
        let mut is_covered = false;
        while let Some(next) = merge.next_up_to(Some(key)) {
            is_covered = next == key;
            if let Some(value) = merge.take(next) {
                goes_on = visit(next, value)?;
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
        if let Some(value) = merge.take(next) {
            goes_on = visit(next, value)?;
        }
    }
    Ok(())
}
