//! A planted fault: entries that no leader sent, at the end of a *stopped* node's log. The next leader must truncate
//! them and resend; where the log is committed, the tool refuses.

use std::path::Path;

use bytes::Bytes;
use prost::Message;
use proto::store::command::Kind;
use proto::store::{Command, Identity, Txn, TxnCommand};
use serde_json::json;
use store_core::{Entry, EntryKind, Offset, Position};
use store_db::Table as _;
use store_log::{BootId, Planted, RealDisk, boot_id, plant};
use store_server::group_folder;

use super::folder::Folder;
use super::show::{Wanted, of_folder, of_node};
use crate::config::load::Loaded;
use crate::config::shape::Config;
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::Answer;

/// What to plant.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The epoch; `None`: that of the log's last entry.
    pub epoch: Option<u64>,
    /// How many entries.
    pub entries: u64,
    /// The first offset; `None`: after the log's end.
    pub at: Option<u64>,
    /// Even where the log is committed.
    pub force: bool,
}

/// Plants.
///
/// # Errors
/// The node runs, the place is committed, the epoch is the leader's, or the entries would be no log.
pub async fn run(loaded: &Loaded, id: u64, plan: Plan) -> Result<Answer, Failure> {
    let replica = nodes::replica_of(&loaded.config, id)?;
    if !says_rehearsal(loaded) {
        let message =
            format!("{} does not say rehearsal = true: no faults are planted", loaded.path.display());
        return Err(Failure::refused(message)
            .next("never plant faults in a shop; feira up --rehearsal makes a cluster for that"));
    }
    if nodes::status(replica).await.is_ok() {
        return Err(Failure::refused(format!("node {id} runs")).next(format!("feira node stop {id}")));
    }
    let folder = group_folder(&replica.node.folder_in(&loaded.folder()), replica.shard);
    if !plan.force {
        let (end, _) = end_of(&folder)?;
        let first = Position::new(plan.epoch.unwrap_or(end.epoch), plan.at.unwrap_or(end.offset + 1));
        refuse_twins(&loaded.of_shard(replica.shard), first).await?;
    }
    let planted = in_folder(&folder, loaded.config.store.map_bytes, plan)?;
    let said = format!(
        "planted entries {} to {} in the log of node {id}, {} cut to make room; known to be committed there: up to {}",
        planted.first, planted.last, planted.cut, planted.commit_mark
    );
    let document = json!({
        "node": id, "first": planted.first.0, "last": planted.last.0, "cut": planted.cut,
        "committed": planted.commit_mark.0,
    });
    Ok(Answer::line(said, document))
}

/// Whether the file itself says so: a flag or a variable opens no shop to planted faults.
fn says_rehearsal(loaded: &Loaded) -> bool {
    let text = std::fs::read_to_string(&loaded.path).unwrap_or_default();
    toml::from_str::<Config>(&text).is_ok_and(|config| config.rehearsal)
}

/// Refuses entries at positions that are, or could become, the leader's own: two entries of one epoch and offset
/// are taken for the same entry, so that such a fault would not be corrected but silently kept.
async fn refuse_twins(loaded: &Loaded, first: Position) -> Result<(), Failure> {
    let Some((leader, status)) = nodes::leader(&loaded.config).await else { return Ok(()) };
    let next = "stop the node, transfer leadership at once (feira node transfer-leadership), then plant: nothing may be written between";
    if status.epoch <= first.epoch.0 {
        let message =
            format!("node {} leads in epoch {}: {first} could become its own", leader.node.id, status.epoch);
        return Err(Failure::refused(message).next(next));
    }
    let wanted = Wanted { from: Some(first.offset.0), limit: 1 };
    let there =
        of_node(loaded, leader.node.id, wanted).await?.lines.into_iter().find_map(|line| line.position);
    if there.is_some_and(|at| at.offset == first.offset.0 && at.epoch <= first.epoch.0) {
        let message = format!("node {} has an entry of epoch {} there itself", leader.node.id, first.epoch.0);
        return Err(Failure::refused(format!("{first}: {message}")).next(next));
    }
    Ok(())
}

/// Plants in a replica's folder.
///
/// # Errors
/// As [`run`].
pub fn in_folder(group: &Path, map_bytes: u64, plan: Plan) -> Result<Planted, Failure> {
    let (end, log_time_ms) = end_of(group)?;
    let epoch = plan.epoch.unwrap_or(end.epoch);
    let first = plan.at.unwrap_or(end.offset + 1);
    let entries: Vec<Entry<Bytes>> =
        (0..plan.entries).map(|at| entry(Position::new(epoch, first + at), log_time_ms)).collect();
    let failed = |error: store_log::Error| {
        Failure::refused(format!("{}: {error}", group.display()))
            .next("the node must be stopped (feira node stop), and nothing committed may be touched")
    };
    // The lock of the folder: from here on no node can start in it.
    let disk = RealDisk::open(group).map_err(failed)?;
    let boot_id = boot_id().map_err(failed)?;
    let applied = applied(group, map_bytes, &boot_id)?;
    plant(disk, &boot_id, &entries, applied, plan.force).map_err(failed)
}

/// The position and the timestamp of the log's last entry.
fn end_of(folder: &Path) -> Result<(proto::store::Position, i64), Failure> {
    let last = of_folder(&Folder::at(folder.to_owned())?, Wanted { from: None, limit: 1 })?.lines.pop();
    let last = last.ok_or_else(|| Failure::refused("the log is empty: there is nothing to plant after"))?;
    Ok((last.position.unwrap_or_default(), last.log_time_ms))
}

/// How far the database is, which the log alone does not know. Opened as the node itself would open it.
fn applied(group: &Path, map_bytes: u64, boot_id: &BootId) -> Result<Offset, Failure> {
    let failed = |error: store_db::Error| Failure::refused(format!("{}: {error}", group.display()));
    let options = store_db::Options { map_bytes, ..store_db::Options::new(boot_id.to_string()) };
    let (table, _verdict) = store_db::Lmdb::open(&group.join("db"), &options).map_err(failed)?;
    let state = table.read(|read| store_db::state::read(read)).map_err(failed)?;
    Ok(Offset(store_db::state::applied(&state).offset))
}

/// An entry that would be seen if it were ever applied: it puts a record under `planted/<offset>`.
fn entry(position: Position, log_time_ms: i64) -> Entry<Bytes> {
    let key = format!("planted/{}", position.offset);
    let txn = Txn::new().put(key.clone(), log_time_ms, "planted by hand");
    let identity =
        Identity::user(format!("planted-{position}"), 0, 1, proto::hash::digest(&[key.as_bytes()]));
    let kind = Kind::Txn(TxnCommand { txn: Some(txn), identity: Some(identity), decide: None });
    let payload = Command { kind: Some(kind) }.encode_to_vec().into();
    Entry { position, log_time_ms, kind: EntryKind::Command, payload }
}
