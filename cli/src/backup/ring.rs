//! `feira backup` of a ring of several shards: the state of each at one cut, in a folder with a manifest.
//!
//! The folder is made aside, `FOLDER.part` beside it, and gets its name when every file in it is whole, checked and durable.

use futures::future::join_all;
use serde_json::json;
use store_db::Space;

use super::manifest::{self, Manifest, ShardFile};
use super::take::{NAME, What, check_parent, opened, receive};
use crate::args;
use crate::atomic_write::{self, UnfinishedFolder};
use crate::config::load::Loaded;
use crate::config::shape::Node;
use crate::cut;
use crate::failure::Failure;
use crate::show::answer::Answer;
use crate::show::table::{Column, Table};

/// Takes a backup of all shards.
///
/// # Errors
/// The folder is there already, no view of all shards could be taken, a node was lost meanwhile, or the disk refuses.
pub async fn run(loaded: &Loaded, asked: &args::Backup) -> Result<Answer, Failure> {
    let out = &asked.out;
    if asked.from.is_some() || asked.force {
        return Err(Failure::usage("--from and --force are for a ring of one shard").next(
            "the backup of several shards is a folder, of one node of each: give it a new name with --out",
        ));
    }
    if out.file_name().is_none() || out.exists() {
        return Err(Failure::refused(format!("{} is there already", out.display()))
            .next("the backup of several shards is a folder of its own: give another name"));
    }
    check_parent(out)?;
    let folder = UnfinishedFolder::beside(out, ".part")?;
    let taken = cut::take(loaded, &[]).await?;
    let name = |shard: u64| format!("shard-{shard}");
    // All at once: a view that nobody asks for goes in a few seconds.
    let sending = taken.shards.iter().map(async |shard| {
        let node = from(shard);
        let place = folder.path.join(format!("{}.part", name(shard.number)));
        std::fs::create_dir(&place).map_err(|e| Failure::file("make", &place, &e))?;
        receive(&shard.loaded, node, What::Cut(taken.id.clone()), &place).await?;
        Ok::<_, Failure>((shard, node, place))
    });
    let sent = join_all(sending).await.into_iter().collect::<Result<Vec<_>, Failure>>()?;
    let mut table = Table::new(&COLUMNS);
    let (mut files, mut documents) = (Vec::new(), Vec::new());
    let mut manifest = Manifest::new(&loaded.config.cluster, &taken.id, Vec::new());
    manifest.shards = sent.len();
    let mut bytes = 0;
    for (shard, node, place) in sent {
        let backup = opened(&place)?;
        let (number, position) = (shard.number, shard.position);
        let file =
            ShardFile { shard: number, file: name(number), epoch: position.epoch, offset: position.offset };
        manifest.check(&place, &file, &backup)?;
        let records = backup.contents.rows[usize::from(Space::Records.number())];
        let hash = format!("{:016x}", backup.contents.state.state_hash);
        atomic_write::publish(&place.join(NAME), &folder.path.join(&file.file))?;
        std::fs::remove_dir_all(&place).map_err(|e| Failure::file("remove", &place, &e))?;
        let at = backup.file.info.position;
        table.row([number.to_string(), node.id.to_string(), at.to_string(), records.to_string()]);
        documents.push(json!({
            "shard": number, "file": file.file, "node": node.id, "records": records, "bytes": backup.file.bytes,
            "position": { "epoch": position.epoch, "offset": position.offset }, "state_hash": hash,
        }));
        bytes += backup.file.bytes;
        files.push(file);
    }
    manifest.files = files;
    atomic_write::replace(&folder.path.join(manifest::NAME), &manifest.to_text())?;
    folder.publish(out)?;
    let shown = out.display();
    let head = format!("{shown}: the state of {} shards at one moment: {bytes} bytes", manifest.shards);
    let document = json!({
        "folder": shown.to_string(), "cut": manifest.cut, "bytes": bytes, "shards": documents,
    });
    Ok(Answer::table(head, document, table))
}

const COLUMNS: [Column; 4] =
    [Column::number("SHARD"), Column::number("NODE"), Column::whole("POSITION"), Column::number("RECORDS")];

/// The node that is asked: one that does not lead has less to do.
fn from(shard: &cut::Shard) -> &Node {
    let nodes = &shard.loaded.config.store.nodes;
    let both = nodes.iter().zip(&shard.statuses);
    let answering = both.filter_map(|(node, status)| Some((node, status.as_ref().ok()?)));
    let best = answering.max_by_key(|(_, status)| {
        let leads = status.role() == proto::store::Role::Leader;
        let is_well = status.problem.is_empty() && status.quarantined.is_empty();
        (is_well, !leads, status.applied.map_or(0, |at| at.offset))
    });
    best.map_or(&nodes[0], |(node, _)| node)
}
