//! The worlds of a ring's groups in one time: whatever happens next in any of them happens.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use portal::session::KeptSession;
use store_client::Sharded;
use store_core::Role;

use super::clients::{RingClient, RingNotes};
use super::cuts::{Call, Calls, CutMaker};
use super::{RingOutcome, RingPlan, judge};
use crate::crossing::{Handles, Place, Views, store_on};
use crate::driver::Driver;
use crate::handle::{DEADLINE_US, DEADLINE_US_SHORT, SimStore};
use crate::holds;
use crate::score::Score;
use crate::shop::{Books, Person, Portals, Shopping, cold, shopper_name};
use crate::time::{MS, Micros, Now, SECOND};
use crate::violation::{Violation, ensure};
use crate::world::World;

/// After healing every client has its answers within this.
const CLIENTS_US_MAX: Micros = 120 * SECOND;
/// After the last client's answer all is ended and equal within this.
const CONVERGE_US_MAX: Micros = 30 * SECOND;
/// Between two looks whether it is.
const LOOK_US: Micros = 200 * MS;

/// The ring of one run.
pub(crate) struct Ring {
    plan: RingPlan,
    now: Now,
    worlds: Vec<World>,
    handles: Handles,
    calls: Calls,
    views: Views,
    random: fastrand::Rng,
    notes: Rc<RefCell<RingNotes>>,
    books: Books,
    score: Rc<RefCell<Score>>,
}

impl Ring {
    /// Its nodes and clients, started.
    pub(super) fn founded(plan: RingPlan, watch: bool) -> Ring {
        let (now, slots, handles, views) =
            (Now::default(), plan.slots(), Handles::default(), Views::default());
        let founded = |(slot, group): (usize, &crate::Plan)| {
            let place = Place::new((&slots, slot), plan.is_shared, &handles, &views, &now);
            let mut world = World::founded(group.clone(), watch, now.clone(), Some(place));
            world.begin();
            world
        };
        let worlds = plan.groups.iter().enumerate().map(founded).collect();
        let random = fastrand::Rng::with_seed(plan.seed.rotate_left(47));
        let mut ring = Ring {
            plan,
            now,
            worlds,
            handles,
            calls: Calls::default(),
            views,
            random,
            notes: Rc::default(),
            books: Books::default(),
            score: Rc::default(),
        };
        ring.open();
        ring.open_shop();
        ring.begin_cuts();
        ring.settle();
        ring
    }

    /// A client's handle.
    fn store(&self, patience: Micros) -> Sharded<SimStore> {
        store_on(&self.plan.slots(), &self.handles, patience, &self.now, None)
    }

    /// Spawns the clients, in the first world.
    fn open(&mut self) {
        let is_open = Rc::new(Cell::new(false));
        let (seed, until) = (self.plan.seed, self.plan.groups[0].faults_until);
        for number in 0..=self.plan.clients {
            let patience = if number % 2 == 0 { DEADLINE_US } else { DEADLINE_US_SHORT };
            let client = RingClient {
                number,
                store: self.store(patience),
                sleeper: self.worlds[0].tasks.sleeper(),
                random: fastrand::Rng::with_seed(seed.rotate_left(23) ^ u64::from(number)),
                notes: Rc::clone(&self.notes),
                is_open: Rc::clone(&is_open),
            };
            match number {
                0 => self.worlds[0].tasks.spawn(client.found()),
                _ => self.worlds[0].tasks.spawn(client.run(self.plan.operations, until)),
            }
        }
    }

    /// Opens the shop: its staff, its shoppers and their portals, in the first world.
    fn open_shop(&mut self) {
        let RingPlan { seed, shoppers, operations, .. } = self.plan;
        let until = self.plan.groups[0].faults_until;
        let random = |number: u64| fastrand::Rng::with_seed(seed.rotate_left(29) ^ number);
        let (portals, sweeper) = ([0, 1].map(|_| self.store(DEADLINE_US)), self.store(DEADLINE_US));
        let tasks = &mut self.worlds[0].tasks;
        let portal = |(at, store)| tasks.inside(|| Portals::new(cold(&format!("portal {at}"), store)));
        let shopping = Shopping {
            portals: portals.into_iter().enumerate().map(portal).collect(),
            sleeper: tasks.sleeper(),
            score: Rc::clone(&self.score),
            books: Rc::clone(&self.books),
            is_open: Rc::default(),
        };
        let sweeper = tasks.inside(|| holds::portal(0, sweeper, &mut random(99)));
        tasks.spawn(holds::sweep(sweeper, tasks.sleeper(), random(98), until));
        let person = |name: String, number: u32| Person {
            name,
            shopping: shopping.clone(),
            random: random(u64::from(number)),
            requests: 0,
            session: KeptSession::default(),
        };
        tasks.spawn(person("staff".to_owned(), 90).staff(shoppers, operations / 4 + 1, until));
        for shopper in 0..shoppers {
            tasks.spawn(person(shopper_name(shopper), shopper).shopper(operations / 2 + 1, until));
        }
    }

    /// One event, in the world in which the next one happens. False: nothing will ever happen again.
    fn step(&mut self) -> bool {
        let next = |world: &World| world.agenda.next_at();
        let world = (0..self.worlds.len()).filter_map(|at| Some((next(&self.worlds[at])?, at))).min();
        let Some((_, at)) = world else { return false };
        self.worlds[at].step();
        self.settle();
        true
    }

    /// Whoever makes cuts of all groups.
    fn begin_cuts(&mut self) {
        let until = self.plan.groups[0].faults_until;
        let maker = CutMaker {
            groups: self.worlds.len(),
            calls: Rc::clone(&self.calls),
            views: Arc::clone(&self.views),
            notes: Rc::clone(&self.notes),
            sleeper: self.worlds[0].tasks.sleeper(),
            random: fastrand::Rng::with_seed(self.plan.seed.rotate_left(41)),
        };
        self.worlds[0].tasks.spawn(maker.run(until));
    }

    /// A call of whoever makes a cut comes to one who takes itself for the leader; without one nobody answers.
    fn carry(&mut self, Call { slot, wanted, id, answer }: Call) {
        let leads = |driver: &&Driver| driver.status().is_some_and(|status| status.role == Role::Leader);
        let leaders: Vec<&Driver> = self.worlds[slot].drivers.iter().filter(leads).collect();
        let Some(leader) = self.random.choice(leaders) else { return };
        if let Some(cross) = leader.up.as_ref().and_then(|up| up.cross.as_ref()) {
            cross.call(wanted, id, answer);
        }
    }

    /// Runs what is woken in any world, and turns the links that were asked something, until nothing is left to do at this moment.
    fn settle(&mut self) {
        loop {
            let mut is_any = false;
            for world in &mut self.worlds {
                if world.carry_cross() || world.tasks.is_woken() {
                    world.run_tasks();
                    is_any = true;
                }
            }
            for call in self.calls.take() {
                self.carry(call);
                is_any = true;
            }
            for (slot, handle) in self.handles.take() {
                self.worlds[slot].handles.push(handle);
                is_any = true;
            }
            if !is_any {
                return;
            }
            self.worlds.iter_mut().for_each(World::turn_asked);
        }
    }

    /// Plays the whole run.
    pub(super) fn play(&mut self) {
        while self.now.us() < self.plan.groups[0].faults_until && self.step() {}
        self.worlds.iter_mut().for_each(World::heal);
        let until = self.now.us() + CLIENTS_US_MAX;
        let mut next_look = self.now.us() + LOOK_US;
        while self.worlds[0].clients_running() > 0 {
            if self.now.us() >= next_look {
                self.worlds.iter_mut().for_each(World::resync_who_differs);
                next_look += LOOK_US;
            }
            ensure(self.now.us() < until && self.step(), "healing: every client is answered", || {
                format!("{} clients still wait; {}", self.worlds[0].clients_running(), self.standing())
            });
        }
        self.converge();
        self.worlds.iter().for_each(World::check);
        judge::check(&self.worlds, &mut self.notes.borrow_mut(), self.now.us());
        judge::check_shop(&self.worlds, &self.books, &self.score);
    }

    fn standing(&self) -> String {
        let each = self
            .worlds
            .iter()
            .enumerate()
            .map(|(at, world)| format!("group {}: {}", at + 1, world.standing()));
        each.collect::<Vec<_>>().join("\n")
    }

    /// Until the replicas of each group are equal, and nothing is left of any transaction over several groups.
    fn converge(&mut self) {
        let until = self.now.us() + CONVERGE_US_MAX;
        let mut next_look = self.now.us();
        loop {
            if self.now.us() >= next_look {
                if self.worlds.iter().all(|world| world.is_converged() && judge::is_drained(world)) {
                    return;
                }
                for world in self.worlds.iter_mut().filter(|world| !world.is_converged()) {
                    world.resync_who_differs();
                }
                next_look = self.now.us() + LOOK_US;
            }
            ensure(
                self.now.us() < until && self.step(),
                "healing: no lock is left, and the replicas become equal",
                || {
                    let left = self.worlds.iter().map(judge::left).collect::<Vec<_>>().join("; ");
                    format!("{left}\n{}", self.standing())
                },
            );
        }
    }

    pub(super) fn outcome(&self, seed: u64, violation: Option<Violation>) -> RingOutcome {
        let lines = self.worlds.iter().enumerate().flat_map(|(at, world)| {
            world.trace.lines().into_iter().map(move |line| format!("group {}: {line}", at + 1))
        });
        let mut lines: Vec<String> = lines.collect();
        lines.sort_by_key(|line| line.split_once(": ").map(|(_, rest)| rest.to_owned()));
        let mixed = |hash: u64, world: &World| {
            (hash.rotate_left(7) ^ world.trace.hash()).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        RingOutcome {
            seed,
            violation,
            ended_at: self.now.us(),
            events: self.worlds.iter().map(|world| world.trace.events()).sum(),
            trace: self.worlds.iter().fold(0, mixed),
            lines,
            score: self.notes.borrow().score,
            shop: *self.score.borrow(),
            seen: self.worlds.iter().map(|world| world.oracle.seen).collect(),
        }
    }
}
