//! The first start of a replica: its folder with `meta`, `vote`, `boot` and a `log.0` that already holds entry 1,
//! the membership. Promises all or nothing: `meta` comes last, and a folder without it never served anybody.
//! An interrupted bootstrap is told from a lost `meta` by the file `bootstrap`, which is made first and is
//! durably gone before a log was ever opened; only an interrupted one may be run again over its leftovers.

use bytes::Bytes;
use store_core::{Ballot, Entry, EntryKind, Epoch, Incarnation, Member, Offset, Position};

use crate::atomic_write;
use crate::ballot;
use crate::batch::{self, Link};
use crate::boot;
use crate::disk::Disk;
use crate::error::Error;
use crate::header::LogHeader;
use crate::identity::{BootId, Identity};
use crate::limits::FILE_HEADER_BYTES;
use crate::meta::{self, Meta};
use crate::names;
use crate::segment::{Content, Segment};
use crate::snapshot::{SnapshotInfo, SnapshotWriter};

/// The first position of every log.
pub const FIRST: Position = Position::new(1, 1);

/// Makes a replica in an empty folder: `identity`, the random `incarnation`, and the encoded first membership,
/// which every voter of the group is given alike. Epoch 1, offset 1, timestamp 0; the ballot is epoch 1 without a
/// vote.
///
/// # Errors
/// [`Error::NotEmpty`] if anything is in the folder; a payload that is too large; what the disk refuses.
pub fn bootstrap<D: Disk>(
    disk: &D,
    identity: &Identity,
    incarnation: Incarnation,
    boot_id: &BootId,
    membership: &Bytes,
) -> Result<Meta, Error> {
    if incarnation.0 == 0 {
        return Err(Error::Invalid("an incarnation is random and not 0".to_owned()));
    }
    let (kind, payload) = (EntryKind::Membership, membership.clone());
    let first = [Entry { position: FIRST, log_time_ms: 0, kind, payload }];
    batch::check(&first, Position::ZERO, FIRST.epoch)?;
    let header =
        LogHeader { number: 0, fresh: true, base: Position::ZERO, base_log_time_ms: 0, hash_before: 0 };
    let meta = make_folder(disk, identity, incarnation, boot_id, FIRST.epoch)?;
    let place = FILE_HEADER_BYTES as u64;
    // Entry 1 is committed by being the same everywhere: nobody can ever propose another.
    let link = Link { place, hash_before: 0, commit_mark: FIRST.offset, durable_mark: Offset::ZERO };
    let mut bytes = Vec::new();
    batch::encode(&mut bytes, &first, link);
    Segment::create(disk, &meta, header, &Content { copy: None, batch: &bytes }, 1, "bootstrap")?;
    finish(disk, &meta)
}

/// Makes the folder of a *new member*, which holds no entry yet: it fetches a snapshot, or the log from its
/// start, from the leader, and votes only once a membership in the log says so. The ballot is epoch 0.
///
/// # Errors
/// [`Error::NotEmpty`] if anything is in the folder; what the disk refuses.
pub fn join<D: Disk>(
    disk: &D,
    identity: &Identity,
    incarnation: Incarnation,
    boot_id: &BootId,
) -> Result<Meta, Error> {
    if incarnation.0 == 0 {
        return Err(Error::Invalid("an incarnation is random and not 0".to_owned()));
    }
    let meta = make_folder(disk, identity, incarnation, boot_id, Epoch(0))?;
    let header =
        LogHeader { number: 0, fresh: true, base: Position::ZERO, base_log_time_ms: 0, hash_before: 0 };
    Segment::create(disk, &meta, header, &Content { copy: None, batch: &[] }, 1, "bootstrap")?;
    finish(disk, &meta)
}

/// Makes the folder of an initial member whose group begins with a state and not with nothing: `snap.1`, which `fill` writes,
/// is that state at exactly `info.position`, and the log goes on behind it in `log.1`, still empty. Every initial member is
/// given the same. The ballot is that position's epoch without a vote.
///
/// # Errors
/// [`Error::NotEmpty`] if anything is in the folder; what the disk refuses; what `fill` returns.
pub fn restore<D: Disk + Clone, E: From<Error>>(
    disk: &D,
    identity: &Identity,
    incarnation: Incarnation,
    boot_id: &BootId,
    info: SnapshotInfo,
    fill: impl FnOnce(&mut SnapshotWriter<D>) -> Result<(), E>,
) -> Result<Meta, E> {
    if incarnation.0 == 0 {
        return Err(Error::Invalid("an incarnation is random and not 0".to_owned()).into());
    }
    let info = SnapshotInfo { number: 1, ..info };
    let meta = make_folder(disk, identity, incarnation, boot_id, info.position.epoch)?;
    let mut writer = SnapshotWriter::create(disk.clone(), &meta, info)?;
    fill(&mut writer)?;
    writer.finish()?;
    let header = LogHeader {
        number: 1,
        fresh: true,
        base: info.position,
        base_log_time_ms: info.log_time_ms,
        hash_before: 0,
    };
    Segment::create(disk, &meta, header, &Content { copy: None, batch: &[] }, 1, "bootstrap")?;
    boot::write(disk, boot_id, false, 1)?;
    Ok(finish(disk, &meta)?)
}

/// Checks that the folder is empty, marks it, and writes everything but the log and `meta`.
fn make_folder<D: Disk>(
    disk: &D,
    identity: &Identity,
    incarnation: Incarnation,
    boot_id: &BootId,
    epoch: Epoch,
) -> Result<Meta, Error> {
    let listed = disk.list().map_err(|e| Error::of("list", "the folder", e))?;
    let interrupted = listed.iter().any(|name| name == names::BOOTSTRAP);
    let leftovers =
        ["log.0", "log.1", "snap.1", names::VOTE, names::BOOT, names::BOOTSTRAP, names::LOCK_FILE];
    let foreign = |name: &&String| {
        let leftover = interrupted && (leftovers.contains(&name.as_str()) || names::is_part(name));
        !leftover && *name != names::LOCK_FILE && **name != names::part(names::BOOTSTRAP)
    };
    if let Some(found) = listed.iter().find(foreign) {
        return Err(Error::NotEmpty { found: found.clone() });
    }
    atomic_write::replace(disk, names::BOOTSTRAP, b"a bootstrap is under way\n", "bootstrap-mark")?;
    let member = Member { node: identity.node, incarnation };
    let meta = Meta {
        cluster: identity.cluster.clone(),
        group: identity.group,
        member,
        state_machine_version: identity.state_machine_version,
    };
    boot::write(disk, boot_id, false, 0)?;
    ballot::write(disk, Ballot { epoch, voted_for: None }, incarnation)?;
    Ok(meta)
}

fn finish<D: Disk>(disk: &D, meta: &Meta) -> Result<Meta, Error> {
    meta::write(disk, meta)?;
    atomic_write::remove(disk, names::BOOTSTRAP)?;
    Ok(meta.clone())
}
