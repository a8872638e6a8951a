//! Disks that hang: for a while nothing that a node hands to its disk comes back, and nothing fails. And what the shop may
//! expect meanwhile, checked here:
//!
//! *A hung disk stops nobody*: while no other fault is active and a majority's disks are well, a write succeeds within 2 s
//! (of a leader's database: ten election timers later, for only then is it known), with one change of leader a hang.
//!
//! Leaves out what a node does about its disk: the production code.

use store_core::limits;
use store_engine::Job;

use crate::electorate::is_majority;
use crate::faults::Fault;
use crate::network::index_of;
use crate::stage::Hung;
use crate::time::{MS, Micros, SECOND};
use crate::violation::ensure;
use crate::world::{Hanging, World};

/// Without a successful write for so long the shop has stopped.
const GAP_US_MAX: Micros = 2 * SECOND;
/// An applier that stands still is noticed after this.
const APPLIER_US: Micros = limits::HANG_TIMERS as Micros * limits::TICKS_ELECTION_MIN as Micros * 10 * MS;
/// The world has been well for so long before a hang that is judged.
const SETTLED_US: Micros = 2 * SECOND;
/// Entries that a voter may lack and still count as one that keeps up.
const BEHIND_MAX: u64 = 200;

impl World {
    /// A disk hangs: the leader's, a follower's, or that of one that is told to campaign and cannot vote for itself.
    pub(crate) fn hang(&mut self, place: usize, fault: &Fault) -> bool {
        let leader = self.leader();
        let role = (fault.dice >> 8) % 3;
        let node = if role == 0 { leader.unwrap_or(fault.node) } else { fault.node };
        let mut hung = Hung::of_dice(fault.dice);
        if self.drivers[node].up.is_none() || self.drivers[node].hung.any() {
            return false;
        }
        if role == 2
            && let Some(leader) = leader.filter(|leader| *leader != node)
        {
            hung.ballot = true;
            self.drivers[leader].hear(Job::TransferLeadership { to: Some(World::id(node)) });
            self.schedule(leader);
        }
        let waits = hung.database && !hung.log && leader == Some(node);
        let within = GAP_US_MAX + if waits { APPLIER_US } else { 0 };
        let (began, elections) = (self.now.us(), self.oracle.seen.elections);
        let settled = self.well_since.is_some_and(|since| began - since >= SETTLED_US);
        let is_checked = settled && leader.is_some() && self.hanging.is_empty();
        self.hanging.iter_mut().for_each(|other| other.is_checked = false);
        self.drivers[node].hung = hung;
        self.oracle.seen.hangs += u64::from(is_checked);
        self.hanging.push(Hanging { place, node, began, elections, within, is_checked });
        self.trace
            .say(began, || format!("the disk of node {} hangs: {hung:?}, judged {is_checked}", node + 1));
        self.pulse.wanted.set(true);
        true
    }

    /// The disk answers again.
    pub(crate) fn hang_ends(&mut self, place: usize) {
        self.watch_hangs();
        let Some(at) = self.hanging.iter().position(|hanging| hanging.place == place) else { return };
        let hanging = self.hanging.remove(at);
        self.drivers[hanging.node].hung = Hung::default();
        self.pulse.wanted.set(!self.hanging.is_empty());
        self.trace.say(self.now.us(), || format!("the disk of node {} answers again", hanging.node + 1));
        let changes = self.oracle.seen.elections - hanging.elections;
        ensure(!hanging.is_checked || changes <= 1, "a hung disk stops nobody", || {
            format!("{changes} changes of leader while the disk of node {} hung", hanging.node + 1)
        });
        self.schedule(hanging.node);
    }

    /// Another fault has come: what happens now is not the hang's doing alone.
    pub(crate) fn disturbed(&mut self) {
        self.well_since = None;
        self.hanging.iter_mut().for_each(|hanging| hanging.is_checked = false);
    }

    /// Looks whether the world is well but for disks that hang, and whether writes succeed meanwhile.
    pub(crate) fn watch_hangs(&mut self) {
        let now = self.now.us();
        if !self.is_well() {
            return self.disturbed();
        }
        self.well_since.get_or_insert(now);
        for hanging in self.hanging.iter().filter(|hanging| hanging.is_checked) {
            let since = self.pulse.last.get().max(hanging.began);
            ensure(now - since <= hanging.within, "a hung disk stops nobody", || {
                format!(
                    "no write has succeeded for {} ms; the disk of node {} hangs since {} ms; {}",
                    (now - since) / MS,
                    hanging.node + 1,
                    (now - hanging.began) / MS,
                    self.standing()
                )
            });
        }
    }

    /// Whether nothing is wrong but disks that hang, and those of a majority are well and keep up.
    fn is_well(&self) -> bool {
        let membership = self.oracle.membership();
        let known = self.oracle.last_committed().0;
        let keeps_up = |index: usize| {
            let status = self.drivers[index].status();
            status.is_some_and(|status| {
                let applied = status.applied.position.offset.0;
                // The vote of a log that may have lost its tail counts for nobody: its disk was not well.
                let is_sound = status.quarantine.is_none() && !status.maybe_lost_tail;
                is_sound && status.shortage.is_none() && applied + BEHIND_MAX >= known
            })
        };
        let is_whole = |index: usize| {
            let driver = &self.drivers[index];
            let well = !driver.may_fail() && !driver.wrong && driver.ghost.is_none() && driver.gone.is_none();
            well && driver.up.is_some()
                && driver.paused == 0
                && driver.slow_us == 0
                && self.clients_cut[index] == 0
        };
        let votes = |member| {
            let index = index_of(member);
            is_whole(index) && keeps_up(index) && !self.drivers[index].hung.any()
        };
        let all = (0..self.drivers.len()).all(is_whole);
        let quiet = self.is_quiet() && self.operator.goal.is_none() && self.commits_held == 0;
        let clocks = self.drivers.iter().all(|driver| driver.wall_ms() == self.now.wall_ms());
        all && quiet
            && clocks
            && self.network.is_fair()
            && is_majority(membership, |member| votes(member.node))
    }
}
