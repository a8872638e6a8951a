//! `feira restore` of a folder: a ring of as many shards as were backed up, each with its state at one cut.

use std::collections::BTreeMap;

use serde_json::json;
use store_db::Space;
use store_server::Source;

use super::manifest::Manifest;
use super::restore::{check_place, make, noted};
use super::{reshard, unusable};
use crate::args;
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::show::answer::Answer;

/// Checks a backup of several shards, and unless only that was asked for makes a cluster from it.
///
/// # Errors
/// A file is missing, cannot be used, or is of another cut or shard; the configuration has another number of shards; the cluster's folder
/// is not empty; a folder cannot be made. Nothing was changed then.
pub fn run(loaded: &Loaded, asked: &args::Restore) -> Result<Answer, Failure> {
    let (from, folder) = (&asked.file, loaded.folder());
    let manifest = Manifest::read(from)?;
    if asked.shards.is_some_and(|shards| usize::try_from(shards) != Ok(manifest.shards)) {
        return Err(Failure::usage(format!(
            "--shards: {} is the backup of a ring of {} shards, and only that of a store of one shard can be dealt out",
            from.display(),
            manifest.shards
        ))
        .next("restore it as it is; a shop comes to another number of shards by feira export and feira import"));
    }
    if !asked.verify_only {
        check_place(loaded, &folder, manifest.shards, false)?;
    }
    let mut sources: BTreeMap<u64, Source> = BTreeMap::new();
    for file in &manifest.files {
        let path = manifest.path_of(from, file.shard);
        let source = Source::open(&path).map_err(|error| unusable(&path, &error))?;
        manifest.check(&path, file, source.backup())?;
        sources.insert(file.shard, source);
    }
    let records = |source: &Source| source.backup().contents.rows[usize::from(Space::Records.number())];
    let count: u64 = sources.values().map(records).sum();
    let shards = manifest.shards;
    let shown = from.display().to_string();
    let each = sources.iter().map(|(shard, source)| {
        let at = source.backup().file.info.position;
        json!({
            "shard": shard, "records": records(source), "bytes": source.backup().file.bytes,
            "position": { "epoch": at.epoch.0, "offset": at.offset.0 },
            "state_hash": format!("{:016x}", source.backup().contents.state.state_hash),
        })
    });
    let mut document = json!({
        "folder_of_backup": shown, "cluster": manifest.cluster, "cut": manifest.cut, "records": count,
        "shards": each.collect::<Vec<_>>(),
    });
    let cluster = &manifest.cluster;
    let head = format!(
        "{shown}: whole; the state of {shards} shards of the cluster {cluster} at one moment: {count} records"
    );
    if asked.verify_only {
        return Ok(Answer::line(head, document));
    }
    reshard::clear(&folder)?;
    let replaced = make(loaded, &|shard| &sources[&shard], &folder)?;
    document["folder"] = folder.display().to_string().into();
    let told = format!("the new cluster is in {}; start it with feira up", folder.display());
    Ok(noted(Answer::line(head, document).noting(Some(told)), loaded, replaced))
}
