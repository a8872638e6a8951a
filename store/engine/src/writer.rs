//! The log's writer: carries out the node's orders, in order; appends everything that waits, and then syncs *once*.
//!
//! Promises: [`Job::Persisted`] is said only after a sync that covers the write and all before it; a truncation is
//! durable before any append that comes after it. Leaves out the meaning of entries and the time to roll.

use std::sync::Arc;

use bytes::Bytes;
use store_core::mutant;
use store_core::{Entry, Offset, Position, WriteSeq};
use store_log::limits::BATCH_ENTRIES_MAX;
use store_log::{BATCH_ENTRIES_BYTES_MAX, Disk, Log, entry_bytes};

use crate::error::Error;
use crate::job::{Job, WriterJob};
use crate::shared_log::SharedLog;
use crate::snapshots::{Needed, Snapshots};

/// The log's writer.
pub struct Writer<D: Disk> {
    /// The log.
    log: SharedLog<D>,
    /// Says which files may go.
    snapshots: Arc<Snapshots<D>>,
    /// Entries of the appends taken in this poll and not yet written; kept for its memory.
    entries: Vec<Entry<Bytes>>,
    /// The commit mark of the last of them.
    committed: Offset,
    /// The last write whose entries are written or in `entries`, and which was not reported.
    unreported: Option<WriteSeq>,
}

impl<D: Disk> Writer<D> {
    pub(crate) fn new(log: SharedLog<D>, snapshots: Arc<Snapshots<D>>) -> Writer<D> {
        Writer { log, snapshots, entries: Vec::new(), committed: Offset::ZERO, unreported: None }
    }

    /// Carries out everything that waits, then syncs once.
    ///
    /// # Errors
    /// The disk failed or is full; the process must end.
    pub fn poll(
        &mut self,
        jobs: impl IntoIterator<Item = WriterJob>,
        outs: &mut Vec<Job>,
    ) -> Result<(), Error> {
        let shared = Arc::clone(&self.log);
        let mut log = shared.lock();
        for job in jobs {
            self.take(&mut log, job, outs)?;
        }
        self.write(&mut log)?;
        self.report(&mut log, outs)
    }

    fn take(&mut self, log: &mut Log<Arc<D>>, job: WriterJob, outs: &mut Vec<Job>) -> Result<(), Error> {
        match job {
            WriterJob::Append { write, entries, committed } => {
                self.entries.extend(entries);
                self.committed = committed;
                self.unreported = Some(write);
            }
            WriterJob::Truncate { from, committed } => {
                self.write(log)?;
                log.truncate(from, committed)?;
            }
            WriterJob::Roll { at } => {
                self.write(log)?;
                outs.push(self.roll(log, at)?);
            }
            WriterJob::Purge { snapshot, peers } => {
                let needed = Needed { applied: snapshot.offset, peers };
                let before = self.snapshots.retire(log.options().files_kept, &log.files(), needed)?;
                log.remove_before(before)?;
                outs.push(Job::Purged { up_to: log.reader().base(), snapshot });
            }
            WriterJob::Measure => {
                // A file system that does not say how much room it has is taken to have enough: writing will tell.
                let free_bytes = log.disk().free_bytes().unwrap_or(u64::MAX);
                outs.push(Job::DiskHeadroom { free_bytes });
            }
            WriterJob::Reset { number, after, log_time_ms } => {
                // What was appended before is of a log that is about to be forgotten.
                self.entries.clear();
                self.unreported = None;
                log.reset(number, after, log_time_ms)?;
                self.snapshots.arrived();
                outs.push(Job::Reset { after });
            }
            WriterJob::Trust => log.clear_lost_tail()?,
            WriterJob::Quarantine(quarantine) => {
                self.snapshots.standing().quarantine();
                if !mutant!(QuarantineForgotten) {
                    log.save_quarantine(quarantine)?;
                }
                outs.push(Job::QuarantineSaved);
            }
            WriterJob::Discard { number } => self.snapshots.discard(number)?,
            WriterJob::Adopt { position } => {
                self.write(log)?;
                outs.push(self.adopt(log, position)?);
            }
            WriterJob::Unstage => self.snapshots.unstage()?,
            WriterJob::EndQuarantine { number } => {
                self.snapshots.end_quarantine(number)?;
                log.clear_quarantine()?;
                outs.push(Job::Released);
            }
        }
        Ok(())
    }

    fn roll(&self, log: &mut Log<Arc<D>>, at: Offset) -> Result<Job, Error> {
        if self.snapshots.is_arriving() {
            return Ok(Job::RollFailed { at });
        }
        match log.roll(at) {
            Ok(number) => Ok(Job::Rolled { at, number }),
            Err(error) if !error.is_fatal() => Ok(Job::RollFailed { at }),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the snapshot that is to replace the table the number of the newest log file; there is no `snap.0`.
    fn adopt(&self, log: &mut Log<Arc<D>>, position: Position) -> Result<Job, Error> {
        let newest = log.files().last().map_or(0, |file| file.number);
        let adopted = match newest {
            0 if self.snapshots.is_arriving() => {
                self.snapshots.unstage()?;
                return Ok(Job::NotAdopted);
            }
            0 => log.roll(log.last().offset).map_err(Error::from),
            number => Ok(number),
        };
        match adopted.and_then(|number| self.snapshots.adopt(number, position).map(|()| number)) {
            Ok(number) => Ok(Job::Adopted { position, number }),
            Err(error) if !error.is_fatal() => {
                self.snapshots.unstage()?;
                Ok(Job::NotAdopted)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what was taken, in batches as large as the log allows.
    fn write(&mut self, log: &mut Log<Arc<D>>) -> Result<(), Error> {
        let mut rest = self.entries.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_len(rest));
            log.append(batch, self.committed)?;
            rest = after;
        }
        self.entries.clear();
        Ok(())
    }

    fn report(&mut self, log: &mut Log<Arc<D>>, outs: &mut Vec<Job>) -> Result<(), Error> {
        if let Some(write) = self.unreported.take() {
            if !mutant!(SkipFsync) {
                log.sync()?;
            }
            outs.push(Job::Persisted { write, bytes_since_roll: log.current_file_bytes() });
        }
        Ok(())
    }
}

/// How many of these entries, at least one, fit in one batch.
fn batch_len(entries: &[Entry<Bytes>]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry<Bytes>| {
        bytes += entry_bytes(entry.payload.len());
        bytes <= BATCH_ENTRIES_BYTES_MAX
    };
    entries.iter().take(BATCH_ENTRIES_MAX).take_while(fits).count().max(1)
}
