//! The world of one run: nodes, network, clients, and what happens when. One event at a time, by simulated time.
//!
//! Promises: the same plan gives the same run, event for event (`trace`). Leaves out what faults do (`fault_injection`), and
//! what must be true at the end (`check`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use futures::channel::oneshot;
use proto::store::{BusMessage, Member as WireMember, Membership, PipelineRequest, PipelineResponse};
use store_client::link;
use store_core::{GroupId, MemberChange, NodeId, Role};
use store_engine::{Answer, Job};

use crate::answers::StreamId;
use crate::bus::Bus;
use crate::clocks::Clocks;
use crate::crossing::Place;
use crate::driver::Driver;
use crate::faults::Kind;
use crate::feed;
use crate::folder::first_member;
use crate::handle::{Handle, SimStore};
use crate::network::{Body, Heard, Network, Packet};
use crate::operator::Operator;
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::proofs::Opened;
use crate::pulse::{self, Pulse};
use crate::registers::Notes;
use crate::score::Score;
use crate::shop::Books;
use crate::stage::Stage;
use crate::tasks::Tasks;
use crate::time::{Agenda, MS, Micros, NodeClock, Now};
use crate::trace::Trace;
use crate::unnamed;

/// Between two looks at what clients wait for.
const SWEEP_US: Micros = 100 * MS;
/// Between two turns of tokio's clock.
const CLOCK_US: Micros = 10 * MS;

/// What happens.
pub(crate) enum Event {
    Tick {
        node: usize,
        boot: u64,
    },
    Poll {
        node: usize,
        boot: u64,
        stage: Stage,
    },
    Deliver(Packet),
    /// The push stream from one node to another broke.
    StreamReset {
        from: usize,
        to: usize,
    },
    Start(usize),
    /// A node that cannot start any more comes back with an empty folder.
    ComeBackEmpty(usize),
    /// The operator looks at the cluster.
    Operate,
    /// A request of the operator has come to a node.
    Ask {
        node: usize,
        number: u64,
        change: MemberChange,
    },
    /// The operator hears what became of a request.
    NodeResponse {
        number: u64,
        answer: Answer,
    },
    /// A request of a client has come to a node.
    Arrive {
        node: usize,
        stream: StreamId,
        request: PipelineRequest,
    },
    Answer {
        stream: StreamId,
        response: PipelineResponse,
    },
    StreamLost(StreamId),
    StreamOpened(StreamId),
    /// The turn of a client's link is due.
    Turn(usize),
    /// A client has asked who leads; the stream that stalls, if one does.
    Found(usize, Option<link::StreamId>),
    /// A publisher's turn.
    Publish(usize),
    BusAcked {
        node: usize,
        session: u64,
    },
    BusLost {
        node: usize,
        session: u64,
    },
    BusDelivered {
        portal: usize,
        message: BusMessage,
    },
    NonceHeard {
        node: usize,
        nonce: Bytes,
        log_id: u64,
    },
    PortalConnected(usize),
    BrokerSubscribed(usize, u64),
    PortalSubscribed(usize, u64),
    PortalTick(usize),
    PortalRepair {
        portal: usize,
        repair: u64,
        after: u64,
        up_to: u64,
    },
    BrokerLook,
    Sweep,
    TurnClock,
    Wake(oneshot::Sender<()>),
    /// A fault of the plan, by its place there.
    Fault(usize),
    FaultEnds(usize),
    Clog(usize),
    Release(usize),
}

/// A hang under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hanging {
    /// Which fault of the plan it is.
    pub(crate) place: usize,
    pub(crate) node: usize,
    pub(crate) began: Micros,
    /// Leaders elected before.
    pub(crate) elections: u64,
    /// A write succeeds within this, if nothing else is wrong.
    pub(crate) within: Micros,
    /// Nothing else has been wrong.
    pub(crate) is_checked: bool,
}

/// The world.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: Now,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) drivers: Vec<Driver>,
    pub(crate) network: Network,
    pub(crate) oracle: Oracle,
    pub(crate) operator: Operator,
    pub(crate) handles: Vec<Handle>,
    /// Whose stream it is.
    pub(crate) streams: BTreeMap<StreamId, usize>,
    pub(crate) tasks: Tasks,
    pub(crate) bus: Bus,
    pub(crate) notes: Notes,
    pub(crate) books: Books,
    /// What the client was told whose writes have no identity.
    pub(crate) unnamed: unnamed::Told,
    /// What readers of the feed were given.
    pub(crate) heard: feed::AllHeard,
    pub(crate) score: Rc<RefCell<Score>>,
    pub(crate) random: fastrand::Rng,
    pub(crate) trace: Trace,
    /// No more faults.
    pub(crate) healing: bool,
    /// Faults that keep clients away from a node.
    pub(crate) clients_cut: Vec<u32>,
    /// What a crash that a planted error brings about is to be: how long the node is down, and whether its machine
    /// loses its power.
    pub(crate) after_failure: Vec<(Micros, bool)>,
    /// Faults that let strangers on the network now.
    pub(crate) strangers: u32,
    /// Files as they were, for an old chunk to come back.
    pub(crate) old: Vec<(String, Vec<u8>)>,
    /// Disks that hang.
    pub(crate) hanging: Vec<Hanging>,
    /// Nothing but disks that hang has been wrong since then.
    pub(crate) well_since: Option<Micros>,
    /// Faults that keep commit orders back.
    pub(crate) commits_held: u32,
    /// Clients that write while a disk hangs.
    pub(crate) pulse: Rc<Pulse>,
    /// Kinds of faults that came to pass.
    pub(crate) met: Vec<Kind>,
    pub(crate) starts: u64,
    pub(crate) stages: Vec<Stage>,
    /// Which group of a ring it is; `None`: the only one.
    pub(crate) place: Option<Place>,
}

impl World {
    /// The world of the only group.
    pub(crate) fn new(plan: Plan, watch: bool) -> World {
        let mut world = World::founded(plan, watch, Now::default(), None);
        world.open_shop();
        world.begin();
        world
    }

    /// The nodes of a group, started.
    pub(crate) fn founded(plan: Plan, watch: bool, now: Now, place: Option<Place>) -> World {
        let nodes = plan.nodes + plan.spares;
        let group = place.as_ref().map_or(GroupId(1), Place::group);
        let owned = place.as_ref().map(Place::owned);
        let member = |index: usize| {
            let member = first_member(index);
            let address = format!("node-{}", member.node.0);
            WireMember { node: member.node.0, incarnation: member.incarnation.0, address, joined: false }
        };
        let voters = (0..plan.nodes).map(member).collect();
        let members = Membership { voters, owned, ..Membership::default() };
        let clocks: Vec<_> = (0..nodes).map(|_| NodeClock::new(now.clone())).collect();
        let driver = |index: usize| {
            let clock = clocks[index].clone();
            if index < plan.nodes {
                Driver::bootstrap((group, index), &members, clock)
            } else {
                Driver::spare((group, index), clock)
            }
        };
        let firsts: Vec<_> = (0..nodes).map(first_member).collect();
        let mut world = World {
            drivers: (0..nodes).map(driver).collect(),
            network: Network::new(nodes),
            oracle: Oracle::new(&firsts, plan.nodes, Clocks::new(clocks.clone())),
            operator: Operator::new(plan.seed),
            handles: Vec::new(),
            streams: BTreeMap::new(),
            tasks: Tasks::new(now.clone()),
            bus: Bus::new(nodes),
            notes: Notes::default(),
            books: Books::default(),
            unnamed: unnamed::Told::default(),
            heard: feed::AllHeard::default(),
            score: Rc::default(),
            random: fastrand::Rng::with_seed(plan.seed),
            trace: Trace::new(watch),
            healing: false,
            clients_cut: vec![0; nodes],
            after_failure: vec![(0, false); nodes],
            strangers: 0,
            old: Vec::new(),
            hanging: Vec::new(),
            well_since: None,
            commits_held: 0,
            pulse: Rc::default(),
            met: Vec::new(),
            starts: 0,
            stages: Vec::new(),
            place,
            agenda: Agenda::new(),
            now,
            plan,
        };
        for node in 0..nodes {
            world.start(node);
        }
        world
    }

    /// Faults come when they come, and what comes again and again comes for the first time.
    pub(crate) fn begin(&mut self) {
        for (place, fault) in self.plan.faults.iter().enumerate() {
            self.agenda.add(fault.at, Event::Fault(place));
        }
        if self.place.is_none() {
            (0..self.drivers.len()).for_each(|node| self.agenda.add(MS, Event::Publish(node)));
        }
        self.agenda.add(SWEEP_US, Event::Operate);
        self.agenda.add(SWEEP_US, Event::Sweep);
        self.agenda.add(CLOCK_US, Event::TurnClock);
    }

    pub(crate) fn store(&mut self, patience: Micros) -> SimStore {
        let handle = Handle::new(patience, self.now.clone());
        let store = handle.store();
        self.handles.push(handle);
        store
    }

    /// Clients that have not finished.
    pub(crate) fn clients_running(&self) -> usize {
        self.tasks.running()
    }

    /// One event. False: nothing will ever happen again.
    pub(crate) fn step(&mut self) -> bool {
        let Some((at, event)) = self.agenda.next() else { return false };
        self.now.advance_to(at);
        store_client::simulate_now_ms(Some(self.now.wall_ms()));
        self.happen(event);
        if self.tasks.is_woken() {
            self.run_tasks();
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { node, boot } => self.tick(node, boot),
            Event::Poll { node, boot, stage } => self.poll(node, boot, stage),
            Event::Deliver(packet) => self.deliver(packet),
            Event::StreamReset { from, to } => {
                self.drivers[from].reconnected(to);
                self.schedule(from);
            }
            Event::Start(node) => self.start(node),
            Event::ComeBackEmpty(node) => self.come_back_empty(node),
            Event::Operate => self.operate(),
            Event::Ask { node, number, change } => self.ask(node, number, change),
            Event::NodeResponse { number, answer } => self.operator.told(number, &answer, &self.oracle),
            Event::Arrive { node, stream, request } => self.arrive(node, stream, request),
            Event::Answer { stream, response } => {
                let (now, owner) = (self.now.us(), self.streams[&stream]);
                if pulse::is_write_that_succeeded(&response) {
                    self.pulse.last.set(now);
                }
                self.handles[owner].answered(stream, response);
                self.turn(owner);
            }
            Event::StreamLost(stream) => {
                let owner = self.streams[&stream];
                self.handles[owner].lost(stream);
                self.turn(owner);
            }
            Event::StreamOpened(stream) => self.handles[self.streams[&stream]].opened(stream),
            Event::Turn(handle) if self.handles[handle].alarm <= self.now.us() => self.turn(handle),
            Event::Turn(_) => {}
            Event::Found(handle, stream) => self.found(handle, stream),
            Event::Sweep => {
                self.watch_hangs();
                self.agenda.add(self.now.us() + SWEEP_US, Event::Sweep);
            }
            Event::TurnClock => {
                self.tasks.turn_clock(CLOCK_US);
                self.turn_asked();
                self.agenda.add(self.now.us() + CLOCK_US, Event::TurnClock);
            }
            Event::Publish(node) => self.publish(node),
            Event::BusAcked { node, session } => {
                let now_ms = self.now.us() / MS;
                self.bus.publishers[node].acked(session, now_ms);
            }
            Event::BusLost { node, session } => self.bus.publishers[node].lost(session),
            Event::BusDelivered { portal, message } => self.bus_delivered(portal, message),
            Event::NonceHeard { node, nonce, log_id } => {
                let now_ms = self.now.us() / MS;
                self.bus.publishers[node].nonce(nonce, log_id, now_ms);
            }
            Event::PortalConnected(portal) => self.portal_connected(portal),
            Event::BrokerSubscribed(portal, connection) => self.broker_subscribed(portal, connection),
            Event::PortalSubscribed(portal, connection) => self.portal_subscribed(portal, connection),
            Event::PortalTick(portal) => self.portal_tick(portal),
            Event::PortalRepair { portal, repair, after, up_to } => {
                self.portal_repair(portal, repair, after, up_to);
            }
            Event::BrokerLook => self.broker_look(),
            // A client that has gone does not wait.
            Event::Wake(ring) => drop(ring.send(())),
            Event::Fault(place) => self.fault(place),
            Event::FaultEnds(place) => self.fault_ends(place),
            Event::Clog(node) => self.network.clog(node),
            Event::Release(node) => self.release(node),
        }
    }

    pub(crate) fn run_tasks(&mut self) {
        self.tasks.run();
        while self.empty_mailbox() | self.carry_cross() {
            self.tasks.run();
        }
        for (at, ring) in self.tasks.take_appointments() {
            self.agenda.add(at, Event::Wake(ring));
        }
        self.turn_asked();
    }

    /// Turns the links that clients have asked something.
    pub(crate) fn turn_asked(&mut self) {
        for handle in 0..self.handles.len() {
            if self.handles[handle].is_asked() {
                self.turn(handle);
            }
        }
    }

    // The network.

    /// The packet with its proof. Introductions take no time.
    fn sealed(&mut self, packet: &Packet) -> Packet {
        let (mut packet, (from, to)) = (packet.clone(), (packet.from, packet.to));
        let Some(mut up) = self.drivers[from].up.take() else { return packet };
        packet.seal = if packet.is_answer() {
            up.proofs.answer(&packet)
        } else {
            if let Some(peer) = &mut self.drivers[to].up {
                up.proofs.begin(&packet, &mut peer.proofs);
            }
            up.proofs.call(&packet)
        };
        self.drivers[from].up = Some(up);
        packet
    }

    pub(crate) fn send(&mut self, packet: &Packet) {
        let packet = &self.sealed(packet);
        self.trace.event(self.now.us(), 2, packet.digest(), 0);
        let fate = self.network.send(packet, self.now.us(), &mut self.random);
        if fate.breaks {
            let at = self.now.us() + self.random.u64(..300) * MS;
            self.agenda.add(at, Event::StreamReset { from: packet.from, to: packet.to });
        }
        for at in fate.arrivals {
            self.agenda.add(at, Event::Deliver(packet.clone()));
        }
    }

    fn deliver(&mut self, packet: Packet) {
        if self.network.is_clogged(&packet) {
            return self.network.hold(packet);
        }
        let (from, to) = (packet.from, packet.to);
        if self.network.is_cut(from, to) {
            return;
        }
        let member = self.drivers[to].member;
        let Some(up) = &mut self.drivers[to].up else { return };
        if packet.meant() == member {
            let opened = up.proofs.open(&packet);
            if packet.stranger.is_some() {
                return;
            }
            if opened == Opened::Believed {
                self.misuse(&packet);
            }
        }
        if packet.stranger.is_some() {
            return;
        }
        let Some(up) = &mut self.drivers[to].up else { return };
        let heard = packet.heard();
        if !up.takes(&packet, heard.as_ref()) {
            return;
        }
        if let Some(Heard { job, out_of_space, clock_ms, version }) = heard {
            let peer = World::id(from);
            let clock = clock_ms.map(|wall_ms| Job::PeerClock { peer, wall_ms });
            let version = version.map(|version| Job::PeerVersion { peer, version });
            let headroom = out_of_space.and_then(|is_out_of_space| up.lines.headroom(from, is_out_of_space));
            headroom.into_iter().chain(clock).chain(version).for_each(|told| up.hear(told));
            up.hear(job);
            return self.schedule(to);
        }
        let (now, speaker) = (self.now.us(), packet.speaker);
        let done = match &packet.body {
            Body::Ask { at, from_byte } => self.drivers[to].serve(speaker, *at, *from_byte),
            Body::Block { file, at_byte, data } => {
                self.drivers[to].receive(speaker, file, *at_byte, data, now)
            }
            Body::Wire(_) => unreachable!("it is a job"),
        };
        match done {
            Ok(Some(packet)) => self.send(&packet),
            Ok(None) => {}
            Err(error) => self.failed(to, &error),
        }
        self.schedule(to);
    }

    fn release(&mut self, node: usize) {
        for packet in self.network.release(node) {
            let at = self.now.us() + self.random.u64(..5 * MS);
            self.agenda.add(at, Event::Deliver(packet));
        }
    }

    /// The leader of the latest epoch among those that run.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leads = |driver: &&Driver| driver.status().is_some_and(|status| status.role == Role::Leader);
        let leaders = self.drivers.iter().filter(leads);
        leaders.max_by_key(|driver| driver.status().map(|status| status.epoch)).map(|driver| driver.index)
    }

    /// A node's id.
    pub(crate) fn id(node: usize) -> NodeId {
        NodeId(node as u64 + 1)
    }
}
