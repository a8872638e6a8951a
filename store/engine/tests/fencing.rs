//! A replica whose table is wrong: found by its checkpoint, fenced, healed; and a crash at every disk operation on the way,
//! after which it is fenced still, and heals.
#![allow(clippy::unwrap_used)]

mod kit;

use kit::{Cluster, Setting, Told};
use store_core::NodeId;
use store_db::{Space, Table as _, Write as _};
use store_engine::{Answer, Job, Policy};

const KEPT: &str = "what-was-written";

fn setting(seed: u64) -> Setting {
    let snapshots = Policy { log_bytes: 4_000, ticks: u64::MAX };
    Setting { snapshots, checkpoint_every: 16, ..Setting::new(seed) }
}

/// A cluster in which the table of a node that does not lead was changed behind its back.
fn one_spoilt(setting: Setting) -> (Cluster, NodeId) {
    let mut cluster = Cluster::start(setting);
    cluster.must_put("kept", KEPT);
    for i in 0..40 {
        cluster.must_put(&format!("k{i}"), &"v".repeat(300));
    }
    cluster.converge();
    let leader = cluster.leader();
    let victim = cluster.replicas.keys().copied().find(|id| *id != leader).unwrap();
    let table = cluster.replicas[&victim].table.clone();
    table
        .write(|write| {
            let mut record = store_db::Read::get(write, Space::Records, b"kept")?.unwrap().to_vec();
            *record.last_mut().unwrap() ^= 1;
            write.put(Space::Records, b"kept", &record)
        })
        .unwrap();
    cluster.spoilt = Some(victim);
    (cluster, victim)
}

fn is_healed(cluster: &Cluster, id: NodeId) -> bool {
    let replica = &cluster.replicas[&id];
    let is_free = replica.status().is_some_and(|status| status.fence.is_none());
    is_free && cluster.value(id, "kept").as_deref() == Some(KEPT)
}

#[test]
fn a_wrong_table_is_replaced_and_the_log_stays() {
    for seed in 0..6 {
        let (mut cluster, victim) = one_spoilt(setting(seed));
        assert!(!is_healed(&cluster, victim));
        let ticket = cluster.give(victim, |ticket| Job::Resync { ticket });
        cluster.run("it is fenced", |cluster| {
            cluster.replicas[&victim].status().is_some_and(|status| status.fence.is_some())
        });
        assert_eq!(cluster.answers[&ticket], Told::Node(Answer::Resyncing));
        for i in 0..20 {
            cluster.must_put(&format!("later{i}"), "v");
        }
        cluster.run("it has another table", |cluster| is_healed(cluster, victim));
        cluster.spoilt = None;
        cluster.converge();
        assert_eq!(cluster.replicas[&victim].installs, 0, "seed {seed}: its log was not thrown away");
        cluster.crash(victim);
        cluster.restart(victim);
        cluster.converge();
        assert!(is_healed(&cluster, victim), "seed {seed}: its snapshots are right too");
    }
}

#[test]
fn whoever_leads_or_knows_no_leader_is_not_resynced() {
    let mut cluster = Cluster::start(setting(1));
    let leader = cluster.leader();
    let ticket = cluster.give(leader, |ticket| Job::Resync { ticket });
    cluster.run("an answer", |cluster| cluster.answers.contains_key(&ticket));
    assert_eq!(cluster.answers[&ticket], Told::Node(Answer::CannotResync { leads: true }));
    let other = cluster.replicas.keys().copied().find(|id| *id != leader).unwrap();
    cluster.isolate(other);
    cluster.run("it gives its leader up", |cluster| {
        cluster.replicas[&other].status().is_some_and(|status| status.leader.is_none())
    });
    let ticket = cluster.give(other, |ticket| Job::Resync { ticket });
    cluster.run("an answer", |cluster| cluster.answers.contains_key(&ticket));
    assert_eq!(cluster.answers[&ticket], Told::Node(Answer::CannotResync { leads: false }));
}

/// Crashes at one disk operation after another, until the healing comes to its end before.
fn crash_at_each_operation(table_survives: bool) {
    let (mut finished, mut fenced_again) = (false, 0);
    for operations in 0..300 {
        let (mut cluster, victim) = one_spoilt(setting(3));
        let table = cluster.replicas[&victim].table.clone();
        let ticket = cluster.give(victim, |ticket| Job::Resync { ticket });
        cluster.replicas[&victim].disk.die_at(operations, operations);
        let crashed = |cluster: &Cluster| !cluster.replicas[&victim].is_up();
        cluster.run("a crash, or it is healed", |cluster| crashed(cluster) || is_healed(cluster, victim));
        if !crashed(&cluster) {
            finished = true;
            break;
        }
        if table_survives {
            cluster.replicas.get_mut(&victim).unwrap().table = table;
        }
        cluster.restart(victim);
        let is_fenced = cluster.replicas[&victim].status().unwrap().fence.is_some();
        let is_right = cluster.value(victim, "kept").as_deref() == Some(KEPT);
        fenced_again += u32::from(is_fenced);
        let was_told = cluster.answers.contains_key(&ticket);
        assert!(is_fenced || is_right || !was_told, "after {operations} operations the fence is gone");
        if !is_fenced && !is_right {
            // The fence had not become durable, and nothing had begun: an operator would ask again.
            cluster.run("it knows its leader", |cluster| {
                cluster.replicas[&victim].status().is_some_and(|status| status.leader.is_some())
            });
            cluster.give(victim, |ticket| Job::Resync { ticket });
        }
        cluster.run("it is healed", |cluster| is_healed(cluster, victim));
        cluster.spoilt = None;
        cluster.converge();
    }
    assert!(
        finished && fenced_again > 5,
        "the crashes went through all of it: fenced again {fenced_again} times"
    );
}

#[test]
fn a_crash_at_any_disk_operation_of_healing_leaves_a_fence_or_a_right_table() {
    crash_at_each_operation(true);
}

#[test]
fn a_power_loss_at_any_disk_operation_of_healing_leaves_a_fence_or_a_right_table() {
    crash_at_each_operation(false);
}
