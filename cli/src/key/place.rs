//! The places of key files on a machine: beside the configuration, and in each node's folder.
//!
//! ```text
//!   feira.toml
//!   cluster.key   ◄─ people, tools, nodes; or portals.key on a machine with portals only
//!   feira-data/node-1/cluster.key   ◄─ the copy that goes with a folder that is moved
//! ```
//!
//! Promises: a key file has mode 600 before it has a byte, and is replaced as a whole, never one of portals by the whole
//! secret. A node keeps its copy in step with what stands beside the configuration while that is the newer of both, and goes
//! on with its own copy otherwise: an older file destroys no newer one. The keys of two clusters are never mixed, but refused.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use store_keys::{ClusterId, ClusterKey, FILE_BYTES_MAX, KEY_BYTES, KeyFile, Secret};
use zeroize::Zeroizing;

use crate::atomic_write;
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

/// The file for a cluster's whole key beside the configuration, whether it is there or not.
#[must_use]
pub fn path_of_cluster(loaded: &Loaded) -> PathBuf {
    let named = &loaded.config.key;
    loaded.base().join(if named.as_os_str().is_empty() { Path::new(CLUSTER) } else { named })
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

/// Writes a key file in the place of an older one.
///
/// # Errors
/// It cannot be written, or a key of portals stands there, which machines are given that may not have the secret; what was
/// there is still there.
pub fn write(path: &Path, key: &ClusterKey) -> Result<(), Failure> {
    if let Ok(Some(KeyFile::Portals(_))) = read(path) {
        return Err(Failure::refused(format!(
            "{} is the key of portals only, and is copied as such: the cluster's whole key is not written there",
            path.display()
        ))
        .next("move it away, or name another file (key in the configuration)"));
    }
    atomic_write::replace_secret(path, &key.to_text())
}

/// A key file in whose place another one was written.
#[derive(Debug)]
pub struct Replaced {
    path: PathBuf,
    /// Where the former key is now, if there was one.
    pub kept: Option<PathBuf>,
}

/// Writes a key file, and keeps the key that was there under a name of its own.
///
/// # Errors
/// As [`write()`].
pub fn replace(path: PathBuf, key: &ClusterKey) -> Result<Replaced, Failure> {
    let mut kept = None;
    if let Some(KeyFile::Cluster(former)) = read(&path)? {
        let name = path.with_extension(format!("{}.key", former.id()));
        write(&name, &former)?;
        kept = Some(name);
    }
    write(&path, key)?;
    Ok(Replaced { path, kept })
}

impl Replaced {
    /// Puts back what was there.
    ///
    /// # Errors
    /// The file system does not let it; the message says where the former key is.
    pub fn undo(self) -> Result<(), Failure> {
        match &self.kept {
            Some(kept) => std::fs::rename(kept, &self.path).map_err(|e| Failure::file("move back", kept, &e)),
            None => std::fs::remove_file(&self.path).map_err(|e| Failure::file("remove", &self.path, &e)),
        }
    }
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

/// The key that a node holds.
#[derive(Debug)]
pub struct NodeKey {
    /// Itself.
    pub key: ClusterKey,
    /// Why what stands beside the configuration is not it, though there is something.
    pub not_followed: Option<Failure>,
}

/// A node's key: the newer of what stands beside the configuration, which the copy in its folder then follows, and that copy.
///
/// # Errors
/// There is none, one of them cannot be used, or they are of two clusters or differ in one revision.
pub fn of_node(loaded: &Loaded, folder: &Path) -> Result<NodeKey, Failure> {
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
        (None, Some(key)) => Ok(NodeKey { key, not_followed: None }),
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
        (Some(beside), Some(mine)) if beside.revision() < mine.revision() => {
            let failure = older(&path(loaded), beside.revision(), &copied, mine.revision());
            Ok(NodeKey { key: mine, not_followed: Some(failure) })
        }
        (Some(beside), Some(mine)) if beside.revision() == mine.revision() && beside != mine => {
            Err(Failure::refused(format!(
                "{} and {} are of one revision ({}) and differ: the key was rotated twice from one file",
                path(loaded).display(),
                copied.display(),
                mine.revision()
            ))
            .next("copy the file of a node that is in the group over both"))
        }
        (Some(key), mine) => {
            if mine.as_ref() != Some(&key) {
                write(&copied, &key)?;
            }
            Ok(NodeKey { key, not_followed: None })
        }
    }
}

fn older(beside: &Path, revision: u64, copied: &Path, newer: u64) -> Failure {
    Failure::refused(format!(
        "{} is an older key (revision {revision}) than {} (revision {newer}), with which this node goes on",
        beside.display(),
        copied.display()
    ))
    .next(format!("cp {} {}", copied.display(), beside.display()))
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
        assert_eq!(of_node(&loaded, &node).unwrap().key, first, "a folder that was moved brings its key");
        let second = first.with_second(secret().unwrap());
        write(&path(&loaded), &second).unwrap();
        assert_eq!(of_node(&loaded, &node).unwrap().key, second);
        assert_eq!(read(&in_folder(&node)).unwrap(), Some(KeyFile::Cluster(second)));
        let mode = std::fs::metadata(in_folder(&node)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        write(&path(&loaded), &random().unwrap()).unwrap();
        let failure = of_node(&loaded, &node).unwrap_err().to_string();
        assert!(failure.contains("is the key of cluster"), "{failure}");
    }

    #[test]
    fn an_older_file_beside_the_configuration_destroys_no_newer_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (loaded, node) = (loaded(folder.path()), folder.path().join("node-1"));
        std::fs::create_dir(&node).unwrap();
        let older = random().unwrap();
        let newer = older.with_second(secret().unwrap()).turned().with_first_only();
        write(&in_folder(&node), &newer).unwrap();
        write(&path(&loaded), &older).unwrap();
        let held = of_node(&loaded, &node).unwrap();
        assert_eq!(held.key, newer);
        let failure = held.not_followed.unwrap();
        assert!(
            failure.message.contains("revision 0") && failure.message.contains("revision 3"),
            "{failure}"
        );
        assert!(failure.next.unwrap().starts_with("cp "));
        assert_eq!(
            read(&in_folder(&node)).unwrap(),
            Some(KeyFile::Cluster(newer.clone())),
            "it is still there"
        );
        // A node that was away during a whole rotation shares no secret with the newer file, and takes it.
        write(&in_folder(&node), &older).unwrap();
        write(&path(&loaded), &newer).unwrap();
        assert_eq!(of_node(&loaded, &node).unwrap().key, newer);
        // Two rotations from one file: nobody can tell which is right.
        write(&path(&loaded), &older.with_second(secret().unwrap()).turned().with_first_only()).unwrap();
        assert!(of_node(&loaded, &node).unwrap_err().message.contains("rotated twice"));
    }

    #[test]
    fn the_clusters_whole_key_is_never_written_where_the_portals_key_stands() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = loaded(folder.path());
        let (portals, key) = (folder.path().join(PORTALS), random().unwrap());
        std::fs::write(&portals, &*key.for_portals().to_text()).unwrap();
        assert_eq!((path(&loaded), path_of_cluster(&loaded)), (portals.clone(), folder.path().join(CLUSTER)));
        for refused in [write(&portals, &key), replace(portals.clone(), &key).map(drop)] {
            assert!(refused.unwrap_err().message.contains("portals only"));
        }
        assert_eq!(read(&portals).unwrap(), Some(KeyFile::Portals(key.for_portals())));
    }

    #[test]
    fn a_replaced_key_is_kept_and_can_be_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let (path, former, other) = (folder.path().join(CLUSTER), random().unwrap(), random().unwrap());
        replace(path.clone(), &other).unwrap().undo().unwrap();
        assert!(!path.exists(), "nothing was there");
        write(&path, &former).unwrap();
        let replaced = replace(path.clone(), &other).unwrap();
        let kept = replaced.kept.clone().unwrap();
        assert_eq!(read(&kept).unwrap(), Some(KeyFile::Cluster(former.clone())));
        replaced.undo().unwrap();
        assert_eq!((read(&path).unwrap(), kept.exists()), (Some(KeyFile::Cluster(former)), false));
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
        assert_eq!(of_node(&loaded, &node).unwrap().key, key, "a machine of portals that got a node, too");
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
