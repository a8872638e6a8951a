//! The cluster that the tools and portals of a machine mean, and the refusal of what is not of it.
//!
//! It stands in the key file beside the configuration. A machine that was given none (tools only) takes the id that a
//! majority of the configured nodes name, or of the configured portals if it reaches no node, and keeps it in `cluster.id`
//! from then on. A key file goes before what was kept: it is how a machine is told of another cluster.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use proto::portal::PortalStatusResponse;
use proto::store::StatusResponse;
use store_client::{Replicated, Sharded};
use store_keys::ClusterId;

use crate::config::load::Loaded;
use crate::config::shape::Config;
use crate::failure::{Failure, OF_ANOTHER_CLUSTER};
use crate::key::place;

/// What is kept beside the configuration.
const KEPT: &str = "cluster.id";

/// The configuration, with the cluster that is meant, if that is known.
///
/// # Errors
/// The key file, or what was kept, cannot be used.
pub fn named(mut loaded: Loaded) -> Result<Loaded, Failure> {
    let known = known(&loaded)?;
    loaded.config.mean(known);
    Ok(loaded)
}

fn known(loaded: &Loaded) -> Result<Option<ClusterId>, Failure> {
    let path = place::path(loaded);
    // Its secret is for nodes and portals; whoever may not read it is told the id by them.
    let readable = !std::fs::File::open(&path).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
    match if readable { place::read(&path)? } else { None } {
        Some(key) => Ok(Some(key.id())),
        None => kept(loaded),
    }
}

pub(super) fn path(loaded: &Loaded) -> PathBuf {
    loaded.base().join(KEPT)
}

fn kept(loaded: &Loaded) -> Result<Option<ClusterId>, Failure> {
    let path = path(loaded);
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|error| {
            Failure::refused(format!("{}: {error}", path.display()))
                .next("remove it: the id that the configured nodes name is then kept anew")
        }),
        // Where another user of this machine keeps it to himself, it is asked for like the first time.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
        Err(e) => Err(Failure::file("read", &path, &e)),
    }
}

/// Who a node is, as it says.
#[must_use]
pub fn name_of(status: &StatusResponse) -> String {
    let cluster = String::from_utf8_lossy(&status.cluster);
    let id = ClusterId::new(status.cluster_id).map(|id| format!(" ({id})")).unwrap_or_default();
    format!("node {} of cluster {cluster}{id}", status.node)
}

/// Refuses a node that is of another cluster than the one that is meant.
///
/// # Errors
/// It is; whose port it is.
pub fn check_node(meant: Option<ClusterId>, address: &str, status: &StatusResponse) -> Result<(), Failure> {
    check(meant, address, status.cluster_id, &name_of(status))
}

/// Refuses a portal that is of another cluster than the one that is meant.
///
/// # Errors
/// It is; whose port it is.
pub fn check_portal(
    meant: Option<ClusterId>,
    address: &str,
    status: &PortalStatusResponse,
) -> Result<(), Failure> {
    check(
        meant,
        address,
        status.cluster_id,
        &format!("{} of cluster {:016x}", status.name, status.cluster_id),
    )
}

fn check(meant: Option<ClusterId>, address: &str, is: u64, who: &str) -> Result<(), Failure> {
    match meant {
        Some(meant) if is != meant.get() => {
            let message = format!("{address} is the port of {who}, not of cluster {meant}");
            Err(Failure::refused(message).next(OF_ANOTHER_CLUSTER))
        }
        _ => Ok(()),
    }
}

/// A handle to the configured store, and to no other.
///
/// # Errors
/// The configuration cannot work.
pub fn store(config: &Config, deadline: Duration) -> Result<Sharded, Failure> {
    let shards = config.store.shards().into_iter().map(|shard| reach(&config.of_shard(shard), deadline));
    Sharded::new(shards.collect()).map_err(|e| Failure::usage(e.to_string()))
}

/// The same, where nodes of a version before the cluster key will do if the cluster's id is not known: to measure such a
/// version beside this one.
///
/// # Errors
/// The configuration cannot work.
pub fn store_of_any_version(config: &Config, deadline: Duration) -> Result<Replicated, Failure> {
    let reach = store_client::Config { unnamed: true, ..reach(config, deadline) };
    Replicated::new(reach).map_err(|e| Failure::usage(e.to_string()))
}

fn reach(config: &Config, deadline: Duration) -> store_client::Config {
    let nodes = config.store.nodes.iter().map(|node| (node.id, node.reached_at().to_owned()));
    let reach = store_client::Config::of_nodes(nodes);
    store_client::Config { deadline, cluster: config.whose(), ..reach }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(folder: &std::path::Path) -> Loaded {
        let path = folder.join("feira.toml");
        Loaded { config: Config::default(), path, from_file: true, set: Vec::new() }
    }

    #[test]
    fn a_key_file_goes_before_what_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let whose = || named(loaded(folder.path())).unwrap().config.whose();
        assert_eq!(whose(), None);
        std::fs::write(folder.path().join(KEPT), "000000000000000a\n").unwrap();
        assert_eq!(whose(), ClusterId::new(10));
        let key = place::random().unwrap();
        std::fs::write(folder.path().join("portals.key"), &*key.for_portals().to_text()).unwrap();
        assert_eq!(whose(), Some(key.id()));
        std::fs::remove_file(folder.path().join("portals.key")).unwrap();
        std::fs::write(folder.path().join(KEPT), "no id").unwrap();
        assert!(named(loaded(folder.path())).unwrap_err().to_string().contains("cluster.id"));
    }

    #[test]
    fn a_port_of_another_cluster_is_told_with_whose_it_is() {
        let status = StatusResponse { node: 3, cluster: "shop".into(), cluster_id: 6, ..Default::default() };
        let failure = check_node(ClusterId::new(5), "10.0.0.1:7401", &status).unwrap_err();
        let said = "10.0.0.1:7401 is the port of node 3 of cluster shop (0000000000000006), not of cluster";
        assert!(failure.message.starts_with(said), "{failure}");
        assert!(
            check_node(ClusterId::new(6), "a:1", &status).is_ok() && check_node(None, "a:1", &status).is_ok()
        );
    }
}
