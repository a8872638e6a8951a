//! The log as its one writer holds it: append, sync, truncate, roll, remove, reset. Promises:
//!
//! - `append` writes one batch with one write; the batch is durable once [`Log::sync`] returned, and then
//!   everything before it is, too;
//! - a crash at any step of any call leaves a whole log that holds everything durable and nothing invented;
//! - after a failed sync, or a change that stopped half way, every call is [`Error::Poisoned`].
//!
//! Leaves out the meaning of entries, the times to roll or remove ([`crate::retention`] names the files that may go), and
//! the ballot, of which it knows only the last saved one ([`crate::Ballots`]).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use store_core::{Ballot, Entry, Offset, Position};

use crate::atomic_write;
use crate::ballot::{Ballots, Saved};
use crate::batch::{self, Link};
use crate::boot;
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::fault;
use crate::header::LogHeader;
use crate::identity::{BootId, Identity};
use crate::limits::{
    FILES_KEPT_DEFAULT, FILES_KEPT_MAX, LOG_FILE_BYTES_MAX, PREALLOCATE_BYTES_DEFAULT, PREALLOCATE_BYTES_MAX,
};
use crate::meta::Meta;
use crate::names;
use crate::quarantine::{self, Quarantine};
use crate::reader::{BatchRef, Index, LogReader, Piece, SharedIndex, lock};
use crate::recover::{Recovered, recover};
use crate::retention::FileRange;
use crate::segment::{Content, Segment};
use crate::truncate;

/// What may be configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Log files grow by so many zero bytes at a time: 1 to 2^30.
    pub preallocate_bytes: u64,
    /// So many of the newest snapshots and log files are kept: 1 to 1,000. See [`crate::retention`].
    pub files_kept: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { preallocate_bytes: PREALLOCATE_BYTES_DEFAULT, files_kept: FILES_KEPT_DEFAULT }
    }
}

/// A replica's log.
pub struct Log<D: Disk> {
    /// The folder.
    disk: D,
    /// Whose it is.
    meta: Meta,
    /// What was configured.
    options: Options,
    /// This boot of the machine, written beside the suspicion.
    boot_id: BootId,
    /// Where every batch stands; readers share it.
    shared: SharedIndex<D::File>,
    /// The file that is appended to.
    segment: Segment<D::File>,
    /// The last position.
    last: Position,
    /// The timestamp of the entry there, milliseconds.
    last_log_time_ms: i64,
    /// The hash of the last batch.
    hash: u64,
    /// Everything up to here is synced.
    durable: Offset,
    /// Everything up to here is known committed; a truncation never goes below.
    commit_mark: Offset,
    /// What is in `vote`.
    ballot: Saved,
    /// What `boot` says.
    maybe_lost_tail: bool,
    /// A fatal error was returned.
    poisoned: bool,
    /// The last batch's bytes; kept for its memory.
    buffer: Vec<u8>,
}

impl<D: Disk> Log<D> {
    /// Opens a replica's folder and recovers it. `boot_id` is this boot of the machine ([`crate::boot_id`]).
    ///
    /// # Errors
    /// A folder that is not this replica's, was never bootstrapped, lost what it promised (a new member is
    /// needed), or is damaged; each says what to do.
    pub fn open(
        disk: D,
        identity: &Identity,
        boot_id: &BootId,
        options: Options,
    ) -> Result<(Log<D>, Recovered), Error> {
        let step = options.preallocate_bytes;
        if !(1..=PREALLOCATE_BYTES_MAX).contains(&step) {
            return Err(Error::Invalid(format!(
                "preallocation is 1 to {PREALLOCATE_BYTES_MAX} bytes, not {step}"
            )));
        }
        let kept = options.files_kept;
        if !(1..=FILES_KEPT_MAX).contains(&kept) {
            return Err(Error::Invalid(format!(
                "1 to {FILES_KEPT_MAX} files of a kind are kept, not {kept}"
            )));
        }
        let (opened, recovered) = recover(&disk, identity, boot_id, step)?;
        let last = recovered.history.last();
        let log = Log {
            disk,
            meta: recovered.meta.clone(),
            options,
            boot_id: boot_id.clone(),
            shared: Arc::new(Mutex::new(opened.index)),
            segment: opened.segment,
            last,
            last_log_time_ms: recovered.last_log_time_ms,
            hash: opened.hash,
            durable: last.offset,
            commit_mark: recovered.commit_mark,
            ballot: Arc::new(Mutex::new(recovered.ballot)),
            maybe_lost_tail: recovered.maybe_lost_tail,
            poisoned: false,
            buffer: Vec::new(),
        };
        Ok((log, recovered))
    }

    /// Appends one batch; it is durable after the next [`Log::sync`]. `commit_mark`: everything up to there is
    /// committed, as far as is known; it is kept with the batch, never above the end of the log, never lower
    /// than before.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the entries do not continue the log, are of an epoch above the ballot's, or exceed
    /// a limit; [`Error::Full`] if the file cannot grow: both change nothing. Fatal if the write fails.
    pub fn append(&mut self, entries: &[Entry<Bytes>], commit_mark: Offset) -> Result<(), Error> {
        self.guard()?;
        batch::check(entries, self.last, self.ballot().epoch)?;
        let newest = &entries[entries.len() - 1];
        let mark = self.commit_mark.max(commit_mark.min(newest.position.offset));
        let (place, hash_before, durable_mark) = (self.segment.end, self.hash, self.durable);
        let link = Link { place, hash_before, commit_mark: mark, durable_mark };
        let hash = batch::encode(&mut self.buffer, entries, link);
        let bytes = u32::try_from(self.buffer.len()).expect("a batch's length was checked");
        if place + u64::from(bytes) > LOG_FILE_BYTES_MAX {
            let name = self.segment.name();
            return Err(Error::Invalid(format!(
                "{name} would exceed {LOG_FILE_BYTES_MAX} bytes: roll it first"
            )));
        }
        let reserved = self.segment.reserve(self.buffer.len());
        self.fatal_poisons(reserved)?;
        fault::step("append", "begin");
        let written = self.segment.file.write_at(place, &self.buffer);
        let written = written.map_err(|e| Error::of("write", &self.segment.name(), e));
        self.poisons("append", written)?;
        fault::step("append", "written");
        self.segment.end = place + u64::from(bytes);
        self.hash = hash;
        self.last = newest.position;
        self.last_log_time_ms = newest.log_time_ms;
        self.commit_mark = mark;
        let mut index = lock(&self.shared);
        let piece = index.pieces.back_mut().expect("there is always a file");
        piece.batches.push(BatchRef { first: entries[0].position.offset, place, bytes });
        index.last = newest.position.offset;
        Ok(())
    }

    /// Makes durable what was appended: one fdatasync. Nothing to do if everything is.
    ///
    /// # Errors
    /// Fatal.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.guard()?;
        if self.durable == self.last.offset {
            return Ok(());
        }
        let synced = self.segment.sync();
        self.fatal_poisons(synced)?;
        fault::step("append", "synced");
        self.durable = self.last.offset;
        Ok(())
    }

    /// Cuts the entry at `from` and all after it, durably. Nothing to do if the log ends before `from`.
    /// `committed` is what the caller knows to be committed.
    ///
    /// # Errors
    /// [`Error::Committed`] if that would cut what is committed, [`Error::Purged`] if it is gone behind a
    /// snapshot: both change nothing. Otherwise fatal.
    pub fn truncate(&mut self, from: Offset, committed: Offset) -> Result<(), Error> {
        let committed = committed.max(self.commit_mark).min(self.last.offset);
        if from <= committed {
            return Err(Error::Committed { from, committed });
        }
        self.cut(from)
    }

    /// [`Log::truncate`] without its regard for what is committed: for planting a fault.
    pub(crate) fn cut(&mut self, from: Offset) -> Result<(), Error> {
        self.guard()?;
        let base = self.reader().base();
        if from <= base {
            return Err(Error::Purged { at: from, base });
        }
        if from > self.last.offset {
            return Ok(());
        }
        let keeps =
            lock(&self.shared).pieces.iter().rfind(|piece| piece.base < from).map(|piece| piece.number);
        let keeps = keeps.expect("the log's first file begins before the cut");
        if keeps < self.segment.header.number {
            // Before the files go: what `boot` says is there must be there after any crash.
            let marked = boot::write(&self.disk, &self.boot_id, self.maybe_lost_tail, keeps);
            self.fatal_poisons(marked)?;
        }
        let job = truncate::Job { disk: &self.disk, meta: &self.meta, step: self.options.preallocate_bytes };
        let cut = job.run(&self.shared, from, &mut self.buffer);
        let cut = self.poisons("truncation", cut)?;
        self.segment = cut.segment;
        self.hash = cut.hash;
        self.last = cut.last;
        self.last_log_time_ms = cut.last_log_time_ms;
        self.durable = cut.last.offset;
        self.commit_mark = self.commit_mark.min(cut.last.offset);
        Ok(())
    }

    /// Finishes the current file at `at`, the log's last offset, and begins the next; returns its X. The state
    /// at exactly `at` is to become `snap.X`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `at` is not the end of the log or the file has no entries; [`Error::Full`] if there
    /// is no room for another file: both leave the log as it was. Fatal otherwise.
    pub fn roll(&mut self, at: Offset) -> Result<u64, Error> {
        self.guard()?;
        if at != self.last.offset || at == self.segment.header.base.offset {
            let (last, base) = (self.last, self.segment.header.base);
            return Err(Error::Invalid(format!("cannot roll at {at}: the file goes from {base} to {last}")));
        }
        let sealed = self.segment.seal();
        self.fatal_poisons(sealed)?;
        self.durable = self.last.offset;
        fault::step("roll", "sealed");
        let header = LogHeader {
            number: self.segment.header.number + 1,
            fresh: false,
            base: self.last,
            base_log_time_ms: self.last_log_time_ms,
            hash_before: self.hash,
        };
        let segment = self.create(header, "roll")?;
        lock(&self.shared).pieces.push_back(piece_of(&segment));
        self.segment = segment;
        self.mark_newest()?;
        Ok(header.number)
    }

    /// Removes the log files below `number`, oldest first; never the one that is appended to.
    /// [`crate::retention::plan`] says what may go.
    ///
    /// # Errors
    /// What could not be removed; call again. Fatal if the folder cannot be synced.
    pub fn remove_before(&mut self, number: u64) -> Result<(), Error> {
        self.guard()?;
        loop {
            let oldest = lock(&self.shared).pieces[0].number;
            if oldest >= number || oldest == self.segment.header.number {
                return Ok(());
            }
            let name = names::log_file(oldest);
            fault::step("remove", "begin");
            // Synced one by one: a crash must not keep an older file and lose a newer one.
            let removed = atomic_write::remove(&self.disk, &name);
            self.fatal_poisons(removed)?;
            lock(&self.shared).pieces.pop_front();
            fault::step("remove", "removed");
        }
    }

    /// Throws the whole log away and begins anew after `base`, in file `number`: after a snapshot of exactly
    /// that position was installed under that number ([`crate::IncomingSnapshot`] gives it). A crash before the
    /// new file has its name keeps the old log; after it, the old files are leftovers that recovery removes.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `number` is not above all log files; [`Error::Full`] with nothing changed; otherwise
    /// fatal.
    pub fn reset(&mut self, number: u64, base: Position, log_time_ms: i64) -> Result<(), Error> {
        self.guard()?;
        let (current, ballot) = (self.segment.header.number, self.ballot().epoch);
        if number <= current || base.epoch > ballot {
            return Err(Error::Invalid(format!(
                "cannot begin log.{number} after {base}: log.{current} is there, and the ballot is of {ballot}"
            )));
        }
        let header = LogHeader { number, fresh: true, base, base_log_time_ms: log_time_ms, hash_before: 0 };
        let segment = self.create(header, "reset")?;
        let old: Vec<u64> = {
            let mut index = lock(&self.shared);
            let old = index.pieces.iter().map(|piece| piece.number).collect();
            *index = Index { last: base.offset, pieces: [piece_of(&segment)].into() };
            old
        };
        self.segment = segment;
        self.last = base;
        self.last_log_time_ms = log_time_ms;
        self.hash = 0;
        self.durable = base.offset;
        self.commit_mark = base.offset;
        for number in old {
            let removed = atomic_write::remove(&self.disk, &names::log_file(number));
            self.poisons("reset", removed)?;
            fault::step("reset", "removed");
        }
        self.mark_newest()
    }

    /// What writes the ballot beside this log.
    #[must_use]
    pub fn ballots(&self) -> Ballots<D>
    where
        D: Clone,
    {
        Ballots::new(self.disk.clone(), self.meta.member.incarnation, &self.ballot)
    }

    /// [`Ballots::save`], where one hand does everything.
    #[cfg(test)]
    pub(crate) fn save_ballot(&mut self, ballot: Ballot) -> Result<(), Error>
    where
        D: Clone,
    {
        self.guard()?;
        let saved = self.ballots().save(ballot);
        self.fatal_poisons(saved)
    }

    /// Forgets the suspicion, durably: the replica holds a committed entry of the current epoch.
    ///
    /// # Errors
    /// [`Error::Full`] with nothing changed; otherwise fatal.
    pub fn clear_lost_tail(&mut self) -> Result<(), Error> {
        self.guard()?;
        if self.maybe_lost_tail {
            let saved = boot::write(&self.disk, &self.boot_id, false, self.segment.header.number);
            self.fatal_poisons(saved)?;
            self.maybe_lost_tail = false;
        }
        Ok(())
    }

    /// Makes it durable that the table is wrong.
    ///
    /// # Errors
    /// [`Error::Full`] with nothing changed; otherwise fatal.
    pub fn save_quarantine(&mut self, quarantine: Quarantine) -> Result<(), Error> {
        self.guard()?;
        let saved = quarantine::write(&self.disk, quarantine, self.meta.member.incarnation);
        self.fatal_poisons(saved)
    }

    /// Makes it durable that the table was replaced: nothing is said against it any more.
    ///
    /// # Errors
    /// As [`Log::save_quarantine`].
    pub fn clear_quarantine(&mut self) -> Result<(), Error> {
        self.guard()?;
        let removed = quarantine::remove(&self.disk);
        self.fatal_poisons(removed)
    }

    /// What was configured.
    #[must_use]
    pub fn options(&self) -> Options {
        self.options
    }

    /// A handle to read with, from any thread.
    #[must_use]
    pub fn reader(&self) -> LogReader<D::File> {
        LogReader::new(&self.shared)
    }

    /// The last position appended.
    #[must_use]
    pub fn last(&self) -> Position {
        self.last
    }

    /// Everything up to here is durable.
    #[must_use]
    pub fn durable(&self) -> Offset {
        self.durable
    }

    /// The highest commit mark written.
    #[must_use]
    pub fn commit_mark(&self) -> Offset {
        self.commit_mark
    }

    /// What was saved last.
    #[must_use]
    pub fn ballot(&self) -> Ballot {
        *self.ballot.lock()
    }

    /// Whether the log lost a tail that may have been acknowledged.
    #[must_use]
    pub fn maybe_lost_tail(&self) -> bool {
        self.maybe_lost_tail
    }

    /// This replica's identity.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The folder.
    #[must_use]
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Bytes of the current file's header and batches: when to roll.
    #[must_use]
    pub fn current_file_bytes(&self) -> u64 {
        self.segment.end
    }

    /// The log files, oldest first.
    #[must_use]
    pub fn files(&self) -> Vec<FileRange> {
        let index = lock(&self.shared);
        index.pieces.iter().map(|piece| FileRange { number: piece.number, base: piece.base }).collect()
    }

    fn create(&mut self, header: LogHeader, place: &str) -> Result<Segment<D::File>, Error> {
        let content = Content { copy: None, batch: &[] };
        let step = self.options.preallocate_bytes;
        let created = Segment::create(&self.disk, &self.meta, header, &content, step, place);
        self.fatal_poisons(created)
    }

    /// Notes in `boot` that a new log file is there: its loss is noticed then. Without room for that the older
    /// note stays, which claims less.
    fn mark_newest(&mut self) -> Result<(), Error> {
        let marked = boot::write(&self.disk, &self.boot_id, self.maybe_lost_tail, self.segment.header.number);
        match self.fatal_poisons(marked) {
            Err(error) if error.is_fatal() => Err(error),
            _ => Ok(()),
        }
    }

    fn guard(&self) -> Result<(), Error> {
        if self.poisoned { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// After a fatal error nothing more is done.
    fn fatal_poisons<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.poisoned |= result.as_ref().is_err_and(Error::is_fatal);
        result
    }

    /// The same where every error leaves a change half done.
    fn poisons<T>(&mut self, operation: &'static str, result: Result<T, Error>) -> Result<T, Error> {
        let result = result.map_err(|e| e.half_done(operation, &self.segment.name()));
        self.fatal_poisons(result)
    }
}

impl<D: Disk> fmt::Debug for Log<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Log");
        shown.field("meta", &self.meta).field("last", &self.last).field("durable", &self.durable);
        shown.finish_non_exhaustive()
    }
}

fn piece_of<F>(segment: &Segment<F>) -> Piece<F> {
    let (number, base) = (segment.header.number, segment.header.base.offset);
    Piece { number, base, file: Arc::clone(&segment.file), batches: Vec::new() }
}
