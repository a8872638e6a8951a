//! The bus in the world: connections that break, a broker that goes away, and messages on their way ([`crate::bus`]).

use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use portal::Portal;
use portal::cache::Capacity;
use portal::coherence::{Input, NONCE_BYTES, Output};
use proto::store::BusMessage;
use store_core::Role;
use store_db::Table as _;
use store_db::changes::{Feed, since};

use crate::bus::{CachedPortal, GROUP, LEASE_MS, read_barrier, sample};
use crate::driver::Driver;
use crate::handle::SimStore;
use crate::time::{MS, Micros, SECOND};
use crate::world::{Event, World};

/// How often a portal sends a nonce.
const NONCE_US: Micros = 300 * MS;
/// A message that was delayed comes up to so late.
const LATE_US_MAX: Micros = 3 * SECOND;
/// Changes that a portal fetches at once.
const REPAIR_CHANGES_MAX: usize = 1_000;
/// How often somebody looks whether the broker goes away.
const BROKER_LOOK_US: Micros = 500 * MS;

impl World {
    /// Opens a portal that is connected to the bus, and has it read.
    pub(crate) fn open_cached_portal(&mut self, store: SimStore, random: fastrand::Rng, until: Micros) {
        let number = self.bus.portals.len();
        // The first forgets much by itself.
        let entries = NonZeroUsize::MIN.saturating_add(if number == 0 { 3 } else { 255 });
        let capacity = Capacity { entries, bytes: 1 << 20 };
        let portal = self
            .tasks
            .inside(|| Portal::new(&format!("cached portal {number}"), Arc::new(store), capacity, LEASE_MS));
        let (ledger, sleeper) = (Rc::clone(&self.bus.ledger), self.tasks.sleeper());
        self.tasks.spawn(sample(Arc::clone(&portal), ledger, sleeper, random, until));
        self.bus.portals.push(CachedPortal {
            portal,
            slow_until: 0,
            rough_until: 0,
            last_there: 0,
            is_connected: false,
            is_subscribed: false,
            connections: 0,
        });
        self.agenda.add(10 * MS, Event::PortalConnected(number));
        self.agenda.add(NONCE_US, Event::PortalTick(number));
        if number == 0 {
            self.agenda.add(BROKER_LOOK_US, Event::BrokerLook);
        }
    }

    /// Steps a portal's state machine.
    fn step_portal(&mut self, number: usize, input: Input) {
        let portal = Arc::clone(&self.bus.portals[number].portal);
        let outputs = self.tasks.inside(|| portal.cache().step(GROUP, portal.now_ms(), input));
        for output in outputs {
            match output {
                Output::Subscribe => {
                    let connection = self.bus.portals[number].connections;
                    // The broker has it before the portal hears so.
                    let there = self.now.us() + self.random.u64(150..2_500);
                    self.agenda.add(there, Event::BrokerSubscribed(number, connection));
                    let back = there + self.random.u64(150..2_500);
                    self.agenda.add(back, Event::PortalSubscribed(number, connection));
                }
                Output::ReadBarrier { number: barrier } => {
                    let (mailbox, sleeper) = (Rc::clone(&self.bus.mailbox), self.tasks.sleeper());
                    self.tasks.spawn(read_barrier(number, Arc::clone(&portal), barrier, mailbox, sleeper));
                }
                Output::Repair { number: repair, after, up_to } => {
                    let back = self.now.us() + self.random.u64(300..8_000);
                    self.agenda.add(back, Event::PortalRepair { portal: number, repair, after, up_to });
                }
                Output::Drop { .. } | Output::Flush | Output::Ignored { .. } => {}
            }
        }
    }

    /// Steps the portals with what tasks have brought; true: there was something.
    pub(crate) fn empty_mailbox(&mut self) -> bool {
        let inputs = std::mem::take(&mut *self.bus.mailbox.borrow_mut());
        let is_any = !inputs.is_empty();
        for (number, input) in inputs {
            self.step_portal(number, input);
        }
        is_any
    }

    /// A node that leads, or believes so, answers which changes a portal has missed; or nobody does.
    pub(crate) fn portal_repair(&mut self, portal: usize, number: u64, after: u64, wanted: u64) {
        let leads = |driver: &Driver| {
            driver.paused == 0 && driver.status().is_some_and(|status| status.role == Role::Leader)
        };
        let leaders: Vec<usize> =
            (0..self.drivers.len()).filter(|node| leads(&self.drivers[*node])).collect();
        let answer = self.random.choice(leaders).and_then(|node| {
            let batch = self.drivers[node].table.read(|read| since(read, after, REPAIR_CHANGES_MAX));
            match batch.expect("a table in memory can be read") {
                Feed::Changes(batch) => {
                    batch.up_to.filter(|up_to| up_to.offset >= wanted).map(|up_to| (batch.changes, up_to))
                }
                Feed::CompactedBefore(_) => None,
            }
        });
        self.bus.repairs += u64::from(answer.is_some());
        let input = match answer {
            Some((changes, up_to)) => Input::Repaired { number, changes, up_to },
            None => Input::RepairFailed { number },
        };
        self.step_portal(portal, input);
    }

    pub(crate) fn portal_connected(&mut self, number: usize) {
        if !self.bus.is_up {
            let again = self.now.us() + self.random.u64(50..500) * MS;
            self.agenda.add(again, Event::PortalConnected(number));
            return;
        }
        let portal = &mut self.bus.portals[number];
        portal.is_connected = true;
        portal.connections += 1;
        self.step_portal(number, Input::Connected);
    }

    pub(crate) fn broker_subscribed(&mut self, number: usize, connection: u64) {
        let portal = &mut self.bus.portals[number];
        portal.is_subscribed |= portal.is_connected && portal.connections == connection;
    }

    pub(crate) fn portal_subscribed(&mut self, number: usize, connection: u64) {
        let portal = &self.bus.portals[number];
        if portal.is_connected && portal.connections == connection {
            self.step_portal(number, Input::Subscribed);
        }
    }

    fn portal_lost(&mut self, number: usize) {
        self.bus.portals[number].is_subscribed = false;
        if std::mem::take(&mut self.bus.portals[number].is_connected) {
            self.step_portal(number, Input::Lost);
            let again = self.now.us() + self.random.u64(50..2_000) * MS;
            self.agenda.add(again, Event::PortalConnected(number));
        }
    }

    /// A portal asks the leaders to prove themselves; or its connection breaks.
    pub(crate) fn portal_tick(&mut self, number: usize) {
        self.agenda.add(self.now.us() + NONCE_US, Event::PortalTick(number));
        self.step_portal(number, Input::Tick);
        if !self.healing && self.random.u32(..60) == 0 {
            self.portal_lost(number);
        }
        if !self.healing && self.random.u32(..12) == 0 {
            let until = self.now.us() + self.random.u64(500..5_000) * MS;
            let is_slow = self.random.bool();
            let portal = &mut self.bus.portals[number];
            let what = if is_slow { &mut portal.slow_until } else { &mut portal.rough_until };
            *what = until;
        }
        let portal = Arc::clone(&self.bus.portals[number].portal);
        let log_id = portal.cache().log_id(GROUP);
        if !self.bus.portals[number].is_connected || log_id == 0 {
            return;
        }
        let mut nonce = [0; NONCE_BYTES];
        self.random.fill(&mut nonce);
        let at_ms = self.tasks.inside(|| portal.now_ms());
        self.step_portal(number, Input::NonceSent { nonce, at_ms });
        for node in 0..self.drivers.len() {
            if let Some(delay) = self.bus_delay(true) {
                let nonce = Bytes::copy_from_slice(&nonce);
                self.agenda.add(self.now.us() + delay, Event::NonceHeard { node, nonce, log_id });
            }
        }
    }

    /// The broker goes away, or comes back.
    pub(crate) fn broker_look(&mut self) {
        self.agenda.add(self.now.us() + BROKER_LOOK_US, Event::BrokerLook);
        if !self.bus.is_up {
            self.bus.is_up = self.healing || self.random.u32(..4) == 0;
        } else if !self.healing && self.random.u32(..40) == 0 {
            self.bus.is_up = false;
            for number in 0..self.bus.portals.len() {
                self.portal_lost(number);
            }
        }
    }

    /// How long a message is on its way over the bus; `None`: it is lost.
    fn bus_delay(&mut self, is_rough: bool) -> Option<Micros> {
        match self.random.u32(..if is_rough { 60 } else { 400 }) {
            _ if self.healing => Some(self.random.u64(200..3_000)),
            0..2 => None,
            2..4 => Some(self.random.u64(..LATE_US_MAX)),
            _ => Some(self.random.u64(200..3_000)),
        }
    }

    /// The broker has a message for every portal that is subscribed.
    pub(crate) fn broadcast(&mut self, node: usize, message: &BusMessage) {
        let delay = self.bus_delay(false);
        let now = self.now.us();
        let Some(session) = &mut self.bus.publishers[node].session else { return };
        if session.is_cut {
            return;
        }
        let number = session.number;
        if let Some(delay) = delay {
            // Acks come in the order of the messages.
            session.last_ack = (session.last_ack + 1).max(now + delay);
            self.agenda.add(session.last_ack, Event::BusAcked { node, session: number });
        } else {
            // The broker did not take it, or its ack is lost: nothing passes this connection any more, and the next session begins
            // before it.
            session.is_cut = true;
            let at = now + self.random.u64(1..1_000) * MS;
            self.agenda.add(at, Event::BusLost { node, session: number });
            if self.random.bool() {
                return;
            }
        }
        let subscribed = |portal: &usize| self.bus.portals[*portal].is_subscribed;
        let portals: Vec<usize> = (0..self.bus.portals.len()).filter(subscribed).collect();
        for portal in portals {
            let is_rough = self.bus.portals[portal].rough_until > self.now.us();
            let copies = if is_rough && self.random.u32(..20) == 0 { 2 } else { 1 };
            for _ in 0..copies {
                if let Some(delay) = self.bus_delay(is_rough) {
                    let (at, message) = (self.there(portal, delay), message.clone());
                    self.agenda.add(at, Event::BusDelivered { portal, message });
                }
            }
        }
    }

    /// When a message comes that is on its way for so long. To a slow portal messages come in their order, each late.
    fn there(&mut self, portal: usize, delay: Micros) -> Micros {
        let now = self.now.us();
        let late =
            if self.bus.portals[portal].slow_until > now { self.random.u64(..LATE_US_MAX / 2) } else { 0 };
        let portal = &mut self.bus.portals[portal];
        if late == 0 && portal.last_there < now {
            return now + delay;
        }
        portal.last_there = (now + late).max(portal.last_there + 1);
        portal.last_there
    }

    /// A message has come to a portal: also one of a connection before.
    pub(crate) fn bus_delivered(&mut self, portal: usize, message: BusMessage) {
        if self.bus.portals[portal].is_connected {
            self.step_portal(portal, Input::Message(message));
        }
    }
}
