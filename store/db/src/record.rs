//! A record's form in the table: a fixed header, then the data. These bytes are on disk, in snapshots and under the
//! state hash.
//!
//! ```text
//!   0 format (1) | 1..4 zero | 4..12 version | 12..20 timestamp | 20..28 epoch | 28..36 offset
//!   then the data, to the end                                    (all numbers little-endian)
//! ```

use std::ops::Range;

use bytes::Bytes;
use proto::store::{Position, Record};

use crate::error::Error;

/// The format, and three bytes that are zero.
const BEGINNING: [u8; 4] = [1, 0, 0, 0];
const HEADER_BYTES: usize = 36;

/// What the header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// 1 when created, one more with each transaction that changes it.
    pub(crate) version: u64,
    /// As the caller gave it.
    pub(crate) timestamp_ms: i64,
    /// The entry that wrote it.
    pub(crate) position: Position,
}

/// A stored record, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) header: Header,
    pub(crate) data: &'a [u8],
}

impl<'a> View<'a> {
    /// Reads a stored record.
    pub(crate) fn of(stored: &'a [u8]) -> Result<View<'a>, Error> {
        View::try_of(stored).ok_or_else(|| Error::damaged("a record's bytes are not a record"))
    }

    fn try_of(stored: &'a [u8]) -> Option<View<'a>> {
        let mut rest = stored;
        if take::<4>(&mut rest)? != BEGINNING {
            return None;
        }
        let header = Header {
            version: u64::from_le_bytes(take(&mut rest)?),
            timestamp_ms: i64::from_le_bytes(take(&mut rest)?),
            position: Position {
                epoch: u64::from_le_bytes(take(&mut rest)?),
                offset: u64::from_le_bytes(take(&mut rest)?),
            },
        };
        Some(View { header, data: rest })
    }

    /// As it goes out, with or without data.
    pub(crate) fn record(&self, with_data: bool) -> Record {
        let data = if with_data { Bytes::copy_from_slice(self.data) } else { Bytes::new() };
        let Header { version, timestamp_ms, position } = self.header;
        Record { version, timestamp_ms, position: Some(position), data }
    }

    /// This record with another header, and `with` in place of a part of its data.
    pub(crate) fn spliced(&self, header: Header, range: Range<usize>, with: &[u8]) -> Vec<u8> {
        let bytes = HEADER_BYTES + self.data.len() - range.len() + with.len();
        let mut stored = Vec::with_capacity(bytes);
        stored.extend_from_slice(&header_bytes(header));
        stored.extend_from_slice(&self.data[..range.start]);
        stored.extend_from_slice(with);
        stored.extend_from_slice(&self.data[range.end..]);
        stored
    }
}

/// A record to store.
pub(crate) fn encode(header: Header, data: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEADER_BYTES + data.len());
    stored.extend_from_slice(&header_bytes(header));
    stored.extend_from_slice(data);
    stored
}

/// [`View::spliced`] of a stored record that is no longer wanted as it is.
pub(crate) fn splice(stored: &mut Vec<u8>, header: Header, range: Range<usize>, with: &[u8]) {
    splice_data(stored, range, with);
    stored[..HEADER_BYTES].copy_from_slice(&header_bytes(header));
}

/// The same under the header that it has.
pub(crate) fn splice_data(stored: &mut Vec<u8>, range: Range<usize>, with: &[u8]) {
    let range = HEADER_BYTES + range.start..HEADER_BYTES + range.end;
    if range.len() == with.len() {
        stored[range].copy_from_slice(with);
    } else {
        drop(stored.splice(range, with.iter().copied()));
    }
}

fn header_bytes(header: Header) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&BEGINNING);
    bytes[4..12].copy_from_slice(&header.version.to_le_bytes());
    bytes[12..20].copy_from_slice(&header.timestamp_ms.to_le_bytes());
    bytes[20..28].copy_from_slice(&header.position.epoch.to_le_bytes());
    bytes[28..].copy_from_slice(&header.position.offset.to_le_bytes());
    bytes
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { version: 3, timestamp_ms: -7, position: Position::at(2, 9) }
    }

    #[test]
    fn the_bytes_of_a_record_are_frozen() {
        let stored = encode(header(), b"ab");
        let mut expected = vec![1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([0xf9, 255, 255, 255, 255, 255, 255, 255]);
        expected.extend([2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend(b"ab");
        assert_eq!(stored, expected);
    }

    #[test]
    fn a_splice_changes_its_part_alone() {
        let stored = encode(header(), b"{\"a\":1}");
        let view = View::of(&stored).expect("whole");
        let spliced = view.spliced(Header { version: 4, ..header() }, 5..6, b"22");
        let view = View::of(&spliced).expect("whole");
        assert_eq!((view.header.version, view.data), (4, &b"{\"a\":22}"[..]));
        assert!(view.record(false).data.is_empty());
        for (range, with) in [(5..6, &b"7"[..]), (5..6, b"-123"), (1..6, b""), (7..7, b" ")] {
            let header = Header { version: 9, ..header() };
            let view = View::of(&stored).expect("whole");
            let mut in_place = stored.clone();
            splice(&mut in_place, header, range.clone(), with);
            assert_eq!(in_place, view.spliced(header, range.clone(), with));
            let mut in_place = stored.clone();
            splice_data(&mut in_place, range.clone(), with);
            assert_eq!(in_place, view.spliced(view.header, range, with));
        }
    }

    #[test]
    fn damaged_records_are_errors() {
        let stored = encode(header(), b"x");
        for cut in 0..stored.len() - 1 {
            assert!(View::of(&stored[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..4 {
            let mut newer = stored.clone();
            newer[at] = 2;
            assert!(matches!(View::of(&newer), Err(Error::Damaged { .. })), "byte {at}");
        }
    }
}
