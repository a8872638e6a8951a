//! A walk over a log file, batch by batch with everything checked, and the verdict on its end.
//!
//! # Which cuts are innocent
//!
//! The end of the last file can hold a batch that is not whole. It may be cut; the question is whether anybody
//! was ever told that it is durable. A replica acks only after `sync` returned, and `sync` comes after the write
//! of the batch returned. So it is enough to know that *the write never returned*:
//!
//! 1. The batch went out as one positional write into a stretch of zeros, which the kernel copies into its page
//!    cache front to back. The batch's last byte is never zero (end mark).
//! 2. As long as the kernel lives (the boot id is unchanged), a write that returned is seen whole by every later
//!    reader, whether or not it reached the device. So if the last byte is still zero under an unchanged boot
//!    id, the write did not return: the process was killed inside it, nothing was synced, nobody was told.
//! 3. Such a write leaves a proper prefix of one batch and then zeros up to the end of the file. If the
//!    prefix ends inside the header, it begins with the magic (or a part of that) and the nonzero bytes end before
//!    the header does; otherwise the header is whole and linked to the batch before, and the nonzero bytes end
//!    before the batch does.
//!
//! Exactly this, and only under an unchanged boot id, is innocent ([`Bad::is_torn_write`]). Everything else that
//! is cut means that the log may have lost its tail: a batch whose last byte is there but whose checksum is wrong (it was
//! written whole, perhaps acked, and rotted); one that does not link; one followed by anything but zeros; one
//! that reaches beyond the end of the file; any cut after the machine restarted, since a torn batch that was
//! never acked then looks like an acked one that the disk damaged. The remaining risk is a device that loses the
//! end of a synced write and returns zeros for it while the machine runs: then points 2 and 3 are deceived.
//! That is why such a replica is only told apart, and a quorum of others decides.
//!
//! # Which bad batches are damage
//!
//! A bad batch that is *proven* to have been durable is not cut but reported, and the replica does not start.
//! The proof is a later file (rolling syncs the file before it makes the next), or a valid batch after it in
//! the file whose durable mark covers it. A valid batch after it without that mark is no proof: several batches
//! may be written before one sync, and a power loss keeps any of their sectors; refusing to start would then
//! punish an ordinary crash. Both were perhaps acked by one sync that came last, so the cut makes the replica
//! a possibly lost tail, exactly as with a single last batch.

use store_core::{Offset, Position};

use crate::batch::{self, ALIGNMENT, BATCH_HEADER_BYTES, BATCH_MAGIC, BatchHeader, EntryPlace};
use crate::disk::DiskFile;
use crate::error::Error;
use crate::header::LogHeader;
use crate::limits::{CHUNK_BYTES, FILE_HEADER_BYTES};
use crate::window::Window;

/// Walks one log file from its header on.
pub(crate) struct Walk<'a, F> {
    /// The file.
    window: Window<'a, F>,
    /// Where the next batch would stand.
    place: u64,
    /// The hash of the batch before it.
    hash: u64,
    /// The position of the entry before it.
    last: Position,
}

/// What stands at the next place.
pub(crate) enum Step<'w> {
    /// A whole batch, its bytes, its entries, its hash.
    Batch(BatchHeader, &'w [u8], Vec<EntryPlace>, u64),
    /// Nothing but zeros, or the end of the file.
    End,
    /// Something else.
    Bad(Bad),
}

/// A stretch that is not a batch that continues the log.
#[derive(Clone, Debug)]
pub(crate) struct Bad {
    /// Where it begins.
    pub(crate) place: u64,
    /// The place after its last byte that is not zero.
    pub(crate) data_end: u64,
    /// What is wrong with it.
    pub(crate) problem: &'static str,
    /// Where the batch would end, if its header is whole and linked to the batch before; where the header would
    /// end, if it is not whole but begins rightly; otherwise `None`.
    write_end: Option<u64>,
    /// The length of the file.
    file_bytes: u64,
}

impl Bad {
    /// It looks as a write does inside which the process was killed (points 1 and 3 above).
    pub(crate) fn is_torn_write(&self) -> bool {
        self.write_end.is_some_and(|end| end <= self.file_bytes && self.data_end < end)
    }
}

impl<'a, F: DiskFile> Walk<'a, F> {
    /// Begins after the header.
    pub(crate) fn new(file: &'a F, name: &'a str, header: &LogHeader) -> Result<Walk<'a, F>, Error> {
        let window = Window::new(file, name)?;
        Ok(Walk { window, place: FILE_HEADER_BYTES as u64, hash: header.hash_before, last: header.base })
    }

    /// Where the next batch would stand.
    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    /// The hash of the batch before that.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The position of the last entry walked over.
    pub(crate) fn last(&self) -> Position {
        self.last
    }

    /// Checks what stands at the next place and steps over it if it is a batch.
    pub(crate) fn step(&mut self) -> Result<Step<'_>, Error> {
        let place = self.place;
        let header = BatchHeader::take(self.window.get(place, BATCH_HEADER_BYTES)?, place);
        let header = match header {
            Ok(header) if header.hash_before == self.hash && header.first == self.last.offset.next() => {
                header
            }
            Ok(_) => return self.bad("a batch does not continue the one before it", None),
            Err(problem) => {
                let write_end = self.begins_a_batch()?.then_some(place + BATCH_HEADER_BYTES as u64);
                return self.bad(problem, write_end);
            }
        };
        let end = place + header.batch_bytes() as u64;
        let checked = check_body(&header, self.window.get(place, header.batch_bytes())?, self.last);
        let entries = match checked {
            Ok(entries) => entries,
            Err(problem) => return self.bad(problem, Some(end)),
        };
        let bytes = self.window.get(place, header.batch_bytes())?;
        self.hash = batch::hash(bytes);
        self.place = end;
        self.last = entries.last().expect("a batch has entries").position;
        Ok(Step::Batch(header, bytes, entries, self.hash))
    }

    /// Whether what stands at the next place begins as a batch does, or as the first bytes of one and zeros.
    fn begins_a_batch(&mut self) -> Result<bool, Error> {
        let start = self.window.get(self.place, BATCH_MAGIC.len())?;
        let written = start.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Ok(written > 0 && start[..written] == BATCH_MAGIC[..written])
    }

    fn bad(&mut self, problem: &'static str, write_end: Option<u64>) -> Result<Step<'_>, Error> {
        let place = self.place;
        let data_end = self.window.data_end(place)?;
        if data_end == place {
            return Ok(Step::End);
        }
        Ok(Step::Bad(Bad { place, data_end, problem, write_end, file_bytes: self.window.length() }))
    }

    /// Whole batches after a bad stretch: how many, and the highest durable mark among them.
    pub(crate) fn later_batches(&mut self, bad: &Bad) -> Result<(u64, Offset), Error> {
        let (mut found, mut durable) = (0, Offset::ZERO);
        let mut place = bad.place + ALIGNMENT as u64;
        while place < bad.data_end {
            let Some(candidate) = self.find_magic(place, bad.data_end)? else { break };
            place = candidate + ALIGNMENT as u64;
            let taken = BatchHeader::take(self.window.get(candidate, BATCH_HEADER_BYTES)?, candidate);
            let Ok(header) = taken else { continue };
            if header.first <= self.last.offset {
                continue;
            }
            let bytes = self.window.get(candidate, header.batch_bytes())?;
            if batch::entries(&header, bytes).is_ok() {
                found += 1;
                durable = durable.max(header.durable_mark);
                place = candidate + header.batch_bytes() as u64;
            }
        }
        Ok((found, durable))
    }

    /// The first place in `from..to`, in steps of the alignment, at which a batch's magic stands.
    fn find_magic(&mut self, from: u64, to: u64) -> Result<Option<u64>, Error> {
        let mut place = from;
        while place < to {
            let chunk = self.window.get(place, CHUNK_BYTES)?;
            let found = chunk.chunks(ALIGNMENT).position(|word| word.starts_with(&BATCH_MAGIC));
            match found {
                Some(words) => return Ok(Some(place + (words * ALIGNMENT) as u64)),
                None if chunk.len() < CHUNK_BYTES => return Ok(None),
                None => place += chunk.len() as u64,
            }
        }
        Ok(None)
    }
}

fn check_body(header: &BatchHeader, bytes: &[u8], last: Position) -> Result<Vec<EntryPlace>, &'static str> {
    let entries = batch::entries(header, bytes)?.collect::<Result<Vec<_>, _>>()?;
    let mut epoch = last.epoch;
    for entry in &entries {
        if entry.position.epoch < epoch {
            return Err("the epoch of an entry is lower than that of the entry before");
        }
        epoch = entry.position.epoch;
    }
    Ok(entries)
}
