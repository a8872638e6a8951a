//! Everything at once, as a seed decides: writes, reads, kills, power losses, cuts, handovers, held commit orders,
//! snapshots; then a healing phase that must converge. What was acknowledged is there, what was refused is not, what
//! is unknown may be either; and a read sees all that was acknowledged before it was asked.
#![allow(clippy::unwrap_used)]

mod kit;

use std::collections::BTreeMap;

use kit::{Cluster, Setting, Told, is_done};
use store_core::NodeId;
use store_engine::{Answer, Job, Policy, Ticket};

/// Seeds that every run of the tests goes through; `CHAOS_SEEDS=from..to` gives others.
const SEEDS: std::ops::Range<u64> = 0..20;
/// Events of the phase with faults.
const EVENTS: u32 = 150;

struct Chaos {
    cluster: Cluster,
    random: fastrand::Rng,
    /// Each write's key, by ticket.
    writes: BTreeMap<Ticket, String>,
    /// Each open read's node, and the keys acknowledged before it was asked.
    reads: BTreeMap<Ticket, (NodeId, Vec<String>)>,
    reads_checked: usize,
}

impl Chaos {
    fn new(seed: u64) -> Chaos {
        let mut random = fastrand::Rng::with_seed(seed);
        let nodes = random.u64(3..=4);
        let snapshots = Policy { log_bytes: random.u64(1_000..8_000), ticks: random.u64(50..5_000) };
        let cluster = Cluster::start(Setting { nodes, snapshots, ..Setting::new(seed) });
        Chaos { cluster, random, writes: BTreeMap::new(), reads: BTreeMap::new(), reads_checked: 0 }
    }

    fn any_node(&mut self) -> NodeId {
        NodeId(self.random.u64(1..=self.cluster.setting.nodes))
    }

    fn event(&mut self) {
        let id = self.any_node();
        let is_up = self.cluster.replicas[&id].is_up();
        match self.random.u32(..100) {
            0..4 if is_up => self.cluster.kill(id),
            4..8 if is_up => self.cluster.crash(id),
            8..14 => {
                let other = self.any_node();
                if other != id {
                    self.cluster.cut(id.0, other.0);
                }
            }
            14..22 => self.cluster.heal(),
            22..26 if is_up => drop(self.cluster.give(id, |_| Job::HandOver { to: None })),
            26..30 if is_up => {
                let hold = self.random.bool();
                self.cluster.give(id, |_| Job::HoldCommit { hold });
            }
            30..45 if is_up => self.read(id),
            45..90 if is_up => self.write(id),
            _ if !is_up => self.cluster.restart(id),
            _ => {}
        }
    }

    fn write(&mut self, id: NodeId) {
        for _ in 0..self.random.u32(1..20) {
            let key = format!("k{}", self.writes.len());
            let value = "v".repeat(self.random.usize(1..200));
            self.writes.insert(self.cluster.put(id, &key, &value), key);
        }
    }

    fn read(&mut self, id: NodeId) {
        let acknowledged = self.acknowledged();
        self.reads.insert(self.cluster.read(id), (id, acknowledged));
    }

    fn acknowledged(&self) -> Vec<String> {
        let is_acknowledged = |ticket: &Ticket| self.cluster.answers.get(ticket).is_some_and(is_done);
        let done = self.writes.iter().filter(|(ticket, _)| is_acknowledged(ticket));
        done.map(|(_, key)| key.clone()).collect()
    }

    /// Steps on, and looks at each read at the moment when it may go.
    fn steps(&mut self, count: u32) {
        for _ in 0..count {
            self.cluster.step();
            let answered: Vec<Ticket> = self
                .reads
                .keys()
                .copied()
                .filter(|ticket| self.cluster.answers.contains_key(ticket))
                .collect();
            for ticket in answered {
                let (id, acknowledged) = self.reads.remove(&ticket).unwrap();
                if let Told::Node(Answer::ReadReady { .. }) = self.cluster.answers[&ticket] {
                    let records = self.cluster.replicas[&id].records();
                    let missing = acknowledged.iter().find(|key| !records.contains_key(*key));
                    assert_eq!(missing, None, "seed {}: a stale read on {id}", self.cluster.setting.seed);
                    self.reads_checked += 1;
                }
            }
        }
    }

    /// No more faults: everybody comes back and agrees.
    fn heal(&mut self) {
        self.cluster.heal();
        for id in self.cluster.replicas.keys().copied().collect::<Vec<_>>() {
            if !self.cluster.replicas[&id].is_up() {
                self.cluster.restart(id);
            }
            self.cluster.give(id, |_| Job::HoldCommit { hold: false });
        }
        // A handover or an election of the phase before may still be under way.
        for attempt in 0.. {
            let leader = self.cluster.leader();
            let ticket = self.cluster.put(leader, "healed", "v");
            self.cluster.run("an answer", |cluster| cluster.answers.contains_key(&ticket));
            if is_done(&self.cluster.answers[&ticket]) {
                break;
            }
            assert!(attempt < 20, "seed {}: no write gets through", self.cluster.setting.seed);
            self.cluster.run_ms(100);
        }
        self.cluster.converge();
    }

    fn judge(&self) {
        let (seed, records) = (self.cluster.setting.seed, self.cluster.replicas[&NodeId(1)].records());
        for (ticket, key) in &self.writes {
            let is_there = records.contains_key(key);
            match self.cluster.answers.get(ticket) {
                Some(told) if is_done(told) => assert!(is_there, "seed {seed}: {key} was acknowledged"),
                // Unknown, or the node went down with the question.
                None | Some(Told::Node(Answer::Unknown)) => {}
                Some(refused) => assert!(!is_there, "seed {seed}: {key} was refused: {refused:?}"),
            }
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("CHAOS_SEEDS").ok();
    let range = given.as_deref().and_then(|text| text.split_once(".."));
    range.map_or(SEEDS, |(from, to)| from.parse().unwrap()..to.parse().unwrap())
}

#[test]
fn whatever_happens_acknowledged_writes_stay_and_replicas_agree() {
    let (mut acknowledged, mut reads, mut installs, mut snapshots) = (0, 0, 0, 0);
    for seed in seeds() {
        println!("seed {seed}");
        let mut chaos = Chaos::new(seed);
        for _ in 0..EVENTS {
            chaos.event();
            let steps = chaos.random.u32(..120);
            chaos.steps(steps);
        }
        chaos.heal();
        chaos.judge();
        acknowledged += chaos.acknowledged().len();
        reads += chaos.reads_checked;
        installs += chaos.cluster.replicas.values().map(|replica| replica.installs).sum::<u64>();
        snapshots += chaos.cluster.replicas.values().map(|replica| replica.snapshots_taken).sum::<u64>();
    }
    println!(
        "{acknowledged} writes acknowledged, {reads} reads, {snapshots} snapshots, {installs} installed"
    );
    assert!(acknowledged > 0 && reads > 0 && snapshots > 0, "the seeds did something");
}
