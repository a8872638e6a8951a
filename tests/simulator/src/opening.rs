//! The opening of the shop: the clients of the store and of the portals, and the portals themselves.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use portal::Portal;
use portal::session::KeptSession;

use crate::bus;
use crate::counters;
use crate::faults::Kind;
use crate::feed;
use crate::handle::{DEADLINE_US, DEADLINE_US_SHORT, Handle};
use crate::holds;
use crate::plan::Plan;
use crate::pulse;
use crate::readers;
use crate::registers::Writer;
use crate::roaming;
use crate::shop::{Person, Portals, Shopping, cold, shopper_name};
use crate::time::Micros;
use crate::unnamed;
use crate::world::World;

/// Clients that write while a disk hangs.
const PULSES: u32 = 3;
/// Portals that are connected to the bus.
const CACHED_PORTALS: u32 = 3;
/// Portals that sweep.
const SWEEPERS: u32 = 2;
/// Readers of the feed.
const EVENT_READERS: u32 = 2;
/// Portals of each kind.
const PORTALS: usize = 2;

impl World {
    /// Spawns the clients.
    pub(crate) fn open_shop(&mut self) {
        let Plan { writers, shoppers, operations, faults_until, seed, .. } = self.plan;
        let share = operations / (writers + shoppers + 1);
        let random = |number: u32| fastrand::Rng::with_seed(seed.rotate_left(17) ^ u64::from(number));
        for session in 0..writers {
            // Some give up early, so that there are outcomes that only the log can tell.
            let patience = if session % 2 == 0 { DEADLINE_US_SHORT } else { DEADLINE_US };
            let store = self.store(patience);
            let writer = Writer {
                session,
                store,
                sleeper: self.tasks.sleeper(),
                random: random(session),
                notes: Rc::clone(&self.notes),
                score: Rc::clone(&self.score),
            };
            self.tasks.spawn(writer.run(share + 1, faults_until));
        }
        let counting = Rc::new(self.store(DEADLINE_US));
        self.tasks.spawn(counters::count(counting, self.tasks.sleeper(), random(900), faults_until));
        let (store, told) = (self.store(DEADLINE_US), Rc::clone(&self.unnamed));
        self.tasks.spawn(unnamed::append(store, told, self.tasks.sleeper(), random(902), faults_until));
        let staying = Handle::staying(DEADLINE_US, self.now.clone());
        let (store, sleeper) = (staying.store(), self.tasks.sleeper());
        self.handles.push(staying);
        self.tasks.spawn(readers::read(store, sleeper, random(901), faults_until));
        if self.plan.swarm.contains(&Kind::DiskHangs) {
            self.begin_pulses(random, faults_until);
        }
        self.open_cached_portals(random, faults_until);
        self.begin_sweeping(random, faults_until);
        self.begin_reading_events(random, faults_until);
        let shopping = Shopping {
            portals: self.portals_of_the_shop(),
            sleeper: self.tasks.sleeper(),
            score: Rc::clone(&self.score),
            books: Rc::clone(&self.books),
            is_open: Rc::new(Cell::new(false)),
        };
        let person = |name: String, number: u32| Person {
            name,
            shopping: shopping.clone(),
            random: random(1_000 + number),
            requests: 0,
            session: KeptSession::default(),
        };
        self.tasks.spawn(person("staff".to_owned(), 0).staff(shoppers, share / 4 + 1, faults_until));
        self.tasks.spawn(person("second".to_owned(), 98).second_staff(share / 4 + 1, faults_until));
        self.tasks.spawn(person("buyer".to_owned(), 99).newcomers(faults_until));
        let rest = operations - writers * share - share / 4;
        for shopper in 0..shoppers {
            let shopper =
                person(shopper_name(shopper), 1 + shopper).shopper(rest / shoppers + 1, faults_until);
            self.tasks.spawn(shopper);
        }
        self.run_tasks();
    }

    /// Shoppers and staff go from portals with warm caches to others with warm caches, and to cold ones.
    fn portals_of_the_shop(&mut self) -> Vec<Portals> {
        let mut shops: Vec<Arc<Portal>> =
            self.bus.portals.iter().map(|one| Arc::clone(&one.portal)).collect();
        for number in 0..PORTALS {
            let store = self.store(DEADLINE_US);
            shops.push(self.tasks.inside(|| cold(&format!("cold portal {number}"), store)));
        }
        shops.into_iter().map(|portal| self.tasks.inside(|| Portals::new(portal))).collect()
    }

    /// Opens portals that are connected to the bus, and has the records change that they cache.
    fn open_cached_portals(&mut self, random: impl Fn(u32) -> fastrand::Rng, faults_until: Micros) {
        let store = self.store(DEADLINE_US);
        self.tasks.spawn(bus::change(store, self.tasks.sleeper(), random(903), faults_until));
        for number in 0..CACHED_PORTALS {
            let store = self.store(DEADLINE_US);
            // What it reads may have changed before it comes; of what it writes the answer may be given up.
            let is_far = !self.plan.swarm.is_empty();
            self.handles.iter_mut().last().expect("one was just made").is_far = is_far;
            self.open_cached_portal(store, random(920 + number), faults_until);
        }
        let portals = self.bus.portals.iter().map(|one| Arc::clone(&one.portal)).collect();
        self.tasks.spawn(roaming::roam(portals, self.tasks.sleeper(), random(940), faults_until));
    }

    /// Portals that do nothing but tend the shop, with clocks that are off.
    fn begin_sweeping(&mut self, random: impl Fn(u32) -> fastrand::Rng, until: Micros) {
        for number in 0..SWEEPERS {
            let (store, sleeper) = (self.store(DEADLINE_US), self.tasks.sleeper());
            let mut random = random(960 + number);
            let portal = self.tasks.inside(|| holds::portal(number, store, &mut random));
            self.tasks.spawn(holds::sweep(portal, sleeper, random, until));
        }
    }

    /// Readers of the feed, over portals of their own.
    fn begin_reading_events(&mut self, random: impl Fn(u32) -> fastrand::Rng, until: Micros) {
        for number in 0..EVENT_READERS {
            let (store, sleeper) = (self.store(DEADLINE_US), self.tasks.sleeper());
            let portal = self.tasks.inside(|| cold(&format!("reader of events {number}"), store));
            let heard = Rc::clone(&self.heard);
            self.tasks.spawn(feed::read(portal, heard, sleeper, random(980 + number), until));
        }
    }

    /// Clients that write now and then while a disk hangs: whether the shop stands still is seen by them.
    fn begin_pulses(&mut self, random: impl Fn(u32) -> fastrand::Rng, until: Micros) {
        for number in 0..PULSES {
            let (store, sleeper) = (self.store(DEADLINE_US_SHORT), self.tasks.sleeper());
            let (pulse, random) = (Rc::clone(&self.pulse), random(910 + number));
            self.tasks.spawn(pulse::heartbeat((number, store), pulse, sleeper, random, until));
        }
    }
}
