//! Clients' streams in the world: what their links want is done, and what goes over the network may be lost, late, or come when
//! its client has long gone on.

use std::collections::BTreeSet;

use proto::store::{LeaderHint, PipelineRequest};
use store_client::link::{self, Act};
use store_core::Role;

use crate::answers::{Answered, StreamId};
use crate::driver::Driver;
use crate::kv_service::Known;
use crate::time::{MS, Micros, SECOND};
use crate::world::{Event, World};

/// A request that was lost may arrive up to so late.
const LATE_US_MAX: Micros = 12 * SECOND;

/// Answers over a long way take so much longer at most.
const FAR_US_MAX: Micros = 40 * MS;
/// One of so many requests is the last on its stream, which breaks for no reason.
const STREAM_BREAKS_IN: u32 = 400;

impl World {
    /// How long a message between a client and a node takes; `None`: it is lost.
    pub(crate) fn client_delay(&mut self, node: usize) -> Option<Micros> {
        if self.clients_cut[node] > 0 || self.random.u32(..100) < self.network.loss / 4 {
            return None;
        }
        let delay = self.network.delay_us;
        let extra = if delay > 0 && self.random.u32(..8) == 0 { self.random.u64(..delay) } else { 0 };
        Some(self.random.u64(80..500) + extra)
    }

    /// The same between a handle and a node: of a machine with replicas of every group, what parts machines parts it from their leaders.
    fn handle_delay(&mut self, handle: usize, node: usize) -> Option<Micros> {
        let machine = self.handles[handle].of.as_ref().and_then(|of| of.machine);
        let is_cut = |from: usize| {
            from != node && (self.network.is_cut(from, node) || self.network.is_cut(node, from))
        };
        if machine.is_some_and(is_cut) { None } else { self.client_delay(node) }
    }

    /// Does what a client's link wants, and puts on its stream what waits.
    pub(crate) fn turn(&mut self, handle: usize) {
        if self.handles[handle].has_ended() {
            self.handles[handle].open = None;
            return;
        }
        if self.handles[handle].waits() {
            return;
        }
        let alarm = self.handles[handle].alarm;
        for act in self.handles[handle].turn() {
            match act {
                Act::Find => self.ask_who_leads(handle, None),
                Act::Look { stream } => self.ask_who_leads(handle, Some(stream)),
                Act::Open { stream, target } => self.open(handle, stream, &target),
                Act::Close { .. } => self.handles[handle].open = None,
                Act::Forget { .. } | Act::Avoid { .. } => {}
            }
        }
        while let Some(request) = self.handles[handle].next() {
            self.request(handle, request);
        }
        let next = self.handles[handle].alarm;
        if next != alarm {
            self.agenda.add(next, Event::Turn(handle));
        }
    }

    fn ask_who_leads(&mut self, handle: usize, stream: Option<link::StreamId>) {
        let at = self.now.us() + self.random.u64(500..3_000);
        self.agenda.add(at, Event::Found(handle, stream));
    }

    /// What some of the nodes that can be reached say of who leads; now and then what was true long ago.
    pub(crate) fn found(&mut self, handle: usize, stream: Option<link::StreamId>) {
        let hint = |node: u64, epoch: u64| LeaderHint { node, address: format!("node-{node}"), epoch };
        let answers: Vec<bool> = self.drivers.iter().map(|_| self.random.bool()).collect();
        let reached = |driver: &&Driver| self.clients_cut[driver.index] == 0 && answers[driver.index];
        let said = self.drivers.iter().filter(reached).filter_map(Driver::status);
        let known = said.filter_map(|status| Some((status.epoch.0, status.leader?.0)));
        let found = match known.max() {
            _ if self.random.u32(..4) == 0 => Some(hint(self.random.u64(1..=self.drivers.len() as u64), 0)),
            Some((epoch, node)) => Some(hint(node, epoch)),
            None => None,
        };
        match stream {
            Some(stream) => self.handles[handle].looked(stream, found),
            None => self.handles[handle].found(found.ok_or_else(|| "no node knows a leader".to_owned())),
        }
        self.turn(handle);
    }

    /// Puts a request on the open stream of a handle. A stream loses nothing in the middle: after a loss nothing comes
    /// through until both sides notice.
    fn request(&mut self, handle: usize, request: PipelineRequest) {
        let Some(open) = self.handles[handle].open.as_ref().filter(|open| !open.is_cut) else { return };
        let (stream, node) = (open.stream, open.node);
        let delay = self.handle_delay(handle, node);
        let Some(open) = self.handles[handle].open.as_mut() else { return };
        match delay {
            Some(delay) => {
                open.last_there = (self.now.us() + delay).max(open.last_there + 1);
                self.agenda.add(open.last_there, Event::Arrive { node, stream, request });
                if !self.healing && self.random.u32(..STREAM_BREAKS_IN) == 0 {
                    // What is sent arrives, and what is answered does not.
                    open.is_cut = true;
                    let at = self.now.us() + self.random.u64(..5_000);
                    self.agenda.add(at, Event::StreamLost(stream));
                }
            }
            None => {
                open.is_cut = true;
                let at = self.now.us() + self.random.u64(1..1_000) * MS;
                self.agenda.add(at, Event::StreamLost(stream));
                if self.random.u32(..3) == 0 {
                    // It was only stuck somewhere, and comes when its client has long gone on.
                    let late = self.now.us() + self.random.u64(1..LATE_US_MAX);
                    self.agenda.add(late, Event::Arrive { node, stream, request });
                }
            }
        }
    }

    fn open(&mut self, handle: usize, number: link::StreamId, target: &LeaderHint) {
        let node = usize::try_from(target.node).expect("a node of this run") - 1;
        let stream = self.streams.len() as StreamId + 1;
        self.streams.insert(stream, handle);
        self.handles[handle].opens(number, stream, node);
        // Lost on the way: it is never opened.
        if let Some(delay) = self.handle_delay(handle, node) {
            let event = if self.drivers[node].up.is_some() { Event::StreamOpened } else { Event::StreamLost };
            self.agenda.add(self.now.us() + 2 * delay, event(stream));
        }
    }

    /// Ends the streams that are broken, behind their last answers.
    pub(crate) fn end_broken(&mut self, node: usize, streams: &BTreeSet<StreamId>) {
        let Some(up) = &self.drivers[node].up else { return };
        let broken: Vec<StreamId> = streams.iter().copied().filter(|id| up.kv_service.ends(*id)).collect();
        for stream in broken {
            let open = self.handles[self.streams[&stream]].open.as_ref();
            if let Some(open) = open.filter(|open| open.stream == stream && !open.is_cut) {
                self.agenda.add(open.last_back.max(self.now.us()) + 1, Event::StreamLost(stream));
            }
        }
    }

    pub(crate) fn arrive(&mut self, node: usize, stream: StreamId, request: PipelineRequest) {
        let driver = &mut self.drivers[node];
        if self.place.is_some() && driver.up.is_some() && (driver.paused > 0 || !driver.held.is_empty()) {
            // What comes while the process stands still waits in the kernel, in its order.
            driver.held.push((stream, request));
            return;
        }
        self.trace.event(self.now.us(), 3, stream, request.number);
        let wall_ms = self.drivers[node].wall_ms();
        let Some(up) = &mut self.drivers[node].up else {
            self.agenda.add(self.now.us() + MS, Event::StreamLost(stream));
            return;
        };
        let status = up.node.status();
        let (leads, version) = (status.role == Role::Leader, status.applied.version);
        let known = Known { wall_ms, is_non_member: up.is_non_member(), leads, version };
        let is_non_member = up.is_non_member();
        up.cross.iter().for_each(|cross| cross.host.set_non_member(is_non_member));
        let answered = match &up.cross {
            Some(cross) => self.tasks.inside(|| up.kv_service.take_on_ring(stream, request, cross)),
            None => up.kv_service.take(stream, request, known),
        };
        if let Some(answered) = answered {
            self.answer(node, answered);
        }
        self.schedule(node);
    }

    pub(crate) fn answer(&mut self, node: usize, (stream, response): Answered) {
        self.trace.event(self.now.us(), 4, stream, response.number);
        self.bus.ledger.borrow_mut().note(&response, &self.drivers[node].table, self.now.us());
        let owner = self.streams[&stream];
        let delay = self.handle_delay(owner, node);
        let far = if self.handles[owner].is_far { self.random.u64(..FAR_US_MAX) } else { 0 };
        let mut at = self.now.us() + delay.unwrap_or(0) + far;
        if let Some(open) = self.handles[owner].open.as_mut().filter(|open| open.stream == stream) {
            let was_cut = open.is_cut;
            open.is_cut |= delay.is_none();
            if was_cut {
                return;
            }
            at = at.max(open.last_back + 1);
            open.last_back = at;
        }
        if delay.is_some() {
            self.agenda.add(at, Event::Answer { stream, response });
        } else {
            let at = self.now.us() + self.random.u64(1..1_000) * MS;
            self.agenda.add(at, Event::StreamLost(stream));
        }
    }
}
