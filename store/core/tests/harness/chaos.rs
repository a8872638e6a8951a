//! A seeded simulation: a phase with every fault that the protocol must survive, then a phase without, in which the
//! cluster must become one again. The oracle watches every step of both.

use store_core::{Input, Member, NodeId, Offset};

use super::cluster::{Cluster, Envelope, Layout, Link};

/// Rounds of the phase with faults; each node ticks about once in each.
const ROUNDS: u64 = 500;

/// Messages waiting on one link; the oldest are lost beyond.
const QUEUE_MAX: usize = 40;

/// Rounds in which a cluster without faults must have converged: 25 of the longest election timers.
const HEALING_ROUNDS_MAX: u64 = 25 * TICKS.2 as u64;

/// Ticks of heartbeat, shortest and longest election timer.
const TICKS: (u32, u32, u32) = (2, 6, 12);

/// Numbers from a seed (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without it.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.any() % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    /// True so many times in a thousand.
    pub(super) fn in_thousand(&mut self, times: u64) -> bool {
        self.below(1_000) < times
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { Some(of[self.index(of.len())]) }
    }
}

/// How hard one seed is on its cluster; each number is times in a thousand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hardship {
    loss: u64,
    duplication: u64,
    reordering: u64,
    crash: u64,
    cut: u64,
    purge: u64,
    transfer: u64,
    /// How often the operator asks for another membership.
    pub(super) change: u64,
    /// How often a node that is down loses its disk for good.
    wipe: u64,
    /// How often a node's disk finishes a write.
    disk: u64,
    /// A crash may lose what a disk had acknowledged.
    pub(super) lying_disks: bool,
}

impl Hardship {
    /// Every other seed is about changes of membership: so easy on the rest that many get through.
    fn of_changes(self, dice: &mut Dice) -> Hardship {
        let loss = self.loss.min(10);
        Hardship { loss, crash: dice.pick(&[0, 2, 8]).unwrap(), cut: 5, change: 500, disk: 500, ..self }
    }

    fn draw(dice: &mut Dice) -> Hardship {
        Hardship {
            loss: dice.pick(&[0, 10, 50, 150]).unwrap(),
            duplication: dice.pick(&[0, 20, 100]).unwrap(),
            reordering: dice.pick(&[0, 50, 300]).unwrap(),
            crash: dice.pick(&[0, 5, 20, 40]).unwrap(),
            cut: dice.pick(&[5, 20, 50]).unwrap(),
            purge: dice.pick(&[0, 20, 60]).unwrap(),
            transfer: dice.pick(&[0, 10, 30]).unwrap(),
            change: dice.pick(&[0, 50, 150, 400]).unwrap(),
            wipe: dice.pick(&[0, 20, 60]).unwrap(),
            disk: dice.pick(&[50, 300, 500]).unwrap(),
            lying_disks: dice.in_thousand(300),
        }
    }
}

/// One cluster under one seed.
#[derive(Debug)]
pub(crate) struct Chaos {
    pub(crate) cluster: Cluster,
    pub(super) dice: Dice,
    pub(super) hardship: Hardship,
    /// Copies of messages that will arrive once more, when everybody has forgotten them.
    kept: Vec<(Link, Envelope)>,
    /// Labels given so far.
    labels: u64,
}

impl Chaos {
    pub(crate) fn new(seed: u64) -> Chaos {
        let mut dice = Dice(seed);
        let mut layout = Layout::of(3 + seed % 3);
        layout.spares = dice.pick(&[0, 1, 2, 2]).unwrap();
        layout.preferred = dice.in_thousand(250).then_some(NodeId(1));
        layout.append_entries = 1 + dice.index(4);
        layout.in_flight = 4 + dice.below(12);
        layout.ticks = Some(TICKS);
        layout.eager = false;
        let mut hardship = Hardship::draw(&mut dice);
        if seed % 2 == 1 {
            hardship = hardship.of_changes(&mut dice);
            layout.spares = layout.spares.max(1);
            layout.in_flight = 100;
        }
        let mut cluster = Cluster::new(layout);
        cluster.nodes.values_mut().for_each(|node| node.slow = true);
        Chaos { cluster, dice, hardship, kept: Vec::new(), labels: 0 }
    }

    /// The whole life of the cluster.
    pub(crate) fn run(&mut self) {
        for _ in 0..ROUNDS {
            self.pass_time();
            self.carry_messages();
            self.write_disks();
            self.use_it();
            self.change_members();
            self.break_machines();
            self.break_links();
            self.move_snapshots();
        }
        self.heal();
    }

    fn pass_time(&mut self) {
        for id in self.cluster.ids_up() {
            if self.dice.in_thousand(900) && self.cluster.nodes[&id].is_up() {
                let random = self.dice.any();
                self.cluster.tick(id, random);
            }
        }
    }

    fn carry_messages(&mut self) {
        for id in self.cluster.ids_up() {
            for to in self.cluster.ids() {
                while self.dice.in_thousand(600)
                    && self.cluster.nodes[&id].is_up()
                    && self.cluster.replicate(id, to)
                {}
            }
        }
        if !self.kept.is_empty() && self.dice.in_thousand(100) {
            let (link, late) = self.kept.swap_remove(self.dice.index(self.kept.len()));
            self.cluster.post(link, late);
        }
        let busy = self.cluster.busy_links();
        for _ in 0..4 * busy.len() {
            let Some(link) = self.dice.pick(&busy) else { return };
            let queue = self.cluster.network.entry(link).or_default();
            while queue.len() > QUEUE_MAX {
                queue.pop_front();
            }
            if queue.is_empty() {
                continue;
            }
            let any = self.dice.in_thousand(self.hardship.reordering);
            let index = if any { self.dice.index(queue.len()) } else { 0 };
            if self.dice.in_thousand(self.hardship.duplication) {
                let again = queue[index].clone();
                if self.dice.in_thousand(300) {
                    self.kept.push((link, again));
                } else {
                    queue.push_back(again);
                }
            }
            if self.dice.in_thousand(self.hardship.loss) {
                queue.remove(index);
            } else {
                self.cluster.deliver(link, index);
            }
        }
    }

    fn write_disks(&mut self) {
        for id in self.cluster.ids_up() {
            // Each node's disk has its own speed.
            while self.cluster.nodes[&id].is_up()
                && self.dice.in_thousand(self.hardship.disk * (1 + id.0 % 5) / 3)
                && self.cluster.persist(id, true)
            {}
        }
    }

    fn use_it(&mut self) {
        let anybody = if self.dice.in_thousand(50) { self.cluster.ids_up() } else { self.cluster.leaders() };
        let Some(id) = self.dice.pick(&anybody) else { return };
        if self.dice.in_thousand(300) {
            let count = 1 + self.dice.below(4);
            let labels: Vec<String> = (0..count).map(|i| format!("w{}", self.labels + i)).collect();
            self.labels += count;
            self.cluster.propose(id, &labels);
        }
        if self.dice.in_thousand(300) {
            self.cluster.read(id);
        }
        if self.dice.in_thousand(self.hardship.transfer) {
            let to = if self.dice.in_thousand(500) { self.dice.pick(&self.cluster.ids()) } else { None };
            self.cluster.step(id, Input::TransferLeadership { to }, Vec::new());
        }
        if self.dice.in_thousand(5) && self.cluster.nodes[&id].is_up() {
            let hold = self.dice.in_thousand(300);
            self.cluster.step(id, Input::HoldCommit { hold }, Vec::new());
        }
    }

    fn break_machines(&mut self) {
        for id in self.cluster.ids() {
            if self.cluster.nodes[&id].is_up() {
                if self.dice.in_thousand(self.hardship.crash) {
                    self.crash(id);
                    if self.dice.in_thousand(300) {
                        // Back before anybody has missed it: what it said is still under way.
                        self.restart(id);
                    }
                }
            } else if self.dice.in_thousand(100) {
                self.restart(id);
            } else if self.dice.in_thousand(self.hardship.wipe) && self.may_wipe(id) {
                self.cluster.wipe(id);
            }
        }
    }

    /// Some of the writes under way reach the disk although nobody is told.
    fn crash(&mut self, id: NodeId) {
        while self.dice.in_thousand(500) && self.cluster.persist(id, false) {}
        self.cluster.crash(id);
    }

    /// The state machine may have lost its last steps, but not its snapshot.
    fn restart(&mut self, id: NodeId) {
        assert!(!self.cluster.nodes[&id].fatal, "{id} stopped for good");
        let lied_to = self.cluster.nodes.values().any(|node| node.disk.maybe_lost_tail);
        let node = self.cluster.node(id);
        let most = node.applied.len() as u64;
        let least = node.disk.snapshot.position().offset.0.max(1).min(most);
        let committed = Offset(least + self.dice.below(most - least + 1));
        if self.hardship.lying_disks && !lied_to && self.dice.in_thousand(500) {
            let count = 1 + self.dice.index(6);
            let lost = node.lose_tail(count, committed);
            node.restart(committed);
            if lost > 0 && self.dice.in_thousand(500) {
                // The worst moment: a leader, who may be all that has it still, is heard by nobody.
                let leader = self.dice.pick(&self.cluster.leaders());
                let ids = self.cluster.ids();
                let ways = |one: NodeId| ids.iter().flat_map(move |id| [(one, *id), (*id, one)]);
                self.cluster.cut.extend(leader.into_iter().flat_map(ways));
            }
        } else {
            node.restart(committed);
        }
    }

    fn break_links(&mut self) {
        if self.dice.in_thousand(self.hardship.cut) {
            let ids = self.cluster.ids();
            let (one, other) = (self.dice.pick(&ids).unwrap(), self.dice.pick(&ids).unwrap());
            match self.dice.below(6) {
                0 => self.cluster.cut.extend([(one, other)]),
                1 => self.cluster.cut.extend([(one, other), (other, one)]),
                2 => self.cluster.cut.extend(ids.iter().flat_map(|id| [(one, *id), (*id, one)])),
                3 => self.cluster.cut.extend(ids.iter().map(|id| (one, *id))),
                _ => self.split(&ids),
            }
        }
        if self.dice.in_thousand(40) {
            self.cluster.cut.clear();
        }
        if self.dice.in_thousand(30) {
            let ids = self.cluster.ids_up();
            if let (Some(id), Some(peer)) = (self.dice.pick(&ids), self.dice.pick(&self.cluster.ids())) {
                self.cluster.reconnect(id, peer);
            }
        }
    }

    /// Two sides that hear nothing of each other.
    pub(super) fn split(&mut self, ids: &[NodeId]) {
        let (one, other): (Vec<NodeId>, Vec<NodeId>) = ids.iter().partition(|_| self.dice.in_thousand(500));
        for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
            self.cluster.cut.extend([(a, b), (b, a)]);
        }
    }

    fn move_snapshots(&mut self) {
        for id in self.cluster.ids_up() {
            if self.dice.in_thousand(self.hardship.purge) {
                let node = &self.cluster.nodes[&id];
                let most = node.applied.len() as u64;
                let least = node.disk.snapshot.position().offset.0.max(1).min(most);
                let snapshot = least + self.dice.below(most - least + 1);
                let up_to = self.dice.below(snapshot + 1);
                self.cluster.purge(id, Offset(up_to), Offset(snapshot));
            }
            if self.dice.in_thousand(100) && self.cluster.nodes[&id].is_up() {
                self.cluster.fetch(id);
            }
            if self.dice.in_thousand(60) && self.cluster.nodes[&id].is_up() {
                self.cluster.install(id);
            }
        }
    }

    /// Everything works again: the cluster must become one, twice, with a write between.
    fn heal(&mut self) {
        for id in self.cluster.ids() {
            if !self.cluster.nodes[&id].is_up() {
                self.restart(id);
            }
        }
        self.cluster.cut.clear();
        self.cluster.layout.eager = true;
        for id in self.cluster.ids() {
            self.cluster.node(id).slow = false;
            while self.cluster.persist(id, true) {}
            self.cluster.step(id, Input::HoldCommit { hold: false }, Vec::new());
        }
        for label in ["healed", "again"] {
            let rounds = self.converge();
            assert!(rounds.is_some(), "no convergence in {HEALING_ROUNDS_MAX} rounds:\n{}", self.snapshot());
            let leader = self.cluster.leaders()[0];
            self.cluster.propose(leader, &[label.into()]);
            self.cluster.read(leader);
        }
        assert!(self.converge().is_some(), "no convergence after a write:\n{}", self.snapshot());
    }

    /// How many rounds it took until all nodes were equal.
    fn converge(&mut self) -> Option<u64> {
        (0..HEALING_ROUNDS_MAX).find(|_| {
            self.pass_time();
            self.mend();
            for link in self.cluster.busy_links() {
                for _ in 0..self.cluster.network[&link].len() {
                    self.cluster.deliver(link, 0);
                }
            }
            for id in self.cluster.ids() {
                self.cluster.fetch(id);
                self.cluster.install(id);
            }
            self.is_one()
        })
    }

    /// One leader, whom all members follow, and whose log all have and have applied, to its end; no change is under way
    /// and nobody gone is still a member.
    fn is_one(&self) -> bool {
        let [leader] = self.cluster.leaders()[..] else { return false };
        let leading = self.cluster.nodes[&leader].up();
        let membership = leading.membership();
        let is_there = |member: &Member| self.cluster.member(member.node) == *member;
        let is_settled = !membership.is_joint() && membership.members().iter().all(is_there);
        let mut members = self.cluster.nodes.values().filter(|n| membership.contains(n.config.member));
        is_settled
            && members.all(|node| {
                let replica = node.up();
                let (view, led) = (replica.view(), leading.view());
                (view.leader, view.epoch) == (led.leader, led.epoch)
                    && replica.last() == leading.last()
                    && replica.committed() == leading.last().offset
                    && node.applied == self.cluster.oracle.committed()
            })
    }

    fn snapshot(&self) -> String {
        let line = |node: &super::node::Node| {
            let replica = node.up();
            let (view, last, committed) = (replica.view(), replica.last(), replica.committed());
            let peers: Vec<_> = replica.peers().collect();
            format!(
                "{} {view:?} last {last} committed {committed} suspect {} {} {peers:?}\n",
                super::text::member(node.config.member),
                replica.maybe_lost_tail(),
                super::text::membership(replica.membership()),
            )
        };
        self.cluster.nodes.values().map(line).collect()
    }
}
