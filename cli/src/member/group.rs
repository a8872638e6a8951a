//! Who is in the group, asked of its nodes: those of the configuration and those that they name.

use proto::store::{Member, MemberPart, MemberStatus, Role, StatusResponse};

use crate::config::shape::Config;
use crate::failure::Failure;
use crate::reach::nodes;

/// Addresses that are asked at most.
const ADDRESSES_MAX: usize = 64;

/// Where the group is looked for.
pub struct Group {
    /// Nodes of another cluster at one of the addresses are not listened to.
    cluster: String,
    /// Addresses, configured ones first.
    addresses: Vec<String>,
}

/// What the node that knows best says of the group.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Where it was asked.
    pub address: String,
    /// What it says.
    pub status: StatusResponse,
}

impl Group {
    /// That of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Group {
        let addresses = config.store.nodes.iter().map(|node| node.reached_at().to_owned()).collect();
        Group { cluster: config.cluster.clone(), addresses }
    }

    /// The leader's picture; without a leader, that of a member that knows the latest epoch.
    ///
    /// # Errors
    /// No member answers.
    pub async fn look(&mut self) -> Result<Picture, Failure> {
        let all = futures::future::join_all(self.addresses.iter().map(|at| nodes::status_at(at))).await;
        let mut best: Option<Picture> = None;
        for (address, status) in self.addresses.clone().into_iter().zip(all) {
            let Ok(status) = status else { continue };
            if status.cluster != self.cluster.as_bytes() || status.role() == Role::Outside {
                continue;
            }
            self.learn(&status);
            let rank = |status: &StatusResponse| (status.role() == Role::Leader, status.epoch);
            if best.as_ref().is_none_or(|best| rank(&status) > rank(&best.status)) {
                best = Some(Picture { address, status });
            }
        }
        best.ok_or_else(|| {
            Failure::unreachable(format!("no member of the group answers at {}", self.addresses.join(", ")))
                .next("start the nodes first: feira up, or feira store --node ID on each machine")
        })
    }

    fn learn(&mut self, status: &StatusResponse) {
        for member in status.members.iter().filter_map(|one| one.member.as_ref()) {
            if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains(&member.address) {
                self.addresses.push(member.address.clone());
            }
        }
    }
}

impl Picture {
    /// Whether it is the leader's.
    #[must_use]
    pub fn is_leaders(&self) -> bool {
        self.status.role() == Role::Leader
    }

    /// Everybody, with the part that each has.
    pub fn members(&self) -> impl Iterator<Item = (&Member, MemberPart)> {
        self.status.members.iter().filter_map(|one: &MemberStatus| Some((one.member.as_ref()?, one.part())))
    }

    /// The folders with which this node is in the group.
    #[must_use]
    pub fn folders_of(&self, node: u64) -> Vec<(Member, MemberPart)> {
        self.members().filter(|(one, _)| one.node == node).map(|(one, part)| (one.clone(), part)).collect()
    }
}
