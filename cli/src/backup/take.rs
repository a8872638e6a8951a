//! `feira backup`: the state of a running node, at one position, to one file.
//!
//! The file is written aside, in a folder `FILE.part` beside it (numbered where somebody else's has that name), synced, read back and checked; only then it gets its
//! name. It holds everything that the leader had committed when the backup was asked for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::store::{BackupRequest, BackupResponse};
use serde_json::json;
use store_core::{Epoch, GroupId, Offset, Position};
use store_db::Space;
use store_engine::backup::{Backup, BackupWriter};
use store_log::{ClusterId, Origin, RealDisk, RealFile, SnapshotInfo};

use super::unusable;
use crate::args;
use crate::atomic_write::{UnfinishedFolder, publish};
use crate::config::load::Loaded;
use crate::config::shape::{Config, Replica};
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::Answer;

/// A node that sends nothing for so long is given up; the first chunk may have to wait for what is to be in it.
const CHUNK_MAX: Duration = Duration::from_secs(30);
/// The name of the file in its folder aside.
pub(super) const NAME: &str = "backup";

/// Takes a backup.
///
/// # Errors
/// The file is there already, no node answers, the node was lost meanwhile, or the disk refuses; the file is then as it
/// was.
pub async fn run(loaded: &Loaded, asked: &args::Backup) -> Result<Answer, Failure> {
    let out = &asked.out;
    if out.is_dir() || out.file_name().is_none() {
        return Err(Failure::usage(format!("{} is a folder; --out names a file", out.display())));
    }
    if out.exists() && !asked.force {
        return Err(Failure::refused(format!("{} is there already", out.display()))
            .next("give another name, or --force to replace it"));
    }
    let (replica, min_offset) = choose(&loaded.config, asked.from).await?;
    let node = replica.node;
    let atomic_write = folder_beside(out)?;
    receive(loaded, replica, What::From(min_offset), &atomic_write.path).await?;
    let backup = opened(&atomic_write.path)?;
    publish(&atomic_write.path.join(NAME), out)?;
    let (file, contents) = (backup.file, &backup.contents);
    let records = contents.rows[usize::from(Space::Records.number())];
    let position = file.info.position;
    let head = format!(
        "{}: the state of node {} at {position}: {records} records, {} bytes",
        out.display(),
        node.id,
        file.bytes
    );
    let document = json!({
        "file": out.display().to_string(), "node": node.id, "records": records, "bytes": file.bytes,
        "position": { "epoch": position.epoch.0, "offset": position.offset.0 },
        "state_hash": format!("{:016x}", contents.state.state_hash),
    });
    let mut answer = Answer::line(head, document);
    if min_offset == 0 {
        answer.notes.push(format!(
            "no node leads now: the backup holds what node {} had applied, others may have more",
            node.id
        ));
    }
    Ok(answer)
}

/// The replica to ask, of a store of one shard, and the offset that its state must hold: what the leader has committed by now. 0: none leads.
async fn choose(config: &Config, from: Option<u64>) -> Result<(Replica<'_>, u64), Failure> {
    let named = from.map(|id| nodes::replica_of(config, id)).transpose()?;
    let statuses = nodes::statuses(config).await;
    let answering = || {
        let both = config.store.replicas().into_iter().zip(&statuses);
        both.filter_map(|(replica, status)| status.as_ref().ok().map(|status| (replica, status)))
    };
    let leads = |status: &proto::store::StatusResponse| status.role() == proto::store::Role::Leader;
    let leader = answering().filter(|(_, status)| leads(status)).max_by_key(|(_, status)| status.epoch);
    let min_offset = leader.map_or(0, |(_, status)| status.committed);
    if let Some(named) = named {
        return Ok((named, min_offset));
    }
    // One that does not lead has less to do; of those the one that has most.
    let best = answering().max_by_key(|(_, status)| {
        (!leads(status) && status.problem.is_empty(), status.applied.map_or(0, |at| at.offset))
    });
    let (replica, _) = best.ok_or_else(|| {
        Failure::unreachable("no node of the store answers").next("start the cluster: feira up")
    })?;
    Ok((replica, min_offset))
}

/// Which state is wanted.
pub(super) enum What {
    /// One that holds everything up to this offset.
    From(u64),
    /// That of a cut.
    Cut(Bytes),
}

/// Writes what the node sends to the file aside.
pub(super) async fn receive(
    loaded: &Loaded,
    replica: Replica<'_>,
    what: What,
    atomic_write: &Path,
) -> Result<(), Failure> {
    let node = replica.node;
    let lost = |what: String| Failure::unreachable(format!("node {}: {what}; no file was written", node.id));
    let late = |_| lost(format!("it sent nothing for {CHUNK_MAX:?}"));
    let refused = |status: tonic::Status| {
        let failure = Failure::of_status(&status);
        let sentence = format!("node {}: {}; no file was written", node.id, failure.sentence());
        let message = format!("node {}: {}; no file was written", node.id, failure.message);
        failure.retold(message).saying(sentence)
    };
    let (min_offset, cut) = match what {
        What::From(offset) => (offset, Bytes::new()),
        What::Cut(id) => (0, id),
    };
    let request = BackupRequest { route: nodes::route(replica), min_offset, cut };
    let mut client = nodes::operator(loaded, node)?;
    let opened = tokio::time::timeout(CHUNK_MAX, client.backup(request)).await;
    let mut parts = opened.map_err(late)?.map_err(refused)?.into_inner();
    let mut writer = None;
    while let Some(part) =
        tokio::time::timeout(CHUNK_MAX, parts.message()).await.map_err(late)?.map_err(refused)?
    {
        let taken = match writer.take() {
            Some(writer) => writer,
            None => begin(&part, atomic_write)?,
        };
        writer = Some(write(taken, &part).map_err(|error| unusable(atomic_write, &error))?);
    }
    let writer = writer.ok_or_else(|| lost("it sent nothing".to_owned()))?;
    match writer.finish() {
        Ok(_) => Ok(()),
        Err(store_engine::Error::Table(error)) => Err(lost(format!("what it sent was cut off: {error}"))),
        Err(error) => Err(unusable(atomic_write, &error)),
    }
}

type Writer = BackupWriter<Arc<RealDisk>>;

fn begin(part: &BackupResponse, atomic_write: &Path) -> Result<Writer, Failure> {
    let position = part.position.unwrap_or_default();
    let info = SnapshotInfo {
        number: 1,
        position: Position { epoch: Epoch(position.epoch), offset: Offset(position.offset) },
        log_time_ms: part.log_time_ms,
        state_machine_version: part.state_machine_version,
    };
    let begun = || -> Result<Writer, store_engine::Error> {
        let origin = Origin { cluster: ClusterId::new(&part.cluster)?, group: GroupId(part.group) };
        BackupWriter::create(Arc::new(RealDisk::open(atomic_write)?), NAME, &origin, info)
    };
    begun().map_err(|error| unusable(atomic_write, &error))
}

fn write(mut writer: Writer, part: &BackupResponse) -> Result<Writer, store_engine::Error> {
    writer.chunk(&part.chunk)?;
    Ok(writer)
}

/// The folder `FILE.part`.
fn folder_beside(out: &Path) -> Result<UnfinishedFolder, Failure> {
    check_parent(out)?;
    UnfinishedFolder::beside(out, ".part")
}

/// Refuses a place in no folder.
pub(super) fn check_parent(out: &Path) -> Result<(), Failure> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent.filter(|parent| !parent.is_dir()) {
        Some(parent) => Err(Failure::refused(format!("there is no folder {}", parent.display()))),
        None => Ok(()),
    }
}

/// Reads back what was written, all of it.
pub(super) fn opened(folder: &Path) -> Result<Backup<RealFile>, Failure> {
    let disk = RealDisk::peek(folder).map_err(|error| unusable(folder, &error.into()))?;
    Backup::open(&disk, NAME).map_err(|error| unusable(folder, &error))
}
