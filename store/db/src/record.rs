//! A record's form in the table: a fixed header, pending adds, data. These bytes are on disk, in snapshots and
//! under the state hash.
//!
//! ```text
//!   0 format (1) | 1 zero | 2..4 pending adds | 4..12 version | 12..20 timestamp | 20..28 epoch | 28..36 offset
//!   then each pending add: 2 bytes length, transaction, 2 bytes length, pointer, 8 bytes amount
//!   then the data, to the end                                                   (all numbers little-endian)
//! ```

use bytes::Bytes;
use proto::store::{PendingAdd, Position, Record};

use crate::error::Error;

const FORMAT: u8 = 1;
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
    pending_count: u16,
    pending: &'a [u8],
    pub(crate) data: &'a [u8],
}

impl<'a> View<'a> {
    /// Reads a stored record.
    pub(crate) fn of(stored: &'a [u8]) -> Result<View<'a>, Error> {
        View::try_of(stored).ok_or_else(|| Error::damaged("a record's bytes are not a record"))
    }

    fn try_of(stored: &'a [u8]) -> Option<View<'a>> {
        let mut rest = stored;
        if take::<2>(&mut rest)? != [FORMAT, 0] {
            return None;
        }
        let pending_count = u16::from_le_bytes(take(&mut rest)?);
        let header = Header {
            version: u64::from_le_bytes(take(&mut rest)?),
            timestamp_ms: i64::from_le_bytes(take(&mut rest)?),
            position: Position {
                epoch: u64::from_le_bytes(take(&mut rest)?),
                offset: u64::from_le_bytes(take(&mut rest)?),
            },
        };
        let after_header = rest;
        for _ in 0..pending_count {
            pending_add(&mut rest)?;
        }
        let pending = &after_header[..after_header.len() - rest.len()];
        Some(View { header, pending_count, pending, data: rest })
    }

    /// As it goes out, with or without data.
    pub(crate) fn record(&self, with_data: bool) -> Record {
        let mut rest = self.pending;
        let pending = (0..self.pending_count).map_while(|_| pending_add(&mut rest)).collect();
        let data = if with_data { Bytes::copy_from_slice(self.data) } else { Bytes::new() };
        let Header { version, timestamp_ms, position } = self.header;
        Record { version, timestamp_ms, position: Some(position), data, pending }
    }

    /// This record with another header, and `with` in place of a part of its data.
    pub(crate) fn spliced(&self, header: Header, range: std::ops::Range<usize>, with: &[u8]) -> Vec<u8> {
        let bytes = HEADER_BYTES + self.pending.len() + self.data.len() - range.len() + with.len();
        let mut stored = Vec::with_capacity(bytes);
        write_header(&mut stored, header, self.pending_count);
        stored.extend_from_slice(self.pending);
        stored.extend_from_slice(&self.data[..range.start]);
        stored.extend_from_slice(with);
        stored.extend_from_slice(&self.data[range.end..]);
        stored
    }
}

/// A record to store, without pending adds.
pub(crate) fn encode(header: Header, data: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(HEADER_BYTES + data.len());
    write_header(&mut stored, header, 0);
    stored.extend_from_slice(data);
    stored
}

/// A record with pending adds; `None` if one is too long.
#[cfg(test)]
pub(crate) fn encode_pending(header: Header, pending: &[PendingAdd], data: &[u8]) -> Option<Vec<u8>> {
    let mut stored = Vec::new();
    write_header(&mut stored, header, u16::try_from(pending.len()).ok()?);
    for add in pending {
        for part in [&add.transaction[..], add.pointer.as_bytes()] {
            stored.extend(u16::try_from(part.len()).ok()?.to_le_bytes());
            stored.extend(part);
        }
        stored.extend(add.amount.to_le_bytes());
    }
    stored.extend(data);
    Some(stored)
}

fn write_header(stored: &mut Vec<u8>, header: Header, pending_count: u16) {
    stored.extend_from_slice(&[FORMAT, 0]);
    stored.extend_from_slice(&pending_count.to_le_bytes());
    stored.extend_from_slice(&header.version.to_le_bytes());
    stored.extend_from_slice(&header.timestamp_ms.to_le_bytes());
    stored.extend_from_slice(&header.position.epoch.to_le_bytes());
    stored.extend_from_slice(&header.position.offset.to_le_bytes());
}

fn pending_add(rest: &mut &[u8]) -> Option<PendingAdd> {
    let transaction = Bytes::copy_from_slice(counted(rest)?);
    let pointer = std::str::from_utf8(counted(rest)?).ok()?.to_owned();
    Some(PendingAdd { transaction, pointer, amount: i64::from_le_bytes(take(rest)?) })
}

fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let bytes = usize::from(u16::from_le_bytes(take(rest)?));
    let (part, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Some(part)
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
    fn pending_adds_come_back_and_survive_a_splice() {
        let add = |n: u8| PendingAdd { transaction: vec![n; 3].into(), pointer: "/a".into(), amount: -5 };
        let stored = encode_pending(header(), &[add(1), add(2)], b"{\"a\":1}").expect("short");
        let view = View::of(&stored).expect("whole");
        assert_eq!(view.record(true).pending, [add(1), add(2)]);
        assert_eq!(view.data, b"{\"a\":1}");
        let spliced = view.spliced(Header { version: 4, ..header() }, 5..6, b"22");
        let view = View::of(&spliced).expect("whole");
        assert_eq!((view.header.version, view.data), (4, &b"{\"a\":22}"[..]));
        assert_eq!(view.record(false).pending.len(), 2);
        assert!(view.record(false).data.is_empty());
    }

    #[test]
    fn damaged_records_are_errors() {
        let stored = encode_pending(header(), &[PendingAdd::default()], b"x").expect("short");
        for cut in 0..stored.len() - 1 {
            assert!(View::of(&stored[..cut]).is_err(), "cut at {cut}");
        }
        let mut newer = stored;
        newer[0] = 2;
        assert!(matches!(View::of(&newer), Err(Error::Damaged { .. })));
    }
}
