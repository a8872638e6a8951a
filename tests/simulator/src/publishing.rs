//! Publishers in the world: the steps of their plans, over a broker that loses, doubles, delays and reorders ([`crate::bus`]).

use prost::Message as _;
use proto::store::command::Kind;
use proto::store::{BusMessage, Events, FreshnessHeartbeat, PublishMark, bus_message};
use store_core::{Epoch, Role};
use store_db::changes::since;
use store_db::{Table as _, state};
use store_engine::front::command_of;
use store_engine::publisher::{EVENTS_MAX, Found, Plan, Step, found};
use store_engine::{Job, RequestId};

use crate::publisher::{Publisher, Session, Waits};
use crate::time::MS;
use crate::world::{Event, World};

/// Bytes that the broker takes in one message: a small one, so that messages have few changes.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Steps of one turn.
const STEPS_MAX: usize = 32;

impl World {
    /// A publisher's turn.
    pub(crate) fn publish(&mut self, node: usize) {
        let is_publishing = self.bus.publishers[node].session.is_some();
        // As soon as there is something, or when its thread gets its turn at last.
        let is_quick = is_publishing && self.random.bool();
        let pause = if is_quick { self.random.u64(500..4_000) } else { self.random.u64(5..40) * MS };
        self.agenda.add(self.now.us() + pause, Event::Publish(node));
        let driver = &self.drivers[node];
        if driver.paused > 0 {
            return;
        }
        if self.bus.publishers[node].boot != driver.boot {
            self.bus.publishers[node] = Publisher { boot: driver.boot, ..Publisher::default() };
        }
        let status = driver.status().filter(|status| status.role == Role::Leader && self.bus.is_up);
        let Some(status) = status else {
            self.bus.publishers[node].end();
            return;
        };
        if self.bus.publishers[node].session.as_ref().is_some_and(|session| session.epoch != status.epoch) {
            self.bus.publishers[node].end();
        }
        if status.applied.position.offset.0 == 0 {
            return;
        }
        if self.bus.publishers[node].session.is_none() {
            self.begin_session(node, status.epoch);
        }
        for _ in 0..STEPS_MAX {
            if !self.publish_next(node, status.applied.last_change.0) {
                return;
            }
        }
    }

    fn begin_session(&mut self, node: usize, epoch: Epoch) {
        let log = self.drivers[node].table.read(|read| {
            let state = state::read(read)?;
            Ok((state::log_id(&state), state.publish_mark))
        });
        let (log_id, mark) = log.expect("a table in memory can be read");
        let number = self.bus.next_session();
        let publisher = &mut self.bus.publishers[node];
        let acked = publisher.acked.filter(|(of, _)| *of == epoch).map(|(_, acked)| acked);
        let plan = Plan::new(mark, acked);
        publisher.session =
            Some(Session { number, epoch, log_id, plan, acks: 0, last_ack: 0, is_cut: false, waits: None });
    }

    /// One step of the plan; false: there is nothing to do now.
    fn publish_next(&mut self, node: usize, last_change: u64) -> bool {
        let now_ms = self.now.us() / MS;
        let Some(session) = &mut self.bus.publishers[node].session else { return false };
        if session.waits.is_some() {
            return false;
        }
        match session.plan.next(now_ms, last_change) {
            Step::Read { after } => self.publish_events(node, after),
            Step::FreshnessHeartbeat { offset, previous, nonces } => {
                let heartbeat = FreshnessHeartbeat { offset, previous, nonces };
                self.give_to_broker(node, bus_message::Kind::FreshnessHeartbeat(heartbeat));
            }
            Step::Ask => {
                let asked = self.ask_node(node, |request_id| Job::Read { request_id });
                self.waits(node, asked.map(Waits::Round));
            }
            Step::Mark { offset } => {
                let command = command_of(Kind::PublishMark(PublishMark { offset }));
                let asked = self.ask_node(node, |request_id| Job::Write { request_id, command });
                self.waits(node, asked.map(|asked| Waits::Mark(asked, offset)));
            }
            Step::Wait { .. } => return false,
        }
        true
    }

    fn ask_node(&mut self, node: usize, job: impl FnOnce(RequestId) -> Job) -> Option<RequestId> {
        let asked = self.drivers[node].up.as_mut().map(|up| up.kv_service.ask(job));
        self.schedule(node);
        asked
    }

    fn waits(&mut self, node: usize, waits: Option<Waits>) {
        if let Some(session) = &mut self.bus.publishers[node].session {
            session.waits = waits;
        }
    }

    fn publish_events(&mut self, node: usize, after: u64) {
        let feed = self.drivers[node].table.read(|read| since(read, after, EVENTS_MAX));
        let found = found(feed.expect("a table in memory can be read"), after, MESSAGE_BYTES_MAX);
        if let Found::Changes { changes, .. } = &found
            && !changes.is_empty()
        {
            self.give_to_broker(node, bus_message::Kind::Events(Events { changes: changes.clone() }));
        }
        let Some(session) = &mut self.bus.publishers[node].session else { return };
        match found {
            Found::Changes { changes, up_to } => {
                session.plan.read(changes.last().map(|change| change.offset), up_to, changes.len());
            }
            Found::TooLarge { offset, .. } => session.plan.skip(offset),
            Found::Trimmed { first } => session.plan.skip_to(first),
        }
    }

    /// Hands a message to the broker.
    fn give_to_broker(&mut self, node: usize, kind: bus_message::Kind) {
        let Some(session) = &mut self.bus.publishers[node].session else { return };
        session.plan.sent();
        let (epoch, log_id) = (session.epoch.0, session.log_id);
        let message = BusMessage { group: 1, ring_version: 1, epoch, kind: Some(kind), log_id };
        // As it is on the wire.
        let message = BusMessage::decode(message.encode_to_vec().as_slice()).expect("it was just encoded");
        self.broadcast(node, &message);
    }
}
