//! A cluster of engines turned by hand in one thread: simulated disks, tables in memory, a network of queues, and a
//! seed that decides what is turned or delivered next. The same seed gives the same run.
//!
//! Checked at every step, whatever the test is about: one leader an epoch; nothing applied beyond the commit offset;
//! the same effects at the same position on every replica; a ticket is answered once.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, unused_imports)]

mod network;
pub mod replica;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use prost::Message as _;
use proto::store::{Command, Txn, TxnCommand, command};
use store_core::{Epoch, NodeId, Offset, Position, Role};
use store_engine::{Answer, Clock, Job, NodeConfig, Policy, Reply, Reserve, Ticket};

pub use network::Network;
pub use replica::{Replica, member, members};

/// What a ticket was answered.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    /// By the node.
    Node(Answer),
    /// By the applier.
    Applied(Reply),
}

/// A calendar that the test turns.
#[derive(Clone, Default)]
pub struct Hands(Arc<AtomicU64>);

impl Clock for Hands {
    fn wall_ms(&self) -> i64 {
        1_790_000_000_000 + i64::try_from(self.monotonic_ms()).unwrap()
    }
    fn monotonic_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a test may set before the start.
#[derive(Clone, Copy)]
pub struct Setting {
    pub seed: u64,
    pub nodes: u64,
    pub snapshots: Policy,
    pub reserve: Reserve,
    pub checkpoint_every: u64,
}

impl Setting {
    pub fn new(seed: u64) -> Setting {
        let reserve = Reserve { disk_bytes: 0, table_bytes: 0 };
        Setting {
            seed,
            nodes: 3,
            snapshots: Policy { log_bytes: u64::MAX, ticks: u64::MAX },
            reserve,
            checkpoint_every: 1_024,
        }
    }
}

/// The cluster.
pub struct Cluster {
    pub replicas: BTreeMap<NodeId, Replica>,
    pub network: Network,
    pub answers: BTreeMap<Ticket, Told>,
    /// Tickets in the order in which they were given to somebody.
    pub setting: Setting,
    clock: Hands,
    random: fastrand::Rng,
    tickets: u64,
    starts: u64,
    leaders: BTreeMap<Epoch, NodeId>,
    effects: BTreeMap<Offset, (Position, u64)>,
    /// A node whose table a test has changed: its effects may differ.
    pub spoilt: Option<NodeId>,
}

/// Steps that a test waits at most for anything.
const STEPS_MAX: u32 = 400_000;

impl Cluster {
    /// Bootstraps and starts every node.
    pub fn start(setting: Setting) -> Cluster {
        let ids: Vec<NodeId> = (1..=setting.nodes).map(NodeId).collect();
        let members = replica::members(&ids);
        let mut cluster = Cluster {
            replicas: ids.iter().map(|id| (*id, Replica::bootstrap(*id, &members))).collect(),
            network: Network::default(),
            answers: BTreeMap::new(),
            setting,
            clock: Hands::default(),
            random: fastrand::Rng::with_seed(setting.seed),
            tickets: 0,
            starts: 0,
            leaders: BTreeMap::new(),
            effects: BTreeMap::new(),
            spoilt: None,
        };
        for id in ids {
            cluster.restart(id);
        }
        cluster
    }

    /// Starts a node that is down.
    pub fn restart(&mut self, id: NodeId) {
        self.starts += 1;
        let peers: Vec<NodeId> = self.replicas.keys().copied().filter(|peer| *peer != id).collect();
        let member = replica::member(id);
        let mut config = NodeConfig::new(store_core::Config::new(member), self.setting.seed ^ self.starts);
        config.reserve = self.setting.reserve;
        config.snapshots = self.setting.snapshots;
        config.checkpoint_every = self.setting.checkpoint_every;
        self.replicas.get_mut(&id).unwrap().open(config, self.clock.clone(), &peers);
        for peer in peers {
            self.reconnect(id, peer);
        }
    }

    /// `kill -9`: disk and table keep what was written.
    pub fn kill(&mut self, id: NodeId) {
        self.replicas.get_mut(&id).unwrap().kill();
        self.network.forget(id);
    }

    /// A power loss: the table is gone, and of the disk what was not synced may be.
    pub fn crash(&mut self, id: NodeId) {
        let seed = self.random.u64(..);
        self.replicas.get_mut(&id).unwrap().crash(seed);
        self.network.forget(id);
    }

    /// Cuts both ways between two nodes.
    pub fn cut(&mut self, a: u64, b: u64) {
        self.network.cut(NodeId(a), NodeId(b));
    }

    /// Cuts a node off from all others.
    pub fn isolate(&mut self, id: NodeId) {
        for peer in self.replicas.keys().copied().filter(|peer| *peer != id).collect::<Vec<_>>() {
            self.network.cut(id, peer);
        }
    }

    /// Mends every cut.
    pub fn heal(&mut self) {
        for (a, b) in self.network.heal() {
            self.reconnect(a, b);
        }
    }

    fn reconnect(&mut self, a: NodeId, b: NodeId) {
        self.network.drop_between(a, b);
        for (from, to) in [(a, b), (b, a)] {
            self.replicas.get_mut(&from).unwrap().reconnected(to);
        }
    }

    /// Gives a put to a node.
    pub fn put(&mut self, id: NodeId, key: &str, value: &str) -> Ticket {
        let txn = Some(Txn::new().put(Bytes::from(key.to_owned()), 1, value.to_owned()));
        let kind = Some(command::Kind::Txn(TxnCommand { txn, identity: None }));
        let command = Bytes::from(Command { kind }.encode_to_vec());
        self.give(id, |ticket| Job::Write { ticket, command })
    }

    /// Gives a read to a node.
    pub fn read(&mut self, id: NodeId) -> Ticket {
        self.give(id, |ticket| Job::Read { ticket })
    }

    /// Gives a node a job that is answered.
    pub fn give(&mut self, id: NodeId, job: impl FnOnce(Ticket) -> Job) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.replicas.get_mut(&id).unwrap().inbox.push_back(job(ticket));
        ticket
    }

    /// Turns or delivers one thing, as the seed decides; a tick for everybody now and then, and when there is
    /// nothing else to do.
    pub fn step(&mut self) {
        let mut choices: Vec<Choice> = Vec::new();
        for (id, replica) in &self.replicas {
            choices.extend(replica.choices().into_iter().map(|what| Choice::Turn(*id, what)));
        }
        choices.extend(self.network.waiting().into_iter().map(Choice::Deliver));
        if choices.is_empty() || self.random.u32(..40) == 0 {
            self.tick();
            return;
        }
        match choices[self.random.usize(..choices.len())] {
            Choice::Turn(id, what) => self.turn(id, what),
            Choice::Deliver(link) => {
                if let Some(job) = self.network.deliver(link) {
                    self.replicas.get_mut(&link.to).unwrap().hear(job);
                }
            }
        }
        self.check();
    }

    fn tick(&mut self) {
        self.clock.0.fetch_add(10, Ordering::Relaxed);
        for replica in self.replicas.values_mut().filter(|replica| replica.is_up()) {
            replica.inbox.push_back(Job::Tick);
        }
    }

    fn turn(&mut self, id: NodeId, what: replica::Stage) {
        let messages_max = self.random.usize(1..4);
        let mut made = replica::Made::default();
        let turned = self.replicas.get_mut(&id).unwrap().turn(what, messages_max, &mut made);
        for (ticket, told) in made.answers {
            let before = self.answers.insert(ticket, told);
            assert_eq!(before, None, "a ticket is answered once");
        }
        for packet in made.packets {
            self.network.send(packet);
        }
        let is_spoilt = self.spoilt == Some(id);
        for applied in made.applied.into_iter().filter(|_| !is_spoilt) {
            let mine = (applied.position, applied.effects);
            let first = *self.effects.entry(applied.position.offset).or_insert(mine);
            assert_eq!(first, mine, "state-machine safety: the same effects at the same offset");
        }
        if let Some((from, at)) = made.fetch {
            self.fetch(id, from, at);
        }
        if turned.is_err() {
            assert!(self.replicas[&id].disk.is_dead(), "{id} failed: {turned:?}");
            self.crash(id);
        }
    }

    /// A whole transfer of a snapshot, in one step.
    fn fetch(&mut self, id: NodeId, from: NodeId, at: Position) {
        if self.network.is_cut(id, from) {
            return;
        }
        let Some(streaming) = self.replicas[&from].offer(at) else {
            self.replicas.get_mut(&from).unwrap().hear(Job::SnapshotWanted { at: at.offset });
            return;
        };
        let received = self.replicas.get_mut(&id).unwrap().receive(&streaming);
        if received.is_err_and(|error| error.is_fatal() || self.replicas[&id].disk.is_dead()) {
            self.crash(id);
        }
    }

    fn check(&mut self) {
        for (id, replica) in &self.replicas {
            let Some(status) = replica.status() else { continue };
            if status.role == Role::Leader {
                let leader = *self.leaders.entry(status.epoch).or_insert(*id);
                assert_eq!(leader, *id, "election safety: one leader an epoch");
            }
            let applied = replica.applied();
            let committed = status.committed.max(replica.imported);
            assert!(applied <= committed, "intermediate is unreadable: {id} applied {applied}");
        }
    }

    /// Steps until `until` holds.
    pub fn run(&mut self, what: &str, mut until: impl FnMut(&Cluster) -> bool) {
        for _ in 0..STEPS_MAX {
            if until(self) {
                return;
            }
            self.step();
        }
        let states: Vec<_> = self.replicas.values().map(Replica::status).collect();
        panic!("seed {}: not reached: {what}; {states:#?}", self.setting.seed);
    }

    /// Steps through so many milliseconds of simulated time.
    pub fn run_ms(&mut self, ms: u64) {
        let end = self.clock.monotonic_ms() + ms;
        self.run("time passes", |cluster| cluster.clock.monotonic_ms() >= end);
    }

    /// The leader that a majority can have, with its whole own epoch committed.
    pub fn leader(&mut self) -> NodeId {
        let mut found = None;
        self.run("a leader", |cluster| {
            found = cluster.current_leader();
            found.is_some()
        });
        found.unwrap()
    }

    /// The established leader of the latest epoch, if there is one.
    pub fn current_leader(&self) -> Option<NodeId> {
        let up: Vec<_> = self.replicas.values().filter_map(Replica::status).collect();
        let epoch = up.iter().map(|status| status.epoch).max()?;
        let leads = |status: &&store_engine::Status| status.role == Role::Leader && status.epoch == epoch;
        let leader = up.iter().find(leads)?;
        (leader.committed == leader.last.offset).then_some(leader.node)
    }

    /// Epochs in which somebody was seen to lead, with or without anything committed.
    pub fn elected(&self) -> usize {
        self.leaders.len()
    }

    /// Puts through the leader and waits for the answer.
    pub fn must_put(&mut self, key: &str, value: &str) {
        let leader = self.leader();
        let ticket = self.put(leader, key, value);
        self.run("the answer", |cluster| cluster.answers.contains_key(&ticket));
        let told = &self.answers[&ticket];
        assert!(is_done(told), "{key}: {told:?}");
    }

    /// Waits until every node that is up has applied the same, which is all that is committed.
    pub fn converge(&mut self) {
        self.run("all replicas are equal", |cluster| {
            let statuses: Vec<_> = cluster.replicas.values().filter_map(Replica::status).collect();
            let first = &statuses[0];
            cluster.current_leader().is_some()
                && statuses.iter().all(|s| s.last == first.last && s.applied == first.applied)
                && first.applied.position == first.last
        });
        let values: BTreeSet<_> =
            self.replicas.values().filter(|r| r.is_up()).map(Replica::records).collect();
        assert_eq!(values.len(), 1, "equal logs, equal tables");
    }

    /// The value under `key` on a node.
    pub fn value(&self, id: NodeId, key: &str) -> Option<String> {
        self.replicas[&id].records().get(key).cloned()
    }
}

/// Whether a write was executed with success.
pub fn is_done(told: &Told) -> bool {
    matches!(told, Told::Applied(Reply::Txn(response)) if response.success)
}

#[derive(Clone, Copy)]
enum Choice {
    Turn(NodeId, replica::Stage),
    Deliver(network::Link),
}
