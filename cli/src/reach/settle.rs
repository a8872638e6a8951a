//! The cluster of a machine that has no key file: the one that a majority of the configured addresses name, kept from then
//! on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use store_keys::ClusterId;

use super::{nodes, whose};
use crate::atomic_write;
use crate::config::load::Loaded;
use crate::config::shape::Instance;
use crate::failure::Failure;

/// Asks the configured nodes, or else the configured portals, which cluster they are of, if this machine does not know; and
/// keeps the answer. Without a majority it stays unknown.
pub async fn settle(mut loaded: Loaded) -> Loaded {
    // Without a file the addresses are anybody's.
    if loaded.config.whose().is_some() || !loaded.from_file {
        return loaded;
    }
    let asked = loaded.config.store.nodes.iter().map(nodes::of_node);
    let statuses = futures::future::join_all(asked).await;
    let mut found = majority(statuses.iter().map(|status| status.as_ref().map_or(0, |s| s.cluster_id)));
    if found.is_none() {
        let portals: [&[Instance]; 2] = [&loaded.config.admin_portals, &loaded.config.client_portals];
        let asked = portals.concat();
        let asked = asked.iter().map(|portal| nodes::portal_status(&portal.listen));
        let statuses = futures::future::join_all(asked).await;
        found = majority(statuses.iter().map(|status| status.as_ref().map_or(0, |s| s.cluster_id)));
    }
    if let Some(id) = found {
        keep(&whose::path(&loaded), id);
        loaded.config.mean(Some(id));
    }
    loaded
}

/// Keeps the id, which is no secret: whoever may read the configuration may read it. Where nothing can be written it is asked anew
/// each time.
fn keep(path: &Path, id: ClusterId) {
    let kept = atomic_write::replace(path, &format!("{id}\n"));
    let shared = std::fs::Permissions::from_mode(0o644);
    match kept.and_then(|()| {
        std::fs::set_permissions(path, shared).map_err(|e| Failure::file("open to others", path, &e))
    }) {
        Ok(()) => {}
        Err(failure) => tracing::debug!("the cluster's id is not kept: {failure}"),
    }
}

/// The id that more than half of them name; 0: none is named.
fn majority(named: impl Iterator<Item = u64>) -> Option<ClusterId> {
    let named: Vec<u64> = named.collect();
    let votes = |id: u64| named.iter().filter(|one| **one == id).count();
    named.iter().find(|id| votes(**id) * 2 > named.len()).and_then(|id| ClusterId::new(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_more_than_half_of_those_configured_settle_it() {
        assert_eq!(majority([5, 5, 0].into_iter()), ClusterId::new(5));
        assert_eq!(majority([5, 6, 0].into_iter()), None);
        assert_eq!(majority([0, 0, 5].into_iter()), None);
        assert_eq!(majority(std::iter::empty()), None);
    }

    #[test]
    fn an_id_is_kept_for_everybody_and_where_nothing_can_be_written_it_is_asked_anew() {
        let folder = tempfile::tempdir().unwrap();
        let id = ClusterId::new(5).unwrap();
        let path = folder.path().join("cluster.id");
        keep(&path, id);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0000000000000005\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        // Not a folder: whoever asks, nothing can be kept there.
        keep(&path.join("cluster.id"), id);
    }
}
