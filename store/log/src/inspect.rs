//! Verification of the log and the snapshots of a folder for people and tests, without a lock and without changing
//! anything: the ground of `feira log verify` and `feira snapshot show|verify`. Promises the same checks as recovery,
//! every byte of every file, and damage told by file and byte; on a node that runs, a batch that is being written
//! is told apart from damage, and damage is told only if it is there at a second look, since files are replaced and
//! removed meanwhile. Leaves out the meaning of payloads and blocks (`store/db`), and listing entries
//! ([`crate::describe_log`]).

use store_core::{Ballot, EpochHistory, Offset, Position, Run};

use crate::ballot;
use crate::block::Blocks;
use crate::boot;
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::header::LogHeader;
use crate::meta::{self, Meta};
use crate::names;
use crate::recover;
use crate::scan::{Step, Walk};
use crate::snapshot::{self, SnapshotFile};

/// What the log files of a folder hold.
#[derive(Debug)]
pub struct LogReport {
    /// Whose folder it is.
    pub meta: Meta,
    /// The files, oldest first.
    pub files: Vec<LogFileReport>,
    /// Which epoch wrote which offsets, up to the first damage; also base and last position.
    pub history: EpochHistory,
    /// Everything up to here was known committed when the last batch was written.
    pub commit_mark: Offset,
    /// Everything up to here was synced when the last batch was written.
    pub durable_mark: Offset,
    /// Epoch and vote; `None` if the file `vote` is gone or damaged.
    pub ballot: Option<Ballot>,
    /// The log lost a tail that may have been acknowledged.
    pub maybe_lost_tail: bool,
    /// What is wrong beside the log files that are there: a log file or a vote that is gone.
    pub lost: Vec<Error>,
}

/// What one log file holds.
#[derive(Debug)]
pub struct LogFileReport {
    /// Its name.
    pub file: String,
    /// Its header; `None` if that is damaged.
    pub header: Option<LogHeader>,
    /// Its length, preallocated zeros included.
    pub bytes: u64,
    /// Bytes of header and whole batches.
    pub whole_bytes: u64,
    /// Whole batches.
    pub batches: u64,
    /// Entries in them.
    pub entries: u64,
    /// The position of the last of them; the header's base if there is none.
    pub last: Position,
    /// How it ends.
    pub end: FileEnd,
}

/// How a log file ends.
#[derive(Debug)]
pub enum FileEnd {
    /// After the last whole batch there is nothing but zeros.
    Whole,
    /// In a batch that is being written at this moment, or whose write was cut off: recovery cuts it. Only the newest
    /// file ends so.
    Torn {
        /// Its first byte.
        at: u64,
        /// How many bytes up to the last that is not zero.
        bytes: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// In bytes that are not what was written; the error names file and byte.
    Damaged(Error),
}

impl LogReport {
    /// What is wrong, log files first, oldest first. Nothing: the node can start on this log.
    pub fn damage(&self) -> impl Iterator<Item = &Error> {
        let files = self.files.iter().filter_map(|file| match &file.end {
            FileEnd::Damaged(error) => Some(error),
            FileEnd::Whole | FileEnd::Torn { .. } => None,
        });
        files.chain(&self.lost)
    }
}

/// Verifies every log file of the folder, and the chain over them.
///
/// # Errors
/// There is no whole `meta`, or the folder cannot be read. Damage to log files is in the report.
pub fn verify_log<D: Disk>(disk: &D) -> Result<LogReport, Error> {
    let report = look(disk)?;
    // Under a node that runs, files go and come between listing and reading. Real damage stays.
    if report.damage().next().is_some() { look(disk) } else { Ok(report) }
}

fn look<D: Disk>(disk: &D) -> Result<LogReport, Error> {
    let meta = meta::read(disk)?.ok_or(Error::NotBootstrapped)?;
    // Before the files are listed: each that it names is there until a truncation says otherwise in it.
    let boot = boot::read(disk)?;
    let numbers = crate::log_files(disk)?;
    let (ballot, mut lost) = match ballot::read(disk, meta.member.incarnation) {
        Ok(ballot) => (Some(ballot), Vec::new()),
        Err(error @ (Error::NewMemberNeeded { .. } | Error::Foreign { .. } | Error::Version { .. })) => {
            (None, vec![error])
        }
        Err(error) => return Err(error),
    };
    lost.extend(recover::check_newest(numbers.last().copied(), boot.newest_log).err());
    let mut report = LogReport {
        meta,
        ballot,
        maybe_lost_tail: boot.maybe_lost_tail,
        lost,
        files: Vec::new(),
        history: EpochHistory::starting_after(Position::ZERO),
        commit_mark: Offset::ZERO,
        durable_mark: Offset::ZERO,
    };
    let mut chain = None;
    for (at, number) in numbers.iter().enumerate() {
        let is_newest = at + 1 == numbers.len();
        let file = match one_file(disk, *number, &mut report, &mut chain, is_newest) {
            // It was removed since it was listed: the log begins, or ends, elsewhere by now.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => continue,
            other => other?,
        };
        report.files.push(file);
    }
    Ok(report)
}

/// Where a file must continue: its number, the hash and the position before it.
struct Link {
    number: u64,
    hash: u64,
    last: Position,
}

fn one_file<D: Disk>(
    disk: &D,
    number: u64,
    report: &mut LogReport,
    chain: &mut Option<Link>,
    is_newest: bool,
) -> Result<LogFileReport, Error> {
    let name = names::log_file(number);
    let (file, header) = match LogHeader::open(disk, number, &report.meta) {
        Ok(opened) => opened,
        Err(error @ (Error::Damaged { .. } | Error::Foreign { .. } | Error::Version { .. })) => {
            *chain = None;
            let end = FileEnd::Damaged(error);
            let last = report.history.last();
            let file = LogFileReport {
                file: name,
                header: None,
                bytes: 0,
                whole_bytes: 0,
                batches: 0,
                entries: 0,
                last,
                end,
            };
            return Ok(file);
        }
        Err(error) => return Err(error),
    };
    let bytes = file.len().map_err(|e| Error::of("measure", &name, e))?;
    if header.fresh || report.files.is_empty() {
        report.history = EpochHistory::starting_after(header.base);
        *chain = None;
    }
    let broken = chain.take().and_then(|before| unlinked(&before, &header, &name));
    let mut found = LogFileReport {
        file: name.clone(),
        header: Some(header),
        bytes,
        whole_bytes: 0,
        batches: 0,
        entries: 0,
        last: header.base,
        end: FileEnd::Whole,
    };
    let hash = walk(&file, &name, &mut found, report, is_newest)?;
    *chain = Some(Link { number, hash, last: found.last });
    if let Some(error) = broken {
        found.end = FileEnd::Damaged(error);
    }
    Ok(found)
}

/// Why a file does not continue the one before it.
fn unlinked(before: &Link, header: &LogHeader, name: &str) -> Option<Error> {
    if header.number != before.number + 1 {
        let missing = names::log_file(before.number + 1);
        return Some(Error::damaged(name, 0, format!("{missing} between it and the file before it is gone")));
    }
    (header.base != before.last || header.hash_before != before.hash).then(|| {
        let problem = format!("it continues {}, but the file before it ends at {}", header.base, before.last);
        Error::damaged(name, 0, problem)
    })
}

/// Walks a file's batches into `found` and `report`; returns the hash of the last one.
fn walk<F: DiskFile>(
    file: &F,
    name: &str,
    found: &mut LogFileReport,
    report: &mut LogReport,
    is_newest: bool,
) -> Result<u64, Error> {
    let header = found.header.expect("only files with a header are walked");
    let mut walk = Walk::new(file, name, &header)?;
    let bad = loop {
        match walk.step()? {
            Step::Batch(batch, _, entries, _) => {
                found.batches += 1;
                found.entries += entries.len() as u64;
                for run in entries.chunk_by(|a, b| a.position.epoch == b.position.epoch) {
                    let (first, last) = (run[0].position, run[run.len() - 1].position);
                    let before = report.history.last();
                    // After damage there may be a gap, or anything.
                    if before.offset.next() == first.offset && before.epoch <= first.epoch {
                        let run = Run { epoch: first.epoch, first: first.offset, last: last.offset };
                        report.history.append(run);
                    }
                }
                report.commit_mark = report.commit_mark.max(batch.commit_mark.min(batch.last()));
                report.durable_mark = report.durable_mark.max(batch.durable_mark);
            }
            Step::End => break None,
            Step::Bad(bad) => break Some(bad),
        }
    };
    found.whole_bytes = walk.place();
    found.last = walk.last();
    if let Some(bad) = bad {
        let (later, durable) = walk.later_batches(&bad)?;
        let innocent = is_newest && later == 0 && bad.is_torn_write();
        let problem = match (is_newest, durable > found.last.offset) {
            (false, _) => format!("{}, and a later file proves that it was whole", bad.problem),
            (true, true) => format!("{}, and a later batch proves that it was durable", bad.problem),
            (true, false) => bad.problem.to_owned(),
        };
        found.end = if innocent {
            FileEnd::Torn { at: bad.place, bytes: bad.data_end - bad.place, problem: bad.problem }
        } else {
            FileEnd::Damaged(Error::damaged(name, bad.place, problem))
        };
    }
    Ok(walk.hash())
}

/// What a snapshot file holds.
#[derive(Debug)]
pub struct SnapshotReport {
    /// Its name.
    pub file: String,
    /// What its header says, and its length; `None` if the header cannot be read.
    pub listed: Option<SnapshotFile>,
    /// Whole blocks.
    pub blocks: u64,
    /// Bytes of data in them, packed as they are.
    pub data_bytes: u64,
    /// Bytes that they unpack to.
    pub plain_bytes: u64,
    /// What is wrong with it; the error names file and byte.
    pub damage: Option<Error>,
}

/// A block of a snapshot that was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockLine {
    /// Its number.
    pub number: u64,
    /// Its first byte in the file.
    pub at: u64,
    /// Bytes of data in the file.
    pub data_bytes: u64,
    /// Bytes that the data unpacks to.
    pub plain_bytes: u64,
    /// The data is packed.
    pub packed: bool,
}

/// The numbers of the snapshots in the folder, rising.
///
/// # Errors
/// The folder cannot be read.
pub fn snapshot_files<D: Disk>(disk: &D) -> Result<Vec<u64>, Error> {
    let listed = disk.list().map_err(|e| Error::of("list", "the folder", e))?;
    let mut numbers: Vec<u64> = listed.iter().filter_map(|name| names::snapshot_number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Verifies every byte of `snap.number`, and calls `visit` with each of its whole blocks, until it returns false;
/// then the rest is not verified.
///
/// # Errors
/// There is no whole `meta`; [`Error::Missing`]; the file cannot be read. Damage is in the report.
pub fn inspect_snapshot<D: Disk>(
    disk: &D,
    number: u64,
    visit: &mut dyn FnMut(BlockLine) -> bool,
) -> Result<SnapshotReport, Error> {
    let meta = meta::read(disk)?.ok_or(Error::NotBootstrapped)?;
    let file = names::snapshot_file(number);
    let mut report =
        SnapshotReport { file, listed: None, blocks: 0, data_bytes: 0, plain_bytes: 0, damage: None };
    let (file, listed) = match snapshot::open(disk, &meta.cluster, meta.group, number) {
        Ok(opened) => opened,
        Err(error @ (Error::Damaged { .. } | Error::Foreign { .. } | Error::Version { .. })) => {
            report.damage = Some(error);
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    report.listed = Some(listed);
    let mut blocks = Blocks::new(&file, &report.file)?;
    let damage = loop {
        match blocks.step(listed.info.position) {
            Ok(Some(block)) => {
                let line = BlockLine {
                    number: u64::from(blocks.totals().blocks) - 1,
                    at: block.at,
                    data_bytes: block.data_bytes as u64,
                    plain_bytes: block.plain_bytes as u64,
                    packed: block.packed,
                };
                if !visit(line) {
                    break None;
                }
            }
            Ok(None) => break None,
            Err(error @ Error::Damaged { .. }) => break Some(error),
            Err(error) => return Err(error),
        }
    };
    let totals = blocks.totals();
    let (count, data_bytes, plain_bytes) = (u64::from(totals.blocks), totals.data_bytes, totals.plain_bytes);
    Ok(SnapshotReport { blocks: count, data_bytes, plain_bytes, damage, ..report })
}

/// Verifies every snapshot of the folder, oldest first. One that is removed meanwhile is left out.
///
/// # Errors
/// As [`inspect_snapshot`].
pub fn verify_snapshots<D: Disk>(disk: &D) -> Result<Vec<SnapshotReport>, Error> {
    let mut reports = Vec::new();
    for number in snapshot_files(disk)? {
        match inspect_snapshot(disk, number, &mut |_| true) {
            Err(Error::Missing { .. }) => {}
            other => reports.push(other?),
        }
    }
    Ok(reports)
}
