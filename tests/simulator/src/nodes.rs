//! The nodes of the world: their ticks and turns, how they start and end, and how one whose folder is lost comes back.
//!
//! Leaves out what makes them end (`fault_injection`), and how one that comes back empty is let in (`operator`).

use store_core::Member;
use store_engine::{Error, Job};

use crate::made::Made;
use crate::stage::Stage;
use crate::time::{MS, Micros, SECOND};
use crate::violation::violated;
use crate::world::{Event, World};

/// Between two ticks of a node.
const TICK_US: Micros = 10 * MS;
/// A node that found no room tries to start again after this.
const START_AGAIN_US: Micros = 400 * MS;
/// A node that cannot start any more has an empty folder within this.
const EMPTY_US_MAX: Micros = 8 * SECOND;

impl World {
    pub(crate) fn tick(&mut self, node: usize, boot: u64) {
        let driver = &mut self.drivers[node];
        if driver.boot != boot {
            return;
        }
        let is_paused = driver.paused > 0;
        if let Some(cross) = driver.up.as_ref().and_then(|up| up.cross.as_ref()) {
            cross.life.stand_still(is_paused);
        }
        if !is_paused {
            driver.hear(Job::Tick);
            driver.flush_if_due();
            let held = std::mem::take(&mut driver.held);
            held.into_iter().for_each(|(stream, request)| self.arrive(node, stream, request));
        }
        self.agenda.add(self.now.us() + TICK_US, Event::Tick { node, boot });
        self.schedule(node);
    }

    /// Schedules the turns that have become due on a node.
    pub(crate) fn schedule(&mut self, node: usize) {
        let mut stages = std::mem::take(&mut self.stages);
        self.drivers[node].due(&mut stages);
        let (boot, slow) = (self.drivers[node].boot, self.drivers[node].slow_us);
        for stage in stages.drain(..) {
            let takes = match stage {
                Stage::Node => self.random.u64(20..80),
                Stage::Writer | Stage::Ballots => {
                    self.random.u64(80..400) + if slow > 0 { self.random.u64(..slow) } else { 0 }
                }
                Stage::Applier => self.random.u64(30..150),
                Stage::Background => self.random.u64(1..30) * MS,
                Stage::Replicator(_) => self.random.u64(5..30),
            };
            self.agenda.add(self.now.us() + takes, Event::Poll { node, boot, stage });
        }
        self.stages = stages;
    }

    pub(crate) fn poll(&mut self, node: usize, boot: u64, stage: Stage) {
        if self.drivers[node].boot != boot {
            return;
        }
        if self.drivers[node].paused > 0 || self.drivers[node].hung.stops(stage) {
            self.agenda.add(self.now.us() + 5 * MS, Event::Poll { node, boot, stage });
            return;
        }
        self.trace.event(self.now.us(), 1, node as u64, stage.slot() as u64);
        let (messages_max, planted) = (self.random.usize(1..5), self.plan.planted);
        let mut made = Made::default();
        let (driver, oracle) = (&mut self.drivers[node], &mut self.oracle);
        let polled = self.tasks.inside(|| driver.poll(stage, messages_max, planted, oracle, &mut made));
        self.carry(node, made);
        match polled {
            Err(error) => self.failed(node, &error),
            Ok(()) if self.drivers[node].gone.is_some() => {
                self.end(node, false);
                self.is_gone(node);
            }
            Ok(()) => self.schedule(node),
        }
    }

    /// Carries what a turn brought to where it belongs.
    fn carry(&mut self, node: usize, made: Made) {
        for packet in made.packets {
            self.send(&packet);
        }
        let streams = made.answers.iter().map(|(stream, _)| *stream).collect();
        for answered in made.answers {
            self.answer(node, answered);
        }
        self.end_broken(node, &streams);
        let now_ms = self.now.us() / MS;
        for (request_id, told) in made.published {
            self.bus.publishers[node].told(request_id, &told, now_ms);
        }
        for (number, answer) in made.told {
            self.answer_operator(node, number, answer);
        }
        if let Some((from, at)) = made.fetch {
            let now = self.now.us();
            let own = self.drivers[node].member;
            let ask = self.drivers[node].up.as_mut().and_then(|up| up.want(own, from, at, now));
            if let Some(packet) = ask {
                self.send(&packet);
            }
        }
    }

    /// A node's process ends because of an error.
    pub(crate) fn failed(&mut self, node: usize, error: &Error) {
        let driver = &self.drivers[node];
        if !driver.may_fail() {
            violated("no failure without a fault", format!("{}: {error}", driver.member.node));
        }
        let (down, power) = self.after_failure[node];
        self.trace.say(self.now.us(), || format!("node {} fails: {error}", node + 1));
        self.end(node, power && !self.any_damaged());
        self.agenda.add(self.now.us() + down.max(START_AGAIN_US / 4), Event::Start(node));
    }

    /// Whether a disk was harmed, or one was lost that the group may still count on.
    pub(crate) fn any_damaged(&self) -> bool {
        self.drivers.iter().any(|driver| driver.damaged || driver.ghost.is_some())
    }

    /// Ends a node: the process alone, or its machine.
    pub(crate) fn end(&mut self, node: usize, power: bool) {
        self.trace.say(self.now.us(), || format!("node {} is down (power lost: {power})", node + 1));
        if power {
            let seed = self.random.u64(..);
            self.drivers[node].lose_power(seed);
        } else {
            self.drivers[node].kill();
        }
        self.break_streams(node);
    }

    /// The streams of clients to a node break, after a while.
    pub(crate) fn break_streams(&mut self, node: usize) {
        for handle in &self.handles {
            if let Some(open) = handle.open.as_ref().filter(|open| open.node == node) {
                let at = self.now.us() + self.random.u64(1..200) * MS;
                self.agenda.add(at, Event::StreamLost(open.stream));
            }
        }
    }

    /// Starts a node that is down.
    pub(crate) fn start(&mut self, node: usize) {
        if self.drivers[node].up.is_some() || self.drivers[node].gone.is_some() {
            return;
        }
        self.starts += 1;
        let seed = self.plan.seed ^ self.starts.rotate_left(32);
        let (nodes, snapshots) = (self.drivers.len(), self.plan.snapshots);
        match self.drivers[node].start(seed, snapshots, nodes, &mut self.oracle) {
            Ok(()) => {
                let maybe_lost_tail =
                    self.drivers[node].status().is_some_and(|status| status.maybe_lost_tail);
                self.trace
                    .say(self.now.us(), || format!("node {} starts (suspect: {maybe_lost_tail})", node + 1));
                self.start_cross(node);
                let boot = self.drivers[node].boot;
                self.agenda.add(self.now.us() + self.random.u64(..TICK_US), Event::Tick { node, boot });
                for peer in (0..nodes).filter(|peer| *peer != node) {
                    self.drivers[node].reconnected(peer);
                    let at = self.now.us() + self.random.u64(..100) * MS;
                    self.agenda.add(at, Event::StreamReset { from: peer, to: node });
                }
            }
            Err(error) => self.cannot_start(node, &error),
        }
    }

    fn cannot_start(&mut self, node: usize, error: &Error) {
        let driver = &mut self.drivers[node];
        self.trace.say(self.now.us(), || format!("node {} cannot start: {error}", node + 1));
        if driver.capped || std::mem::take(&mut driver.excused) {
            self.agenda.add(self.now.us() + START_AGAIN_US, Event::Start(node));
        } else if driver.damaged {
            driver.gone = Some(error.to_string());
            self.is_gone(node);
        } else {
            violated("recovery ends well", format!("{}: {error}", driver.member.node));
        }
    }

    /// A node will not start any more. After a while somebody gives it an empty folder.
    pub(crate) fn is_gone(&mut self, node: usize) {
        let at = self.now.us() + self.random.u64(500..EMPTY_US_MAX / MS) * MS;
        self.agenda.add(at, Event::ComeBackEmpty(node));
    }

    /// A node that will not start any more, or is in no part of the group, comes back with an empty folder, and waits
    /// outside.
    pub(crate) fn come_back_empty(&mut self, node: usize) {
        if self.drivers[node].gone.is_none() {
            return;
        }
        self.give_empty_folder(node);
    }

    /// A node is another member from here on. If the group may still count on the one that it was, that one is a ghost.
    pub(crate) fn give_empty_folder(&mut self, node: usize) {
        let is_known = |member: Member| self.oracle.membership().contains(member);
        let non_member = !is_known(self.drivers[node].member) && self.oracle.is_membership_settled();
        let before = self.drivers[node].come_back_empty();
        let member = self.drivers[node].member;
        self.oracle.comes_back_empty(node, member);
        self.break_streams(node);
        if !non_member {
            assert!(self.drivers.iter().all(|driver| driver.ghost.is_none()), "one folder is lost at a time");
            self.drivers[node].ghost = Some(before);
            self.operator.heard_of_loss(self.now.us());
        }
        self.trace.say(self.now.us(), || format!("node {} has an empty folder: {member}", node + 1));
        self.agenda.add(self.now.us() + MS, Event::Start(node));
    }
}
