//! Reading the log from any thread while the writer appends. The index (which batch stands where) is behind a
//! lock that is held for a look-up only; the bytes are read without it, at their place, and their checksums are
//! verified again. A reader that looked a batch up just before it was truncated or removed still reads its old
//! bytes: log files are replaced, never changed in place. Promises nothing about durability: an appended batch
//! is read at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use store_core::{Entry, Offset};

use crate::batch::{self, BatchHeader, entry_bytes};
use crate::disk::DiskFile;
use crate::error::Error;
use crate::limits::READ_BYTES_MAX;
use crate::names;

/// Where a batch stands in its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRef {
    /// Offset of its first entry.
    pub(crate) first: Offset,
    /// Its first byte in the file.
    pub(crate) place: u64,
    /// Its length.
    pub(crate) bytes: u32,
}

impl BatchRef {
    /// The place after it.
    pub(crate) fn end(&self) -> u64 {
        self.place + u64::from(self.bytes)
    }
}

/// One log file in the index.
#[derive(Debug)]
pub(crate) struct Piece<F> {
    /// X of `log.X`.
    pub(crate) number: u64,
    /// The offset before its first entry.
    pub(crate) base: Offset,
    /// The file.
    pub(crate) file: Arc<F>,
    /// Its batches, in order.
    pub(crate) batches: Vec<BatchRef>,
}

/// What the log has, and where.
#[derive(Debug)]
pub(crate) struct Index<F> {
    /// The last offset of the log.
    pub(crate) last: Offset,
    /// Its files, oldest first; never empty.
    pub(crate) pieces: VecDeque<Piece<F>>,
}

/// The index as writer and readers share it.
pub(crate) type SharedIndex<F> = Arc<Mutex<Index<F>>>;

/// Looks at the index. A panic elsewhere cannot leave it half changed: every change is a few assignments.
pub(crate) fn lock<F>(shared: &SharedIndex<F>) -> MutexGuard<'_, Index<F>> {
    shared.lock()
}

/// Reads the log; cheap to clone, usable from any thread.
pub struct LogReader<F> {
    /// What the writer has appended.
    shared: SharedIndex<F>,
}

impl<F> Clone for LogReader<F> {
    fn clone(&self) -> Self {
        LogReader { shared: Arc::clone(&self.shared) }
    }
}

impl<F> fmt::Debug for LogReader<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").finish_non_exhaustive()
    }
}

/// A stretch of whole batches to read in one go.
struct Stretch<F> {
    /// X of the file.
    number: u64,
    /// The file.
    file: Arc<F>,
    /// The batches, one after the other.
    batches: Vec<BatchRef>,
}

impl<F: DiskFile> LogReader<F> {
    pub(crate) fn new(shared: &SharedIndex<F>) -> LogReader<F> {
        LogReader { shared: Arc::clone(shared) }
    }

    /// The last offset appended.
    #[must_use]
    pub fn last(&self) -> Offset {
        lock(&self.shared).last
    }

    /// The last offset that is gone from the log.
    #[must_use]
    pub fn base(&self) -> Offset {
        lock(&self.shared).pieces[0].base
    }

    /// Entries from `from` on, in order: at most `entries_max` (at least 1), and so many that payloads and
    /// 24 bytes for each stay within `bytes_max`, but never none. Payloads are slices of one buffer: keeping a
    /// single small one keeps the buffer (at most about `bytes_max`, or one batch) in memory.
    ///
    /// # Errors
    /// [`Error::Purged`], [`Error::Beyond`]; [`Error::Damaged`] if the disk returns other bytes than were
    /// written.
    pub fn read(
        &self,
        from: Offset,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Entry<Bytes>>, Error> {
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0, from);
        loop {
            let left = bytes_max.saturating_sub(bytes);
            let stretch = match self.stretch(next, left) {
                Err(_) if !entries.is_empty() => return Ok(entries),
                other => other?,
            };
            for entry in stretch.read(next)? {
                bytes += entry_bytes(entry.payload.len());
                let full = bytes > bytes_max || entries.len() >= entries_max;
                if full && !entries.is_empty() {
                    return Ok(entries);
                }
                next = entry.position.offset.next();
                entries.push(entry);
            }
        }
    }

    /// The batches of one file from the one with `from` on, within `bytes_max` (at least one).
    fn stretch(&self, from: Offset, bytes_max: usize) -> Result<Stretch<F>, Error> {
        let index = lock(&self.shared);
        let base = index.pieces[0].base;
        if from <= base {
            return Err(Error::Purged { at: from, base });
        }
        if from > index.last {
            return Err(Error::Beyond { at: from, last: index.last });
        }
        let after = index.pieces.partition_point(|piece| piece.base < from);
        let piece = &index.pieces[after - 1];
        let first = piece.batches.partition_point(|batch| batch.first <= from) - 1;
        let mut bytes = 0;
        let limit = bytes_max.min(READ_BYTES_MAX);
        let fits = |batch: &&BatchRef| {
            let begin = bytes == 0;
            bytes += batch.bytes as usize;
            begin || bytes <= limit
        };
        let batches = piece.batches[first..].iter().take_while(fits).copied().collect();
        Ok(Stretch { number: piece.number, file: Arc::clone(&piece.file), batches })
    }
}

impl<F: DiskFile> Stretch<F> {
    fn read(&self, from: Offset) -> Result<Vec<Entry<Bytes>>, Error> {
        let name = names::log_file(self.number);
        let (first, last) = (self.batches[0], self.batches[self.batches.len() - 1]);
        let length = usize::try_from(last.end() - first.place).expect("bounded by the read limit");
        let mut buffer = BytesMut::zeroed(length);
        let read = self.file.read_at(first.place, &mut buffer).map_err(|e| Error::of("read", &name, e))?;
        if read < length {
            return Err(Error::damaged(&name, first.place + read as u64, "the file ends inside a batch"));
        }
        let buffer = buffer.freeze();
        let mut entries = Vec::new();
        for batch in &self.batches {
            let start = usize::try_from(batch.place - first.place).expect("inside the buffer");
            let bytes = buffer.slice(start..start + batch.bytes as usize);
            let damaged = |problem: &str| Error::damaged(&name, batch.place, problem);
            let header = BatchHeader::take(&bytes, batch.place).map_err(damaged)?;
            for entry in batch::entries(&header, &bytes).map_err(damaged)? {
                let entry = entry.map_err(damaged)?;
                if entry.position.offset >= from {
                    entries.push(entry.entry(&bytes));
                }
            }
        }
        Ok(entries)
    }
}
