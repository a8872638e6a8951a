//! Logs that part: what a replica keeps, what it loses, and in how many probes the point is found. The cases are the
//! figures 7 and 8 of the Raft paper (Ongaro and Ousterhout 2014) and those of Kafka's KIP-101 and KIP-279, played by
//! a real leader and a real replica until their logs are equal.

mod harness;

use harness::cluster::{Cluster, Layout};
use harness::disk::{Disk, Payload, step};
use store_core::{
    Ballot, Config, Epoch, Incarnation, Input, Member, Membership, Message, NodeId, Offset, Outgoing, Output,
    Position, Replica, VoteMessage, VoteRequest,
};

const LEADER: NodeId = NodeId(1);
const REPLICA: NodeId = NodeId(2);
const THIRD: NodeId = NodeId(3);

fn ballot(epoch: u64) -> Ballot {
    Ballot { epoch: Epoch(epoch), voted_for: None }
}

fn epochs(cluster: &Cluster, id: NodeId) -> Vec<u64> {
    cluster.nodes[&id].memory.items.iter().map(|item| item.position.epoch.0).collect()
}

fn distinct(epochs: &[u64]) -> u64 {
    let mut epochs = epochs.to_vec();
    epochs.dedup();
    epochs.len() as u64
}

/// Delivers everything, again and again, until nothing is under way; calls `look` after each message.
fn settle(cluster: &mut Cluster, mut look: impl FnMut(&Cluster)) {
    while let Some(link) = cluster.busy_links().first().copied() {
        cluster.deliver(link, 0);
        look(cluster);
    }
}

fn stand(cluster: &mut Cluster, id: NodeId) {
    let before = cluster.nodes[&id].up().view();
    while cluster.nodes[&id].up().view() == before {
        cluster.tick(id, 0);
    }
}

/// A leader with the one log brings a replica with the other to its own. Answers how much the replica kept at the
/// least, and after how many probes the logs were equal.
///
/// The leader is elected by a third voter that has only the first entry, so that its own last epoch does not matter.
fn rebuild(leader: &[u64], replica: &[u64], epoch: u64) -> (usize, u64) {
    let mut cluster = Cluster::new(Layout::of(3));
    for id in cluster.ids() {
        cluster.crash(id);
    }
    cluster.plant(LEADER, leader, ballot(epoch - 1), 1);
    cluster.plant(REPLICA, replica, ballot(epoch - 1), 1);
    cluster.plant(THIRD, &leader[..1], ballot(epoch - 1), 1);
    cluster.node(LEADER).restart(Offset(1));
    cluster.node(THIRD).restart(Offset(1));
    stand(&mut cluster, LEADER);
    settle(&mut cluster, |_| {});
    let expected = [leader, &[epoch]].concat();
    assert_eq!(epochs(&cluster, LEADER), expected, "the leader's empty entry follows its log");
    assert_eq!(cluster.nodes[&LEADER].up().committed().0, expected.len() as u64);

    cluster.node(REPLICA).restart(Offset(1));
    let (mut kept, probes) = (replica.len(), cluster.counts.probes);
    for _ in 0..5 {
        cluster.tick(LEADER, 0);
    }
    settle(&mut cluster, |cluster| kept = kept.min(epochs(cluster, REPLICA).len()));
    assert_eq!(cluster.nodes[&REPLICA].memory, cluster.nodes[&LEADER].memory, "the logs are equal");
    assert_eq!(cluster.nodes[&REPLICA].applied, cluster.nodes[&LEADER].applied, "and applied");
    (kept, cluster.counts.probes - probes)
}

/// One pair of logs by the epochs of their entries, and how many entries the two have in common.
struct Case {
    story: &'static str,
    leader: &'static [u64],
    replica: &'static [u64],
    epoch: u64,
    common: usize,
}

const FIGURE_7: &[u64] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];

const CASES: &[Case] = &[
    Case {
        story: "figure 7 a: one entry is missing",
        leader: FIGURE_7,
        replica: &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        epoch: 8,
        common: 9,
    },
    Case {
        story: "figure 7 b: many are missing",
        leader: FIGURE_7,
        replica: &[1, 1, 1, 4],
        epoch: 8,
        common: 4,
    },
    Case {
        story: "figure 7 c: one too many, of the same epoch",
        leader: FIGURE_7,
        replica: &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        epoch: 8,
        common: 10,
    },
    Case {
        story: "figure 7 d: two too many, of a later epoch",
        leader: FIGURE_7,
        replica: &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        epoch: 8,
        common: 10,
    },
    Case {
        story: "figure 7 e: some missing and some too many",
        leader: FIGURE_7,
        replica: &[1, 1, 1, 4, 4, 4, 4],
        epoch: 8,
        common: 5,
    },
    Case {
        story: "figure 7 f: epochs that the leader never saw",
        leader: FIGURE_7,
        replica: &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
        epoch: 8,
        common: 3,
    },
    Case {
        story: "KIP-101, second: equally long, and different at the end",
        leader: &[1, 2],
        replica: &[1, 1],
        epoch: 3,
        common: 1,
    },
    Case {
        story: "KIP-279: asking for the replica's last epoch only would keep five entries that are not the leader's",
        leader: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3],
        replica: &[1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2],
        epoch: 4,
        common: 5,
    },
    Case {
        story: "two logs that changed hands at every entry",
        leader: &[1, 3, 5, 7, 9, 11, 13],
        replica: &[1, 2, 4, 6, 8, 10, 12, 12, 12],
        epoch: 14,
        common: 1,
    },
];

#[test]
fn a_replica_keeps_what_is_the_leaders_and_nothing_else() {
    for Case { story, leader, replica, epoch, common } in CASES {
        let (kept, probes) = rebuild(leader, replica, *epoch);
        assert_eq!(kept, *common, "{story}: nothing below the agreement is cut, all above it is");
        let probes_max = distinct(leader) + distinct(replica) + 2;
        assert!(probes <= probes_max, "{story}: {probes} probes, at most {probes_max}");
    }
}

#[test]
fn the_number_of_probes_grows_with_epochs_and_not_with_entries() {
    let long = |epoch: u64| -> Vec<u64> { [1].into_iter().chain([epoch; 5_000]).collect() };
    let (kept, probes) = rebuild(&long(3), &long(2), 4);
    assert_eq!(kept, 1);
    assert!(probes <= 4, "{probes} probes for 5,000 entries of one epoch");
}

/// Every pair of small logs that histories of one group could leave behind.
#[test]
fn every_pair_of_small_logs_becomes_equal() {
    let logs = small_logs();
    let mut pairs = 0;
    for leader in &logs {
        for replica in &logs {
            // Two logs that have a position in common agree before it.
            let common = leader.iter().zip(replica).take_while(|(a, b)| a == b).count();
            if leader.iter().zip(replica).skip(common).any(|(a, b)| a == b) {
                continue;
            }
            let (kept, probes) = rebuild(leader, replica, 6);
            assert_eq!(kept, common, "{leader:?} {replica:?}");
            assert!(probes <= distinct(leader) + distinct(replica) + 2, "{leader:?} {replica:?}: {probes}");
            pairs += 1;
        }
    }
    assert!(pairs > 500, "{pairs} pairs");
}

/// Logs of up to five entries of epochs 1 to 4, beginning with the membership in epoch 1.
fn small_logs() -> Vec<Vec<u64>> {
    let mut logs = vec![vec![1]];
    let mut next = 0;
    while next < logs.len() {
        let log = logs[next].clone();
        next += 1;
        if log.len() < 5 {
            let last = log[log.len() - 1];
            logs.extend((last..=4).map(|epoch| [&log[..], &[epoch]].concat()));
        }
    }
    logs
}

#[test]
fn votes_go_to_logs_that_are_up_to_date() {
    let logs: [(&str, &[u64]); 7] = [
        ("leader", FIGURE_7),
        ("a", &[1, 1, 1, 4, 4, 5, 5, 6, 6]),
        ("b", &[1, 1, 1, 4]),
        ("c", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]),
        ("d", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]),
        ("e", &[1, 1, 1, 4, 4, 4, 4]),
        ("f", &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]),
    ];
    let expected: [(&str, &[&str]); 7] = [
        ("leader", &["a", "b", "e", "f"]),
        ("a", &["b", "e", "f"]),
        ("b", &["f"]),
        ("c", &["leader", "a", "b", "e", "f"]),
        ("d", &["leader", "a", "b", "c", "e", "f"]),
        ("e", &["b", "f"]),
        ("f", &[]),
    ];
    let majority_of_others = store_core::quorum::majority(logs.len()) - 1;
    for ((candidate, log), (_, voters)) in logs.iter().zip(expected) {
        let others = logs.iter().filter(|(name, _)| name != candidate);
        let granting: Vec<&str> = others.filter(|(_, own)| grants(own, log)).map(|(name, _)| *name).collect();
        assert_eq!(granting, voters, "who votes for {candidate}");
        let wins = granting.len() >= majority_of_others;
        assert_eq!(wins, ["leader", "a", "c", "d"].contains(candidate), "whether {candidate} is elected");
    }
}

/// Whether a replica with the one log votes for a candidate with the other; its pre-vote says the same.
fn grants(own: &[u64], candidate: &[u64]) -> bool {
    let member = |id| Member { node: NodeId(id), incarnation: Incarnation(id) };
    let membership = Membership::of((1..=7).map(member).collect());
    let disk = Disk { ballot: ballot(8), log: Disk::planted(&membership, own), ..Disk::default() };
    let mut replica = Replica::new(Config::new(member(1)), disk.restored(Offset(1)));
    let last = Position::new(candidate[candidate.len() - 1], candidate.len() as u64);
    let [pre, vote] = [true, false].map(|pre| {
        let request = VoteRequest { epoch: Epoch(9), last, pre, transferred: false };
        let mut outputs = Vec::new();
        let message = Message::Vote(VoteMessage::Request(request));
        step(&mut replica, Input::Receive { from: member(2), message }, &mut outputs);
        let reply = outputs.iter().find_map(|output| match output {
            Output::Send { message: Outgoing::Vote(VoteMessage::Reply(reply)), .. } => Some(reply.granted),
            _ => None,
        });
        reply.expect("a request is answered")
    });
    assert_eq!(pre, vote, "the pre-vote of {own:?} for {candidate:?}");
    vote
}

/// The first of KIP-101: a replica that restarts must not cut its log down to what it knows to be committed, or an
/// acknowledged entry dies with the leader.
#[test]
fn a_restart_cuts_nothing_at_the_known_commit_offset() {
    let mut cluster = Cluster::new(Layout::of(3));
    stand(&mut cluster, LEADER);
    settle(&mut cluster, |_| {});
    cluster.crash(THIRD);
    cluster.step(LEADER, Input::HoldCommit { hold: true }, Vec::new());
    cluster.propose(LEADER, &["acknowledged".into()]);
    settle(&mut cluster, |_| {});
    assert_eq!(cluster.nodes[&LEADER].up().committed(), Offset(3));
    assert_eq!(cluster.nodes[&REPLICA].up().committed(), Offset(2), "the replica was not told");

    cluster.crash(REPLICA);
    cluster.node(REPLICA).restart(Offset(1));
    cluster.crash(LEADER);
    cluster.node(THIRD).restart(Offset(2));
    stand(&mut cluster, REPLICA);
    settle(&mut cluster, |_| {});
    assert_eq!(cluster.leaders(), [REPLICA]);
    let kept = &cluster.nodes[&THIRD].applied[2];
    assert_eq!(kept.payload, Payload::Command("acknowledged".into()));
}

/// Figure 8, consistent view (c): n1 leads epoch 4; its entry of epoch 2 is acknowledged by n2 and n3, a majority with itself,
/// and nothing of epoch 4 has left it. n5, with an entry of epoch 3, is down.
fn figure_8() -> Cluster {
    let mut cluster = Cluster::new(Layout { append_entries: 1, ..Layout::of(5) });
    let logs: [&[u64]; 5] = [&[1, 2], &[1, 2], &[1], &[1], &[1, 3]];
    for (id, log) in cluster.ids().into_iter().zip(logs) {
        cluster.crash(id);
        cluster.plant(id, log, ballot(3), 1);
        if id != NodeId(5) {
            cluster.node(id).restart(Offset(1));
        }
    }
    stand(&mut cluster, LEADER);
    while cluster.leaders().is_empty() {
        exchange(&mut cluster, THIRD);
        exchange(&mut cluster, REPLICA);
    }
    cluster.network.clear();
    for _ in 0..5 {
        cluster.tick(LEADER, 0);
    }
    for other in [REPLICA, THIRD] {
        let held = |cluster: &Cluster| {
            let mut peers = cluster.nodes[&LEADER].up().peers();
            peers.find(|peer| peer.node == other).expect("a peer").durable
        };
        while held(&cluster) < Position::new(2, 2) {
            cluster.deliver((LEADER, other), 0);
            while cluster.deliver((other, LEADER), 0) {}
        }
    }
    assert_eq!([1, 2, 3].map(|id| epochs(&cluster, NodeId(id))), [vec![1, 2, 4], vec![1, 2], vec![1, 2]]);
    cluster
}

/// Delivers what is under way between the leader and another, each way.
fn exchange(cluster: &mut Cluster, other: NodeId) {
    while cluster.deliver((LEADER, other), 0) {}
    while cluster.deliver((other, LEADER), 0) {}
}

/// n1 dies, n5 comes back and stands, as often as it takes to learn of epoch 4 and more.
fn replace_leader(cluster: &mut Cluster) {
    cluster.network.clear();
    cluster.crash(LEADER);
    cluster.node(NodeId(5)).restart(Offset(1));
    for id in [2, 3, 4].map(NodeId) {
        // Long enough to miss the leader, not long enough to campaign.
        (0..35).for_each(|_| cluster.tick(id, 30));
    }
    for _ in 0..200 {
        cluster.tick(NodeId(5), 0);
        settle(cluster, |_| {});
    }
}

#[test]
fn an_entry_of_an_older_epoch_is_not_committed_by_counting() {
    let mut cluster = figure_8();
    assert_eq!(
        cluster.nodes[&LEADER].up().committed(),
        Offset(1),
        "consistent view c: 2 is on a majority, no more"
    );

    // Picture (d), which is why: n5 can win with n2, n3 and n4, and overwrites it.
    replace_leader(&mut cluster);
    assert_eq!(cluster.leaders(), [NodeId(5)]);
    for id in [2, 3, 4, 5].map(NodeId) {
        assert_eq!(epochs(&cluster, id), [1, 3, 5], "{id} has the log of n5");
    }
}

#[test]
fn an_entry_of_the_own_epoch_commits_what_came_before() {
    let mut cluster = figure_8();
    // Picture (e): the entry of epoch 4 reaches n2 and n3, and commits itself and the one before.
    for _ in 0..5 {
        cluster.tick(LEADER, 0);
    }
    for _ in 0..5 {
        exchange(&mut cluster, REPLICA);
        exchange(&mut cluster, THIRD);
    }
    assert_eq!(cluster.nodes[&LEADER].up().committed(), Offset(3));

    // n5 can no longer win: of those who are left, only n4 would vote for it.
    replace_leader(&mut cluster);
    assert_eq!(cluster.leaders(), []);
    let kept = [REPLICA, THIRD].map(|id| epochs(&cluster, id));
    assert_eq!(kept, [[1, 2, 4], [1, 2, 4]]);
}
