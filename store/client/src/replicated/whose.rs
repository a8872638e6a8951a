//! The cluster and the logs that a handle speaks to, and the addresses of that cluster's nodes. Pure.
//!
//! A handle speaks to one cluster only. Its id is configured, or it is the one that a majority of the configured addresses
//! name; a node that names another one, or another log than the group had before, is not listened to, and the reason says
//! whose port it is. Once known, neither changes: a cluster that was restored or made anew is another. A handle may be told to take
//! a cluster of an earlier version, which has no id: it is then the one whose log such a majority names.
//!
//! No node is dialled at a second address: an initial member is reached where the configuration says, a member that joined
//! later where the log says (as between nodes, `store_server`).

use std::collections::{BTreeMap, BTreeSet};

use proto::store::{LeaderHint, Member, Position, StatusResponse};
use store_keys::ClusterId;

use crate::replicated::config::{NODES_MAX, Node};

/// What a node at an address says of itself, or why it says nothing.
pub(crate) type Said = (String, Result<StatusResponse, String>);

/// What is known.
#[derive(Debug)]
pub(crate) struct Whose {
    /// As configured; a node that answered at an address of unknown node has its id here from then on.
    configured: Vec<Node>,
    /// The members, by the newest log that was told of; each with its address.
    members: BTreeMap<u64, Member>,
    /// The end of that log: (epoch, offset).
    as_of: (u64, u64),
    /// The cluster; `None`: not known yet, or none is named.
    cluster: Option<ClusterId>,
    /// A cluster that most of these nodes say has no id will do.
    may_be_unnamed: bool,
    /// It has none, and so has no node that is listened to.
    is_unnamed: bool,
    /// The log of the group; 0: not known yet.
    log_id: u64,
    /// Addresses where another cluster answered last. At most [`NODES_MAX`].
    others: BTreeSet<String>,
}

impl Whose {
    pub(crate) fn new(configured: Vec<Node>, cluster: Option<ClusterId>) -> Whose {
        Whose {
            configured,
            members: BTreeMap::new(),
            as_of: (0, 0),
            cluster,
            may_be_unnamed: false,
            is_unnamed: false,
            log_id: 0,
            others: BTreeSet::new(),
        }
    }

    /// The same, where nodes that name no cluster will do if none is known.
    pub(crate) fn perhaps_unnamed(configured: Vec<Node>, cluster: Option<ClusterId>) -> Whose {
        Whose { may_be_unnamed: true, ..Whose::new(configured, cluster) }
    }

    /// Whether it is known who is listened to.
    pub(crate) fn is_settled(&self) -> bool {
        self.cluster.is_some() || self.is_unnamed
    }

    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    pub(crate) fn log_id(&self) -> u64 {
        self.log_id
    }

    /// Where the nodes are: one address each, configured ones first.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::with_capacity(self.configured.len());
        let configured = self.configured.iter().map(|node| self.address_of(node.id).unwrap_or(&node.address));
        for address in configured.chain(self.members.values().map(|member| self.place(member))) {
            if !address.is_empty() && all.len() < NODES_MAX && all.iter().all(|one| one != address) {
                all.push(address.to_owned());
            }
        }
        all
    }

    /// The addresses that were configured.
    pub(crate) fn configured(&self) -> Vec<String> {
        self.configured.iter().map(|node| node.address.clone()).collect()
    }

    /// Where a member is reached.
    fn place<'a>(&'a self, member: &'a Member) -> &'a str {
        let configured = self.configured.iter().find(|one| one.id == member.node && !member.joined);
        configured.map_or(&member.address, |one| &one.address)
    }

    /// Where a node is reached, if it is known as a member.
    fn address_of(&self, node: u64) -> Option<&str> {
        self.members.get(&node).map(|member| self.place(member)).filter(|address| !address.is_empty())
    }

    /// A hint at the address that is this node's; the hint's own only if the node is not known otherwise.
    pub(crate) fn reached(&self, mut hint: LeaderHint) -> LeaderHint {
        let configured = || self.configured.iter().find(|one| one.id == hint.node).map(|one| &*one.address);
        if let Some(address) = self.address_of(hint.node).or_else(configured) {
            hint.address = address.to_owned();
        }
        hint
    }

    /// Takes the cluster that a majority of the configured addresses name.
    ///
    /// # Errors
    /// None is named by so many: what they said.
    pub(crate) fn settle(&mut self, said: &[Said]) -> Result<(), String> {
        if self.is_settled() {
            return Ok(());
        }
        if self.may_be_unnamed
            && let Some(log_id) = self.nameless(said)
        {
            (self.is_unnamed, self.log_id) = (true, log_id);
            return Ok(());
        }
        let named = |(_, answer): &Said| id_of(answer.as_ref().ok()?);
        let votes = |id: ClusterId| said.iter().filter(|one| named(one) == Some(id)).count();
        let majority = said.iter().filter_map(named).find(|id| votes(*id) * 2 > self.configured.len());
        self.cluster = majority;
        majority.map(drop).ok_or_else(|| {
            let each = said.iter().map(|(address, answer)| match answer {
                Ok(status) => format!("{address}: {}", whose_port(status)),
                Err(problem) => format!("{address}: {problem}"),
            });
            format!(
                "no majority of the {} configured addresses names one cluster; {}",
                self.configured.len(),
                each.collect::<Vec<_>>().join("; ")
            )
        })
    }

    /// The log that a majority of the configured addresses names, without a cluster's id.
    fn nameless(&self, said: &[Said]) -> Option<u64> {
        let logs = said.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        let logs: Vec<u64> = logs.filter(|said| id_of(said).is_none()).map(|said| said.log_id).collect();
        let votes = |log_id: u64| logs.iter().filter(|one| **one == log_id).count();
        logs.iter().copied().find(|log_id| *log_id != 0 && votes(*log_id) * 2 > self.configured.len())
    }

    /// Another cluster answers at this address. A node of ours that names it is behind: nothing is asked there until one of ours
    /// answers there.
    pub(crate) fn is_anothers(&mut self, address: &str) {
        if self.others.len() < NODES_MAX {
            self.others.insert(address.to_owned());
        }
    }

    /// Whether another cluster answered at this address last.
    pub(crate) fn has_another(&self, address: &str) -> bool {
        self.others.contains(address)
    }

    /// Listens to what a node at this address says of itself, if it is one of ours.
    ///
    /// # Errors
    /// It is not: whose port it is.
    pub(crate) fn listen(&mut self, address: &str, status: &StatusResponse) -> Result<(), String> {
        if !self.is_settled() {
            return Err("the cluster that is meant is not known yet".to_owned());
        }
        let checked = self.check(status);
        match &checked {
            Ok(()) => {
                self.others.remove(address);
                self.learn(address, status);
            }
            Err(_) => self.is_anothers(address),
        }
        checked
    }

    /// Refuses who is of another cluster, or has another log.
    fn check(&mut self, status: &StatusResponse) -> Result<(), String> {
        if id_of(status) != self.cluster {
            let meant =
                self.cluster.map_or_else(|| "one without an id".to_owned(), |id| format!("cluster {id}"));
            return Err(format!("is the port of {}, not of {meant}", whose_port(status)));
        }
        if self.log_id == 0 {
            self.log_id = status.log_id;
        }
        // One that is just joining has none yet.
        if status.log_id != 0 && status.log_id != self.log_id {
            let ours = self.log_id;
            return Err(format!(
                "is the port of {}, which has another log than {ours:016x}",
                whose_port(status)
            ));
        }
        Ok(())
    }

    fn learn(&mut self, address: &str, status: &StatusResponse) {
        let nameless = self.configured.iter_mut().find(|one| one.id == 0 && one.address == address);
        if let Some(node) = nameless {
            node.id = status.node;
        }
        let last = status.last.map_or((0, 0), |Position { epoch, offset }| (epoch, offset));
        if status.members.is_empty() || last < self.as_of {
            return;
        }
        self.as_of = last;
        let members = status.members.iter().filter_map(|one| one.member.clone()).take(NODES_MAX);
        self.members = members.map(|member| (member.node, member)).collect();
    }
}

/// The owner of a port, by its own account.
fn whose_port(status: &StatusResponse) -> String {
    let name = String::from_utf8_lossy(&status.cluster);
    match id_of(status) {
        Some(id) => format!("node {} of cluster {name} ({id})", status.node),
        None => format!("node {} of cluster {name}, which has no id: of an earlier version", status.node),
    }
}

fn id_of(status: &StatusResponse) -> Option<ClusterId> {
    ClusterId::new(status.cluster_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::store::{MemberPart, MemberStatus};

    fn id(id: u64) -> ClusterId {
        ClusterId::new(id).expect("an id")
    }

    fn configured(nodes: &[(u64, &str)]) -> Vec<Node> {
        nodes.iter().map(|(id, address)| Node { id: *id, address: (*address).to_owned() }).collect()
    }

    fn status(cluster_id: u64, node: u64, members: &[(u64, &str, bool)]) -> StatusResponse {
        let member = |(node, address, joined): &(u64, &str, bool)| MemberStatus {
            member: Some(Member {
                node: *node,
                incarnation: 1,
                address: (*address).to_owned(),
                joined: *joined,
            }),
            part: MemberPart::Voter.into(),
        };
        StatusResponse {
            cluster: "feira".into(),
            cluster_id,
            node,
            log_id: 77,
            members: members.iter().map(member).collect(),
            ..StatusResponse::default()
        }
    }

    #[test]
    fn an_initial_member_is_where_the_configuration_says_and_who_joined_where_the_log_says() {
        let mut whose = Whose::new(configured(&[(1, "a:1"), (2, "a:2"), (4, "a:4")]), Some(id(5)));
        let members = [(1, "log:1", false), (2, "log:2", false), (3, "log:3", false), (4, "log:4", true)];
        whose.listen("a:1", &status(5, 1, &members)).unwrap();
        assert_eq!(whose.addresses(), ["a:1", "a:2", "log:4", "log:3"], "one address a node");
        let hint = |node| LeaderHint { node, address: "elsewhere:9".to_owned(), epoch: 3 };
        let reached = |node| whose.reached(hint(node)).address;
        assert_eq!((reached(2), reached(3), reached(4)), ("a:2".into(), "log:3".into(), "log:4".into()));
        assert_eq!(reached(9), "elsewhere:9", "a node that is not known otherwise");
    }

    #[test]
    fn an_address_that_answered_is_its_nodes_and_the_logs_other_address_of_it_is_not_dialled() {
        let mut whose = Whose::new(configured(&[(0, "nat:1")]), Some(id(5)));
        whose.listen("nat:1", &status(5, 1, &[(1, "log:1", false), (2, "log:2", false)])).unwrap();
        assert_eq!(whose.addresses(), ["nat:1", "log:2"]);
    }

    #[test]
    fn a_removed_member_is_forgotten_and_an_older_log_changes_nothing() {
        let mut whose = Whose::new(configured(&[(1, "a:1")]), Some(id(5)));
        let at = |offset, members: &[_]| StatusResponse {
            last: Some(Position { epoch: 1, offset }),
            ..status(5, 1, members)
        };
        whose.listen("a:1", &at(9, &[(1, "a:1", false), (3, "b:3", true)])).unwrap();
        whose.listen("a:1", &at(8, &[(1, "a:1", false), (2, "b:2", false)])).unwrap();
        assert_eq!(whose.addresses(), ["a:1", "b:3"]);
        whose.listen("a:1", &at(10, &[(1, "a:1", false)])).unwrap();
        assert_eq!(whose.addresses(), ["a:1"]);
    }

    #[test]
    fn a_node_of_another_cluster_teaches_nothing_and_is_told_by_name() {
        let mut whose = Whose::new(configured(&[(1, "a:1")]), Some(id(5)));
        let why = whose.listen("a:1", &status(6, 3, &[(3, "other:3", true)])).unwrap_err();
        assert!(why.contains("the port of node 3 of cluster feira (0000000000000006)"), "{why}");
        assert!(whose.listen("a:1", &status(0, 3, &[])).unwrap_err().contains("earlier version"));
        assert_eq!((whose.addresses(), whose.log_id()), (vec!["a:1".to_owned()], 0));
        whose.listen("a:1", &status(5, 1, &[])).unwrap();
        let anew = StatusResponse { log_id: 78, ..status(5, 2, &[(2, "other:2", true)]) };
        assert!(whose.listen("a:1", &anew).unwrap_err().contains("another log"));
        assert_eq!((whose.addresses().len(), whose.log_id()), (1, 77));
    }

    #[test]
    fn an_address_where_another_cluster_answered_is_anothers_until_one_of_ours_answers_there() {
        let mut whose = Whose::new(configured(&[(1, "a:1"), (2, "a:2")]), Some(id(5)));
        assert!(whose.listen("a:2", &status(6, 2, &[])).is_err());
        whose.listen("a:1", &status(5, 1, &[])).unwrap();
        assert!(whose.has_another("a:2") && !whose.has_another("a:1"));
        whose.listen("a:2", &status(5, 2, &[])).unwrap();
        assert!(!whose.has_another("a:2"));
        (0..9_999).for_each(|at| whose.is_anothers(&format!("b:{at}")));
        assert!(whose.others.len() <= NODES_MAX, "bounded, whatever is named");
    }

    #[test]
    fn without_an_id_the_one_that_a_majority_of_the_configured_addresses_name_is_taken_once() {
        let three = [(1, "a:1"), (2, "a:2"), (3, "a:3")];
        let says = |address: &str, cluster| (address.to_owned(), Ok(status(cluster, 1, &[])));
        let silent = |address: &str| (address.to_owned(), Err("no answer".to_owned()));
        let mut whose = Whose::new(configured(&three), None);
        let split = [says("a:1", 5), says("a:2", 6), silent("a:3")];
        let why = whose.settle(&split).unwrap_err();
        assert!(why.contains("a:2: node 1 of cluster feira (0000000000000006)"), "{why}");
        assert!(why.contains("a:3: no answer") && whose.cluster().is_none(), "{why}");
        assert!(whose.settle(&[says("a:1", 0), says("a:2", 0), says("a:3", 0)]).is_err(), "0 is no id");
        whose.settle(&[says("a:1", 6), says("a:2", 5), says("a:3", 5)]).unwrap();
        assert_eq!(whose.cluster(), Some(id(5)));
        whose.settle(&[says("a:1", 6), says("a:2", 6), says("a:3", 6)]).unwrap();
        assert_eq!(whose.cluster(), Some(id(5)), "it never changes");
    }

    #[test]
    fn a_cluster_without_an_id_is_spoken_to_only_if_that_will_do_and_then_no_other() {
        let three = [(1, "a:1"), (2, "a:2"), (3, "a:3")];
        let says = |address: &str, cluster| (address.to_owned(), Ok(status(cluster, 1, &[])));
        let silent = |address: &str| (address.to_owned(), Err("no answer".to_owned()));
        let other =
            |address: &str| (address.to_owned(), Ok(StatusResponse { log_id: 78, ..status(0, 1, &[]) }));
        let mut whose = Whose::perhaps_unnamed(configured(&three), None);
        assert!(
            whose.settle(&[says("a:1", 0), other("a:2"), silent("a:3")]).is_err(),
            "two logs, two clusters"
        );
        assert!(
            whose.settle(&[says("a:1", 0), says("a:2", 5), silent("a:3")]).is_err(),
            "no majority has none"
        );
        assert!(whose.listen("a:1", &status(0, 1, &[])).is_err(), "nothing is settled");
        whose.settle(&[says("a:1", 0), says("a:2", 0), says("a:3", 5)]).unwrap();
        assert_eq!((whose.is_settled(), whose.cluster()), (true, None));
        whose.listen("a:1", &status(0, 1, &[])).unwrap();
        let why = whose.listen("a:3", &status(5, 3, &[])).unwrap_err();
        assert!(why.ends_with("not of one without an id"), "{why}");
        let mut of_others = Whose::perhaps_unnamed(configured(&three), None);
        of_others.settle(&[says("a:1", 0), other("a:2"), other("a:3")]).unwrap();
        assert!(of_others.listen("a:1", &status(0, 1, &[])).is_err(), "the majority's log, whoever is first");
        let mut known = Whose::perhaps_unnamed(configured(&three), Some(id(5)));
        assert!(known.listen("a:1", &status(0, 1, &[])).is_err(), "a cluster that is known is insisted on");
        let mut named = Whose::perhaps_unnamed(configured(&three), None);
        named.settle(&[says("a:1", 5), says("a:2", 5), says("a:3", 0)]).unwrap();
        assert_eq!(named.cluster(), Some(id(5)));
    }
}
