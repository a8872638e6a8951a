//! The states of a cluster that tests wait for: replicas that are equal, books that are right, caches that are live.

use proto::portal::portal_client::PortalClient;
use proto::portal::{PortalStatusRequest, PortalStatusResponse};

use super::{Cluster, PATIENCE, with_timeout};
use crate::wait;

impl Cluster {
    /// Waits until every running replica has applied the same log.
    pub async fn wait_until_equal(&self) {
        for shard in self.shards() {
            self.wait_until_equal_in(shard).await;
        }
    }

    async fn wait_until_equal_in(&self, shard: u64) {
        wait::until("equal replicas", PATIENCE, || async {
            let mut states = Vec::new();
            for node in self.nodes_of(shard) {
                let status = self.status_in(shard, &node).await;
                let status = status.map_err(|error| format!("{node}: {error}"))?;
                states.push((status.applied, status.last, status.state_hash));
            }
            let equal = states.windows(2).all(|pair| pair[0] == pair[1]);
            let done = states.first().is_some_and(|(applied, last, _)| applied == last);
            if equal && done { Ok(()) } else { Err(format!("{states:?}")) }
        })
        .await;
    }

    /// The books are right and the same on every replica.
    ///
    /// # Panics
    /// If they are not, or if a replica stays away.
    pub async fn assert_audited(&self) {
        // A node that was restarted may not serve yet, and an audit wants them all.
        self.wait_until_equal().await;
        let audit = self.tool(&["audit"]);
        assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stderr));
    }

    /// What a portal says of its cache.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn portal_status(&self, name: &str) -> Result<PortalStatusResponse, tonic::Status> {
        let mut client = PortalClient::new(self.channel(name));
        Ok(client.status(with_timeout(PortalStatusRequest {})).await?.into_inner())
    }

    /// Waits until every portal's cache is LIVE.
    pub async fn wait_until_live(&self) {
        let portals = self.running.keys().filter(|n| n.starts_with("admin-") || n.starts_with("client-"));
        for name in portals {
            wait::until(&format!("{name} to be live"), PATIENCE, || async {
                let status = self.portal_status(name).await.map_err(|error| error.to_string())?;
                let live = !status.groups.is_empty() && status.groups.iter().all(|g| g.state == "LIVE");
                if live { Ok(()) } else { Err(format!("{:?}", status.groups)) }
            })
            .await;
        }
    }
}
