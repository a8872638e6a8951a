//! Three and four engines, turned by hand: what a replica group promises, over real logs on simulated disks.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::replica::Stage;
use fixture::{Cluster, NodeResponse, Setting, is_done};
use store_core::{NodeId, Role};
use store_engine::{Answer, Job};

/// Seeds of each scenario; more are the simulator's job.
const SEEDS: u64 = 8;

#[test]
fn writes_are_answered_and_reach_every_replica() {
    for (seed, nodes) in (0..SEEDS).flat_map(|seed| [(seed, 3), (seed, 4), (seed, 1)]) {
        let mut cluster = Cluster::start(Setting { nodes, ..Setting::new(seed) });
        for i in 0..20 {
            cluster.must_put(&format!("k{i}"), &format!("v{i}"));
        }
        let leader = cluster.leader();
        let read = cluster.read(leader);
        cluster.run("the read", |cluster| cluster.answers.contains_key(&read));
        assert!(matches!(cluster.answers[&read], NodeResponse::Node(Answer::ReadReady { at }) if at.0 >= 21));
        cluster.converge();
        assert_eq!(cluster.value(NodeId(1), "k7"), Some("v7".to_owned()));
    }
}

#[test]
fn a_hundred_writes_that_wait_are_one_write_and_one_sync_on_each_replica() {
    let mut cluster = Cluster::start(Setting::new(3));
    let leader = cluster.leader();
    cluster.must_put("warm", "up");
    cluster.converge();
    let appends = (cluster.network.appends, cluster.network.entries);
    let request_ids: Vec<_> = (0..100).map(|i| cluster.put(leader, &format!("k{i}"), "v")).collect();
    cluster.run("the writes are in the writer's queue", |cluster| {
        cluster.replicas[&leader].inbox.is_empty() && cluster.replicas[&leader].writer_jobs() > 0
    });
    let persisted = cluster.replicas[&leader].persisted;
    let operations = cluster.replicas.get_mut(&leader).unwrap().poll_writer_counted();
    assert_eq!(operations, 2, "one write, one sync");
    assert_eq!(cluster.replicas[&leader].persisted, persisted + 1);
    cluster.run("all answers", |cluster| {
        request_ids.iter().all(|request_id| cluster.answers.contains_key(request_id))
    });
    assert!(request_ids.iter().all(|request_id| is_done(&cluster.answers[request_id])));
    cluster.converge();
    assert_eq!((cluster.network.appends, cluster.network.entries), (appends.0 + 2, appends.1 + 200));
}

#[test]
fn commands_under_load_go_together_and_wait_no_longer_than_a_tick() {
    let mut cluster = Cluster::start(Setting::new(3));
    cluster.must_put("warm", "up");
    cluster.converge();
    let leader = cluster.leader();
    cluster.isolate(leader);
    let last = |cluster: &Cluster| cluster.replicas[&leader].status().unwrap().last.offset.0;
    let before = last(&cluster);
    let logged: Vec<u64> = (0..5)
        .map(|i| {
            cluster.put(leader, &format!("k{i}"), "v");
            cluster.poll(leader, Stage::Node);
            last(&cluster) - before
        })
        .collect();
    assert_eq!(logged, [1, 2, 2, 2, 2], "two appends are on their way, and the third is not full");
    cluster.replicas.get_mut(&leader).unwrap().hear(Job::Tick);
    cluster.poll(leader, Stage::Node);
    assert_eq!(last(&cluster) - before, 5, "a tick takes what waits along");
    cluster.heal();
    cluster.converge();
}

#[test]
fn a_replica_that_was_away_gets_what_it_missed() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::start(Setting::new(seed));
        cluster.must_put("before", "1");
        let leader = cluster.leader();
        let away = cluster.replicas.keys().copied().find(|id| *id != leader).unwrap();
        cluster.kill(away);
        for i in 0..50 {
            cluster.must_put(&format!("k{i}"), "v");
        }
        cluster.restart(away);
        cluster.converge();
        assert_eq!(cluster.value(away, "k49"), Some("v".to_owned()));
    }
}

#[test]
fn a_deposed_leader_answers_unknown_and_its_entries_are_truncated() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::start(Setting::new(seed));
        cluster.must_put("before", "1");
        cluster.converge();
        let old = cluster.leader();
        cluster.isolate(old);
        let lost: Vec<_> = (0..5).map(|i| cluster.put(old, &format!("lost{i}"), "v")).collect();
        cluster.run("another leader", |cluster| cluster.current_leader().is_some_and(|id| id != old));
        cluster.must_put("after", "2");
        cluster.run("the answers", |cluster| {
            lost.iter().all(|request_id| cluster.answers.contains_key(request_id))
        });
        for request_id in &lost {
            assert_eq!(cluster.answers[request_id], NodeResponse::Node(Answer::Unknown), "seed {seed}");
        }
        assert_eq!(cluster.replicas[&old].status().unwrap().last.offset.0, 8, "they are in its log");
        let late = cluster.put(old, "late", "v");
        cluster.run("the late answer", |cluster| cluster.answers.contains_key(&late));
        assert!(matches!(cluster.answers[&late], NodeResponse::Node(Answer::NotLeader { .. })));
        cluster.heal();
        cluster.converge();
        for id in [1, 2, 3].map(NodeId) {
            assert_eq!(cluster.value(id, "lost0"), None);
            assert_eq!(cluster.value(id, "after"), Some("2".to_owned()));
        }
    }
}

#[test]
fn nothing_is_applied_before_its_commit_order() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::start(Setting::new(seed));
        cluster.must_put("before", "1");
        cluster.converge();
        let leader = cluster.leader();
        cluster.give(leader, |_| Job::HoldCommit { hold: true });
        cluster.must_put("held", "2");
        cluster.run("it is durable everywhere", |cluster| {
            let mut all = cluster.replicas.values();
            all.all(|replica| replica.status().unwrap().durable.0 == cluster.replicas[&leader].applied().0)
        });
        cluster.run_ms(200);
        for (id, replica) in &cluster.replicas {
            let expected = (*id == leader).then(|| "2".to_owned());
            assert_eq!(cluster.value(*id, "held"), expected, "seed {seed}: {id}");
            assert_eq!(replica.status().unwrap().role == Role::Leader, *id == leader);
        }
        cluster.give(leader, |_| Job::HoldCommit { hold: false });
        cluster.converge();
        assert_eq!(cluster.value(NodeId(1), "held"), Some("2".to_owned()));
    }
}

#[test]
fn acknowledged_writes_survive_a_power_loss_of_all() {
    for seed in 0..3 * SEEDS {
        let mut cluster = Cluster::start(Setting::new(seed));
        let mut given = Vec::new();
        for round in 0..3 {
            let leader = cluster.leader();
            for i in 0..30 {
                let key = format!("r{round}k{i}");
                given.push((cluster.put(leader, &key, "v"), key));
                for _ in 0..seed % 5 {
                    cluster.step();
                }
            }
            for _ in 0..20 * (seed % 7) {
                cluster.step();
            }
            for id in [1, 2, 3].map(NodeId) {
                cluster.crash(id);
            }
            for id in [1, 2, 3].map(NodeId) {
                cluster.restart(id);
            }
            cluster.converge();
            for (request_id, key) in &given {
                if cluster.answers.get(request_id).is_some_and(is_done) {
                    assert!(cluster.value(NodeId(2), key).is_some(), "seed {seed}: {key} was acknowledged");
                }
            }
        }
        let acknowledged =
            given.iter().filter(|(request_id, _)| cluster.answers.contains_key(request_id)).count();
        assert!(seed % 7 < 5 || acknowledged > 0, "seed {seed}: some writes got through");
    }
}

#[test]
fn leadership_is_transferred_without_a_lost_write() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::start(Setting::new(seed));
        cluster.must_put("before", "1");
        let old = cluster.leader();
        let request_id = cluster.put(old, "last", "2");
        cluster.give(old, |_| Job::TransferLeadership { to: None });
        cluster.run("another leader", |cluster| cluster.current_leader().is_some_and(|id| id != old));
        assert!(cluster.answers.contains_key(&request_id), "seed {seed}");
        cluster.must_put("after", "3");
        cluster.converge();
    }
}
