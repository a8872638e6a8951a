//! The file that the log appends to: making it, extending it, and copying it aside. Promises that a log file
//! never has its name before its header and its copied batches are durable. Leaves the chain and the
//! index to the log.

use std::ops::Range;
use std::sync::Arc;

use crate::atomic_write;
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::fault;
use crate::header::LogHeader;
use crate::limits::{CHUNK_BYTES, FILE_HEADER_BYTES};
use crate::meta::Meta;
use crate::names;

/// What a new log file holds after its header.
pub(crate) struct Content<'a, F> {
    /// Batches to copy from another file, in the same places.
    pub(crate) copy: Option<(&'a F, Range<u64>)>,
    /// A batch to put after them.
    pub(crate) batch: &'a [u8],
}

/// An open log file that batches are appended to.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    /// The file; readers share it.
    pub(crate) file: Arc<F>,
    /// Its header.
    pub(crate) header: LogHeader,
    /// Where the next batch goes.
    pub(crate) end: u64,
    /// Up to here the file is zero-filled and its length is durable.
    allocated: u64,
    /// It grows by so many bytes at a time.
    step: u64,
}

impl<F: DiskFile> Segment<F> {
    /// Writes a log file aside and gives it its name, durably; replaces a file of that name. `place` names the
    /// fail points.
    pub(crate) fn create<D: Disk<File = F>>(
        disk: &D,
        meta: &Meta,
        header: LogHeader,
        content: &Content<'_, F>,
        step: u64,
        place: &str,
    ) -> Result<Segment<F>, Error> {
        let name = names::log_file(header.number);
        let part = names::part(&name);
        let file = atomic_write::begin(disk, &name)?;
        let write =
            |at: u64, bytes: &[u8]| file.write_at(at, bytes).map_err(|e| Error::of("write", &part, e));
        write(0, &header.encode(meta))?;
        let mut end = FILE_HEADER_BYTES as u64;
        if let Some((source, range)) = &content.copy {
            copy(*source, range.clone(), &name, write)?;
            end = range.end;
        }
        write(end, content.batch)?;
        end += content.batch.len() as u64;
        let allocated = end.next_multiple_of(step).max(step);
        zero_fill(&file, &part, end..allocated)?;
        atomic_write::finish(disk, &file, &name, place)?;
        Ok(Segment { file: Arc::new(file), header, end, allocated, step })
    }

    /// The file's name.
    pub(crate) fn name(&self) -> String {
        names::log_file(self.header.number)
    }

    /// Makes room for `bytes` more. The new zeros and the length are durable before this returns, so that a
    /// later sync of a batch has no metadata to write.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result<(), Error> {
        let needed = self.end + bytes as u64;
        if needed <= self.allocated {
            return Ok(());
        }
        let target = needed.next_multiple_of(self.step);
        zero_fill(&*self.file, &self.name(), self.allocated..target)?;
        fault::step("append", "extended");
        self.sync()?;
        self.allocated = target;
        Ok(())
    }

    /// Makes durable what was written.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(|e| Error::sync(&self.name(), e))
    }

    /// Cuts off the zeros after the last batch, durably, and syncs what was written: the file is finished.
    pub(crate) fn seal(&mut self) -> Result<(), Error> {
        self.file.set_len(self.end).map_err(|e| Error::of("trim", &self.name(), e))?;
        self.allocated = self.end;
        self.sync()
    }
}

fn copy<F: DiskFile>(
    source: &F,
    range: Range<u64>,
    name: &str,
    write: impl Fn(u64, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut buffer = vec![0; CHUNK_BYTES.min(left)];
    let mut at = range.start;
    while at < range.end {
        let want = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = source.read_at(at, &mut buffer[..want]).map_err(|e| Error::of("read", name, e))?;
        if read == 0 {
            return Err(Error::damaged(name, at, "the file became shorter while it was copied"));
        }
        write(at, &buffer[..read])?;
        at += read as u64;
    }
    Ok(())
}

fn zero_fill<F: DiskFile>(file: &F, name: &str, range: Range<u64>) -> Result<(), Error> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = range.start;
    while at < range.end {
        let bytes = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_at(at, &ZEROS[..bytes]).map_err(|e| Error::of("extend", name, e))?;
        at += bytes as u64;
    }
    Ok(())
}
