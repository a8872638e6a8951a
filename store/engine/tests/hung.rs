//! Replicas whose disk hangs: a stage that is not turned any more. The node lives on, says nothing that rests on what is
//! not durable, and answers each request id once.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::replica::Stage;
use fixture::{Cluster, NodeResponse, Setting};
use store_core::{Hang, NodeId, Role};
use store_db::{Read as _, Space, Table as _};
use store_engine::Answer;

const SEEDS: u64 = 8;
/// Longer than ten election timers, and an election.
const HANGS_MS: u64 = 8_000;

fn others(cluster: &Cluster, than: NodeId) -> Vec<NodeId> {
    cluster.replicas.keys().copied().filter(|id| *id != than).collect()
}

fn hold(cluster: &mut Cluster, id: NodeId, stages: &[Stage]) {
    cluster.replicas.get_mut(&id).unwrap().held_stages = stages.to_vec();
}

#[test]
fn a_vote_is_given_when_it_is_durable_and_the_node_lives_on_until_then() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::start(Setting::new(seed));
        cluster.must_put("before", "1");
        cluster.converge();
        let leader = cluster.leader();
        let hung = others(&cluster, leader)[0];
        hold(&mut cluster, hung, &[Stage::Ballots]);
        cluster.kill(leader);
        let elected = cluster.elected();
        cluster.run_ms(HANGS_MS);
        assert_eq!(cluster.elected(), elected, "seed {seed}: nobody is elected without its vote");
        let status = cluster.replicas[&hung].status().unwrap();
        assert_eq!(status.disk.hangs, Some(Hang::Ballot), "seed {seed}: it was asked for one");
        let (write, read) = (cluster.put(hung, "k", "v"), cluster.read(hung));
        cluster.run("answers", |c| c.answers.contains_key(&write) && c.answers.contains_key(&read));
        for request_id in [write, read] {
            assert!(
                matches!(cluster.answers[&request_id], NodeResponse::Node(Answer::NotLeader { .. })),
                "seed {seed}"
            );
        }
        assert_eq!(cluster.value(hung, "before"), Some("1".to_owned()));
        hold(&mut cluster, hung, &[]);
        cluster.must_put("after", "2");
        cluster.restart(leader);
        cluster.converge();
    }
}

#[test]
fn a_ballot_that_a_crash_forgets_was_told_to_nobody() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::start(Setting::new(seed));
        cluster.must_put("before", "1");
        let leader = cluster.leader();
        let hung = others(&cluster, leader)[0];
        let durable = cluster.replicas[&hung].status().unwrap().epoch;
        hold(&mut cluster, hung, &[Stage::Ballots]);
        cluster.kill(leader);
        cluster.run("it is asked for its vote", |c| c.replicas[&hung].status().unwrap().epoch > durable);
        // Time for its vote to reach whoever asked, who is gone before the others go on.
        cluster.run_ms(100);
        let asked = others(&cluster, hung).into_iter().find(|id| *id != leader).unwrap();
        cluster.kill(asked);
        cluster.crash(hung);
        hold(&mut cluster, hung, &[]);
        cluster.restart(hung);
        assert_eq!(cluster.replicas[&hung].status().unwrap().epoch, durable, "seed {seed}");
        // The kit watches that no epoch has two leaders.
        cluster.restart(leader);
        cluster.must_put("after", "2");
        cluster.restart(asked);
        cluster.converge();
    }
}

#[test]
fn damage_that_is_found_while_a_vote_waits_for_its_disk_is_told_when_it_is_durable() {
    let mut cluster = Cluster::start(Setting::new(3));
    cluster.must_put("before", "1");
    cluster.converge();
    let leader = cluster.leader();
    let hung = others(&cluster, leader)[0];
    let durable = cluster.replicas[&hung].status().unwrap().epoch;
    hold(&mut cluster, hung, &[Stage::Ballots]);
    cluster.kill(leader);
    cluster.run("it is asked for its vote", |c| c.replicas[&hung].status().unwrap().epoch > durable);
    let table = cluster.replicas[&hung].table.clone();
    table.plant_damage(b"before");
    assert!(table.read(|read| read.get(Space::Records, b"before").map(|_| ())).is_err());
    cluster.run_ms(1_000);
    assert_eq!(cluster.replicas[&hung].status().unwrap().quarantine, None);
    hold(&mut cluster, hung, &[]);
    cluster.restart(leader);
    cluster.run("it is quarantined", |c| {
        c.replicas[&hung].status().unwrap().quarantine.is_some_and(|quarantine| quarantine.damaged)
    });
}

#[test]
fn a_leader_whose_disk_hangs_answers_once_and_another_one_takes_its_writes() {
    let hangs = [(Stage::Writer, Hang::Log), (Stage::Applier, Hang::Database)];
    for (seed, (stage, hang)) in (0..SEEDS).flat_map(|seed| hangs.map(|hang| (seed, hang))) {
        let mut cluster = Cluster::start(Setting::new(seed));
        cluster.must_put("before", "1");
        cluster.converge();
        let leader = cluster.leader();
        hold(&mut cluster, leader, &[stage]);
        let request_ids: Vec<_> = (0..5).map(|i| cluster.put(leader, &format!("k{i}"), "v")).collect();
        cluster.run("another leader", |c| c.current_leader().is_some_and(|id| id != leader));
        for request_id in &request_ids {
            let told = &cluster.answers[request_id];
            assert!(matches!(told, NodeResponse::Node(Answer::Unknown)), "seed {seed}, {hang:?}: {told:?}");
        }
        let status = cluster.replicas[&leader].status().unwrap();
        assert_eq!((status.role, status.disk.hangs), (Role::Follower, Some(hang)), "seed {seed}");
        cluster.must_put("after", "2");
        hold(&mut cluster, leader, &[]);
        // The kit watches that no request id is answered twice: the applier goes on with what the node has given up.
        cluster.converge();
        assert_eq!(cluster.value(leader, "k4"), Some("v".to_owned()), "seed {seed}: it was done after all");
        cluster.run_ms(20);
        assert!(cluster.replicas[&leader].status().unwrap().disk.unfit_ticks > 0, "seed {seed}");
    }
}
