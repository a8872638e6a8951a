//! Too little room and too much load: what is refused, what goes on, who leads then.
#![allow(clippy::unwrap_used)]

mod kit;

use kit::{Cluster, Setting, Told, is_done};
use store_engine::limits::{COMMAND_BYTES_MAX, WRITES_WAITING_MAX};
use store_engine::{Answer, Job, Lack, Reserve};

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
    cluster.run("the lack is seen", |cluster| cluster.replicas[&only].status().unwrap().lack.is_some());
    let last = cluster.replicas[&only].status().unwrap().last;
    cluster.run("no handover under way", |cluster| cluster.replicas[&only].inbox.is_empty());
    let (write, read) = (cluster.put(only, "refused", "2"), cluster.read(only));
    cluster.run("answers", |cluster| [write, read].iter().all(|ticket| cluster.answers.contains_key(ticket)));
    assert_eq!(cluster.answers[&write], Told::Node(Answer::Overloaded(Lack::Disk)));
    assert!(matches!(cluster.answers[&read], Told::Node(Answer::ReadReady { .. })));
    assert_eq!(cluster.replicas[&only].status().unwrap().last, last, "nothing was appended");
    cluster.replicas[&only].disk.set_capacity(None);
    cluster.run("there is room again", |cluster| cluster.replicas[&only].status().unwrap().lack.is_none());
    cluster.must_put("after", "3");
    assert_eq!(cluster.value(only, "refused"), None);
}

#[test]
fn a_leader_without_room_gives_its_place_away() {
    for seed in 0..6 {
        let mut cluster = with_reserve(seed, 3);
        let full = cluster.leader();
        cluster.replicas[&full].disk.set_capacity(Some(RESERVE.disk_bytes / 2));
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
    let tickets: Vec<_> =
        (0..WRITES_WAITING_MAX + 10).map(|i| cluster.put(leader, &format!("k{i}"), "v")).collect();
    cluster.run("all answers", |cluster| tickets.iter().all(|ticket| cluster.answers.contains_key(ticket)));
    let refused = Told::Node(Answer::Overloaded(Lack::Places));
    let (done, rest): (Vec<_>, Vec<_>) = tickets.iter().partition(|ticket| is_done(&cluster.answers[ticket]));
    assert_eq!((done.len(), rest.len()), (WRITES_WAITING_MAX, 10));
    assert!(rest.iter().all(|ticket| cluster.answers[ticket] == refused));
}

#[test]
fn a_command_that_is_too_large_or_empty_is_refused() {
    let mut cluster = Cluster::start(Setting::new(5));
    let leader = cluster.leader();
    for bytes in [0, COMMAND_BYTES_MAX + 1] {
        let command = vec![1; bytes].into();
        let ticket = cluster.give(leader, |ticket| Job::Write { ticket, command });
        cluster.run("the answer", |cluster| cluster.answers.contains_key(&ticket));
        assert_eq!(cluster.answers[&ticket], Told::Node(Answer::BadSize { bytes }));
    }
}
