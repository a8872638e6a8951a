//! The first start of a cluster: every node's folder is made once, with one membership that all know.
//!
//! `cluster.json` in the cluster's folder remembers who was founded. From then on a node's folder that is missing
//! is an error that explains, never made anew: an empty folder is *another* member (DESIGN 3.11), and one that
//! came back under the old identity could vote twice in one epoch and lose acknowledged writes.

use std::path::Path;

use serde::{Deserialize, Serialize};
use store_server::{Founder, founders, is_bootstrapped};

use crate::config::load::Loaded;
use crate::failure::Failure;

const NAME: &str = "cluster.json";

/// What was founded.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Founded {
    /// The cluster's name, which is in every node's `meta`.
    cluster: String,
    /// Every folder was made: none may be made again.
    complete: bool,
    nodes: Vec<FoundedNode>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FoundedNode {
    id: u64,
    /// The random identity of its folder.
    incarnation: u64,
    /// Where it was reached then.
    address: String,
}

/// Makes the folders of a new cluster, or checks those of one that was made before.
///
/// # Errors
/// A folder of a cluster that was made before is missing, the configuration has other nodes than the cluster, or
/// a folder cannot be made.
pub fn bootstrap(loaded: &Loaded) -> Result<(), Failure> {
    let folder = loaded.folder();
    std::fs::create_dir_all(&folder).map_err(|e| Failure::file("make", &folder, &e))?;
    let path = folder.join(NAME);
    let mut founded = match read(&path)? {
        Some(founded) => founded,
        None => found(loaded, &folder)?,
    };
    check(loaded, &founded, &path)?;
    if founded.complete {
        return check_folders(loaded, &folder);
    }
    // An interrupted first start: nothing was served yet, so that folders may still be made.
    write(&path, &founded)?;
    let members: Vec<Founder> = founded
        .nodes
        .iter()
        .map(|node| Founder { node: node.id, incarnation: node.incarnation, address: node.address.clone() })
        .collect();
    for node in &loaded.config.store.nodes {
        let place = node.folder_in(&folder);
        if is_bootstrapped(&place) {
            continue;
        }
        store_server::bootstrap(&loaded.config.cluster, node.id, &place, &members)
            .map_err(|e| Failure::refused(format!("node {}: {e}", node.id)))?;
    }
    founded.complete = true;
    write(&path, &founded)
}

/// A new cluster's founders; folders that hold a replica already are not ours to found again.
fn found(loaded: &Loaded, folder: &Path) -> Result<Founded, Failure> {
    let nodes = &loaded.config.store.nodes;
    if let Some(node) = nodes.iter().find(|node| is_bootstrapped(&node.folder_in(folder))) {
        let message = format!(
            "{} holds a replica, but {} is missing: its cluster was founded elsewhere",
            node.folder_in(folder).display(),
            folder.join(NAME).display()
        );
        return Err(Failure::refused(message).next("give the new cluster an empty folder (key folder)"));
    }
    let members = founders(nodes.iter().map(|node| (node.id, node.reached_at().to_owned())));
    Ok(Founded {
        cluster: loaded.config.cluster.clone(),
        complete: false,
        nodes: members
            .into_iter()
            .map(|one| FoundedNode { id: one.node, incarnation: one.incarnation, address: one.address })
            .collect(),
    })
}

fn check(loaded: &Loaded, founded: &Founded, path: &Path) -> Result<(), Failure> {
    if founded.cluster != loaded.config.cluster {
        return Err(Failure::refused(format!(
            "the configuration names the cluster {:?}, but {} was founded as {:?}",
            loaded.config.cluster,
            path.display(),
            founded.cluster
        ))
        .next("put the old name back, or give the new cluster another folder"));
    }
    let mut there: Vec<u64> = founded.nodes.iter().map(|node| node.id).collect();
    let mut wanted: Vec<u64> = loaded.config.store.nodes.iter().map(|node| node.id).collect();
    there.sort_unstable();
    wanted.sort_unstable();
    if there != wanted {
        return Err(Failure::refused(format!(
            "the configuration has the nodes {wanted:?}, but the cluster was founded with {there:?}"
        ))
        .next("a node is added or removed by a membership change, not by the configuration"));
    }
    Ok(())
}

fn check_folders(loaded: &Loaded, folder: &Path) -> Result<(), Failure> {
    for node in &loaded.config.store.nodes {
        let place = node.folder_in(folder);
        if !is_bootstrapped(&place) {
            return Err(Failure::refused(format!(
                "the folder of node {} is gone: {}. It is not made anew: an empty folder is another member, and \
                 under the old identity it could vote against its own past",
                node.id,
                place.display()
            ))
            .next("put the folder back, or replace the node by a membership change; the others can run without it"));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<Founded>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| Failure::refused(format!("{} cannot be understood: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::file("read", path, &e)),
    }
}

/// Write, fsync, rename, fsync of the folder.
fn write(path: &Path, founded: &Founded) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::file("write", path, &e);
    let text = serde_json::to_string_pretty(founded).expect("what was founded is JSON");
    let beside = path.with_extension("json.new");
    std::fs::write(&beside, text).map_err(failed)?;
    std::fs::File::open(&beside).and_then(|file| file.sync_all()).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shape::Config;

    fn loaded(folder: &Path) -> Loaded {
        let path = folder.join("feira.toml");
        Loaded { config: Config::default(), path, from_file: false, set: Vec::new() }
    }

    #[test]
    fn folders_are_made_once_and_a_lost_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = loaded(folder.path());
        bootstrap(&loaded).unwrap();
        bootstrap(&loaded).unwrap();
        let lost = loaded.config.store.nodes[1].folder_in(&loaded.folder());
        std::fs::remove_dir_all(&lost).unwrap();
        let failure = bootstrap(&loaded).unwrap_err().to_string();
        assert!(failure.contains("node 2 is gone") && failure.contains("membership change"), "{failure}");
        assert!(!lost.exists(), "nothing was made");
    }

    #[test]
    fn an_interrupted_first_start_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = loaded(folder.path());
        std::fs::create_dir_all(loaded.folder()).unwrap();
        let founded = found(&loaded, &loaded.folder()).unwrap();
        write(&loaded.folder().join(NAME), &founded).unwrap();
        bootstrap(&loaded).unwrap();
        assert!(read(&loaded.folder().join(NAME)).unwrap().unwrap().complete);
    }

    #[test]
    fn other_nodes_or_another_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut loaded = loaded(folder.path());
        bootstrap(&loaded).unwrap();
        loaded.config.store.nodes.pop();
        assert!(bootstrap(&loaded).unwrap_err().to_string().contains("founded with [1, 2, 3]"));
        loaded.config = Config { cluster: "other".into(), ..Config::default() };
        assert!(bootstrap(&loaded).unwrap_err().to_string().contains("\"other\""));
    }
}
