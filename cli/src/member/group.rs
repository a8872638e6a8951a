//! The members of the group, asked of its nodes: those of the configuration and those that they name.

use proto::store::{Member, MemberPart, MemberStatus, Role, Route, StatusResponse};
use store_keys::ClusterId;

use crate::config::load::Loaded;
use crate::config::shape::Node;
use crate::failure::Failure;
use crate::reach::{joint, nodes, whose};

/// Addresses that are asked at most.
const ADDRESSES_MAX: usize = 64;

/// Where the group is looked for.
pub struct Group {
    /// The configuration. Nodes of another cluster at one of the addresses are not listened to.
    loaded: Loaded,
    /// And, if it is known, the cluster's id.
    id: Option<ClusterId>,
    /// Nodes that are configured, with their ids.
    configured: Vec<(u64, String)>,
    /// Addresses that are asked, one a node, configured ones first.
    addresses: Vec<String>,
}

/// What the node that knows best says of the group.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Where it was asked.
    pub address: String,
    /// What it says.
    pub status: StatusResponse,
    /// The nodes that a change of members under way waits for.
    pub waits_for: Vec<u64>,
}

impl Group {
    /// That of a configuration of one shard.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Group {
        let at = |node: &Node| (node.id, node.reached_at().to_owned());
        let configured: Vec<(u64, String)> = loaded.config.store.nodes.iter().map(at).collect();
        let addresses = configured.iter().map(|(_, address)| address.clone()).collect();
        Group { loaded: loaded.clone(), id: loaded.config.whose(), configured, addresses }
    }

    /// The route of its requests.
    #[must_use]
    pub fn route(&self) -> Option<Route> {
        self.loaded.config.store.replicas().first().copied().and_then(nodes::route)
    }

    /// The configuration.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The leader's consistent view; without a leader, that of a member that knows the latest epoch.
    ///
    /// # Errors
    /// No member answers, or one has another log than the others: it is of another cluster of the same name.
    pub async fn look(&mut self) -> Result<GroupView, Failure> {
        let shard = self.route().map(|route| route.group);
        let asked = self.addresses.iter().map(|at| nodes::status_at(at, self.route()));
        let all = futures::future::join_all(asked).await;
        let views: Vec<GroupView> = self
            .addresses
            .iter()
            .zip(all)
            .filter_map(|(address, status)| Some(GroupView::of(address.clone(), status.ok()?)))
            .filter(|one| {
                one.status.cluster == self.loaded.config.cluster.as_bytes()
                    && one.status.role() != Role::NonMember
                    && shard.is_none_or(|shard| nodes::is_of(&one.status, shard))
            })
            .collect();
        for view in &views {
            whose::check_node(self.id, &view.address, &view.status)?;
        }
        of_one_log(&views)?;
        views.iter().for_each(|view| self.learn(&view.status));
        let rank = |view: &GroupView| joint::rank(&view.status);
        let up: Vec<joint::Folder> =
            views.iter().map(|one| (one.status.node, one.status.incarnation)).collect();
        let best = views.into_iter().rev().max_by_key(rank).ok_or_else(|| {
            Failure::unreachable(format!("no member of the group answers at {}", self.addresses.join(", ")))
                .next("start the nodes first: feira up, or feira store --node ID on each machine")
        })?;
        let waits_for = joint::waited_for(&best.status, |folder| up.contains(&folder));
        Ok(GroupView { waits_for, ..best })
    }

    /// Where a member is asked: one that joined where the log says, another where the configuration does.
    #[must_use]
    pub fn address_of<'a>(&'a self, member: &'a Member) -> &'a str {
        let configured = self.configured.iter().find(|(id, _)| *id == member.node && !member.joined);
        configured.map_or(&member.address, |(_, address)| address)
    }

    /// An initial member is where the configuration says, and who joined later where the log says: no node has two addresses.
    fn learn(&mut self, status: &StatusResponse) {
        for member in status.members.iter().filter_map(|one| one.member.as_ref()) {
            let configured = self.configured.iter().find(|(id, _)| *id == member.node);
            match configured.map(|(_, address)| self.addresses.iter().position(|one| one == address)) {
                Some(Some(at)) if member.joined => self.addresses[at].clone_from(&member.address),
                Some(_) => {}
                None if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains(&member.address) => {
                    self.addresses.push(member.address.clone());
                }
                None => {}
            }
        }
    }
}

/// Refuses nodes of two clusters that have one name: their logs are not one.
fn of_one_log(views: &[GroupView]) -> Result<(), Failure> {
    // One that is just joining does not know it yet.
    let known = || views.iter().filter(|view| view.status.log_id != 0);
    let with = |log_id: u64| known().filter(move |view| view.status.log_id == log_id);
    // The log of most nodes is meant; of two that as many have, the one named first.
    let Some(ours) = known().rev().map(|one| one.status.log_id).max_by_key(|id| with(*id).count()) else {
        return Ok(());
    };
    let Some(other) = known().find(|view| view.status.log_id != ours) else { return Ok(()) };
    let alike: Vec<&str> = with(ours).map(|view| view.address.as_str()).collect();
    let (node, address) = (other.status.node, &other.address);
    Err(Failure::refused(format!(
        "node {node} at {address} has another log than {}: it is of another cluster of the same name; nothing was changed",
        alike.join(", ")
    ))
    .next("correct the addresses (store.nodes), or stop what should not run there"))
}

impl GroupView {
    /// What a node says, for itself.
    #[must_use]
    pub fn of(address: String, status: StatusResponse) -> GroupView {
        GroupView { address, status, waits_for: Vec::new() }
    }

    /// Whether it is the leader's.
    #[must_use]
    pub fn is_leaders(&self) -> bool {
        self.status.role() == Role::Leader
    }

    /// Everybody, with the part that each has.
    pub fn members(&self) -> impl Iterator<Item = (&Member, MemberPart)> {
        self.status.members.iter().filter_map(|one: &MemberStatus| Some((one.member.as_ref()?, one.part())))
    }

    /// The change of members that is under way and not committed, in words: whom it waits for.
    #[must_use]
    pub fn waits(&self) -> Option<String> {
        joint::told(&self.waits_for)
    }

    /// The folders with which this node is in the group.
    #[must_use]
    pub fn folders_of(&self, node: u64) -> Vec<(Member, MemberPart)> {
        self.members().filter(|(one, _)| one.node == node).map(|(one, part)| (one.clone(), part)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(node: u64, log_id: u64) -> GroupView {
        let status = StatusResponse { node, log_id, ..StatusResponse::default() };
        GroupView::of(format!("10.0.0.{node}:7001"), status)
    }

    #[test]
    fn an_initial_member_is_where_the_configuration_says_and_who_joined_where_the_log_says() {
        let config = crate::config::shape::Config::default();
        let at = config.store.nodes[0].reached_at().to_owned();
        let loaded = Loaded { config, path: "feira.toml".into(), from_file: false, set: Vec::new() };
        let group = Group::of(&loaded);
        let in_log =
            |node, joined| Member { node, joined, address: "10.0.0.9:7001".into(), ..Member::default() };
        assert_eq!(group.address_of(&in_log(1, false)), at);
        assert_eq!(group.address_of(&in_log(1, true)), "10.0.0.9:7001");
        assert_eq!(group.address_of(&in_log(77, false)), "10.0.0.9:7001");
    }

    #[test]
    fn a_node_of_another_cluster_of_the_same_name_is_refused() {
        assert!(of_one_log(&[]).is_ok());
        assert!(of_one_log(&[at(1, 7), at(2, 0), at(3, 7)]).is_ok(), "one is just joining");
        for views in [[at(2, 9), at(1, 7), at(3, 7)], [at(1, 7), at(3, 7), at(2, 9)]] {
            let refused = of_one_log(&views).unwrap_err();
            let named = "node 2 at 10.0.0.2:7001 has another log than 10.0.0.1:7001, 10.0.0.3:7001";
            assert!(refused.message.starts_with(named), "{refused}");
        }
        let refused = of_one_log(&[at(1, 7), at(2, 9)]).unwrap_err();
        assert!(refused.message.starts_with("node 2 at"), "the one that is named first is meant: {refused}");
    }
}
