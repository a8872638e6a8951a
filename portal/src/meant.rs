//! The cluster that a request is meant for: a request that names another than this portal's is refused, and one that names none
//! is served.

use axum::http::HeaderValue;
use store_keys::{ClusterId, NotAnId};

use crate::error::Error;
use crate::handle::Portal;

/// The metadata, header or user property in which a request names it.
pub const CLUSTER_HEADER: &str = "feira-cluster-id";

impl Portal {
    /// Refuses what is meant for another cluster.
    pub(crate) fn check_named(&self, named: Option<&HeaderValue>) -> Result<(), Error> {
        self.check_meant(named.map(|named| named.to_str().unwrap_or("")))
    }

    /// The same, of the name as text.
    pub(crate) fn check_meant(&self, named: Option<&str>) -> Result<(), Error> {
        let (Some(named), Some(ours)) = (named, self.shared.cluster.get()) else { return Ok(()) };
        let meant = named.parse::<ClusterId>().ok();
        let meant = meant.ok_or_else(|| Error::invalid(CLUSTER_HEADER, NotAnId.to_string()))?;
        if meant == *ours {
            return Ok(());
        }
        let portal = format!("{} of cluster {ours}", self.status().name);
        Err(Error::WrongCluster { portal, meant: meant.to_string() })
    }
}
