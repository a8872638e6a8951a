//! The effect of each fault on the world when it comes, and its end. All that happens besides is the production code's.
//!
//! Damage (rotten bits, old chunks, a wiped disk) befalls one node a run, the victim, and only while no other node has
//! lost anything: more than a minority of harmed disks is beyond what any replicated log can promise. From then on
//! power losses are kills, since a log that lost its tail counts as harmed until it is trusted again.

use store_core::Member;
use store_engine::Job;
use store_log::sim::Operation;
use store_log::{Disk as _, DiskFile as _};

use crate::counters;
use crate::faults::{Fault, Kind};
use crate::network::index_of;
use crate::operator::VOTERS_MIN;
use crate::time::MS;
use crate::violation::ensure;
use crate::world::{Event, World};

/// No space left on the device.
const ENOSPC: i32 = 28;
/// Input/output error.
const EIO: i32 = 5;
/// The unit in which old content comes back.
const CHUNK_BYTES: usize = 4_096;
/// A bit that flips at the end of the log is in the last so many bytes.
const TAIL_BYTES: usize = 600;
/// Between two nodes that are clogged or released.
const CLOG_STEP_US: u64 = 150 * MS;

impl World {
    /// A fault of the plan comes.
    pub(crate) fn fault(&mut self, place: usize) {
        let fault = self.plan.faults[place];
        if self.healing || (self.drivers[fault.node].up.is_none() && needs_node(fault.kind)) {
            return;
        }
        let came = match fault.kind {
            Kind::Delay | Kind::Loss | Kind::Duplication | Kind::Reorder => self.noise(&fault),
            Kind::Partition | Kind::OneWay => self.partition(&fault, true),
            Kind::Clog => self.clog(&fault),
            Kind::Kill | Kind::PowerLoss => {
                self.crash(fault.node, fault.lasts, fault.kind == Kind::PowerLoss)
            }
            Kind::AllAtOnce => self.all_at_once(&fault),
            Kind::DieWriting => self.die_writing(&fault),
            Kind::SyncFails | Kind::DiskFull => self.disk_error(&fault),
            Kind::BitRot | Kind::OldChunk | Kind::Wipe => self.damage(&fault),
            Kind::WrongState => self.spoil(&fault),
            Kind::DiskHangs => self.hang(place, &fault),
            Kind::MemberChange => self.want_change(&fault),
            _ => self.mischief(&fault),
        };
        if came {
            if fault.kind != Kind::DiskHangs {
                self.disturbed();
            }
            self.trace.say(self.now.us(), || format!("fault {place}: {fault:?}"));
            if !self.met.contains(&fault.kind) {
                self.met.push(fault.kind);
            }
            self.agenda.add(fault.at + fault.lasts, Event::FaultEnds(place));
        }
    }

    /// A fault ends; also when healing begins.
    pub(crate) fn fault_ends(&mut self, place: usize) {
        let fault = self.plan.faults[place];
        match fault.kind {
            Kind::Delay => self.network.delay_us = 0,
            Kind::Loss => self.network.loss = 0,
            Kind::Duplication => self.network.duplication = 0,
            Kind::Reorder => self.network.reorder = false,
            Kind::Partition | Kind::OneWay => {
                self.partition(&fault, false);
            }
            Kind::Pause => self.drivers[fault.node].paused -= 1,
            Kind::SlowDisk => self.drivers[fault.node].slow_us = 0,
            Kind::DiskHangs => self.hang_ends(place),
            Kind::DiskFull => {
                self.drivers[fault.node].disk.set_capacity(None);
                self.drivers[fault.node].capped = false;
            }
            Kind::ClientCut => self.clients_cut[fault.node] -= 1,
            Kind::Strangers => self.strangers -= 1,
            Kind::OldChunk => self.bring_back_old(fault.node),
            Kind::HoldCommit => {
                self.commits_held = self.commits_held.saturating_sub(1);
                for node in 0..self.drivers.len() {
                    self.drivers[node].hear(Job::HoldCommit { hold: false });
                    self.schedule(node);
                }
            }
            _ => {}
        }
    }

    fn noise(&mut self, fault: &Fault) -> bool {
        let percent = u32::try_from(fault.dice % 25).expect("small") + 2;
        match fault.kind {
            Kind::Delay => self.network.delay_us = (fault.dice % 400 + 5) * MS,
            Kind::Loss => self.network.loss = percent,
            Kind::Duplication => self.network.duplication = percent * 2,
            _ => {
                self.network.reorder = true;
                self.network.delay_us = self.network.delay_us.max(20 * MS);
            }
        }
        true
    }

    /// Which ways a fault cuts.
    fn ways(&self, fault: &Fault) -> Vec<(usize, usize)> {
        let nodes = self.drivers.len();
        let pairs = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b))).filter(|(a, b)| a != b);
        if fault.kind == Kind::OneWay {
            let other =
                (fault.node + 1 + usize::try_from(fault.dice % 8).expect("small") % (nodes - 1)) % nodes;
            let all = fault.dice & 256 > 0;
            return pairs.filter(|(a, b)| *a == fault.node && (all || *b == other)).collect();
        }
        let side = |node: usize| (fault.dice >> node) & 1 == u64::from(node != fault.node);
        let alone = fault.dice & 1024 > 0;
        let apart = |a: usize, b: usize| {
            if alone { (a == fault.node) != (b == fault.node) } else { side(a) != side(b) }
        };
        pairs.filter(|(a, b)| apart(*a, *b)).collect()
    }

    fn partition(&mut self, fault: &Fault, cut: bool) -> bool {
        let ways = self.ways(fault);
        for (from, to) in &ways {
            if cut {
                self.network.cut(*from, *to);
            } else if self.network.mend(*from, *to) {
                let at = self.now.us() + self.random.u64(..400) * MS;
                self.agenda.add(at, Event::StreamReset { from: *from, to: *to });
            }
        }
        !ways.is_empty()
    }

    /// Nodes are clogged one by one, and released in another order.
    fn clog(&mut self, fault: &Fault) -> bool {
        let mut order = fastrand::Rng::with_seed(fault.dice);
        let mut nodes: Vec<usize> = (0..self.drivers.len()).collect();
        order.shuffle(&mut nodes);
        nodes.truncate(order.usize(1..=self.drivers.len()));
        for (poll, node) in nodes.iter().enumerate() {
            self.agenda.add(fault.at + poll as u64 * CLOG_STEP_US, Event::Clog(*node));
        }
        order.shuffle(&mut nodes);
        let first = fault.at + nodes.len() as u64 * CLOG_STEP_US + fault.lasts;
        for (poll, node) in nodes.iter().enumerate() {
            self.agenda.add(first + poll as u64 * CLOG_STEP_US, Event::Release(*node));
        }
        true
    }

    fn crash(&mut self, node: usize, down: u64, power: bool) -> bool {
        self.end(node, power && !self.any_damaged());
        self.agenda.add(self.now.us() + down, Event::Start(node));
        true
    }

    fn all_at_once(&mut self, fault: &Fault) -> bool {
        for node in 0..self.drivers.len() {
            if self.drivers[node].up.is_some() {
                let power = fault.dice & 1 > 0;
                let down = fault.lasts / 4 + self.random.u64(..fault.lasts / 2 + 1);
                self.crash(node, down, power);
            }
        }
        true
    }

    /// The machine stops inside some write, now or while the node recovers.
    fn die_writing(&mut self, fault: &Fault) -> bool {
        let (node, in_recovery) = (fault.node, fault.dice & 2 > 0);
        if in_recovery {
            self.crash(node, fault.lasts, fault.dice & 4 > 0);
        }
        self.after_failure[node] = (fault.lasts, fault.dice & 1 > 0);
        let driver = &mut self.drivers[node];
        driver.excused = true;
        driver.disk.die_at((fault.dice >> 8) % if in_recovery { 12 } else { 60 }, fault.dice);
        true
    }

    fn disk_error(&mut self, fault: &Fault) -> bool {
        let node = fault.node;
        self.after_failure[node] = (fault.lasts, fault.dice & 1 > 0);
        let (skip, driver) = ((fault.dice >> 8) % 6, &mut self.drivers[node]);
        if fault.kind == Kind::SyncFails {
            let operation = if fault.dice & 2 > 0 { Operation::Sync } else { Operation::SyncFolder };
            driver.excused = true;
            driver.disk.fail(operation, skip, EIO);
        } else if fault.dice & 2 > 0 {
            driver.excused = true;
            let operation = if fault.dice & 4 > 0 { Operation::Write } else { Operation::Change };
            driver.disk.fail(operation, skip, ENOSPC);
        } else {
            let names = driver.disk.list().unwrap_or_default();
            let used: u64 =
                names.iter().filter_map(|name| driver.disk.content(name)).map(|c| c.len() as u64).sum();
            driver.disk.set_capacity(Some(used + (fault.dice >> 8) % (200 << 10)));
            driver.capped = true;
        }
        true
    }

    /// Whether the victim may be harmed now: the other voters are enough without it, and are up and have lost nothing;
    /// and nobody else can become a voter meanwhile who is not asked for.
    fn may_damage(&self, node: usize) -> bool {
        let (membership, member) = (self.oracle.membership(), self.drivers[node].member);
        let sound = |voter: &Member| {
            let driver = &self.drivers[index_of(voter.node)];
            self.is_sound(*voter) && driver.status().is_some_and(|status| !status.maybe_lost_tail)
        };
        !self.any_damaged()
            && self.is_quiet()
            && (membership.voters.len() >= VOTERS_MIN || !membership.is_voter(member))
            && membership.voters.iter().filter(|voter| **voter != member).all(sound)
    }

    fn damage(&mut self, fault: &Fault) -> bool {
        let node = fault.node;
        if !self.may_damage(node) {
            return false;
        }
        match fault.kind {
            Kind::BitRot => {
                let restart = fault.dice & 1 > 0 || hits_end(fault.dice);
                if !self.rot(node, fault.dice) {
                    return false;
                }
                if restart {
                    self.end(node, fault.dice & 2 > 0);
                    self.agenda.add(self.now.us() + fault.lasts, Event::Start(node));
                }
            }
            Kind::OldChunk => {
                let disk = &self.drivers[node].disk;
                let names = disk.list().unwrap_or_default();
                let logs =
                    names.into_iter().filter(|name| name.starts_with("log.") || name.starts_with("snap."));
                self.old = logs.filter_map(|name| disk.content(&name).map(|bytes| (name, bytes))).collect();
            }
            _ => {
                self.drivers[node].wipe();
                self.break_streams(node);
                self.start(node);
                ensure(self.drivers[node].up.is_none(), "an old identity on a wiped disk", || {
                    format!("node {} starts from an empty folder", node + 1)
                });
            }
        }
        true
    }

    /// Changes a record of the victim's table. Not while that table is being replaced: then it is of no interest.
    fn spoil(&mut self, fault: &Fault) -> bool {
        let (membership, member) = (self.oracle.membership(), self.drivers[fault.node].member);
        let is_one_of_many =
            self.is_quiet() && membership.is_voter(member) && membership.voters.len() >= VOTERS_MIN;
        let driver = &mut self.drivers[fault.node];
        let is_quarantined = driver.status().is_some_and(|status| status.quarantine.is_some());
        if is_quarantined || !is_one_of_many || !counters::spoil(&driver.table, fault.dice) {
            return false;
        }
        driver.wrong = true;
        self.oracle.spoilt(fault.node);
        true
    }

    /// Flips a bit somewhere in what is written of a file.
    fn rot(&mut self, node: usize, dice: u64) -> bool {
        let driver = &mut self.drivers[node];
        let mut names = driver.disk.list().unwrap_or_default();
        if hits_end(dice) {
            names.retain(|name| name.starts_with("log."));
            names.sort_unstable_by_key(|name| (name.len(), name.clone()));
            names = names.split_off(names.len().saturating_sub(1));
        }
        let Some(name) = names.get(usize::try_from(dice >> 8).unwrap_or(0) % names.len().max(1)) else {
            return false;
        };
        let content = driver.disk.content(name).unwrap_or_default();
        let written = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if written == 0 {
            return false;
        }
        let place = usize::try_from(dice >> 20).unwrap_or(0);
        let at = if hits_end(dice) { written - 1 - place % written.min(TAIL_BYTES) } else { place % written };
        let bit = u8::try_from(dice % 8).expect("below 8");
        driver.damaged = true;
        let flipped = driver.disk.flip_bit(name, at, bit);
        self.trace
            .say(self.now.us(), || format!("bit {bit} of byte {at} of {name} (written {written}) flips"));
        flipped
    }

    /// The victim loses its power, and a chunk of a file is found as it was some time ago. Never a chunk at the end
    /// of what is written: a device that returns zeros for the end of a synced write is beyond what can be noticed.
    fn bring_back_old(&mut self, node: usize) {
        let old = std::mem::take(&mut self.old);
        if !self.may_damage(node) || self.drivers[node].up.is_none() {
            return;
        }
        self.end(node, true);
        self.agenda.add(self.now.us() + 500 * MS, Event::Start(node));
        let disk = std::sync::Arc::clone(&self.drivers[node].disk);
        for (name, before) in old {
            let Some(now) = disk.content(&name) else { continue };
            let written = now.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let end = before.len().min(now.len()).min(written.saturating_sub(CHUNK_BYTES));
            let chunks = (0..end / CHUNK_BYTES).map(|chunk| chunk * CHUNK_BYTES..(chunk + 1) * CHUNK_BYTES);
            let changed: Vec<_> =
                chunks.filter(|range| before[range.clone()] != now[range.clone()]).collect();
            if changed.is_empty() {
                continue;
            }
            let range = changed[self.random.usize(..changed.len())].clone();
            let file = disk.open(&name, false);
            let written = file.and_then(|file| {
                file.write_at(range.start as u64, &before[range.clone()])?;
                file.sync_data()
            });
            self.drivers[node].damaged = written.is_ok();
            self.trace.say(self.now.us(), || format!("bytes {range:?} of {name} are old"));
            return;
        }
    }

    fn mischief(&mut self, fault: &Fault) -> bool {
        let (node, dice) = (fault.node, fault.dice);
        match fault.kind {
            Kind::Pause => self.drivers[node].paused += 1,
            Kind::SlowDisk => self.drivers[node].slow_us = (dice % 400 + 20) * MS,
            Kind::ClockJump => {
                let small = dice % 10 < 8;
                let most = if small { 8_000 } else { 40 * 60 * 1_000 };
                let by = i64::try_from((dice >> 8) % (2 * most)).expect("small")
                    - i64::try_from(most).expect("small");
                self.drivers[node].clock.jump(by);
            }
            Kind::TransferLeadership => {
                let Some(leader) = self.leader() else { return false };
                let to = (dice & 1 > 0 && node != leader).then(|| World::id(node));
                self.drivers[leader].hear(Job::TransferLeadership { to });
                self.schedule(leader);
            }
            Kind::HoldCommit => {
                let Some(leader) = self.leader() else { return false };
                self.commits_held += 1;
                self.drivers[leader].hear(Job::HoldCommit { hold: true });
                self.schedule(leader);
            }
            Kind::Strangers => self.strangers += 1,
            _ => self.clients_cut[node] += 1,
        }
        true
    }

    /// No more faults: what lasts ends, everybody comes back, wall clocks are set right.
    pub(crate) fn heal(&mut self) {
        self.healing = true;
        self.trace.say(self.now.us(), || "healing begins".to_owned());
        for node in 0..self.drivers.len() {
            self.drivers[node].clock.set_right();
            if self.drivers[node].excused && self.drivers[node].up.is_some() {
                // What was planted and has not struck goes with the process.
                self.end(node, false);
            }
            let at = self.now.us() + self.random.u64(1..500) * MS;
            let gone = self.drivers[node].gone.is_some();
            self.agenda.add(at, if gone { Event::ComeBackEmpty(node) } else { Event::Start(node) });
        }
    }
}

/// Whether a bit flips at the end of the newest log file, where nothing later proves what was there: three in four.
fn hits_end(dice: u64) -> bool {
    dice & 24 > 0
}

/// Whether a fault befalls a node that runs.
fn needs_node(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Kill
            | Kind::PowerLoss
            | Kind::DieWriting
            | Kind::SyncFails
            | Kind::DiskFull
            | Kind::BitRot
            | Kind::OldChunk
            | Kind::Wipe
            | Kind::WrongState
            | Kind::Pause
            | Kind::SlowDisk
    )
}
