//! Too little room and too much load: refusals, reads that go on, and the choice of a leader with room.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Cluster, NodeResponse, Setting, is_done};
use store_engine::limits::{COMMAND_BYTES_MAX, WRITES_WAITING_MAX};
use store_engine::{Answer, Job, Reserve, Shortage};

const RESERVE: Reserve = Reserve { disk_bytes: 1 << 20, table_bytes: 0 };

fn with_reserve(seed: u64, nodes: u64) -> Cluster {
    let mut cluster = Cluster::start(Setting { reserve: RESERVE, nodes, ..Setting::new(seed) });
    for replica in cluster.replicas.values() {
        replica.disk.set_capacity(Some(100 << 20));
    }
    cluster.must_put("before", "1");
    cluster
}

#[test]
fn a_full_disk_refuses_writes_without_executing_them_and_still_reads() {
    let mut cluster = with_reserve(1, 1);
    let only = cluster.leader();
    cluster.replicas[&only].disk.set_capacity(Some(RESERVE.disk_bytes / 2));
    cluster.run("the lack is seen", |cluster| cluster.replicas[&only].status().unwrap().shortage.is_some());
    let last = cluster.replicas[&only].status().unwrap().last;
    cluster.run("no leadership transfer under way", |cluster| cluster.replicas[&only].inbox.is_empty());
    let (write, read) = (cluster.put(only, "refused", "2"), cluster.read(only));
    cluster.run("answers", |cluster| {
        [write, read].iter().all(|request_id| cluster.answers.contains_key(request_id))
    });
    assert_eq!(cluster.answers[&write], NodeResponse::Node(Answer::Overloaded(Shortage::Disk)));
    assert!(matches!(cluster.answers[&read], NodeResponse::Node(Answer::ReadReady { .. })));
    assert_eq!(cluster.replicas[&only].status().unwrap().last, last, "nothing was appended");
    cluster.replicas[&only].disk.set_capacity(None);
    cluster
        .run("there is room again", |cluster| cluster.replicas[&only].status().unwrap().shortage.is_none());
    cluster.must_put("after", "3");
    assert_eq!(cluster.value(only, "refused"), None);
}

#[test]
fn a_leader_out_of_space_transfers_leadership() {
    for seed in 0..6 {
        let mut cluster = with_reserve(seed, 3);
        let full = cluster.leader();
        // What is used counts: less than the reserve is free, and more than half of it.
        cluster.replicas[&full].disk.set_capacity(Some(RESERVE.disk_bytes));
        cluster.run("another leader", |cluster| cluster.current_leader().is_some_and(|id| id != full));
        cluster.must_put("after", "2");
        cluster.converge();
        assert_eq!(cluster.value(full, "after"), Some("2".to_owned()), "it follows all the same");
    }
}

#[test]
fn writes_that_wait_are_bounded_and_every_one_is_answered() {
    let mut cluster = Cluster::start(Setting::new(5));
    let leader = cluster.leader();
    let request_ids: Vec<_> =
        (0..WRITES_WAITING_MAX + 10).map(|i| cluster.put(leader, &format!("k{i}"), "v")).collect();
    cluster.run("all answers", |cluster| {
        request_ids.iter().all(|request_id| cluster.answers.contains_key(request_id))
    });
    let refused = NodeResponse::Node(Answer::Overloaded(Shortage::Places));
    let (done, rest): (Vec<_>, Vec<_>) =
        request_ids.iter().partition(|request_id| is_done(&cluster.answers[request_id]));
    assert_eq!((done.len(), rest.len()), (WRITES_WAITING_MAX, 10));
    assert!(rest.iter().all(|request_id| cluster.answers[request_id] == refused));
}

#[test]
fn a_command_that_is_too_large_or_empty_is_refused() {
    let mut cluster = Cluster::start(Setting::new(5));
    let leader = cluster.leader();
    for bytes in [0, COMMAND_BYTES_MAX + 1] {
        let command = vec![1; bytes].into();
        let request_id = cluster.give(leader, |request_id| Job::Write { request_id, command });
        cluster.run("the answer", |cluster| cluster.answers.contains_key(&request_id));
        assert_eq!(cluster.answers[&request_id], NodeResponse::Node(Answer::BadSize { bytes }));
    }
}

#[test]
fn nothing_is_appended_for_which_a_majority_has_no_space() {
    let mut cluster = with_reserve(2, 3);
    let leader = cluster.leader();
    let others: Vec<_> = cluster.replicas.keys().copied().filter(|id| *id != leader).collect();
    let tell = |cluster: &mut Cluster, is_out_of_space| {
        let say = |peer: &_| Job::PeerHeadroom { peer: *peer, is_out_of_space };
        let said: Vec<Job> = others.iter().map(say).collect();
        let leading = cluster.replicas.get_mut(&leader).unwrap();
        said.into_iter().for_each(|job| leading.hear(job));
    };
    tell(&mut cluster, true);
    let last = cluster.replicas[&leader].status().unwrap().last;
    let (write, read) = (cluster.put(leader, "refused", "2"), cluster.read(leader));
    cluster.run("answers", |cluster| {
        [write, read].iter().all(|request_id| cluster.answers.contains_key(request_id))
    });
    assert_eq!(cluster.answers[&write], NodeResponse::Node(Answer::Overloaded(Shortage::Majority)));
    assert!(matches!(cluster.answers[&read], NodeResponse::Node(Answer::ReadReady { .. })), "reads go on");
    let told = cluster.replicas[&leader].status().unwrap();
    assert_eq!((told.last, told.shortage), (last, None), "nothing was appended, and it has room itself");
    assert_eq!(told.writes_shortage, Some(Shortage::Majority), "its status says that writes are refused");
    tell(&mut cluster, false);
    cluster.must_put("after", "3");
    assert_eq!(cluster.replicas[&leader].status().unwrap().writes_shortage, None);
}

#[test]
fn a_replica_refuses_pushes_before_its_disk_is_full() {
    let mut cluster = with_reserve(3, 3);
    let leader = cluster.leader();
    let full = cluster.replicas.keys().copied().find(|id| *id != leader).unwrap();
    cluster.replicas[&full].disk.set_capacity(Some(RESERVE.disk_bytes / 4));
    cluster.run("the lack is seen", |cluster| cluster.replicas[&full].status().unwrap().shortage.is_some());
    cluster.run("nothing on its way", |cluster| cluster.replicas[&full].inbox.is_empty());
    let last = cluster.replicas[&full].status().unwrap().last;
    // An eighth of half the reserve is 64 KiB: some of these, and no more.
    let value = "v".repeat(10 << 10);
    for at in 0..20 {
        cluster.must_put(&format!("k{at}"), &value);
    }
    let stood = cluster.replicas[&full].status().unwrap();
    assert!(stood.last.offset.0 <= last.offset.0 + 6, "{last} became {}", stood.last);
    assert_eq!(cluster.current_leader(), Some(leader), "it hears the leader and does not disturb");
    cluster.replicas[&full].disk.set_capacity(None);
    cluster.converge();
    assert_eq!(cluster.value(full, "k19"), Some(value), "it goes on by itself");
}

#[test]
fn a_new_leader_answers_reads_while_a_majority_is_out_of_space() {
    let mut cluster = with_reserve(4, 3);
    let old = cluster.leader();
    let others: Vec<_> = cluster.replicas.keys().copied().filter(|id| *id != old).collect();
    for id in [old, others[0]] {
        cluster.replicas[&id].disk.set_capacity(Some(RESERVE.disk_bytes / 4));
    }
    cluster.run("who has room leads", |cluster| cluster.current_leader() == Some(others[1]));
    let read = cluster.read(others[1]);
    cluster.run("an answer", |cluster| cluster.answers.contains_key(&read));
    assert!(matches!(cluster.answers[&read], NodeResponse::Node(Answer::ReadReady { .. })));
}
