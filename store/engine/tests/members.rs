//! Changes of members at whole replicas: what a leader says of one that cannot be finished.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Cluster, Setting, member};
use store_core::{MemberChange, NodeId};
use store_engine::{ChangeRequest, Job};

#[test]
fn a_change_that_waits_names_the_nodes_that_it_waits_for() {
    let mut cluster = Cluster::start(Setting::new(3));
    cluster.must_put("k", "v");
    cluster.converge();
    let leader = cluster.leader();
    let others: Vec<NodeId> = cluster.replicas.keys().copied().filter(|id| *id != leader).collect();
    let goes = member(others[1]);
    let awaited = |cluster: &Cluster| cluster.replicas[&leader].status().unwrap().awaited;
    let members_at = |cluster: &Cluster| cluster.replicas[&leader].status().unwrap().members_at;
    let (before, change) = (members_at(&cluster), MemberChange::Remove(goes));
    cluster.give(leader, |request_id| {
        Job::ChangeMembers(ChangeRequest { request_id, change, address: String::new() })
    });
    cluster.run("the change is begun", |cluster| members_at(cluster) > before);
    others.iter().for_each(|other| cluster.isolate(*other));
    cluster.run_ms(50);
    assert_eq!(awaited(&cluster), others);
    cluster.heal();
    cluster.run("the change is done", |cluster| {
        let leads = cluster.current_leader().map(|id| cluster.replicas[&id].status().unwrap());
        leads.is_some_and(|status| status.awaited.is_empty() && status.members_at > before)
    });
}
