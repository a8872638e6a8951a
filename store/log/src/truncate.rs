//! Cutting the log, in steps of which each leaves a whole log on disk, never shorter than what is to be kept:
//! files after the cut are removed newest first, each removal durable before the next; then the file with the
//! cut is copied aside up to it (a batch with the cut inside is encoded anew), synced and renamed. Leaves the
//! question whether the cut is allowed to the log.

use std::sync::Arc;

use bytes::Bytes;
use store_core::{Entry, Offset, Position};

use crate::atomic_write;
use crate::batch::{self, BatchHeader, Link};
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::fault;
use crate::header::LogHeader;
use crate::limits::FILE_HEADER_BYTES;
use crate::meta::Meta;
use crate::names;
use crate::reader::{BatchRef, SharedIndex, lock};
use crate::segment::{Content, Segment};

/// Cuts one replica's log.
pub(crate) struct Job<'a, D> {
    /// The folder.
    pub(crate) disk: &'a D,
    /// Whose it is.
    pub(crate) meta: &'a Meta,
    /// By how much log files grow.
    pub(crate) step: u64,
}

/// The log's end after a cut.
pub(crate) struct Cut<F> {
    /// The file to append to.
    pub(crate) segment: Segment<F>,
    /// The hash of the last batch.
    pub(crate) hash: u64,
    /// The last position.
    pub(crate) last: Position,
    /// The timestamp of the entry there.
    pub(crate) last_log_time_ms: i64,
}

/// The last batch to be kept, as it will be.
struct Kept {
    hash: u64,
    last: Position,
    last_log_time_ms: i64,
    /// Batches up to here are copied as they are.
    copy_end: u64,
}

impl<D: Disk> Job<'_, D> {
    /// Cuts the entry at `from`, which the log has, and all after it. `buffer` is only used for its memory.
    pub(crate) fn run(
        &self,
        shared: &SharedIndex<D::File>,
        from: Offset,
        buffer: &mut Vec<u8>,
    ) -> Result<Cut<D::File>, Error> {
        // First of all, so that readers never look for a batch in a file that has gone.
        lock(shared).last = from.previous();
        self.remove_later(shared, from)?;
        let (number, mut batches) = {
            let index = lock(shared);
            let piece = index.pieces.back().expect("the log's first file begins before the cut");
            (piece.number, piece.batches.clone())
        };
        batches.truncate(batches.partition_point(|batch| batch.first < from));
        let (file, header) = LogHeader::open(self.disk, number, self.meta)?;
        buffer.clear();
        let kept = match batches.last_mut() {
            Some(batch) => keep(&file, number, batch, from, buffer)?,
            None => Kept {
                hash: header.hash_before,
                last: header.base,
                last_log_time_ms: header.base_log_time_ms,
                copy_end: FILE_HEADER_BYTES as u64,
            },
        };
        let copy = Some((&file, FILE_HEADER_BYTES as u64..kept.copy_end));
        let content = Content { copy, batch: buffer };
        let segment = Segment::create(self.disk, self.meta, header, &content, self.step, "truncate")?;
        let mut index = lock(shared);
        let piece = index.pieces.back_mut().expect("it was there before");
        piece.file = Arc::clone(&segment.file);
        piece.batches = batches;
        let Kept { hash, last, last_log_time_ms, .. } = kept;
        assert_eq!(last.offset, from.previous(), "the log ends just before the cut");
        Ok(Cut { segment, hash, last, last_log_time_ms })
    }

    fn remove_later(&self, shared: &SharedIndex<D::File>, from: Offset) -> Result<(), Error> {
        loop {
            let (number, base) = {
                let index = lock(shared);
                let piece = index.pieces.back().expect("the log's first file begins before the cut");
                (piece.number, piece.base)
            };
            if base < from {
                return Ok(());
            }
            atomic_write::remove(self.disk, &names::log_file(number))?;
            fault::step("truncate", "removed");
            lock(shared).pieces.pop_back();
        }
    }
}

/// What becomes of the batch before the cut: copied if it ends there, otherwise its kept entries are encoded
/// anew into `buffer`.
fn keep<F: DiskFile>(
    file: &F,
    number: u64,
    batch: &mut BatchRef,
    from: Offset,
    buffer: &mut Vec<u8>,
) -> Result<Kept, Error> {
    let name = names::log_file(number);
    let damaged = |problem: &str| Error::damaged(&name, batch.place, problem);
    let mut bytes = vec![0; batch.bytes as usize];
    let read = file.read_at(batch.place, &mut bytes).map_err(|e| Error::of("read", &name, e))?;
    let bytes = Bytes::from(bytes).slice(..read);
    let header = BatchHeader::take(&bytes, batch.place).map_err(damaged)?;
    let mut entries: Vec<Entry<Bytes>> = Vec::new();
    for entry in batch::entries(&header, &bytes).map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        if entry.position.offset < from {
            entries.push(entry.entry(&bytes));
        }
    }
    let newest = &entries[entries.len() - 1];
    let (last, last_log_time_ms) = (newest.position, newest.log_time_ms);
    if header.last() < from {
        let hash = batch::hash(&bytes);
        return Ok(Kept { hash, last, last_log_time_ms, copy_end: batch.end() });
    }
    let commit_mark = header.commit_mark.min(last.offset);
    let (hash_before, durable_mark) = (header.hash_before, header.durable_mark);
    let link = Link { place: batch.place, hash_before, commit_mark, durable_mark };
    let hash = batch::encode(buffer, &entries, link);
    batch.bytes = u32::try_from(buffer.len()).expect("it became shorter");
    Ok(Kept { hash, last, last_log_time_ms, copy_end: batch.place })
}
