//! The operator in the world: when it looks, whom it asks, how its requests get there and back, and what
//! comes next. Its wishes and memory are in `operator`.

use store_core::{Member, MemberChange, Membership};
use store_engine::{Answer, convert};

use crate::driver::Driver;
use crate::faults::Fault;
use crate::network::index_of;
use crate::operator::{Goal, InFlight, VOTERS_MIN, step};
use crate::time::{MS, Micros};
use crate::world::{Event, World};

/// Between two looks when nothing fails any more.
const LOOK_US: Micros = 200 * MS;
/// Without an answer for so long the outcome is unknown.
const ANSWER_US_MAX: Micros = 1_500 * MS;
/// A goal that needs more requests than this is given up.
const TRIES_MAX: u32 = 25;

impl World {
    /// The operator looks, and asks for what comes next.
    pub(crate) fn operate(&mut self) {
        let pause = if self.healing { LOOK_US } else { self.operator.random.u64(150..900) * MS };
        self.agenda.add(self.now.us() + pause, Event::Operate);
        self.lay_ghosts();
        let drivers = &self.drivers;
        let lives_on = |asked: &InFlight| asked.boot.is_none_or(|boot| drivers[asked.node].boot == boot);
        self.operator.in_flight.retain(lives_on);
        let now = self.now.us();
        self.operator.waits.take_if(|(_, until)| *until <= now);
        if self.operator.waits.is_some() {
            return;
        }
        let Some(node) = self.whom_to_ask() else { return };
        let Some(up) = &self.drivers[node].up else { return };
        // A node that was never let in knows of no members.
        let Ok(membership) = convert::membership_in(&up.lines.membership) else { return };
        if let Some(change) = self.next_change(&membership) {
            self.send_change(node, change);
        }
    }

    /// Who seems to lead; now and then anybody.
    fn whom_to_ask(&mut self) -> Option<usize> {
        if !self.healing && self.operator.random.u32(..12) == 0 {
            return Some(self.operator.random.usize(..self.drivers.len()));
        }
        self.leader()
    }

    fn send_change(&mut self, node: usize, change: MemberChange) {
        if let MemberChange::AddLearner(member) = change
            && self.drivers[index_of(member.node)].is_outdated()
        {
            // The group may go on by later rules than its program knows, since nobody asked it: a real one ends there, and says why.
            self.trace.say(self.now.us(), || format!("the operator updates the program of {}", member.node));
            self.end(index_of(member.node), false);
            self.agenda.add(self.now.us() + LOOK_US, Event::Start(index_of(member.node)));
            return;
        }
        let (now, number) = (self.now.us(), self.operator.numbers + 1);
        self.operator.numbers = number;
        self.operator.waits = Some((number, now + ANSWER_US_MAX));
        self.trace.say(now, || format!("the operator asks node {} for {change:?}", node + 1));
        if let Some(delay) = self.client_delay(node) {
            self.operator.in_flight.push(InFlight { number, node, boot: None });
            self.agenda.add(now + delay, Event::Ask { node, number, change });
        }
    }

    /// A request has come to a node.
    pub(crate) fn ask(&mut self, node: usize, number: u64, change: MemberChange) {
        let driver = &mut self.drivers[node];
        let asked = self.operator.in_flight.iter_mut().find(|asked| asked.number == number);
        asked.expect("it was sent").boot = Some(driver.boot);
        if let Some(up) = &mut driver.up {
            let address = match change {
                MemberChange::AddLearner(member) => format!("node-{}", member.node.0),
                _ => String::new(),
            };
            up.kv_service.change(number, change, address);
            self.schedule(node);
        } else {
            self.operator.in_flight.retain(|asked| asked.number != number);
        }
    }

    /// A node has answered a request.
    pub(crate) fn answer_operator(&mut self, node: usize, number: u64, answer: Answer) {
        self.operator.in_flight.retain(|asked| asked.number != number);
        self.trace.say(self.now.us(), || format!("node {} answers the operator: {answer:?}", node + 1));
        if let Some(delay) = self.client_delay(node) {
            self.agenda.add(self.now.us() + delay, Event::NodeResponse { number, answer });
        }
    }

    /// Whether the members are what they will be unless somebody asks for something new.
    pub(crate) fn is_quiet(&self) -> bool {
        self.operator.in_flight.is_empty() && self.oracle.is_membership_settled()
    }

    /// A member that was lost and is in no membership any more counts for nothing.
    fn lay_ghosts(&mut self) {
        if self.drivers.iter().all(|driver| driver.ghost.is_none()) || !self.oracle.is_membership_settled() {
            return;
        }
        let membership = self.oracle.membership();
        for driver in &mut self.drivers {
            if driver.ghost.take_if(|ghost| !membership.contains(*ghost)).is_some() {
                self.oracle.seen.regained += u64::from(membership.is_voter(driver.member));
                break;
            }
        }
    }

    /// A fault: the operator wants something.
    pub(crate) fn want_change(&mut self, fault: &Fault) -> bool {
        if self.operator.goal.is_some() {
            return false;
        }
        let membership = self.oracle.membership().clone();
        let (mut random, voters) = (fastrand::Rng::with_seed(fault.dice), &membership.voters);
        let leader = self.leader().map(|leader| self.drivers[leader].member);
        let anybody = voters[random.usize(..voters.len())];
        let old = leader.filter(|leader| voters.contains(leader) && random.u32(..3) == 0).unwrap_or(anybody);
        let non_member = self.non_member(&membership, &mut random);
        let learner = membership.learners.first().copied();
        let kind = if voters.len() < VOTERS_MIN { 0 } else { random.u32(..10) };
        let goal = match (kind, non_member, learner) {
            (0..=1, _, Some(learner)) => Goal::Vote(index_of(learner.node)),
            (0..=2, Some(node), _) => Goal::Vote(node),
            (3..=4, ..) if voters.len() > VOTERS_MIN || random.u32(..4) == 0 => Goal::Leave(old),
            (3..=6, _, Some(learner)) => Goal::Take(old, index_of(learner.node)),
            (3..=6, Some(node), _) => Goal::Take(old, node),
            (7, _, Some(learner)) => Goal::Leave(learner),
            (7..=8, Some(node), _) => Goal::Learn(node),
            _ => Goal::Odd(self.odd_change(&mut random)),
        };
        self.trace.say(self.now.us(), || format!("the operator wants {goal:?}"));
        (self.operator.goal, self.operator.tries) = (Some(goal), 0);
        true
    }

    /// A node outside, perhaps with an empty folder from now on: surely if what it has is no good.
    fn non_member(&mut self, membership: &Membership, random: &mut fastrand::Rng) -> Option<usize> {
        let is_non_member = |driver: &&Driver| {
            !membership.contains(driver.member) && driver.gone.is_none() && driver.ghost.is_none()
        };
        let non_member: Vec<usize> =
            self.drivers.iter().filter(is_non_member).map(|driver| driver.index).collect();
        let node = *non_member.get(random.usize(..non_member.len().max(1)))?;
        let driver = &self.drivers[node];
        let no_good = driver.damaged || driver.wrong;
        let is_used = driver.status().is_some_and(|status| status.last.offset.0 > 0);
        if no_good || (is_used && random.bool()) {
            if !self.is_quiet() {
                return None;
            }
            self.give_empty_folder(node);
        }
        Some(node)
    }

    fn odd_change(&self, random: &mut fastrand::Rng) -> MemberChange {
        let mut anybody = || self.drivers[random.usize(..self.drivers.len())].member;
        let (one, other) = (anybody(), anybody());
        match random.u32(..4) {
            0 => MemberChange::Promote(one),
            1 => MemberChange::Remove(one),
            2 => MemberChange::AddLearner(one),
            _ => MemberChange::Replace { old: one, new: other },
        }
    }

    /// What to ask for, given the membership that somebody has.
    fn next_change(&mut self, membership: &Membership) -> Option<MemberChange> {
        let is_lost = |member: &Member| {
            let driver = &self.drivers[index_of(member.node)];
            driver.member != *member || driver.gone.is_some()
        };
        if let Some(lost) = membership.members().into_iter().find(is_lost) {
            let noticed = self.healing || self.now.us() >= self.operator.mends_at;
            return if noticed { self.mend(membership, lost) } else { None };
        }
        if self.healing {
            return None;
        }
        let goal = self.operator.goal?;
        let change = step(goal, membership, |node| self.drivers[node].member);
        self.operator.tries += 1;
        let is_over = matches!(goal, Goal::Odd(_)) || self.operator.tries > TRIES_MAX;
        if is_over || change.is_none() {
            self.operator.goal = None;
        }
        change.filter(|change| self.is_sensible(*change, membership))
    }

    /// What to do about a member whose folder is lost.
    fn mend(&mut self, membership: &Membership, lost: Member) -> Option<MemberChange> {
        if membership.learners.contains(&lost) {
            return Some(MemberChange::Remove(lost));
        }
        let node = index_of(lost.node);
        let is_empty = self.drivers[node].gone.is_none();
        let new = self.drivers[node].member;
        let sound = |member: &&Member| self.is_sound(**member);
        let learner = membership.learners.iter().find(sound).copied();
        let change = match learner {
            Some(learner) if learner == new || self.operator.random.u32(..4) == 0 => {
                MemberChange::Replace { old: lost, new: learner }
            }
            _ if membership.voters.len() > VOTERS_MIN && self.operator.random.u32(..6) == 0 => {
                MemberChange::Remove(lost)
            }
            _ if is_empty => MemberChange::AddLearner(new),
            _ => return None,
        };
        Some(change).filter(|change| self.is_sensible(*change, membership))
    }

    /// This very folder is there, and nothing was done to it.
    pub(crate) fn is_sound(&self, member: Member) -> bool {
        let driver = &self.drivers[index_of(member.node)];
        driver.member == member && driver.gone.is_none() && !driver.damaged && !driver.wrong
    }

    /// Whether the group can do without whoever is not sound, while the change is made and after it. What will be refused
    /// anyway may be asked for where nothing else is under way.
    fn is_sensible(&self, change: MemberChange, from: &Membership) -> bool {
        let Ok(next) = change.begin(from) else { return self.is_quiet() };
        let enough = |voters: &[Member]| {
            2 * voters.iter().filter(|voter| self.is_sound(**voter)).count() > voters.len()
        };
        let harmed = self.any_damaged() || self.drivers.iter().any(|driver| driver.wrong);
        let many = next.voters.len() >= if harmed { VOTERS_MIN } else { VOTERS_MIN - 1 };
        let comes = change.promoted().is_none_or(|member| self.is_sound(member));
        !next.is_joint() || (enough(&next.voters) && enough(&next.outgoing) && many && comes)
    }
}
