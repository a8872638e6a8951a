//! The whole state as a sequence of chunks of bytes: the content of snapshots, in files and on their way to a replica
//! that is too far behind.
//!
//! Promises: the same state gives the same chunks, byte for byte, on every replica and on either form of the table;
//! a chunk has at most [`CHUNK_BYTES_MAX`] bytes. An import clears the table first; until it ended, the table says
//! that it is half imported and neither opens as trusted nor reads as a state. Every import is verified: order,
//! shape, number of rows, and a hash of everything.
//!
//! ```text
//!   chunk:  "FDB" | format (1 byte) | kind (1) | body
//!   kind 1, rows:  space (1) | key length (2) | value length (4) | key | value, again and again
//!   kind 2, end:   rows (8) | xxh3-128 of all chunks before (16)                  (numbers little-endian)
//! ```
//!
//! Leaves out: files and streams (the log's snapshots keep the chunks, with checksums of their own).

use bytes::Bytes;
use prost::Message as _;
use proto::store::AppliedState;
use store_core::mutant;
use xxhash_rust::xxh3::Xxh3;

use crate::error::Error;
use crate::limits::{CHUNK_BYTES, CHUNK_BYTES_MAX};
use crate::record::View;
use crate::state;
use crate::table::{IMPORTING, Read, Space, Table, Write};

const HEAD: [u8; 4] = *b"FDB\x01";
const ROWS: u8 = 1;
const END: u8 = 2;
const HEAD_BYTES: usize = HEAD.len() + 1;
const ROW_HEAD_BYTES: usize = 7;

/// Hands the whole state to `sink`, chunk by chunk, in one consistent view.
///
/// # Errors
/// The table cannot be read, is half imported, or what `sink` returns.
pub fn export(read: &impl Read, sink: &mut dyn FnMut(Bytes) -> Result<(), Error>) -> Result<(), Error> {
    state::read(read)?;
    let mut hasher = Xxh3::new();
    let mut rows = 0u64;
    let mut chunk = begun();
    for space in Space::ALL {
        read.walk(space, &[], &mut |key, value| {
            if mutant!(SnapshotWrongPosition) && space == Space::State {
                push_row(&mut chunk, space, key, &one_earlier(value));
            } else {
                push_row(&mut chunk, space, key, value);
            }
            rows += 1;
            if chunk.len() >= CHUNK_BYTES {
                hasher.update(&chunk);
                sink(Bytes::from(std::mem::replace(&mut chunk, begun())))?;
            }
            Ok(true)
        })?;
    }
    if has_rows(&chunk) {
        hasher.update(&chunk);
        sink(Bytes::from(chunk))?;
    }
    sink(end_of(rows, &hasher))
}

/// Hands the chunks of an exported state on, all rows as they are but the one that says where the state stands, and those of a space
/// that are left out.
pub struct Rewrite<F> {
    /// Checks what comes in.
    checker: Checker,
    /// Of what goes out.
    hasher: Xxh3,
    /// The new row, from the old one.
    change: F,
    /// Whose rows are left out.
    without: Space,
}

impl<F: FnMut(&AppliedState) -> AppliedState> Rewrite<F> {
    /// Calls `change` with where the state stands, and writes what it returns in its place; leaves out the rows of `without`.
    pub fn new(without: Space, change: F) -> Rewrite<F> {
        Rewrite { checker: Checker::default(), hasher: Xxh3::new(), change, without }
    }

    /// Takes the next chunk; what takes its place.
    ///
    /// # Errors
    /// The chunk is not the next one of an export.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<Bytes, Error> {
        let rows = self.checker.take(chunk)?;
        if self.checker.ended {
            let count: u64 = self.checker.rows.iter().sum();
            let left_out = self.checker.rows[usize::from(self.without.number())];
            return Ok(end_of(count - left_out, &self.hasher));
        }
        let mut written = begun();
        for row in rows.iter().filter(|row| row.space != self.without) {
            if (row.space, row.key) == (Space::State, state::APPLIED) {
                let old = self.checker.state.as_ref().expect("the checker has just read it");
                push_row(&mut written, row.space, row.key, &(self.change)(old).encode_to_vec());
            } else {
                push_row(&mut written, row.space, row.key, row.value);
            }
        }
        self.hasher.update(&written);
        Ok(Bytes::from(written))
    }
}

/// The last chunk, after so many rows in chunks of this hash.
pub(crate) fn end_of(rows: u64, hasher: &Xxh3) -> Bytes {
    let mut end = Vec::with_capacity(64);
    end.extend_from_slice(&HEAD);
    end.push(END);
    end.extend_from_slice(&rows.to_le_bytes());
    end.extend_from_slice(&hasher.digest128().to_le_bytes());
    Bytes::from(end)
}

/// What [`Mutation::SnapshotWrongPosition`] makes of the row of the applied state.
fn one_earlier(row: &[u8]) -> Vec<u8> {
    let mut state = AppliedState::decode(row).unwrap_or_default();
    if let Some(applied) = &mut state.applied {
        applied.offset = applied.offset.saturating_sub(1);
    }
    state.encode_to_vec()
}

/// A chunk that has no rows yet.
pub(crate) fn begun() -> Vec<u8> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
    chunk.extend_from_slice(&HEAD);
    chunk.push(ROWS);
    chunk
}

/// Whether a chunk has any by now.
pub(crate) fn has_rows(chunk: &[u8]) -> bool {
    chunk.len() > HEAD_BYTES
}

/// Puts a row behind those of a chunk.
pub(crate) fn push_row(chunk: &mut Vec<u8>, space: Space, key: &[u8], value: &[u8]) {
    chunk.push(space.number());
    chunk.extend_from_slice(&u16::try_from(key.len()).expect("keys have up to 511 bytes").to_le_bytes());
    chunk.extend_from_slice(&u32::try_from(value.len()).expect("rows are bounded").to_le_bytes());
    chunk.extend_from_slice(key);
    chunk.extend_from_slice(value);
}

/// What an exported state holds.
#[derive(Clone, PartialEq, Debug)]
pub struct Contents {
    /// Rows of each space, in the order of [`Space::ALL`].
    pub rows: [u64; Space::ALL.len()],
    /// Where the state stands.
    pub state: AppliedState,
}

/// Checks the chunks of an exported state without a table: order, shape, number of rows, and the hash of everything.
#[derive(Default)]
pub struct Checker {
    hasher: Xxh3,
    /// Rows of each space so far.
    rows: [u64; Space::ALL.len()],
    /// The last row, to check the order.
    last: Option<(u8, Vec<u8>)>,
    /// Where the state stands, once its row was there.
    state: Option<AppliedState>,
    /// The end was there.
    ended: bool,
}

impl Checker {
    /// Takes the next chunk.
    ///
    /// # Errors
    /// The chunk is not the next one of an export.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.take(chunk).map(|_| ())
    }

    /// Ends the check.
    ///
    /// # Errors
    /// The end was not among the chunks, or nothing says where the state stands.
    pub fn finish(self) -> Result<Contents, Error> {
        match self.state {
            Some(state) if self.ended => Ok(Contents { rows: self.rows, state }),
            Some(_) => Err(Error::damaged("an exported state has no end")),
            None => Err(Error::damaged("an exported state does not say where it stands")),
        }
    }

    /// Whether the end was there.
    pub(crate) fn is_over(&self) -> bool {
        self.ended
    }

    /// Where the state stands, once its row was there.
    pub(crate) fn state(&self) -> Option<&AppliedState> {
        self.state.as_ref()
    }

    /// The rows of the next chunk, checked; none at the end.
    pub(crate) fn take<'c>(&mut self, chunk: &'c [u8]) -> Result<Vec<Row<'c>>, Error> {
        let wrong = |what: &str| Error::damaged(format!("a chunk of an exported state: {what}"));
        if self.ended || chunk.len() > CHUNK_BYTES_MAX {
            return Err(wrong("it comes after the end, or is too long"));
        }
        match chunk.strip_prefix(&HEAD).and_then(<[u8]>::split_first) {
            Some((&ROWS, body)) => {
                let rows = rows_of(body).ok_or_else(|| wrong("its rows are not rows"))?;
                rows.iter().try_for_each(|row| self.row(row))?;
                self.hasher.update(chunk);
                Ok(rows)
            }
            Some((&END, body)) => {
                let count: u64 = self.rows.iter().sum();
                let expected = [&count.to_le_bytes()[..], &self.hasher.digest128().to_le_bytes()].concat();
                if body != expected {
                    return Err(wrong("rows are missing or were changed"));
                }
                self.ended = true;
                Ok(Vec::new())
            }
            _ => Err(wrong("it is of another format")),
        }
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), Error> {
        let place = (row.space.number(), row.key);
        if self.last.as_ref().is_some_and(|last| (last.0, &last.1[..]) >= place) {
            return Err(Error::damaged("a chunk of an exported state: its rows are not in order"));
        }
        self.last = Some((place.0, row.key.to_vec()));
        self.rows[usize::from(place.0)] += 1;
        if (row.space, row.key) == (Space::State, state::APPLIED) {
            let state = AppliedState::decode(row.value);
            self.state = Some(state.map_err(|error| Error::damaged(format!("the applied state: {error}")))?);
        }
        Ok(())
    }
}

/// An import under way.
pub struct Import<T> {
    table: T,
    checker: Checker,
}

impl<T: Table> Import<T> {
    /// Clears the table and marks it as half imported. One that is damaged is made anew: even clearing it would read it.
    ///
    /// # Errors
    /// The table cannot be written.
    pub fn begin(table: T) -> Result<Import<T>, Error> {
        if table.damage().is_some() {
            table.reset()?;
        }
        table.replace(|write| {
            Space::ALL.into_iter().try_for_each(|space| write.clear(space))?;
            write.put(Space::State, IMPORTING, &[])
        })?;
        Ok(Import { table, checker: Checker::default() })
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// The chunk is not the next one of an export, or the table cannot be written. The import cannot go on.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let rows = self.checker.take(chunk)?;
        if rows.is_empty() {
            return Ok(());
        }
        // Spaces come one after the other, their rows in order, and all but that of the mark were empty.
        let take_all = |write: &mut T::Write<'_>| {
            rows.iter().try_for_each(|row| match row.space {
                Space::State => write.put(row.space, row.key, row.value),
                space => write.append(space, row.key, row.value),
            })
        };
        self.table.write_through(take_all)
    }

    /// Ends the import: from here on the table is what was exported.
    ///
    /// # Errors
    /// The end was not among the chunks, or the table cannot be written.
    pub fn finish(self) -> Result<AppliedState, Error> {
        if !self.checker.ended {
            return Err(Error::damaged("an exported state has no end"));
        }
        self.table.write_through(|write| {
            write.delete(Space::State, IMPORTING)?;
            state::read(write)
        })
    }
}

/// A row of a chunk.
pub(crate) struct Row<'a> {
    pub(crate) space: Space,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The data of a record, if it is in this chunk of an exported state that was checked.
///
/// # Errors
/// The record's bytes are none.
pub fn record_in<'c>(chunk: &'c [u8], key: &[u8]) -> Result<Option<&'c [u8]>, Error> {
    let rows = chunk.strip_prefix(&HEAD).and_then(|rest| rest.strip_prefix(&[ROWS])).and_then(rows_of);
    let found =
        rows.unwrap_or_default().into_iter().find(|row| (row.space, row.key) == (Space::Records, key));
    found.map(|row| View::of(row.value).map(|view| view.data)).transpose()
}

fn rows_of(mut body: &[u8]) -> Option<Vec<Row<'_>>> {
    let mut rows = Vec::new();
    while !body.is_empty() {
        let (head, rest) = body.split_first_chunk::<ROW_HEAD_BYTES>()?;
        let space = *Space::ALL.get(usize::from(head[0]))?;
        let key_bytes = usize::from(u16::from_le_bytes([head[1], head[2]]));
        let value_bytes = u32::from_le_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let (key, rest) = rest.split_at_checked(key_bytes)?;
        let (value, rest) = rest.split_at_checked(value_bytes)?;
        if !(1..=crate::limits::TABLE_KEY_BYTES_MAX).contains(&key.len())
            || (space, key) == (Space::State, IMPORTING)
        {
            return None;
        }
        rows.push(Row { space, key, value });
        body = rest;
    }
    Some(rows)
}
