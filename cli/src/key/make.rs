//! `feira key make` and `feira key export`, and the keys of clusters that are founded or were made by an earlier version.

use std::path::PathBuf;

use serde_json::json;
use store_keys::{ClusterKey, KeyFile};
use store_server::is_bootstrapped;

use super::place;
use crate::atomic_write;
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::show::answer::Answer;

/// Refuses to found a cluster where a key says that one was founded.
///
/// # Errors
/// There is a key file.
pub fn require_none(loaded: &Loaded) -> Result<(), Failure> {
    let path = place::path(loaded);
    if !path.exists() {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{} is the key of a cluster that was founded, but {} holds nothing of it",
        path.display(),
        loaded.folder().display()
    ))
    .next(format!(
        "is its disk mounted? To make the shop from a backup: {}; to found another, empty one here: {}",
        loaded.command("restore FILE"),
        loaded.command("up --new-shop")
    )))
}

/// Makes room for the key of another shop, which a person asked for by name: where the former key is then.
///
/// # Errors
/// Its shop is here, or it cannot be moved.
pub fn set_aside(loaded: &Loaded) -> Result<Option<PathBuf>, Failure> {
    if let Some(folder) = folders_here(loaded).first() {
        return Err(Failure::refused(format!(
            "a shop was founded here: {} holds a replica",
            folder.display()
        ))
        .next("leave --new-shop out, or give the new shop another place with --config"));
    }
    let path = place::path(loaded);
    let Some(former) = place::read(&path)? else { return Ok(None) };
    let kept = path.with_extension(format!("{}.key", former.id()));
    std::fs::rename(&path, &kept).map_err(|e| Failure::file("move aside", &path, &e))?;
    Ok(Some(kept))
}

/// The key of a cluster whose founding goes on: the one that is there, or a new one.
///
/// # Errors
/// It cannot be read or written.
pub fn found(loaded: &Loaded) -> Result<ClusterKey, Failure> {
    if let Some(key) = place::of_cluster(loaded)? {
        return Ok(key);
    }
    let key = place::random()?;
    place::write(&place::path_of_cluster(loaded), &key)?;
    Ok(key)
}

/// Sees to it that a cluster that was founded before has its key everywhere here. One of an earlier version gets a new one
/// if all of its nodes are `here`: those elsewhere would not have it.
///
/// # Errors
/// It has none and is not all here; or a file cannot be read or written.
pub fn keep(loaded: &Loaded, here: bool) -> Result<(), Failure> {
    let folders = folders_here(loaded);
    let beside = place::of_cluster(loaded)?;
    let key = match beside.map_or_else(|| newest_copy(&folders), |key| Ok(Some(key)))? {
        Some(key) => key,
        None if here => place::random()?,
        None => {
            return Err(Failure::refused(format!(
                "the cluster has no key file {}: it was made by an earlier version, and not all of its nodes' folders are \
                 here",
                place::path(loaded).display()
            ))
            .next(format!(
                "make one on one machine, and copy it to the others: {}",
                loaded.command("key make")
            )));
        }
    };
    if place::of_cluster(loaded)?.is_none() {
        place::write(&place::path_of_cluster(loaded), &key)?;
    }
    for folder in &folders {
        place::of_node(loaded, folder)?;
    }
    Ok(())
}

/// The newest key in these folders: a node that was away for a rotation has an older one.
fn newest_copy(folders: &[PathBuf]) -> Result<Option<ClusterKey>, Failure> {
    let mut newest: Option<ClusterKey> = None;
    for folder in folders {
        if let Some(KeyFile::Cluster(copy)) = place::read(&place::in_folder(folder))?
            && newest.as_ref().is_none_or(|newest| newest.revision() < copy.revision())
        {
            newest = Some(copy);
        }
    }
    Ok(newest)
}

/// The folders of nodes that hold a replica on this machine.
#[must_use]
pub fn folders_here(loaded: &Loaded) -> Vec<PathBuf> {
    let cluster = loaded.folder();
    let folders = loaded.config.store.nodes.iter().map(|node| node.folder_in(&cluster));
    folders.filter(|folder| is_bootstrapped(folder)).collect()
}

/// `feira key make`: the key of a cluster that an earlier version made.
///
/// # Errors
/// There is one, no node is here, or it cannot be written.
pub fn make(loaded: &Loaded) -> Result<Answer, Failure> {
    let path = place::path(loaded);
    let folders = folders_here(loaded);
    let copies: Vec<PathBuf> = folders.iter().map(|folder| place::in_folder(folder)).collect();
    if let Some(there) = [path.clone()].into_iter().chain(copies).find(|path| path.exists()) {
        return Err(Failure::conflict(format!("there is a key file already: {}", there.display()))
            .next(format!("another secret for the same cluster: {}", loaded.command("key rotate"))));
    }
    if folders.is_empty() {
        return Err(Failure::refused(format!("no node's folder is here, in {}", loaded.folder().display()))
            .next("copy cluster.key from a node's machine; a new cluster gets its key by feira up or feira bootstrap"));
    }
    let key = place::random()?;
    place::write(&path, &key)?;
    for folder in &folders {
        place::write(&place::in_folder(folder), &key)?;
    }
    let shown = path.display().to_string();
    let mut answer = Answer::line(
        format!("{shown} is the key of cluster {}", key.id()),
        json!({ "file": shown, "cluster": key.id().to_string(), "nodes": folders.len() }),
    );
    if folders.len() < loaded.config.store.nodes.len() {
        answer.notes.push(format!(
            "copy it to the machines of the other nodes, beside {}, before they start; never make another",
            loaded.path.display()
        ));
    }
    Ok(answer)
}

/// `feira key export --portals`: what machines with portals only are given.
///
/// # Errors
/// There is no key here, the file is there already, or it cannot be written.
pub fn export(loaded: &Loaded, to: Option<PathBuf>) -> Result<Answer, Failure> {
    let key = place::of_operator(loaded)?.for_portals();
    let to = to.unwrap_or_else(|| loaded.base().join("portals.key"));
    if let Some(there) = place::read(&to)?
        && there.id() != key.id()
    {
        return Err(Failure::refused(format!("{} is of cluster {}", to.display(), there.id()))
            .next("name another file with --out"));
    }
    atomic_write::replace_secret(&to, &key.to_text())?;
    let shown = to.display().to_string();
    let mut answer = Answer::line(
        format!(
            "{shown} is the key of portals of cluster {}: it can neither vote, push nor change members",
            key.id()
        ),
        json!({ "file": shown, "cluster": key.id().to_string() }),
    );
    answer.notes.push("copy it to the portals' machine, beside the configuration, as portals.key".to_owned());
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_copy_is_the_clusters_key_where_none_stands_beside_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let folders = ["node-1", "node-2", "node-3"].map(|name| folder.path().join(name));
        folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        assert_eq!(newest_copy(&folders).unwrap(), None);
        let older = place::random().unwrap();
        let newer = older.with_second(place::secret().unwrap()).turned().with_first_only();
        for (folder, key) in folders.iter().zip([&older, &newer, &older]) {
            place::write(&place::in_folder(folder), key).unwrap();
        }
        assert_eq!(newest_copy(&folders).unwrap(), Some(newer));
    }
}
