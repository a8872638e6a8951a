//! The places of key files on a machine: beside the configuration, and in each node's folder.
//!
//! ```text
//!   feira.toml
//!   cluster.key   ◄─ people, tools, nodes; or portals.key on a machine with portals only
//!   feira-data/node-1/cluster.key   ◄─ the copy that goes with a folder that is moved
//! ```
//!
//! Promises: a key file has mode 600 before it has a byte, and is replaced as a whole. What stands beside the configuration
//! goes first, and a node keeps its copy in step with it; the copies of two clusters are never mixed, but refused.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use store_keys::{ClusterId, ClusterKey, FILE_BYTES_MAX, KEY_BYTES, KeyFile, Secret};
use zeroize::Zeroizing;

use crate::aside;
use crate::config::load::Loaded;
use crate::failure::Failure;

/// The file of nodes and operators.
const CLUSTER: &str = "cluster.key";
/// The file of machines with portals only.
const PORTALS: &str = "portals.key";

/// The key file beside the configuration: the one that it names, or the one of both that is there.
#[must_use]
pub fn path(loaded: &Loaded) -> PathBuf {
    let base = loaded.base();
    if !loaded.config.key.as_os_str().is_empty() {
        return base.join(&loaded.config.key);
    }
    let (cluster, portals) = (base.join(CLUSTER), base.join(PORTALS));
    if !cluster.exists() && portals.exists() { portals } else { cluster }
}

/// The copy in a node's folder.
#[must_use]
pub fn in_folder(folder: &Path) -> PathBuf {
    folder.join(CLUSTER)
}

/// The key of a new cluster, of random bytes of the operating system.
///
/// # Errors
/// It has none to give.
pub fn random() -> Result<ClusterKey, Failure> {
    let mut id = [0; 8];
    fill(&mut id)?;
    // One in 2^64 is no id; 1 is as good as any.
    let id = ClusterId::new(u64::from_be_bytes(id).max(1)).expect("it is not 0");
    Ok(ClusterKey::new(id, secret()?))
}

/// A new secret.
///
/// # Errors
/// The operating system has no random bytes to give.
pub fn secret() -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    fill(&mut *bytes)?;
    Ok(Secret::new(*bytes))
}

fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    getrandom::fill(bytes)
        .map_err(|e| Failure::refused(format!("the operating system gives no random bytes: {e}")))
}

/// Reads a key file; `None`: there is none.
///
/// # Errors
/// It cannot be read, or is no key file.
pub fn read(path: &Path) -> Result<Option<KeyFile>, Failure> {
    let bytes = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::file("read", path, &e)),
    };
    let wrong = |why: String| {
        Failure::refused(format!("{}: {why}", path.display()))
            .next("copy it again from another machine of the cluster")
    };
    if bytes > FILE_BYTES_MAX as u64 {
        return Err(wrong(store_keys::FileError::Long.to_string()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e))?;
    KeyFile::parse(&Zeroizing::new(text)).map(Some).map_err(|e| wrong(e.to_string()))
}

/// Writes a key file in the place of whatever has its name.
///
/// # Errors
/// It cannot be written; what was there is still there.
pub fn write(path: &Path, key: &ClusterKey) -> Result<(), Failure> {
    aside::replace_secret(path, &key.to_text())
}

/// Writes a key file, and keeps what was there under a name of its own: that name.
///
/// # Errors
/// It cannot be written; what was there is still there.
pub fn replace(path: &Path, key: &ClusterKey) -> Result<Option<PathBuf>, Failure> {
    let former = read(path)?.map(|former| (path.with_extension(format!("{}.key", former.id())), former));
    if let Some((kept, former)) = &former {
        let text = match former {
            KeyFile::Cluster(key) => key.to_text(),
            KeyFile::Portals(key) => key.to_text(),
        };
        aside::replace_secret(kept, &text)?;
    }
    write(path, key)?;
    Ok(former.map(|(kept, _)| kept))
}

/// The cluster's key beside the configuration; `None`: there is none.
///
/// # Errors
/// It cannot be read, or is the key of portals only.
pub fn of_cluster(loaded: &Loaded) -> Result<Option<ClusterKey>, Failure> {
    let path = path(loaded);
    match read(&path)? {
        None => Ok(None),
        Some(KeyFile::Cluster(key)) => Ok(Some(key)),
        Some(KeyFile::Portals(_)) => Err(Failure::refused(format!(
            "{} is the key of portals only: it can neither run a node nor change anything about the cluster",
            path.display()
        ))
        .next(format!("copy {CLUSTER} from a node's machine, beside {}", loaded.path.display()))),
    }
}

/// The key with which an operator's tool proves itself.
///
/// # Errors
/// There is none, or it cannot be used.
pub fn of_operator(loaded: &Loaded) -> Result<ClusterKey, Failure> {
    of_cluster(loaded)?.ok_or_else(|| missing(&path(loaded), loaded))
}

/// The copy in the folder of a node that is on this machine.
fn copy_here(loaded: &Loaded) -> Option<PathBuf> {
    let folder = loaded.folder();
    let copies = loaded.config.store.nodes.iter().map(|node| in_folder(&node.folder_in(&folder)));
    copies.into_iter().find(|copy| copy.is_file())
}

/// A node's key: what stands beside the configuration, which the copy in its folder then follows, or else that copy.
///
/// # Errors
/// There is none, one of them cannot be used, or they are of two clusters.
pub fn of_node(loaded: &Loaded, folder: &Path) -> Result<ClusterKey, Failure> {
    let copied = in_folder(folder);
    let mine = match read(&copied)? {
        None => None,
        Some(KeyFile::Cluster(key)) => Some(key),
        Some(KeyFile::Portals(_)) => {
            return Err(Failure::refused(format!("{} is the key of portals only", copied.display())));
        }
    };
    let beside = match read(&path(loaded))? {
        // A machine of portals that got a node, too: its folder brings what the node needs.
        Some(KeyFile::Portals(portals)) if mine.as_ref().is_some_and(|mine| mine.id() == portals.id()) => {
            None
        }
        _ => of_cluster(loaded)?,
    };
    match (beside, mine) {
        (None, None) => Err(missing(&copied, loaded)),
        (None, Some(mine)) => Ok(mine),
        (Some(key), Some(mine)) if key.id() != mine.id() => {
            let (beside, folder) = (path(loaded), folder.display());
            Err(Failure::refused(format!(
                "{} is the key of cluster {}, but {folder} is of cluster {}",
                beside.display(),
                key.id(),
                mine.id()
            ))
            .next(
                "give the node the folder of its cluster, or put the right key file beside the configuration",
            ))
        }
        (Some(key), mine) => {
            if mine.as_ref() != Some(&key) {
                write(&copied, &key)?;
            }
            Ok(key)
        }
    }
}

/// A portal's key.
///
/// # Errors
/// There is none, or it cannot be used.
pub fn of_portal(loaded: &Loaded) -> Result<KeyFile, Failure> {
    let path = path(loaded);
    read(&path)?.ok_or_else(|| {
        let message = format!("there is no key file {}: caches would believe any message", path.display());
        Failure::refused(message).next(step_of_copy(loaded).unwrap_or_else(|| {
            format!(
                "on a node's machine: {}; then copy {PORTALS} here, beside {}",
                loaded.command("key export --portals"),
                loaded.path.display()
            )
        }))
    })
}

fn missing(path: &Path, loaded: &Loaded) -> Failure {
    let message =
        format!("there is no key file {}: who is a member could not be told from a stranger", path.display());
    Failure::refused(message).next(step_of_copy(loaded).unwrap_or_else(|| {
        format!(
            "copy {CLUSTER} from another machine of the cluster, beside {}; where no machine has one, since its nodes were \
             made by an earlier version: {}",
            loaded.path.display(),
            loaded.command("key make")
        )
    }))
}

/// What to do where a node's folder on this machine has the file that is missing beside the configuration.
fn step_of_copy(loaded: &Loaded) -> Option<String> {
    let copy = copy_here(loaded)?;
    Some(format!("the node here has it: cp {} {}", copy.display(), loaded.base().join(CLUSTER).display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shape::Config;
    use std::os::unix::fs::PermissionsExt as _;

    fn loaded(folder: &Path) -> Loaded {
        let path = folder.join("feira.toml");
        Loaded { config: Config::default(), path, from_file: true, set: Vec::new() }
    }

    #[test]
    fn a_nodes_copy_follows_the_file_beside_the_configuration_and_another_clusters_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (loaded, node) = (loaded(folder.path()), folder.path().join("node-1"));
        std::fs::create_dir(&node).unwrap();
        let failure = of_node(&loaded, &node).unwrap_err().to_string();
        assert!(failure.contains("key make") && failure.contains("node-1/cluster.key"), "{failure}");
        let first = random().unwrap();
        write(&in_folder(&node), &first).unwrap();
        assert_eq!(of_node(&loaded, &node).unwrap(), first, "a folder that was moved brings its key");
        let second = first.with_second(secret().unwrap());
        write(&path(&loaded), &second).unwrap();
        assert_eq!(of_node(&loaded, &node).unwrap(), second);
        assert_eq!(read(&in_folder(&node)).unwrap(), Some(KeyFile::Cluster(second)));
        let mode = std::fs::metadata(in_folder(&node)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        write(&path(&loaded), &random().unwrap()).unwrap();
        let failure = of_node(&loaded, &node).unwrap_err().to_string();
        assert!(failure.contains("is the key of cluster"), "{failure}");
    }

    #[test]
    fn where_only_a_nodes_folder_has_the_file_the_step_is_to_copy_it() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = loaded(folder.path());
        let node = loaded.config.store.nodes[0].folder_in(&loaded.folder());
        std::fs::create_dir_all(&node).unwrap();
        let key = random().unwrap();
        write(&in_folder(&node), &key).unwrap();
        for refused in [of_operator(&loaded).unwrap_err(), of_portal(&loaded).unwrap_err()] {
            let step = refused.next.unwrap();
            assert!(step.starts_with("the node here has it: cp ") && step.ends_with("cluster.key"), "{step}");
        }
        let portals = folder.path().join(PORTALS);
        std::fs::write(&portals, &*key.for_portals().to_text()).unwrap();
        assert_eq!(of_node(&loaded, &node).unwrap(), key, "a machine of portals that got a node, too");
        std::fs::write(&portals, &*random().unwrap().for_portals().to_text()).unwrap();
        assert!(of_node(&loaded, &node).is_err(), "a file of another cluster is a mistake");
    }

    #[test]
    fn portals_take_either_file_and_operators_the_clusters_only() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = loaded(folder.path());
        let failure = of_portal(&loaded).unwrap_err().to_string();
        assert!(failure.contains("key export --portals"), "{failure}");
        let key = random().unwrap();
        std::fs::write(folder.path().join(PORTALS), &*key.for_portals().to_text()).unwrap();
        assert_eq!(of_portal(&loaded).unwrap().id(), key.id());
        let failure = of_operator(&loaded).unwrap_err().to_string();
        assert!(failure.contains("portals only") && failure.contains("cluster.key"), "{failure}");
        write(&folder.path().join(CLUSTER), &key).unwrap();
        assert_eq!(of_operator(&loaded).unwrap(), key);
        assert_eq!(of_portal(&loaded).unwrap(), KeyFile::Cluster(key));
    }
}
