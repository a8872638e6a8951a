//! The folder as a restart finds it, checked and put in order. Promises, before it returns: the log is whole, chained and
//! durable (the last file was rewritten and synced, file and folder, because the last writes of a
//! killed process may be in the page cache only); every cut was evaluated by
//! [`crate::scan`], and a suspicion is on disk before the cut is; unfinished writes are gone. Leaves to the
//! engine the meaning of entries and whether a snapshot or the database covers the purged part of the log.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use store_core::mutant;
use store_core::{Ballot, EntryKind, EpochHistory, Offset, Position, Run};

use crate::ballot;
use crate::batch::{BatchHeader, EntryPlace};
use crate::boot;
use crate::disk::{Disk, DiskFile};
use crate::error::Error;
use crate::fault;
use crate::header::LogHeader;
use crate::identity::{BootId, Identity};
use crate::limits::FILE_HEADER_BYTES;
use crate::meta::{self, Meta};
use crate::names;
use crate::quarantine::{self, Quarantine};
use crate::reader::{BatchRef, Index, Piece};
use crate::scan::{Bad, Step, Walk};
use crate::segment::{Content, Segment};
use crate::snapshot::{self, SnapshotFile};

/// What a restart found.
#[derive(Debug)]
pub struct Recovered {
    /// This replica's identity.
    pub meta: Meta,
    /// Epoch and vote.
    pub ballot: Ballot,
    /// Which epoch wrote which offsets; also base and last position.
    pub history: EpochHistory,
    /// The memberships in the log: offset and payload, in order.
    pub memberships: Vec<(Offset, Bytes)>,
    /// Everything up to here is known to be committed. Not above the last position.
    pub commit_mark: Offset,
    /// The timestamp of the last entry (or of the one at base), milliseconds.
    pub last_log_time_ms: i64,
    /// The log lost a tail that may have been acknowledged, now or at an earlier start.
    pub maybe_lost_tail: bool,
    /// The table is known to be wrong, and was not replaced yet.
    pub quarantine: Option<Quarantine>,
    /// The log files, oldest first.
    pub logs: Vec<LogFile>,
    /// The snapshots, oldest first. Only their headers were read: verify before use.
    pub snapshots: Vec<SnapshotFile>,
    /// Snapshots whose header cannot be read: the file and why. They are not used and not removed.
    pub unreadable_snapshots: Vec<(String, Error)>,
    /// Transfers of snapshots that can go on, by number.
    pub incoming: Vec<u64>,
    /// What was cut from the end of the log.
    pub cut: Option<Cut>,
}

/// One log file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogFile {
    /// X of `log.X`.
    pub number: u64,
    /// The position before its first entry.
    pub base: Position,
    /// Bytes of header and batches, without preallocated zeros.
    pub bytes: u64,
}

/// What was cut from the end of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The file.
    pub file: String,
    /// The first byte that went.
    pub at: u64,
    /// How many bytes up to the last that is not zero.
    pub bytes: u64,
    /// What was wrong with the first batch that went.
    pub problem: &'static str,
    /// Whole batches among what went.
    pub whole_batches: u64,
    /// Nobody can have been told that this was durable.
    pub innocent: bool,
}

/// What the log needs to go on.
pub(crate) struct Opened<F> {
    /// The file to append to.
    pub(crate) segment: Segment<F>,
    /// Where everything stands.
    pub(crate) index: Index<F>,
    /// The hash of the last batch.
    pub(crate) hash: u64,
}

/// A log file that was walked.
struct Walked<F> {
    header: LogHeader,
    file: F,
    batches: Vec<BatchRef>,
    end: u64,
    bad: Option<(Bad, u64, Offset)>,
}

/// What was learned from the entries so far.
struct Learned {
    history: EpochHistory,
    memberships: Vec<(Offset, Bytes)>,
    commit_mark: Offset,
    last_log_time_ms: i64,
    hash: u64,
}

/// Opens a folder. `step` is by how much log files grow.
pub(crate) fn recover<D: Disk>(
    disk: &D,
    expected: &Identity,
    boot_id: &BootId,
    step: u64,
) -> Result<(Opened<D::File>, Recovered), Error> {
    let listed = disk.list().map_err(|e| Error::of("list", "the folder", e))?;
    let meta = whose(disk, expected, &listed)?;
    let ballot = ballot::read(disk, meta.member.incarnation)?;
    let boot = boot::read(disk)?;
    let headers = headers(disk, &meta, &listed)?;
    check_newest(headers.last().map(|(_, header)| header.number), boot.newest_log)?;
    let (walked, learned) = walk_all(headers)?;
    check_ballot(ballot, learned.history.last())?;
    let newest = walked.last().expect("there is at least one log file");
    let cut = classify_cut(newest, learned.history.last(), boot.id.as_ref() == Some(boot_id))?;
    let maybe_lost_tail = boot.maybe_lost_tail || cut.as_ref().is_some_and(|cut| !cut.innocent);
    // From here on the folder is changed. The suspicion comes first: a crash after the cut must not forget it.
    boot::write(disk, boot_id, maybe_lost_tail, newest.header.number)?;
    let logs: Vec<LogFile> = walked.iter().map(Walked::listed).collect();
    let opened = rewrite_last(disk, &meta, walked, &learned, step)?;
    clean(disk, &listed, logs[0].number)?;
    let (snapshots, unreadable_snapshots) = snapshot::list(disk, &meta.cluster, meta.group)?;
    let recovered = Recovered {
        meta,
        ballot,
        history: learned.history,
        memberships: learned.memberships,
        commit_mark: learned.commit_mark,
        last_log_time_ms: learned.last_log_time_ms,
        maybe_lost_tail,
        quarantine: quarantine::read(disk)?,
        logs,
        snapshots,
        unreadable_snapshots,
        incoming: listed.iter().filter_map(|name| names::incoming_number(name)).collect(),
        cut,
    };
    Ok((opened, recovered))
}

/// Reads `meta`, and says what it means if it is not there.
fn whose<D: Disk>(disk: &D, expected: &Identity, listed: &[String]) -> Result<Meta, Error> {
    let Some(meta) = meta::read(disk)? else {
        if listed.iter().any(|name| name == names::BOOTSTRAP) {
            return Err(Error::BootstrapInterrupted);
        }
        let ours = |name: &&String| {
            [names::VOTE, names::BOOT].contains(&name.as_str())
                || names::log_number(name).is_some()
                || names::snapshot_number(name).is_some()
        };
        return Err(match listed.iter().find(ours) {
            Some(name) => lost(format!("the file meta is gone, though {name} is there")),
            None => Error::NotBootstrapped,
        });
    };
    meta.check(expected)?;
    if meta.state_machine_version == expected.state_machine_version {
        return Ok(meta);
    }
    // From here on the database may be of that version, and an earlier program must not go on with it.
    let raised = Meta { state_machine_version: expected.state_machine_version, ..meta };
    meta::write(disk, &raised)?;
    Ok(raised)
}

fn lost(reason: String) -> Error {
    Error::NewMemberNeeded { reason }
}

/// The log files in use, oldest first: from the newest fresh one on.
fn headers<D: Disk>(disk: &D, meta: &Meta, listed: &[String]) -> Result<Vec<(D::File, LogHeader)>, Error> {
    let mut numbers: Vec<u64> = listed.iter().filter_map(|name| names::log_number(name)).collect();
    numbers.sort_unstable();
    let mut found: Vec<(D::File, LogHeader)> = Vec::new();
    for number in numbers.iter().rev() {
        let opened = LogHeader::open(disk, *number, meta)?;
        if let Some((_, newer)) = found.last()
            && newer.number != number + 1
        {
            let missing = names::log_file(number + 1);
            return Err(lost(format!(
                "{missing} is gone, though log.{number} and log.{} are there",
                newer.number
            )));
        }
        let fresh = opened.1.fresh;
        found.push(opened);
        if fresh {
            break;
        }
    }
    if found.is_empty() {
        return Err(lost("every log file is gone".to_owned()));
    }
    found.reverse();
    Ok(found)
}

/// A log file that was the newest one is only ever removed by a truncation, which says so in `boot` first.
pub(crate) fn check_newest(newest: Option<u64>, expected: u64) -> Result<(), Error> {
    let Some(newest) = newest else { return Err(lost("every log file is gone".to_owned())) };
    if newest >= expected {
        return Ok(());
    }
    let missing = names::log_file(expected);
    Err(lost(format!(
        "{missing} is gone (the file boot says that it was there): the log ends with log.{newest}"
    )))
}

fn walk_all<F: DiskFile>(headers: Vec<(F, LogHeader)>) -> Result<(Vec<Walked<F>>, Learned), Error> {
    let first = &headers[0].1;
    let mut learned = Learned {
        history: EpochHistory::starting_after(first.base),
        memberships: Vec::new(),
        commit_mark: first.base.offset,
        last_log_time_ms: first.base_log_time_ms,
        hash: first.hash_before,
    };
    let mut walked: Vec<Walked<F>> = Vec::new();
    for (file, header) in headers {
        let name = names::log_file(header.number);
        if let Some(Walked { bad: Some((bad, ..)), header: before, .. }) = walked.last() {
            let problem = format!("{}, and {name} proves that it was whole", bad.problem);
            return Err(Error::damaged(&names::log_file(before.number), bad.place, problem));
        }
        let last = learned.history.last();
        if header.base != last || header.hash_before != learned.hash {
            let problem = format!("it continues {}, but the file before it ends at {last}", header.base);
            return Err(Error::damaged(&name, 0, problem));
        }
        walked.push(walk(file, &name, header, &mut learned)?);
    }
    Ok((walked, learned))
}

fn walk<F: DiskFile>(
    file: F,
    name: &str,
    header: LogHeader,
    learned: &mut Learned,
) -> Result<Walked<F>, Error> {
    let mut batches = Vec::new();
    let mut walk = Walk::new(&file, name, &header)?;
    let bad = loop {
        match walk.step()? {
            Step::Batch(batch, bytes, entries, _) => {
                learned.learn(&batch, bytes, &entries);
                let bytes = u32::try_from(bytes.len()).expect("a batch's length fits its field");
                batches.push(BatchRef { first: batch.first, place: batch.place, bytes });
            }
            Step::End => break None,
            Step::Bad(bad) => break Some(bad),
        }
    };
    let bad = match bad {
        Some(bad) => {
            let (whole, durable) = walk.later_batches(&bad)?;
            Some((bad, whole, durable))
        }
        None => None,
    };
    assert_eq!(walk.last(), learned.history.last(), "walk and history agree");
    let end = walk.place();
    learned.hash = walk.hash();
    Ok(Walked { header, file, batches, end, bad })
}

impl Learned {
    fn learn(&mut self, batch: &BatchHeader, bytes: &[u8], entries: &[EntryPlace]) {
        for run in entries.chunk_by(|a, b| a.position.epoch == b.position.epoch) {
            let (first, last) = (run[0].position, run[run.len() - 1].position);
            self.history.append(Run { epoch: first.epoch, first: first.offset, last: last.offset });
        }
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Membership) {
            let payload = Bytes::copy_from_slice(&bytes[entry.payload.clone()]);
            self.memberships.push((entry.position.offset, payload));
        }
        self.last_log_time_ms = entries.last().map_or(self.last_log_time_ms, |entry| entry.log_time_ms);
        self.commit_mark = self.commit_mark.max(batch.commit_mark.min(batch.last()));
    }
}

/// A replica makes an epoch durable before it appends an entry of it, so the ballot is never behind the log.
fn check_ballot(ballot: Ballot, last: Position) -> Result<(), Error> {
    if ballot.epoch >= last.epoch {
        return Ok(());
    }
    Err(lost(format!(
        "the file vote is of {}, older than the log's last entry {last}: a vote was lost",
        ballot.epoch
    )))
}

/// Judges what stands after the last whole batch of the newest file; see [`crate::scan`].
fn classify_cut<F>(newest: &Walked<F>, last: Position, same_boot: bool) -> Result<Option<Cut>, Error> {
    let Some((bad, whole_batches, durable)) = &newest.bad else { return Ok(None) };
    let file = names::log_file(newest.header.number);
    if *durable > last.offset {
        let problem = format!("{}, and a later batch proves that it was durable", bad.problem);
        return Err(Error::damaged(&file, bad.place, problem));
    }
    Ok(Some(Cut {
        file,
        at: bad.place,
        bytes: bad.data_end - bad.place,
        problem: bad.problem,
        whole_batches: *whole_batches,
        innocent: (same_boot && *whole_batches == 0 && bad.is_torn_write()) || mutant!(CutWithoutSuspicion),
    }))
}

/// Copies the kept part of the newest file aside and puts it in its place, so that it is on disk and not in
/// the page cache only, and syncs the folder, with whatever the process before had renamed in it.
fn rewrite_last<D: Disk>(
    disk: &D,
    meta: &Meta,
    mut walked: Vec<Walked<D::File>>,
    learned: &Learned,
    step: u64,
) -> Result<Opened<D::File>, Error> {
    let newest = walked.pop().expect("there is at least one log file");
    let copy = Some((&newest.file, FILE_HEADER_BYTES as u64..newest.end));
    let content = Content { copy, batch: &[] };
    let segment = Segment::create(disk, meta, newest.header, &content, step, "recover")?;
    let mut pieces: VecDeque<Piece<D::File>> = walked.into_iter().map(Walked::piece).collect();
    let file = Arc::clone(&segment.file);
    let (number, base) = (newest.header.number, newest.header.base.offset);
    pieces.push_back(Piece { number, base, file, batches: newest.batches });
    let index = Index { last: learned.history.last().offset, pieces };
    Ok(Opened { segment, index, hash: learned.hash })
}

/// Removes unfinished writes and what a reset of the log left behind.
fn clean<D: Disk>(disk: &D, listed: &[String], oldest: u64) -> Result<(), Error> {
    let leftover = |name: &&String| {
        names::is_part(name)
            || *name == names::BOOTSTRAP
            || names::log_number(name).is_some_and(|number| number < oldest)
    };
    let mut removed = false;
    for name in listed.iter().filter(leftover) {
        disk.remove(name).map_err(|e| Error::of("remove", name, e))?;
        fault::step("recover", "removed");
        removed = true;
    }
    if removed {
        disk.sync_folder().map_err(|e| Error::sync("the folder", e))?;
    }
    Ok(())
}

impl<F> Walked<F> {
    fn listed(&self) -> LogFile {
        LogFile { number: self.header.number, base: self.header.base, bytes: self.end }
    }

    fn piece(self) -> Piece<F> {
        let (number, base) = (self.header.number, self.header.base.offset);
        Piece { number, base, file: Arc::new(self.file), batches: self.batches }
    }
}
