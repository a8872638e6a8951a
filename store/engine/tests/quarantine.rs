//! A replica whose table is wrong: found by its checkpoint, quarantined, healed; and a crash at every disk operation on the way,
//! after which it is quarantined still, and heals.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Cluster, NodeResponse, Setting};
use prost::Message as _;
use proto::store::command::Kind;
use proto::store::{AppliedState, FinishCommand};
use store_core::{Divergence, NodeId, Position};
use store_db::{Space, Table as _, Write as _};
use store_engine::front::command_of;
use store_engine::{Answer, Job, Policy};
use store_log::{Disk as _, DiskFile as _};

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

/// Its running hash is another from now on, as after an effect that only it had.
fn spoil_hash(cluster: &mut Cluster, victim: NodeId) {
    let table = cluster.replicas[&victim].table.clone();
    table
        .write(|write| {
            let row = store_db::Read::get(write, Space::State, b"applied")?.unwrap();
            let mut state = AppliedState::decode(row).unwrap();
            state.state_hash ^= 1;
            write.put(Space::State, b"applied", &state.encode_to_vec())
        })
        .unwrap();
    cluster.spoilt = Some(victim);
}

fn quarantine(cluster: &mut Cluster, victim: NodeId) {
    cluster.give(victim, |request_id| Job::Resync { request_id });
    cluster.run("it is quarantined", |cluster| is_quarantined(cluster, victim));
}

/// A node that is down will be quarantined when it starts.
fn leave_quarantine(cluster: &Cluster, victim: NodeId) {
    let disk = &cluster.replicas[&victim].disk;
    let quarantine = disk.open("fence", true).unwrap();
    quarantine.write_at(0, b"damaged, and so believed").unwrap();
    quarantine.sync_data().unwrap();
    disk.sync_folder().unwrap();
}

fn is_quarantined(cluster: &Cluster, id: NodeId) -> bool {
    cluster.replicas[&id].status().is_some_and(|status| status.quarantine.is_some())
}

fn is_healed(cluster: &Cluster, id: NodeId) -> bool {
    let replica = &cluster.replicas[&id];
    let is_free = replica.status().is_some_and(|status| status.quarantine.is_none());
    let is_sound = is_free && replica.table.damage().is_none();
    is_sound && cluster.value(id, "kept").as_deref() == Some(KEPT)
}

#[test]
fn a_wrong_table_is_replaced_and_the_log_stays() {
    for seed in 0..6 {
        let (mut cluster, victim) = one_spoilt(setting(seed));
        assert!(!is_healed(&cluster, victim));
        let request_id = cluster.give(victim, |request_id| Job::Resync { request_id });
        cluster.run("it is quarantined", |cluster| {
            cluster.replicas[&victim].status().is_some_and(|status| status.quarantine.is_some())
        });
        cluster.run("that is durable", |cluster| cluster.answers.contains_key(&request_id));
        assert_eq!(cluster.answers[&request_id], NodeResponse::Node(Answer::Resyncing));
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
    let request_id = cluster.give(leader, |request_id| Job::Resync { request_id });
    cluster.run("an answer", |cluster| cluster.answers.contains_key(&request_id));
    assert_eq!(cluster.answers[&request_id], NodeResponse::Node(Answer::CannotResync { leads: true }));
    let other = cluster.replicas.keys().copied().find(|id| *id != leader).unwrap();
    cluster.isolate(other);
    cluster.run("it gives its leader up", |cluster| {
        cluster.replicas[&other].status().is_some_and(|status| status.leader.is_none())
    });
    let request_id = cluster.give(other, |request_id| Job::Resync { request_id });
    cluster.run("an answer", |cluster| cluster.answers.contains_key(&request_id));
    assert_eq!(cluster.answers[&request_id], NodeResponse::Node(Answer::CannotResync { leads: false }));
}

/// Crashes at one disk operation after another, until the healing comes to its end before.
fn crash_at_each_operation(table_survives: bool) {
    let (mut finished, mut quarantined_again) = (false, 0);
    for operations in 0..300 {
        let (mut cluster, victim) = one_spoilt(setting(3));
        let table = cluster.replicas[&victim].table.clone();
        let request_id = cluster.give(victim, |request_id| Job::Resync { request_id });
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
        let is_quarantined = cluster.replicas[&victim].status().unwrap().quarantine.is_some();
        let is_right = cluster.value(victim, "kept").as_deref() == Some(KEPT);
        quarantined_again += u32::from(is_quarantined);
        let was_told = cluster.answers.contains_key(&request_id);
        assert!(
            is_quarantined || is_right || !was_told,
            "after {operations} operations the quarantine is gone"
        );
        if !is_quarantined && !is_right {
            // The quarantine had not become durable, and nothing had begun: an operator would ask again.
            cluster.run("it knows its leader", |cluster| {
                cluster.replicas[&victim].status().is_some_and(|status| status.leader.is_some())
            });
            cluster.give(victim, |request_id| Job::Resync { request_id });
        }
        cluster.run("it is healed", |cluster| is_healed(cluster, victim));
        cluster.spoilt = None;
        cluster.converge();
    }
    assert!(
        finished && quarantined_again > 5,
        "the crashes went through all of it: quarantined again {quarantined_again} times"
    );
}

#[test]
fn a_crash_at_any_disk_operation_of_healing_leaves_a_quarantine_or_a_right_table() {
    crash_at_each_operation(true);
}

#[test]
fn a_power_loss_at_any_disk_operation_of_healing_leaves_a_quarantine_or_a_right_table() {
    crash_at_each_operation(false);
}

#[test]
fn a_healed_replica_still_makes_the_checkpoint_that_was_requested() {
    for seed in 0..8 {
        let mut cluster = Cluster::start(Setting { nodes: 2, ..setting(seed) });
        for i in 0..20 + seed {
            cluster.must_put(&format!("k{i}"), &"v".repeat(300));
        }
        cluster.converge();
        let leader = cluster.leader();
        let victim = cluster.replicas.keys().copied().find(|id| *id != leader).unwrap();
        spoil_hash(&mut cluster, victim);
        let mut refused = false;
        while !refused {
            let request_id = cluster.put(leader, "more", &"v".repeat(300));
            cluster.run("an answer", |cluster| cluster.answers.contains_key(&request_id));
            refused = matches!(cluster.answers[&request_id], NodeResponse::Node(Answer::Diverged { .. }));
        }
        // What ends transactions over several groups is written all the same, or they would be prepared for ever.
        let command = command_of(Kind::Finish(FinishCommand::default()));
        let request_id = cluster.give(leader, |request_id| Job::WriteAnyway { request_id, command });
        cluster.run("an answer", |cluster| cluster.answers.contains_key(&request_id));
        assert!(!matches!(cluster.answers[&request_id], NodeResponse::Node(_)), "it was applied");
        quarantine(&mut cluster, victim);
        cluster.run("both have the same, and writes are taken again", |cluster| {
            cluster.replicas[&leader].status().is_some_and(|status| status.divergence == Divergence::None)
        });
        cluster.spoilt = None;
        cluster.must_put("again", "v");
        cluster.converge();
    }
}

#[test]
fn a_snapshot_begun_before_a_quarantine_never_gets_its_name() {
    let (mut cluster, victim) = one_spoilt(setting(4));
    let before = cluster.replicas[&victim].snapshots().vintage();
    quarantine(&mut cluster, victim);
    cluster.run("it has another table", |cluster| is_healed(cluster, victim));
    cluster.spoilt = None;
    cluster.converge();
    let replica = &cluster.replicas[&victim];
    let position = replica.status().unwrap().applied.position;
    // Whoever began to write one of the wrong table is as slow as that.
    let written = replica.table.read(|read| Ok(replica.snapshots().write(read, before, 900, position)));
    assert!(written.unwrap().is_err_and(|error| !error.is_fatal()));
    assert!(!replica.disk.exists("snap.900").unwrap());
    let now = replica.snapshots().vintage();
    let written = replica.table.read(|read| Ok(replica.snapshots().write(read, now, 900, position)));
    written.unwrap().unwrap();
}

#[test]
fn no_table_is_replaced_under_a_snapshot_that_is_about_to_read_it() {
    for seed in 0..4 {
        let (mut cluster, victim) = one_spoilt(setting(seed));
        cluster.replicas.get_mut(&victim).unwrap().writes_held = true;
        while !cluster.replicas[&victim].is_held() {
            cluster.must_put("more", &"v".repeat(300));
            cluster.run_ms(50);
        }
        quarantine(&mut cluster, victim);
        cluster.run_ms(3_000);
        let replica = cluster.replicas.get_mut(&victim).unwrap();
        replica.writes_held = false;
        replica.write_held().unwrap();
        cluster.run("it has another table", |cluster| is_healed(cluster, victim));
        cluster.spoilt = None;
        cluster.converge();
    }
}

#[test]
fn a_second_snapshot_transfer_waits_for_the_one_that_replaces_the_table() {
    let (mut cluster, victim) = one_spoilt(setting(5));
    let leader = cluster.leader();
    quarantine(&mut cluster, victim);
    let streaming = cluster.replicas[&leader].offer(Position::ZERO).unwrap();
    let replica = cluster.replicas.get_mut(&victim).unwrap();
    // The first may be the second already: it fetches by itself.
    let _ = replica.receive(&streaming);
    assert!(replica.receive(&streaming).is_err_and(|error| !error.is_fatal()));
    cluster.run("it has another table", |cluster| is_healed(cluster, victim));
}

#[test]
fn no_entries_are_sent_while_the_state_is_undecided() {
    let mut cluster = Cluster::start(setting(6));
    for i in 0..30 {
        cluster.must_put(&format!("k{i}"), &"v".repeat(300));
    }
    cluster.converge();
    let leader = cluster.leader();
    let others: Vec<NodeId> = cluster.replicas.keys().copied().filter(|id| *id != leader).collect();
    cluster.kill(others[1]);
    let streaming = cluster.replicas[&leader].offer(Position::ZERO).unwrap();
    assert!(!streaming.raw(0, 100).unwrap().is_empty());
    spoil_hash(&mut cluster, others[0]);
    for i in 0..20 {
        cluster.must_put(&format!("l{i}"), "v");
    }
    cluster.run("two differ", |cluster| {
        let status = cluster.replicas[&leader].status();
        status.is_some_and(|status| matches!(status.divergence, Divergence::Undecided(_)))
    });
    assert!(cluster.replicas[&leader].offer(Position::ZERO).is_none());
    assert!(streaming.raw(0, 100).is_err_and(|error| !error.is_fatal()));
}

/// It led, had a long log that nobody else had, and was away for so long that the others' log no longer reaches back.
#[test]
fn a_quarantined_replica_whose_log_is_another_takes_log_and_table_of_the_others() {
    let mut cluster = Cluster::start(setting(7));
    for i in 0..10 {
        cluster.must_put(&format!("k{i}"), &"v".repeat(300));
    }
    cluster.converge();
    let victim = cluster.leader();
    cluster.isolate(victim);
    for i in 0..500 {
        cluster.put(victim, &format!("lost{i}"), "v");
    }
    let last = |cluster: &Cluster, id: &NodeId| cluster.replicas[id].status().unwrap().last.offset.0;
    cluster.run("its log is long", |cluster| last(cluster, &victim) > 500);
    cluster.kill(victim);
    leave_quarantine(&cluster, victim);
    cluster.heal();
    let others: Vec<NodeId> = cluster.replicas.keys().copied().filter(|id| *id != victim).collect();
    while others.iter().any(|id| cluster.replicas[id].log_base().0 < 20) {
        cluster.must_put("more", &"v".repeat(300));
        // The log is not kept for a replica that has been silent for long.
        cluster.run_ms(1_000);
    }
    assert!(last(&cluster, &others[0]) < 400, "their snapshots lie where its log is another");
    cluster.restart(victim);
    assert!(is_quarantined(&cluster, victim));
    cluster.run("it has log and table of the others", |cluster| !is_quarantined(cluster, victim));
    let replica = &cluster.replicas[&victim];
    assert_eq!((replica.fetched, replica.installs), (1, 1), "nothing is fetched in vain");
    cluster.converge();
}

/// The limit that docs/PROTOCOL.md tells of, and the way out of docs/OPERATIONS.md.
#[test]
fn an_entry_that_only_a_quarantined_replica_and_a_dead_leader_have_is_kept_and_found_again() {
    let mut cluster = Cluster::start(setting(8));
    cluster.must_put("kept", KEPT);
    cluster.converge();
    let leader = cluster.leader();
    let others: Vec<NodeId> = cluster.replicas.keys().copied().filter(|id| *id != leader).collect();
    let (victim, behind) = (others[0], others[1]);
    cluster.isolate(behind);
    cluster.must_put("acknowledged", "v");
    cluster.kill(leader);
    cluster.kill(victim);
    leave_quarantine(&cluster, victim);
    cluster.heal();
    cluster.restart(victim);
    cluster.run_ms(20_000);
    assert_eq!(cluster.current_leader(), None, "one may not lead, the other must not");
    assert!(is_quarantined(&cluster, victim) && cluster.value(behind, "acknowledged").is_none());
    cluster.kill(victim);
    cluster.replicas[&victim].disk.remove("fence").unwrap();
    cluster.replicas[&victim].disk.sync_folder().unwrap();
    cluster.restart(victim);
    cluster.converge();
    assert_eq!(cluster.leader(), victim);
    assert_eq!(cluster.value(behind, "acknowledged").as_deref(), Some("v"));
    cluster.give(victim, |_| Job::TransferLeadership { to: Some(behind) });
    cluster.run("the other leads", |cluster| cluster.current_leader() == Some(behind));
    quarantine(&mut cluster, victim);
    cluster.run("it has the other's table", |cluster| is_healed(cluster, victim));
}

/// A read meets a page that the store under the table finds damaged.
fn damage(cluster: &Cluster, victim: NodeId) {
    let table = &cluster.replicas[&victim].table;
    table.plant_damage(b"kept");
    let read = table.read(|read| store_db::Read::get(read, Space::Records, b"kept").map(drop));
    assert!(read.is_err_and(|error| error.is_reported_by_store()));
}

#[test]
fn a_follower_whose_store_reports_damage_is_quarantined_and_takes_the_leaders_state() {
    for seed in 0..4 {
        let mut cluster = Cluster::start(setting(seed));
        cluster.must_put("kept", KEPT);
        cluster.converge();
        let leader = cluster.leader();
        let victim = cluster.replicas.keys().copied().find(|id| *id != leader).unwrap();
        damage(&cluster, victim);
        cluster.run("it is quarantined for damage", |cluster| {
            let quarantine = cluster.replicas[&victim].status().and_then(|status| status.quarantine);
            quarantine.is_some_and(|quarantine| quarantine.damaged)
        });
        cluster.run("it has another table", |cluster| is_healed(cluster, victim));
        cluster.converge();
        assert_eq!(cluster.replicas[&victim].table.damage(), None, "seed {seed}");
    }
}

#[test]
fn a_leader_whose_store_reports_damage_transfers_leadership_before_it_is_quarantined() {
    for seed in 0..4 {
        let mut cluster = Cluster::start(setting(seed));
        cluster.must_put("kept", KEPT);
        cluster.converge();
        let leader = cluster.leader();
        damage(&cluster, leader);
        cluster.run("another leads", |cluster| cluster.current_leader().is_some_and(|id| id != leader));
        cluster.run("it has another table", |cluster| is_healed(cluster, leader));
        cluster.must_put("later", "v");
        cluster.converge();
    }
}

#[test]
fn a_damaged_leader_that_nobody_can_follow_goes_on_until_somebody_can() {
    let mut cluster = Cluster::start(Setting { nodes: 2, ..setting(3) });
    cluster.must_put("kept", KEPT);
    cluster.converge();
    let leader = cluster.leader();
    let other = cluster.replicas.keys().copied().find(|id| *id != leader).unwrap();
    cluster.isolate(other);
    cluster.run_ms(250);
    damage(&cluster, leader);
    cluster.run_ms(30);
    assert!(!is_quarantined(&cluster, leader), "it leads on as long as it may");
    cluster.heal();
    cluster.run("it has another table", |cluster| is_healed(cluster, leader));
    cluster.converge();
}

/// All replicas may have it, and who is right is what hashes tell.
#[test]
fn a_record_that_can_be_read_and_is_wrong_quarantines_nobody() {
    for seed in 0..4 {
        let mut cluster = Cluster::start(setting(seed));
        cluster.must_put("kept", KEPT);
        cluster.converge();
        for replica in cluster.replicas.values() {
            replica.table.write(|write| write.put(Space::Records, b"kept", b"\xff")).unwrap();
            let read = replica.table.read(|read| store_db::query::get(read, b"kept"));
            let met = read.expect_err("it is no record");
            assert!(matches!(met, store_db::Error::Damaged { .. }) && !met.is_reported_by_store(), "{met}");
        }
        let leader = cluster.leader();
        for i in 0..40 {
            cluster.must_put(&format!("later{i}"), &"v".repeat(300));
        }
        cluster.run_ms(2_000);
        assert_eq!(cluster.leader(), leader, "seed {seed}");
        for (id, replica) in &cluster.replicas {
            assert!(!is_quarantined(&cluster, *id) && replica.table.damage().is_none(), "seed {seed}: {id}");
        }
    }
}
