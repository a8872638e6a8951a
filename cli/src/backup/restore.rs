//! `feira restore`: the folders of a new cluster that begins with the state of a backup.
//!
//! All of it is made aside, in a folder beside the cluster's, which gets its name when everything is there: whatever
//! happens, there is a whole cluster or none. The leftovers of an earlier attempt go.

use std::path::Path;

use serde_json::json;
use store_db::Space;
use store_server::{Source, initial_members};

use super::manifest::Manifest;
use super::{reshard, unusable};
use crate::args;
use crate::atomic_write::UnfinishedFolder;
use crate::config::load::{FILE_DEFAULT, Loaded, Sources, load_as_written, load_or};
use crate::config::shape::Replica;
use crate::config::template::{Fresh, template};
use crate::failure::Failure;
use crate::key::make::folders_here;
use crate::key::place::{self, Replaced};
use crate::show::answer::{Answer, counted};
use crate::up::bootstrap::check_count;
use crate::up::founded::{self, Founded, FoundedNode};
use crate::up::prepare::write_default;

/// Checks a backup, and unless only that was asked for makes a cluster from it.
///
/// # Errors
/// The file cannot be used; the cluster's folder is not empty; a folder cannot be made. Nothing was changed then.
pub fn run(loaded: &Loaded, asked: &args::Restore) -> Result<Answer, Failure> {
    let folder = loaded.folder();
    let shards = asked.shards.map_or(1, |shards| usize::try_from(shards).expect("64 at most"));
    if !asked.verify_only {
        check_place(loaded, &folder, shards, asked.shards.is_some())?;
    }
    let source = Source::open(&asked.file).map_err(|error| unusable(&asked.file, &error))?;
    let (of, contents) = (source.backup().file.info, &source.backup().contents);
    if contents.state.owned.is_some_and(|owned| owned.after != owned.up_to) {
        let (file, group) = (asked.file.display(), source.backup().origin.group.0);
        return Err(Failure::refused(format!("{file} is the state of shard {group} of a ring, and not of a whole store"))
            .next("a ring of several shards is restored from the folder that feira backup makes: feira restore FOLDER"));
    }
    let cluster = source.backup().origin.cluster.to_string();
    let records = contents.rows[usize::from(Space::Records.number())];
    let file = asked.file.display().to_string();
    let mut document = json!({
        "file": file, "cluster": cluster, "records": records, "bytes": source.backup().file.bytes,
        "position": { "epoch": of.position.epoch.0, "offset": of.position.offset.0 },
        "log_time_ms": of.log_time_ms, "state_hash": format!("{:016x}", contents.state.state_hash),
    });
    let head =
        format!("{file}: whole; the state of the cluster {cluster} at {}: {records} records", of.position);
    if asked.verify_only {
        return Ok(Answer::line(head, document));
    }
    reshard::clear(&folder)?;
    let dealt = (shards > 1).then(|| reshard::deal(&asked.file, &source, shards, &folder)).transpose()?;
    let source_of = |shard| dealt.as_ref().map_or(&source, |dealt| &dealt.sources[&shard]);
    let replaced = make(loaded, &source_of, &folder)?;
    let begins = source.beginning().position;
    document["folder"] = folder.display().to_string().into();
    document["begins_after"] = json!({ "epoch": begins.epoch.0, "offset": begins.offset.0 });
    document["shards"] = shards.into();
    let told = match shards {
        1 => format!("the new cluster is in {}; its log begins after {begins}", folder.display()),
        _ => format!(
            "the new cluster is in {}, a ring of {shards} shards; the log of each begins after {begins}",
            folder.display()
        ),
    };
    let answer = Answer::line(head, document).noting(Some(format!("{told}; start it with feira up")));
    Ok(noted(answer, loaded, replaced))
}

/// What is to be known of a restored cluster, whatever its form.
pub(super) fn noted(mut answer: Answer, loaded: &Loaded, replaced: Replaced) -> Answer {
    answer.notes.push("the old cluster must not serve any more: they do not know of each other".to_owned());
    answer.notes.push(format!(
        "it has a key of its own: {}; portals and tools elsewhere need a copy{}",
        place::path_of_cluster(loaded).display(),
        replaced
            .kept
            .map(|kept| format!("; the old cluster's is now {}", kept.display()))
            .unwrap_or_default()
    ));
    answer
}

/// Refuses a place where something is, nodes whose folders are elsewhere, and a number of them that cannot be.
pub(super) fn check_place(
    loaded: &Loaded,
    folder: &Path,
    shards: usize,
    is_asked: bool,
) -> Result<(), Failure> {
    check_count(&loaded.config.store)?;
    check_shards(loaded, shards, is_asked)?;
    check_beside(loaded, folder)?;
    if let Some(node) =
        loaded.config.store.nodes.iter().find(|node| !node.folder_in(folder).starts_with(folder))
    {
        return Err(Failure::refused(format!("the folder of node {} is not in {}", node.id, folder.display()))
            .next("restore with folders of the nodes in the cluster's folder (leave store.nodes.folder out), then move them"));
    }
    let found = match std::fs::read_dir(folder) {
        Ok(mut found) => found.next().transpose().map_err(|e| Failure::file("read", folder, &e))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(Failure::file("read", folder, &e)),
    };
    found.map_or(Ok(()), |found| {
        Err(Failure::refused(format!("{} is not empty: {} is there", folder.display(), found.path().display()))
            .next("a backup becomes a new cluster in an empty folder: give it one (key folder), or move the old one away"))
    })
}

/// Refuses a configuration of another number of shards than the new cluster is to have, because of its backup or since that was asked for.
fn check_shards(loaded: &Loaded, shards: usize, is_asked: bool) -> Result<(), Failure> {
    let wanted = loaded.config.store.shard_count();
    if wanted == shards {
        return Ok(());
    }
    let of = counted(u64::try_from(shards).unwrap_or(u64::MAX), "shard");
    let as_many = format!(
        "restore it with a configuration of as many shards: store.nodes names those of each node, 1 to {shards}"
    );
    if is_asked {
        let there = loaded.path.display();
        return Err(Failure::usage(format!("--shards {shards}, and the configuration {there} has {wanted}"))
            .next(format!("{as_many}; without a file it is written")));
    }
    let next = match shards {
        1 => format!(
            "restore it with a configuration of one shard (store.nodes.shard left out), or have it dealt out: --shards {wanted}"
        ),
        _ => as_many,
    };
    Err(Failure::usage(format!("the backup is of a ring of {of}, and the configuration has {wanted}"))
        .next(next))
}

/// The configuration to restore by: that of the file; where there is none, of as many shards as were asked for, or as the backup has.
///
/// # Errors
/// As [`load_or`]; there is no file, and the backup's folder is none.
pub fn configuration(sources: &Sources, asked: &args::Restore) -> Result<Loaded, Failure> {
    let path = sources.file.as_deref().unwrap_or(Path::new(FILE_DEFAULT));
    let shards = match asked.shards {
        Some(shards) => shards,
        None if asked.file.is_dir() && !path.exists() => {
            u64::try_from(Manifest::read(&asked.file)?.shards).expect("64 at most")
        }
        None => 1,
    };
    load_or(sources, || template(&Fresh { shards, ..Fresh::default() }))
}

/// Refuses to take the place beside the configuration from a cluster that is here: its key would be another's.
fn check_beside(loaded: &Loaded, folder: &Path) -> Result<(), Failure> {
    if !loaded.from_file {
        return Ok(());
    }
    let as_written = load_as_written(&loaded.path)?;
    let there = as_written.folder();
    if there == folder || folders_here(&as_written).is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{} is the configuration of a cluster that is here, in {}: its key stands beside it",
        loaded.path.display(),
        there.display()
    ))
    .next("give the restored cluster a configuration of its own, in another folder: feira --config other/feira.toml restore FILE"))
}

/// Makes the folders of all nodes, each with the state of its shard; what became of the key file that stood beside the configuration.
pub(super) fn make<'a>(
    loaded: &Loaded,
    source_of: &dyn Fn(u64) -> &'a Source,
    folder: &Path,
) -> Result<Replaced, Failure> {
    let atomic_write = UnfinishedFolder::beside(folder, ".restoring")?;
    let (store, cluster) = (&loaded.config.store, &loaded.config.cluster);
    let nodes = &store.nodes;
    let mut founded_nodes = Vec::new();
    for shard in store.shards() {
        let of_shard = || store.of_shard(shard);
        let initial_members = initial_members(of_shard().map(|node| (node.id, node.reached_at().to_owned())));
        for node in of_shard() {
            let place = node.folder_in(&atomic_write.path);
            let of = Replica { node, shard }.shard_of(store.shard_count());
            let found = source_of(shard).found(cluster, of, node.id, &place, &initial_members);
            found.map_err(|e| Failure::refused(format!("node {}: {e}; nothing was restored", node.id)))?;
        }
        founded_nodes.extend(initial_members.into_iter().map(|member| FoundedNode::of(member, shard)));
    }
    // Another cluster than the one that was backed up: whoever holds that one's key has no say here.
    let key = place::random()?;
    for node in nodes {
        place::write(&place::in_folder(&node.folder_in(&atomic_write.path)), &key)?;
    }
    let founded = Founded { cluster: cluster.clone(), complete: true, nodes: founded_nodes };
    founded::write(&atomic_write.path, &founded)?;
    write_default(loaded)?;
    // The key first: a restore that was killed between them is made again; a cluster with another one's key beside it is none.
    let replaced = place::replace(place::path_of_cluster(loaded), &key)?;
    let Err(failure) = atomic_write.publish(folder) else { return Ok(replaced) };
    // It may have its name all the same, only not durably: then its key stays with it.
    if folders_here(loaded).is_empty()
        && let Err(undone) = replaced.undo()
    {
        return Err(failure.clone().retold(format!("{}; {}", failure.message, undone.message)));
    }
    Err(failure)
}
