//! `feira backup` of a ring of several shards: the state of each at one cut, in a folder with a manifest.
//!
//! The folder is made aside, `FOLDER.part` beside it, and gets its name when every file in it is whole, checked and durable. A
//! shard's state is that of any of its replicas at the cut: where one cannot send it another is asked, and where none can, another
//! cut is taken.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::future::join_all;
use serde_json::json;
use store_db::Space;

use super::manifest::{self, Manifest, ShardFile};
use super::take::{NAME, What, check_parent, opened, receive};
use crate::args;
use crate::atomic_write::{self, UnfinishedFolder};
use crate::config::load::Loaded;
use crate::config::shape::Replica;
use crate::cut;
use crate::failure::{Failure, Kind};
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
    let (taken, sent) = states(loaded, &folder.path).await?;
    let mut table = Table::new(&COLUMNS);
    let (mut files, mut documents) = (Vec::new(), Vec::new());
    let mut manifest = Manifest::new(&loaded.config.cluster, &taken.id, Vec::new());
    manifest.shards = sent.len();
    let mut bytes = 0;
    for (shard, (node, place)) in taken.shards.iter().zip(sent) {
        let backup = opened(&place)?;
        let (number, position) = (shard.number, shard.position);
        let file = ShardFile {
            shard: number,
            file: name_of(number),
            epoch: position.epoch,
            offset: position.offset,
        };
        manifest.check(&place, &file, &backup)?;
        let records = backup.contents.rows[usize::from(Space::Records.number())];
        let hash = format!("{:016x}", backup.contents.state.state_hash);
        atomic_write::publish(&place.join(NAME), &folder.path.join(&file.file))?;
        std::fs::remove_dir_all(&place).map_err(|e| Failure::file("remove", &place, &e))?;
        let at = backup.file.info.position;
        table.row([number.to_string(), node.to_string(), at.to_string(), records.to_string()]);
        documents.push(json!({
            "shard": number, "file": file.file, "node": node, "records": records, "bytes": backup.file.bytes,
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

/// Cuts that are taken for one backup, if no replica of a shard has its view any more.
const CUTS_MAX: u32 = 3;

fn name_of(shard: u64) -> String {
    format!("shard-{shard}")
}

/// Has all shards send their states at one cut, and takes another cut where one of them has none any more.
async fn states(loaded: &Loaded, folder: &Path) -> Result<(cut::Taken, Vec<(u64, PathBuf)>), Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let taken = cut::take(loaded, &[]).await?;
        // All at once: a view that nobody asks for goes in a few seconds.
        let sending = taken.shards.iter().map(|shard| sent(shard, &taken.id, folder));
        match join_all(sending).await.into_iter().collect::<Result<Vec<_>, Failure>>() {
            Ok(sent) => return Ok((taken, sent)),
            Err(failure) if tries == CUTS_MAX || !is_gone(&failure) => return Err(failure),
            Err(_) => {}
        }
    }
}

/// Has a replica of the shard send its state at the cut: its number, and the folder that the file is in.
async fn sent(shard: &cut::Shard, id: &Bytes, folder: &Path) -> Result<(u64, PathBuf), Failure> {
    first_of(in_turn(shard), async |replica: Replica<'_>| {
        let place = folder.join(format!("{}.part", name_of(shard.number)));
        let made = || {
            if place.exists() {
                // Of a replica that was lost, or of another cut.
                std::fs::remove_dir_all(&place)?;
            }
            std::fs::create_dir(&place)
        };
        made().map_err(|e| Failure::file("make", &place, &e))?;
        receive(&shard.loaded, replica, What::Cut(id.clone()), &place).await?;
        Ok((replica.node.id, place))
    })
    .await
}

/// What the first of these replicas answers that has the view, or why the first one has not.
async fn first_of<'a, T>(
    replicas: Vec<Replica<'a>>,
    ask: impl AsyncFn(Replica<'a>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut why = None;
    for replica in replicas {
        match ask(replica).await {
            Err(failure) if is_gone(&failure) => {
                why.get_or_insert(failure);
            }
            told => return told,
        }
    }
    Err(why.unwrap_or_else(|| Failure::unreachable("the shard has no node")))
}

/// Whether another replica may have what this one has not.
fn is_gone(failure: &Failure) -> bool {
    failure.kind == Kind::Unreachable || failure.reason == "NOT_HERE"
}

/// The replicas of a shard in the order in which they are asked: one that does not lead has less to do, and one that did not answer
/// before the cut comes last.
fn in_turn(shard: &cut::Shard) -> Vec<Replica<'_>> {
    let replicas = shard.loaded.config.store.replicas().into_iter();
    let mut replicas: Vec<_> = replicas.zip(&shard.statuses).collect();
    replicas.sort_by_key(|(_, status)| {
        let place = status.as_ref().ok().map(|status| {
            let leads = status.role() == proto::store::Role::Leader;
            let is_well = status.problem.is_empty() && status.quarantined.is_empty();
            (is_well, !leads, status.applied.map_or(0, |at| at.offset))
        });
        std::cmp::Reverse(place)
    });
    replicas.into_iter().map(|(replica, _)| replica).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proto::store::{Failure as Refused, FailureReason};
    use store_client::failure::{failure, status_from};

    use super::*;
    use crate::config::shape::Node;

    fn nodes() -> Vec<Node> {
        (1..=3).map(|id| Node { id, ..Node::default() }).collect()
    }

    fn of(reason: FailureReason) -> Failure {
        let refused: Refused = failure(reason, "no");
        Failure::of_status(&status_from(&refused))
    }

    #[tokio::test]
    async fn the_other_replicas_of_a_shard_are_asked_for_a_view_that_one_has_not() {
        let (nodes, asked) = (nodes(), RefCell::new(Vec::new()));
        let replicas: Vec<Replica<'_>> = nodes.iter().flat_map(Node::replicas).collect();
        let ask = async |replica: Replica<'_>| {
            asked.borrow_mut().push(replica.node.id);
            match replica.node.id {
                1 => Err(of(FailureReason::NotHere)),
                2 => Err(Failure::unreachable("it is off")),
                id => Ok(id),
            }
        };
        assert_eq!(first_of(replicas.clone(), &ask).await.unwrap(), 3);
        assert_eq!(*asked.borrow(), [1, 2, 3]);
        let none = first_of(replicas[..2].to_vec(), &ask).await.unwrap_err();
        assert!(is_gone(&none) && none.reason == "NOT_HERE", "{none:?}");
        asked.borrow_mut().clear();
        let refused = async |replica: Replica<'_>| -> Result<(), Failure> {
            asked.borrow_mut().push(replica.node.id);
            Err(of(FailureReason::Unproven))
        };
        assert!(first_of(replicas, refused).await.is_err());
        assert_eq!(*asked.borrow(), [1], "what another would be refused too");
    }
}
