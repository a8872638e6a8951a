//! The path that keeps the log bounded and brings back a replica that is too far behind: rolling, taking, removing,
//! installing, and a crash at every disk operation of each.
#![allow(clippy::unwrap_used)]

mod fixture;

use bytes::Bytes;
use fixture::{Cluster, NodeResponse, Setting};
use prost::Message as _;
use proto::store::{AuditCommand, Command, command};
use store_core::{NodeId, Offset, Position};
use store_engine::{Answer, Job, Policy, Reply};

const SEEDS: u64 = 6;
/// A snapshot after so many bytes of log.
const LOG_BYTES: u64 = 6_000;

fn often(seed: u64) -> Setting {
    Setting { snapshots: Policy { log_bytes: LOG_BYTES, ticks: u64::MAX }, ..Setting::new(seed) }
}

/// Writes through whoever leads until every node that is up has removed log files up to `base` at least.
fn write_until_purged(cluster: &mut Cluster, base: Offset) {
    let is_purged = |cluster: &Cluster| {
        let mut up = cluster.replicas.values().filter(|replica| replica.is_up());
        up.all(|replica| replica.log_base() > base)
    };
    for i in 0.. {
        assert!(i < 1_000, "seed {}: the log does not stay bounded", cluster.setting.seed);
        if is_purged(cluster) {
            return;
        }
        cluster.must_put(&format!("k{}", i % 40), &"v".repeat(400 + i));
        cluster.run_ms(20);
    }
}

/// A cluster in which one node is down and needs a snapshot to come back.
fn one_too_far_behind(seed: u64) -> (Cluster, NodeId) {
    let mut cluster = Cluster::start(often(seed));
    cluster.must_put("before", "1");
    cluster.converge();
    let leader = cluster.leader();
    let away = cluster.replicas.keys().copied().find(|id| *id != leader).unwrap();
    let last = cluster.replicas[&away].status().unwrap().last.offset;
    cluster.kill(away);
    write_until_purged(&mut cluster, last);
    (cluster, away)
}

/// Every snapshot in a node's folder holds the state that its name and header promise, down to its rows.
fn contents_are_whole(cluster: &Cluster, id: NodeId) {
    let disk = &cluster.replicas[&id].disk;
    let meta = store_log::read_meta(disk).unwrap().unwrap();
    for number in store_log::snapshot_files(disk).unwrap() {
        let contents = store_engine::snapshot_contents(disk, &meta, number).unwrap();
        let records = contents.rows[usize::from(store_db::Space::Records.number())];
        assert!(records > 1 && contents.state.applied.unwrap().offset > 0, "{id} snap.{number}");
    }
}

#[test]
fn the_log_stays_bounded_and_a_replica_too_far_behind_is_brought_back() {
    for seed in 0..SEEDS {
        let (mut cluster, away) = one_too_far_behind(seed);
        let files = |cluster: &Cluster, id: NodeId, kind: &str| {
            use store_log::Disk as _;
            let names = cluster.replicas[&id].disk.list().unwrap();
            names.into_iter().filter(|name| name.starts_with(kind)).count()
        };
        let leader = cluster.leader();
        for id in cluster.replicas.keys().copied().filter(|id| *id != away) {
            // The leader keeps more of the log for one that has not been silent for long, but no more than twice as much.
            let logs = if id == leader { 6..=8 } else { 3..=5 };
            assert!(logs.contains(&files(&cluster, id, "log.")), "seed {seed}: {id}");
            assert!((3..=4).contains(&files(&cluster, id, "snap.")), "seed {seed}: {id}");
            contents_are_whole(&cluster, id);
        }
        cluster.restart(away);
        cluster.converge();
        assert_eq!(cluster.replicas[&away].installs, 1, "seed {seed}");
        assert_eq!(cluster.value(away, "before"), Some("1".to_owned()));
        cluster.must_put("after", "2");
        cluster.converge();
        cluster.kill(away);
        cluster.restart(away);
        cluster.converge();
        assert_eq!(cluster.replicas[&away].installs, 1, "what was installed is there after a restart");
    }
}

/// Seed 17034 of the simulation: the offer was repeated while a node was slow, a snapshot of its own was taken meanwhile, and
/// the first that it had fetched went as one of too many; the node ended when it was to be installed.
#[test]
fn a_fetched_snapshot_stays_until_it_is_installed() {
    let (mut cluster, away) = one_too_far_behind(3);
    let leader = cluster.leader();
    cluster.isolate(away);
    cluster.restart(away);
    let streaming = cluster.replicas[&leader].offer(Position::ZERO).unwrap();
    let replica = cluster.replicas.get_mut(&away).unwrap();
    for _ in 0..4 {
        replica.receive(&streaming).unwrap();
    }
    replica.purge();
    drop(streaming);
    cluster.heal();
    cluster.converge();
    assert_eq!(cluster.replicas[&away].installs, 1);
    contents_are_whole(&cluster, away);
}

/// Seed 879 of the bare cores: the log began in a later epoch than the ballot, and the node could not start again.
#[test]
fn a_snapshot_of_a_later_epoch_is_installed_once_the_ballot_has_that_epoch() {
    for seed in 0..SEEDS {
        let (mut cluster, away) = one_too_far_behind(seed);
        let first = cluster.leader();
        cluster.kill(first);
        cluster.restart(first);
        let leader = cluster.leader();
        let base = cluster.replicas[&leader].log_base();
        write_until_purged(&mut cluster, Offset(base.0 + 40));
        cluster.isolate(away);
        cluster.restart(away);
        let epoch = cluster.replicas[&away].status().unwrap().epoch;
        let streaming = cluster.replicas[&leader].offer(Position::ZERO).unwrap();
        cluster.replicas.get_mut(&away).unwrap().receive(&streaming).unwrap();
        drop(streaming);
        let status = |cluster: &Cluster| cluster.replicas[&away].status().unwrap();
        cluster.run("the snapshot is installed", |cluster| status(cluster).last.epoch > epoch);
        assert_eq!(status(&cluster).epoch, status(&cluster).last.epoch, "seed {seed}");
        cluster.kill(away);
        cluster.restart(away);
        cluster.heal();
        cluster.converge();
        assert_eq!(cluster.replicas[&away].installs, 1, "seed {seed}");
    }
}

#[test]
fn a_crash_at_any_disk_operation_of_an_installation_leaves_a_recoverable_folder() {
    let mut finished = false;
    for operations in 0..200 {
        let (mut cluster, away) = one_too_far_behind(operations % SEEDS);
        cluster.restart(away);
        cluster.replicas[&away].disk.die_at(operations, operations);
        let crashed = |cluster: &Cluster| !cluster.replicas[&away].is_up();
        let installed = |cluster: &Cluster| {
            let replica = &cluster.replicas[&away];
            replica.status().is_some_and(|status| replica.installs > 0 && status.committed.0 > 10)
        };
        cluster.run("a crash or an installation", |cluster| crashed(cluster) || installed(cluster));
        if !crashed(&cluster) {
            finished = true;
            break;
        }
        cluster.restart(away);
        cluster.converge();
        assert_eq!(cluster.value(away, "before"), Some("1".to_owned()), "after {operations} operations");
    }
    assert!(finished, "the crashes went through the whole installation");
}

#[test]
fn a_crash_at_any_disk_operation_of_taking_one_loses_nothing() {
    for operations in 0..60 {
        let mut cluster = Cluster::start(often(operations));
        let leader = cluster.leader();
        cluster.replicas[&leader].disk.die_at(40 + 2 * operations, operations);
        let mut acknowledged = Vec::new();
        for i in 0..200 {
            if !cluster.replicas[&leader].is_up() {
                break;
            }
            let request_id = cluster.put(leader, &format!("k{i}"), &"v".repeat(500));
            cluster.run("an answer or a crash", |cluster| {
                cluster.answers.contains_key(&request_id) || !cluster.replicas[&leader].is_up()
            });
            if cluster.answers.get(&request_id).is_some_and(fixture::is_done) {
                acknowledged.push(format!("k{i}"));
            }
        }
        assert!(!cluster.replicas[&leader].is_up(), "the disk died");
        cluster.restart(leader);
        cluster.converge();
        for key in acknowledged {
            assert!(cluster.value(leader, &key).is_some(), "{operations}: {key} was acknowledged");
        }
    }
}

#[test]
fn a_snapshot_of_what_is_truncated_is_started_anew() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::start(often(seed));
        cluster.must_put("before", "1");
        cluster.converge();
        let old = cluster.leader();
        cluster.isolate(old);
        let lost: Vec<_> =
            (0..8).map(|i| cluster.put(old, &format!("lost{i}"), &"v".repeat(1_000))).collect();
        cluster.run("another leader", |cluster| cluster.current_leader().is_some_and(|id| id != old));
        cluster.run("the answers", |cluster| {
            lost.iter().all(|request_id| cluster.answers.contains_key(request_id))
        });
        assert!(
            lost.iter().all(|request_id| cluster.answers[request_id] == NodeResponse::Node(Answer::Unknown))
        );
        assert_eq!(cluster.replicas[&old].snapshots_taken, 0, "nothing of it is committed");
        cluster.must_put("after", "2");
        cluster.heal();
        cluster.converge();
        for i in 0..30 {
            cluster.must_put(&format!("k{i}"), &"v".repeat(500));
        }
        cluster.run_ms(100);
        assert!(cluster.replicas[&old].snapshots_taken > 0, "seed {seed}: the next one is taken");
        cluster.crash(old);
        cluster.restart(old);
        assert!(cluster.replicas[&old].recovery().imported.is_some(), "and recovery begins with it");
        cluster.converge();
        assert_eq!(cluster.value(old, "lost0"), None);
    }
}

#[test]
fn an_audit_sees_exactly_its_position_on_every_replica() {
    for seed in 0..SEEDS {
        let mut cluster = Cluster::start(Setting::new(seed));
        let leader = cluster.leader();
        let audit =
            AuditCommand { id: Bytes::from_static(&[7; 16]), prefixes: vec![Bytes::from_static(b"k")] };
        let command = Bytes::from(Command { kind: Some(command::Kind::Audit(audit)) }.encode_to_vec());
        for i in 0..30 {
            cluster.put(leader, &format!("k{i}"), "v");
        }
        let request_id = cluster.give(leader, |request_id| Job::Write { request_id, command });
        for i in 30..60 {
            cluster.put(leader, &format!("k{i}"), "v");
        }
        cluster.converge();
        let NodeResponse::Applied(Reply::Done { position }) = cluster.answers[&request_id] else {
            panic!("{:?}", cluster.answers[&request_id]);
        };
        for replica in cluster.replicas.values() {
            let seen = (Bytes::from_static(&[7; 16]), position, position.offset);
            assert_eq!(replica.audits, [seen], "seed {seed}: {}", replica.id);
        }
    }
}
