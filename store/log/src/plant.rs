//! A planted fault for demonstrations (`feira log plant`): intermediate entries put by hand at the end of a
//! *stopped* node's log, as a leader that nobody followed would have left them. Promises a well-formed log:
//! positions without gaps, epochs that never fall and that the ballot covers. Meant to be truncated by the next
//! leader; with `force` it can contradict committed entries, which the replica must then find fatal.

use bytes::Bytes;
use store_core::{Entry, Offset};

use crate::disk::Disk;
use crate::error::Error;
use crate::identity::{BootId, Identity};
use crate::log::{Log, Options};
use crate::meta;

/// What was planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planted {
    /// The first planted offset.
    pub first: Offset,
    /// The last.
    pub last: Offset,
    /// How many entries were cut to make room.
    pub cut: u64,
    /// The commit mark of the log.
    pub commit_mark: Offset,
}

/// Plants `entries` (one batch) in the folder, which the disk has locked: the first may replace an entry of the
/// log, and all after it, or continue the log. `committed` is what the caller knows to be committed besides the
/// log's own mark (the database's applied offset); without `force`, nothing at or below either is touched.
///
/// # Errors
/// [`Error::Committed`] without `force`; [`Error::Invalid`] if the entries would not be a well-formed log; what
/// opening the log refuses.
pub fn plant<D: Disk>(
    disk: D,
    boot_id: &BootId,
    entries: &[Entry<Bytes>],
    committed: Offset,
    force: bool,
) -> Result<Planted, Error> {
    let meta = meta::read(&disk)?.ok_or(Error::NotBootstrapped)?;
    let identity = Identity {
        cluster: meta.cluster,
        group: meta.group,
        node: meta.member.node,
        state_machine_version: meta.state_machine_version,
    };
    let (mut log, recovered) = Log::open(disk, &identity, boot_id, Options::default())?;
    let Some(first) = entries.first().map(|entry| entry.position.offset) else {
        return Err(Error::Invalid("there is nothing to plant".to_owned()));
    };
    let last_before = log.last();
    let committed = committed.max(log.commit_mark());
    if first <= committed && !force {
        return Err(Error::Committed { from: first, committed });
    }
    let commit_mark = log.commit_mark();
    // Checked before anything is cut: a refusal changes nothing.
    let Some(before) = recovered.history.position_at(first.previous()) else {
        let (at, last) = (first, last_before.offset);
        return Err(Error::Beyond { at, last });
    };
    crate::batch::check(entries, before, log.ballot().epoch)?;
    log.cut(first)?;
    log.append(entries, Offset::ZERO)?;
    log.sync()?;
    let cut = (last_before.offset.0 + 1).saturating_sub(first.0);
    Ok(Planted { first, last: log.last().offset, cut, commit_mark })
}
