//! Batches of a log file: encoding into a reused buffer, and checks of read bytes. Byte by byte in
//! [`crate::format`]. Promises that an entry's payload is copied once, into the write buffer, and not at all when
//! read. Leaves the chain over batches to the readers of files.

use std::ops::Range;

use bytes::Bytes;
use store_core::mutant;
use store_core::{Entry, EntryKind, Epoch, Offset, Position};

use crate::error::Error;
use crate::format::{get_u32, get_u64};
use crate::limits::{BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, ENTRY_PAYLOAD_BYTES_MAX};

/// Bytes of a batch's header.
pub(crate) const BATCH_HEADER_BYTES: usize = 72;

/// What a batch begins with.
pub(crate) const BATCH_MAGIC: [u8; 4] = *b"fBAT";

/// What a batch ends with. No byte is zero: in a file that was all zeros, a batch whose last byte is there was
/// written whole, if writes reach the file in order.
const END_MARK: [u8; 8] = *b"endbatch";

/// Bytes of an entry before its payload.
pub const ENTRY_HEADER_BYTES: usize = 24;

/// Batches begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

/// Bytes that an entry with this payload takes in a batch.
#[must_use]
pub const fn entry_bytes(payload_bytes: usize) -> usize {
    ENTRY_HEADER_BYTES + payload_bytes
}

/// Entries of one batch may take so many bytes together (see [`entry_bytes`]).
pub const BATCH_ENTRIES_BYTES_MAX: usize =
    BATCH_BYTES_MAX - BATCH_HEADER_BYTES - END_MARK.len() - (ALIGNMENT - 1);

const _: () = assert!(BATCH_ENTRIES_BYTES_MAX >= entry_bytes(ENTRY_PAYLOAD_BYTES_MAX));

/// A batch's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchHeader {
    /// Offset of the first entry.
    pub(crate) first: Offset,
    /// How many entries; at least 1.
    pub(crate) count: u32,
    /// Bytes between header and end mark.
    pub(crate) body_bytes: u32,
    /// CRC of those.
    pub(crate) body_crc: u32,
    /// Where the batch stands in its file.
    pub(crate) place: u64,
    /// The hash of the batch before.
    pub(crate) hash_before: u64,
    /// Everything up to here is known committed.
    pub(crate) commit_mark: Offset,
    /// Everything up to here was synced when this was written.
    pub(crate) durable_mark: Offset,
}

impl BatchHeader {
    /// Offset of the last entry.
    pub(crate) fn last(&self) -> Offset {
        Offset(self.first.0 + u64::from(self.count) - 1)
    }

    /// Bytes of the whole batch.
    pub(crate) fn batch_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + self.body_bytes as usize + END_MARK.len()
    }

    fn put(&self, into: &mut [u8]) {
        into[..4].copy_from_slice(&BATCH_MAGIC);
        into[4..8].copy_from_slice(&self.count.to_le_bytes());
        into[8..16].copy_from_slice(&self.first.0.to_le_bytes());
        into[16..20].copy_from_slice(&self.body_bytes.to_le_bytes());
        into[20..24].copy_from_slice(&self.body_crc.to_le_bytes());
        into[24..32].copy_from_slice(&self.place.to_le_bytes());
        into[32..40].copy_from_slice(&self.hash_before.to_le_bytes());
        into[40..48].copy_from_slice(&self.commit_mark.0.to_le_bytes());
        into[48..56].copy_from_slice(&self.durable_mark.0.to_le_bytes());
        into[56..68].fill(0);
        let crc = crc32c::crc32c(&into[..68]);
        into[68..72].copy_from_slice(&crc.to_le_bytes());
    }

    /// The header at the start of `bytes`, which stand at `place` of the file.
    pub(crate) fn take(bytes: &[u8], place: u64) -> Result<BatchHeader, &'static str> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES).ok_or("the file ends inside a batch header")?;
        if bytes[..4] != BATCH_MAGIC {
            return Err("a batch header does not begin with its magic");
        }
        if crc32c::crc32c(&bytes[..68]) != get_u32(bytes, 68) {
            return Err("a batch header's checksum is wrong");
        }
        let header = BatchHeader {
            count: get_u32(bytes, 4),
            first: Offset(get_u64(bytes, 8)),
            body_bytes: get_u32(bytes, 16),
            body_crc: get_u32(bytes, 20),
            place: get_u64(bytes, 24),
            hash_before: get_u64(bytes, 32),
            commit_mark: Offset(get_u64(bytes, 40)),
            durable_mark: Offset(get_u64(bytes, 48)),
        };
        let count_max = u32::try_from(BATCH_ENTRIES_MAX).expect("a const assert says so");
        let sane = (1..=count_max).contains(&header.count)
            && header.first.0.checked_add(u64::from(header.count)).is_some()
            && (header.body_bytes as usize).is_multiple_of(ALIGNMENT)
            && header.body_bytes as usize >= header.count as usize * ENTRY_HEADER_BYTES
            && header.batch_bytes() <= BATCH_BYTES_MAX;
        match (sane, header.place == place) {
            (true, true) => Ok(header),
            (false, _) => Err("a batch header's lengths are impossible"),
            (_, false) => Err("a batch stands where it was not written"),
        }
    }
}

/// What goes into a batch's header besides what follows from its entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Where the batch will stand.
    pub(crate) place: u64,
    /// The hash of the batch before.
    pub(crate) hash_before: u64,
    /// Everything up to here is known committed.
    pub(crate) commit_mark: Offset,
    /// Everything up to here is synced.
    pub(crate) durable_mark: Offset,
}

/// Replaces `buffer` by one batch of `entries` (which were checked); returns its hash.
pub(crate) fn encode(buffer: &mut Vec<u8>, entries: &[Entry<Bytes>], link: Link) -> u64 {
    buffer.clear();
    buffer.resize(BATCH_HEADER_BYTES, 0);
    for entry in entries {
        let length = u32::try_from(entry.payload.len()).expect("entries were checked");
        buffer.extend_from_slice(&entry.position.epoch.0.to_le_bytes());
        buffer.extend_from_slice(&entry.log_time_ms.to_le_bytes());
        buffer.extend_from_slice(&length.to_le_bytes());
        buffer.extend_from_slice(&[kind_code(entry.kind), 0, 0, 0]);
        buffer.extend_from_slice(&entry.payload);
    }
    buffer.resize(buffer.len().next_multiple_of(ALIGNMENT), 0);
    let body = &buffer[BATCH_HEADER_BYTES..];
    let header = BatchHeader {
        first: entries[0].position.offset,
        count: u32::try_from(entries.len()).expect("entries were checked"),
        body_bytes: u32::try_from(body.len()).expect("entries were checked"),
        body_crc: crc32c::crc32c(body),
        place: link.place,
        hash_before: link.hash_before,
        commit_mark: link.commit_mark,
        durable_mark: link.durable_mark,
    };
    header.put(&mut buffer[..BATCH_HEADER_BYTES]);
    buffer.extend_from_slice(&END_MARK);
    hash(buffer)
}

/// The hash of a whole batch.
pub(crate) fn hash(batch: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(batch)
}

/// Whether `entries` can be one batch after `last`, by an owner who has seen `epoch_max`.
pub(crate) fn check(entries: &[Entry<Bytes>], last: Position, epoch_max: Epoch) -> Result<(), Error> {
    let invalid = |text: String| Err(Error::Invalid(text));
    if entries.is_empty() || entries.len() > BATCH_ENTRIES_MAX {
        return invalid(format!("a batch has 1 to {BATCH_ENTRIES_MAX} entries, not {}", entries.len()));
    }
    let (mut before, mut bytes) = (last, 0);
    for entry in entries {
        let at = entry.position;
        if at.offset != before.offset.next() || at.epoch < before.epoch || at.epoch.0 == 0 {
            return invalid(format!("an entry at {at} cannot follow {before}"));
        }
        if entry.payload.len() > ENTRY_PAYLOAD_BYTES_MAX {
            let found = entry.payload.len();
            return invalid(format!(
                "the entry at {at} has {found} bytes, at most {ENTRY_PAYLOAD_BYTES_MAX} fit"
            ));
        }
        bytes += entry_bytes(entry.payload.len());
        before = at;
    }
    if bytes > BATCH_ENTRIES_BYTES_MAX {
        return invalid(format!("a batch of {bytes} bytes is longer than {BATCH_ENTRIES_BYTES_MAX}"));
    }
    if before.epoch > epoch_max {
        return invalid(format!("an entry at {before}, but only epoch {epoch_max} was made durable"));
    }
    Ok(())
}

fn kind_code(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Empty => 1,
        EntryKind::Membership => 2,
        EntryKind::Command => 3,
    }
}

/// An entry inside a batch.
#[derive(Clone, Debug)]
pub(crate) struct EntryPlace {
    /// Where it stands in the log.
    pub(crate) position: Position,
    /// Its timestamp.
    pub(crate) log_time_ms: i64,
    /// What it is.
    pub(crate) kind: EntryKind,
    /// Where in the batch its payload is.
    pub(crate) payload: Range<usize>,
}

impl EntryPlace {
    /// The entry, its payload a slice of `batch`.
    pub(crate) fn entry(&self, batch: &Bytes) -> Entry<Bytes> {
        Entry {
            position: self.position,
            log_time_ms: self.log_time_ms,
            kind: self.kind,
            payload: batch.slice(self.payload.clone()),
        }
    }
}

/// Walks the entries of a whole batch whose header is `header`, after checking its body and end mark.
pub(crate) fn entries<'a>(header: &BatchHeader, batch: &'a [u8]) -> Result<Entries<'a>, &'static str> {
    let length = header.batch_bytes();
    let batch = batch.get(..length).ok_or("the file ends inside a batch")?;
    let body_end = length - END_MARK.len();
    if batch[body_end..] != END_MARK {
        return Err("a batch's end mark is missing");
    }
    let is_wrong = crc32c::crc32c(&batch[BATCH_HEADER_BYTES..body_end]) != header.body_crc;
    if is_wrong && !mutant!(ChecksumIgnored) {
        return Err("a batch's checksum is wrong");
    }
    let body = &batch[..body_end];
    Ok(Entries { body, at: BATCH_HEADER_BYTES, next: header.first, left: header.count })
}

/// The entries of one batch.
pub(crate) struct Entries<'a> {
    /// Header and body of the batch.
    body: &'a [u8],
    /// The next entry.
    at: usize,
    /// Its offset.
    next: Offset,
    /// How many are left.
    left: u32,
}

impl Entries<'_> {
    fn take(&mut self) -> Option<EntryPlace> {
        let start = self.at + ENTRY_HEADER_BYTES;
        let head = self.body.get(self.at..start)?;
        let length = get_u32(head, 16) as usize;
        let kind = match head[20] {
            1 => EntryKind::Empty,
            2 => EntryKind::Membership,
            3 => EntryKind::Command,
            _ => return None,
        };
        let end = start.checked_add(length)?;
        if length > ENTRY_PAYLOAD_BYTES_MAX || end > self.body.len() {
            return None;
        }
        let position = Position { epoch: Epoch(get_u64(head, 0)), offset: self.next };
        self.at = end;
        self.left -= 1;
        self.next = self.next.next();
        if self.left == 0 && self.at.next_multiple_of(ALIGNMENT) != self.body.len() {
            return None;
        }
        let log_time_ms = get_u64(head, 8).cast_signed();
        Some(EntryPlace { position, log_time_ms, kind, payload: start..end })
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<EntryPlace, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let taken = self.take();
        if taken.is_none() {
            self.left = 0;
        }
        Some(taken.ok_or("an entry of a batch is malformed"))
    }
}
