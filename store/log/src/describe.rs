//! A log file told to people, batch by batch, without a lock and without changing anything: what `feira log show`
//! prints. Promises the same checks as recovery, and to go on where recovery would evaluate: a bad stretch is a
//! line, not an error. On a node that runs, the last batch may be seen half written. Leaves payloads to its callers.

use bytes::Bytes;
use store_core::{Entry, Offset};

use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::header::LogHeader;
use crate::meta;
use crate::names;
use crate::scan::{Step, Walk};

/// One line about a log file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogLine {
    /// First of all: the header, and the file's length.
    File {
        /// The header.
        header: LogHeader,
        /// The length, preallocated zeros included.
        bytes: u64,
    },
    /// A batch; its entries follow.
    Batch {
        /// Its first byte in the file.
        at: u64,
        /// Its length.
        bytes: u64,
        /// Offset of its first entry.
        first: Offset,
        /// Offset of its last entry.
        last: Offset,
        /// Everything up to here was known committed when it was written.
        commit_mark: Offset,
        /// Everything up to here was synced when it was written.
        durable_mark: Offset,
        /// Its hash, which the next batch repeats.
        hash: u64,
    },
    /// An entry of the batch before this line.
    Entry(Entry<Bytes>),
    /// Last of all: only zeros follow, or nothing.
    End {
        /// Where the next batch would go.
        at: u64,
    },
    /// Last of all: what follows is not a batch that continues the log.
    Bad {
        /// Where it begins.
        at: u64,
        /// How many bytes up to the last that is not zero.
        bytes: u64,
        /// What is wrong.
        problem: &'static str,
        /// It looks like a write that was under way when the process was killed (or is, at this moment).
        torn_write: bool,
    },
}

/// The numbers of the log files in the folder, rising.
///
/// # Errors
/// The folder cannot be read.
pub fn log_files<D: Disk>(disk: &D) -> Result<Vec<u64>, Error> {
    let listed = disk.list().map_err(|e| Error::of("list", "the folder", e))?;
    let mut numbers: Vec<u64> = listed.iter().filter_map(|name| names::log_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Calls `visit` with each line about `log.number`, until it returns false.
///
/// # Errors
/// There is no `meta`, or the file or its header cannot be read.
pub fn describe_log<D: Disk>(
    disk: &D,
    number: u64,
    visit: &mut dyn FnMut(LogLine) -> bool,
) -> Result<(), Error> {
    let meta = meta::read(disk)?.ok_or(Error::NotBootstrapped)?;
    let name = names::log_file(number);
    if !disk.exists(&name).map_err(|e| Error::of("look for", &name, e))? {
        return Err(Error::Missing { file: name });
    }
    let (file, header) = LogHeader::open(disk, number, &meta)?;
    let bytes = file.len().map_err(|e| Error::of("measure", &name, e))?;
    if !visit(LogLine::File { header, bytes }) {
        return Ok(());
    }
    let mut walk = Walk::new(&file, &name, &header)?;
    loop {
        let lines = lines(&mut walk)?;
        let ended = matches!(lines[..], [LogLine::End { .. } | LogLine::Bad { .. }]);
        if !lines.into_iter().all(&mut *visit) || ended {
            return Ok(());
        }
    }
}

/// The lines about what stands next.
fn lines<F: DiskFile>(walk: &mut Walk<'_, F>) -> Result<Vec<LogLine>, Error> {
    let at = walk.place();
    Ok(match walk.step()? {
        Step::Batch(header, bytes, entries, hash) => {
            let batch = LogLine::Batch {
                at,
                bytes: bytes.len() as u64,
                first: header.first,
                last: header.last(),
                commit_mark: header.commit_mark,
                durable_mark: header.durable_mark,
                hash,
            };
            let bytes = Bytes::copy_from_slice(bytes);
            let entries = entries.iter().map(|entry| LogLine::Entry(entry.entry(&bytes)));
            std::iter::once(batch).chain(entries).collect()
        }
        Step::End => vec![LogLine::End { at }],
        Step::Bad(bad) => vec![LogLine::Bad {
            at,
            bytes: bad.data_end - bad.place,
            problem: bad.problem,
            torn_write: bad.is_torn_write(),
        }],
    })
}
