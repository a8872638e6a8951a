//! The handle's configuration, and its defaults.

use std::time::Duration;

use store_keys::ClusterId;

use crate::Group;
use crate::error::{Error, Refusal};

/// Store nodes that a handle keeps in mind, configured or learnt.
pub(crate) const NODES_MAX: usize = 64;

/// Where a store node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id; 0: not known, and learnt when it answers.
    pub id: u64,
    /// `host:port`.
    pub address: String,
}

/// How to reach a replicated store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Store nodes, any of them: the leader and the others are learnt. 1 to 64.
    pub nodes: Vec<Node>,
    /// The cluster that is meant, as its key file says; `None`: the one that a majority of these nodes name, and no other
    /// from then on.
    pub cluster: Option<ClusterId>,
    /// Nodes that name no cluster, as those of versions before the cluster key, will do where `cluster` is not known and most
    /// of these nodes name none: to measure or look at such a version. No such node is spoken to otherwise.
    pub unnamed: bool,
    /// The replica group; 1 while the ring has one shard.
    pub group: Group,
    /// The version of the ring that the handle routes by.
    pub ring_version: u64,
    /// The ring has other groups: a transaction over several may be in the way of another for a moment.
    pub is_one_of_several: bool,
    /// How long an operation may take, with all its retries. 50 ms to 10 minutes.
    pub deadline: Duration,
}

impl Config {
    /// The defaults, with nodes at these addresses.
    #[must_use]
    pub fn of(addresses: Vec<String>) -> Config {
        Config::of_nodes(addresses.into_iter().map(|address| (0, address)))
    }

    /// The defaults, with these nodes and their addresses.
    #[must_use]
    pub fn of_nodes(nodes: impl IntoIterator<Item = (u64, String)>) -> Config {
        let nodes = nodes.into_iter().map(|(id, address)| Node { id, address }).collect();
        let deadline = Duration::from_secs(10);
        Config {
            nodes,
            cluster: None,
            unnamed: false,
            group: 1,
            ring_version: 1,
            is_one_of_several: false,
            deadline,
        }
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// Says which field is wrong, and what would be right.
    pub fn check(&self) -> Result<(), Error> {
        let refused = |message: String| Err(Error::Refused { reason: Refusal::Invalid, message });
        if self.nodes.is_empty() || self.nodes.len() > NODES_MAX {
            return refused(format!(
                "store nodes: give 1 to {NODES_MAX} addresses, not {}",
                self.nodes.len()
            ));
        }
        if let Some(bad) = self.nodes.iter().find(|node| !is_address(&node.address)) {
            return refused(format!("store nodes: {:?} is not host:port", bad.address));
        }
        if self.deadline < Duration::from_millis(50) || self.deadline > Duration::from_secs(600) {
            return refused(format!("deadline: {:?} is not within 50 ms and 10 minutes", self.deadline));
        }
        Ok(())
    }
}

/// Whether this reads `host:port` with a port that can be called.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty()
        && port.parse::<u16>().is_ok_and(|port| port > 0)
        && format!("http://{text}").parse::<tonic::transport::Uri>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_cannot_work_is_refused_by_field() {
        let good = Config::of(vec!["localhost:7000".to_owned(), "[::1]:7001".to_owned()]);
        assert_eq!(good.check(), Ok(()));
        for bad in ["", "localhost", ":7000", "localhost:0", "localhost:70000", "a b:1"] {
            let error = Config::of(vec![bad.to_owned()]).check().expect_err("is no address");
            assert!(error.to_string().contains("store nodes"), "{error}");
        }
        assert!(Config::of(Vec::new()).check().is_err());
        assert!(Config { deadline: Duration::ZERO, ..good }.check().is_err());
    }
}
