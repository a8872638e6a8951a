//! The world of one run: nodes, network, clients, and what happens when. One event at a time, by simulated time.
//!
//! Promises: the same plan gives the same run, event for event (`trace`). Leaves out what faults do (`trouble`), and
//! what must be true at the end (`judge`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures::channel::oneshot;
use proto::store::{Member as WireMember, Membership, PipelineRequest, PipelineResponse};
use store_core::{NodeId, Role};
use store_engine::{Error, Job};

use crate::counters;
use crate::door::{Answered, StreamId};
use crate::faults::Kind;
use crate::handle::{Act, DEADLINE_US, DEADLINE_US_SHORT, Handle, SimStore};
use crate::network::{Body, Network, Packet};
use crate::plan::Plan;
use crate::registers::{Notes, Writer};
use crate::score::Score;
use crate::shell::{Made, Shell, Stage, first_member};
use crate::shop::{Books, Person, Portals, Shopping, shopper_name};
use crate::tasks::Tasks;
use crate::time::{Agenda, MS, Micros, NodeClock, Now, SECOND};
use crate::trace::Trace;
use crate::violation::violated;
use crate::witness::Witness;

/// Between two ticks of a node.
const TICK_US: Micros = 10 * MS;
/// Between two looks at what clients wait for.
const SWEEP_US: Micros = 100 * MS;
/// Between two turns of tokio's clock.
const CLOCK_US: Micros = 10 * MS;
/// A node that found no room tries to start again after this.
const START_AGAIN_US: Micros = 400 * MS;
/// A request that was lost may arrive up to so late.
const LATE_US_MAX: Micros = 12 * SECOND;
/// Portals of each kind.
const PORTALS: usize = 2;

/// What happens.
pub(crate) enum Event {
    Tick {
        node: usize,
        life: u64,
    },
    Turn {
        node: usize,
        life: u64,
        stage: Stage,
    },
    Deliver(Packet),
    /// The push stream from one node to another broke.
    StreamReset {
        from: usize,
        to: usize,
    },
    Start(usize),
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
    Open(usize),
    Sweep,
    TurnClock,
    Wake(oneshot::Sender<()>),
    /// A fault of the plan, by its place there.
    Fault(usize),
    FaultEnds(usize),
    Clog(usize),
    Release(usize),
}

/// The world.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: Now,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) shells: Vec<Shell>,
    pub(crate) network: Network,
    pub(crate) witness: Witness,
    handles: Vec<Handle>,
    /// Whose stream it is.
    streams: BTreeMap<StreamId, usize>,
    tasks: Tasks,
    pub(crate) notes: Notes,
    pub(crate) books: Books,
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
    /// Files as they were, for an old chunk to come back.
    pub(crate) old: Vec<(String, Vec<u8>)>,
    /// Kinds of faults that came to pass.
    pub(crate) met: Vec<Kind>,
    starts: u64,
    stages: Vec<Stage>,
    acts: Vec<Act>,
}

impl World {
    pub(crate) fn new(plan: Plan, watch: bool) -> World {
        let (now, nodes) = (Now::default(), plan.nodes);
        let member = |index: usize| {
            let member = first_member(index);
            let address = format!("node-{}", member.node.0);
            WireMember { node: member.node.0, incarnation: member.incarnation.0, address, joined: false }
        };
        let members = Membership { voters: (0..nodes).map(member).collect(), ..Membership::default() };
        let shell = |index| Shell::bootstrap(index, &members, NodeClock::new(now.clone()));
        let firsts: Vec<_> = (0..nodes).map(first_member).collect();
        let mut world = World {
            shells: (0..nodes).map(shell).collect(),
            network: Network::new(nodes),
            witness: Witness::new(&firsts),
            handles: Vec::new(),
            streams: BTreeMap::new(),
            tasks: Tasks::new(now.clone()),
            notes: Notes::default(),
            books: Books::default(),
            score: Rc::default(),
            random: fastrand::Rng::with_seed(plan.seed),
            trace: Trace::new(watch),
            healing: false,
            clients_cut: vec![0; nodes],
            after_failure: vec![(0, false); nodes],
            old: Vec::new(),
            met: Vec::new(),
            starts: 0,
            stages: Vec::new(),
            acts: Vec::new(),
            agenda: Agenda::new(),
            now,
            plan,
        };
        for node in 0..nodes {
            world.start(node);
        }
        world.open_shop();
        for (place, fault) in world.plan.faults.iter().enumerate() {
            world.agenda.add(fault.at, Event::Fault(place));
        }
        world.agenda.add(SWEEP_US, Event::Sweep);
        world.agenda.add(CLOCK_US, Event::TurnClock);
        world
    }

    fn store(&mut self, patience: Micros) -> SimStore {
        let handle = Handle::new(patience);
        let store = handle.store();
        self.handles.push(handle);
        store
    }

    /// Spawns the clients.
    fn open_shop(&mut self) {
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
        let mut store = || self.store(DEADLINE_US);
        let portals = (0..PORTALS).map(|number| Portals::new(number, store(), store())).collect();
        let shopping = Shopping {
            portals,
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
        };
        self.tasks.spawn(person("staff".to_owned(), 0).staff(shoppers, share / 4 + 1, faults_until));
        let rest = operations - writers * share - share / 4;
        for shopper in 0..shoppers {
            let shopper =
                person(shopper_name(shopper), 1 + shopper).shopper(rest / shoppers + 1, faults_until);
            self.tasks.spawn(shopper);
        }
        self.run_tasks();
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
            Event::Tick { node, life } => self.tick(node, life),
            Event::Turn { node, life, stage } => self.turn(node, life, stage),
            Event::Deliver(packet) => self.deliver(packet),
            Event::StreamReset { from, to } => {
                self.shells[from].reconnected(to);
                self.schedule(from);
            }
            Event::Start(node) => self.start(node),
            Event::Arrive { node, stream, request } => self.arrive(node, stream, request),
            Event::Answer { stream, response } => {
                let (now, owner) = (self.now.us(), self.streams[&stream]);
                self.handles[owner].answered(stream, response, now, &mut self.acts);
                self.act(owner);
            }
            Event::StreamLost(stream) => {
                let (now, owner) = (self.now.us(), self.streams[&stream]);
                self.handles[owner].lost(stream, now, &mut self.acts);
                self.act(owner);
            }
            Event::Open(handle) => self.open(handle),
            Event::Sweep => {
                for handle in 0..self.handles.len() {
                    self.handles[handle].sweep(self.now.us(), &mut self.acts);
                    self.act(handle);
                }
                self.agenda.add(self.now.us() + SWEEP_US, Event::Sweep);
            }
            Event::TurnClock => {
                self.tasks.turn_clock(CLOCK_US);
                self.agenda.add(self.now.us() + CLOCK_US, Event::TurnClock);
            }
            // A client that has gone does not wait.
            Event::Wake(ring) => drop(ring.send(())),
            Event::Fault(place) => self.fault(place),
            Event::FaultEnds(place) => self.fault_ends(place),
            Event::Clog(node) => self.network.clog(node),
            Event::Release(node) => self.release(node),
        }
    }

    fn run_tasks(&mut self) {
        self.tasks.run();
        for (at, ring) in self.tasks.take_appointments() {
            self.agenda.add(at, Event::Wake(ring));
        }
        for handle in 0..self.handles.len() {
            self.handles[handle].take_asked(self.now.us(), &mut self.acts);
            self.act(handle);
        }
    }

    // Nodes.

    fn tick(&mut self, node: usize, life: u64) {
        let shell = &mut self.shells[node];
        if shell.life != life {
            return;
        }
        if shell.paused == 0 {
            shell.hear(Job::Tick);
        }
        self.agenda.add(self.now.us() + TICK_US, Event::Tick { node, life });
        self.schedule(node);
    }

    /// Schedules the turns that have become due on a node.
    pub(crate) fn schedule(&mut self, node: usize) {
        let mut stages = std::mem::take(&mut self.stages);
        self.shells[node].due(&mut stages);
        let (life, slow) = (self.shells[node].life, self.shells[node].slow_us);
        for stage in stages.drain(..) {
            let takes = match stage {
                Stage::Node => self.random.u64(20..80),
                Stage::Writer => {
                    self.random.u64(80..400) + if slow > 0 { self.random.u64(..slow) } else { 0 }
                }
                Stage::Applier => self.random.u64(30..150),
                Stage::Aside => self.random.u64(1..30) * MS,
                Stage::Pump(_) => self.random.u64(5..30),
            };
            self.agenda.add(self.now.us() + takes, Event::Turn { node, life, stage });
        }
        self.stages = stages;
    }

    fn turn(&mut self, node: usize, life: u64, stage: Stage) {
        if self.shells[node].life != life {
            return;
        }
        if self.shells[node].paused > 0 {
            self.agenda.add(self.now.us() + 5 * MS, Event::Turn { node, life, stage });
            return;
        }
        self.trace.event(self.now.us(), 1, node as u64, stage.slot() as u64);
        let (messages_max, planted) = (self.random.usize(1..5), self.plan.planted);
        let mut made = Made::default();
        let turned = self.shells[node].turn(stage, messages_max, planted, &mut self.witness, &mut made);
        self.carry(node, made);
        match turned {
            Err(error) => self.failed(node, &error),
            Ok(()) if self.shells[node].gone.is_some() => self.end(node, false),
            Ok(()) => self.schedule(node),
        }
    }

    /// Carries what a turn brought to where it belongs.
    fn carry(&mut self, node: usize, made: Made) {
        for packet in made.packets {
            self.send(&packet);
        }
        for answered in made.answers {
            self.answer(node, answered);
        }
        if let Some((from, at)) = made.fetch {
            let now = self.now.us();
            let own = self.shells[node].member;
            let ask = self.shells[node].up.as_mut().and_then(|up| up.want(own, from, at, now));
            if let Some(packet) = ask {
                self.send(&packet);
            }
        }
    }

    /// A node's process ends because of an error.
    fn failed(&mut self, node: usize, error: &Error) {
        let shell = &self.shells[node];
        if !shell.may_fail() {
            violated("no failure without a fault", format!("{}: {error}", shell.member.node));
        }
        let (down, power) = self.after_failure[node];
        self.trace.say(self.now.us(), || format!("node {} fails: {error}", node + 1));
        self.end(node, power && !self.any_damaged());
        self.agenda.add(self.now.us() + down.max(START_AGAIN_US / 4), Event::Start(node));
    }

    pub(crate) fn any_damaged(&self) -> bool {
        self.shells.iter().any(|shell| shell.damaged)
    }

    /// Ends a node: the process alone, or its machine.
    pub(crate) fn end(&mut self, node: usize, power: bool) {
        self.trace.say(self.now.us(), || format!("node {} is down (power lost: {power})", node + 1));
        if power {
            let seed = self.random.u64(..);
            self.shells[node].lose_power(seed);
        } else {
            self.shells[node].kill();
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
        if self.shells[node].up.is_some() || self.shells[node].gone.is_some() {
            return;
        }
        self.starts += 1;
        let seed = self.plan.seed ^ self.starts.rotate_left(32);
        let (nodes, snapshots) = (self.plan.nodes, self.plan.snapshots);
        match self.shells[node].start(seed, snapshots, nodes, &mut self.witness) {
            Ok(()) => {
                let suspect = self.shells[node].status().is_some_and(|status| status.suspect);
                self.trace.say(self.now.us(), || format!("node {} starts (suspect: {suspect})", node + 1));
                let life = self.shells[node].life;
                self.agenda.add(self.now.us() + self.random.u64(..TICK_US), Event::Tick { node, life });
                for peer in (0..nodes).filter(|peer| *peer != node) {
                    self.shells[node].reconnected(peer);
                    let at = self.now.us() + self.random.u64(..100) * MS;
                    self.agenda.add(at, Event::StreamReset { from: peer, to: node });
                }
            }
            Err(error) => self.cannot_start(node, &error),
        }
    }

    fn cannot_start(&mut self, node: usize, error: &Error) {
        let shell = &mut self.shells[node];
        self.trace.say(self.now.us(), || format!("node {} cannot start: {error}", node + 1));
        if shell.capped || std::mem::take(&mut shell.excused) {
            self.agenda.add(self.now.us() + START_AGAIN_US, Event::Start(node));
        } else if shell.damaged {
            shell.gone = Some(error.to_string());
        } else {
            violated("recovery ends well", format!("{}: {error}", shell.member.node));
        }
    }

    // The network.

    pub(crate) fn send(&mut self, packet: &Packet) {
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
        if self.network.is_cut(from, to) || self.shells[to].up.is_none() {
            return;
        }
        if let Some(job) = packet.job() {
            self.shells[to].hear(job);
            return self.schedule(to);
        }
        let now = self.now.us();
        let done = match &packet.body {
            Body::Ask { at, from_byte } => self.shells[to].serve(from, *at, *from_byte),
            Body::Block { file, at_byte, data } => self.shells[to].receive(from, file, *at_byte, data, now),
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

    // Clients.

    /// How long a message between a client and a node takes; `None`: it is lost.
    fn client_delay(&mut self, node: usize) -> Option<Micros> {
        if self.clients_cut[node] > 0 || self.random.u32(..100) < self.network.loss / 4 {
            return None;
        }
        let delay = self.network.delay_us;
        let extra = if delay > 0 && self.random.u32(..8) == 0 { self.random.u64(..delay) } else { 0 };
        Some(self.random.u64(80..500) + extra)
    }

    fn act(&mut self, handle: usize) {
        for act in std::mem::take(&mut self.acts) {
            match act {
                Act::OpenAt(at) => self.agenda.add(at, Event::Open(handle)),
                Act::Send(request) => self.request(handle, request),
            }
        }
    }

    /// Puts a request on the open stream of a handle. A stream loses nothing in the middle: after a loss nothing comes
    /// through until both sides notice.
    fn request(&mut self, handle: usize, request: PipelineRequest) {
        let Some(open) = self.handles[handle].open.as_ref().filter(|open| !open.is_cut) else { return };
        let (stream, node) = (open.stream, open.node);
        let delay = self.client_delay(node);
        let Some(open) = self.handles[handle].open.as_mut() else { return };
        match delay {
            Some(delay) => {
                open.last_there = (self.now.us() + delay).max(open.last_there + 1);
                self.agenda.add(open.last_there, Event::Arrive { node, stream, request });
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

    fn open(&mut self, handle: usize) {
        let hint = self.handles[handle].hint.take();
        let node = hint.unwrap_or_else(|| self.random.usize(..self.plan.nodes));
        let stream = self.streams.len() as StreamId + 1;
        self.streams.insert(stream, handle);
        self.handles[handle].opened(stream, node, self.now.us(), &mut self.acts);
        self.act(handle);
    }

    fn arrive(&mut self, node: usize, stream: StreamId, request: PipelineRequest) {
        self.trace.event(self.now.us(), 3, stream, request.number);
        let wall_ms = self.shells[node].wall_ms();
        let Some(up) = &mut self.shells[node].up else {
            self.agenda.add(self.now.us() + MS, Event::StreamLost(stream));
            return;
        };
        if let Some(answered) = up.door.take(stream, request, wall_ms) {
            self.answer(node, answered);
        }
        self.schedule(node);
    }

    fn answer(&mut self, node: usize, (stream, response): Answered) {
        self.trace.event(self.now.us(), 4, stream, response.number);
        let (delay, owner) = (self.client_delay(node), self.streams[&stream]);
        let mut at = self.now.us() + delay.unwrap_or(0);
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

    /// The leader of the latest epoch among those that run.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leads = |shell: &&Shell| shell.status().is_some_and(|status| status.role == Role::Leader);
        let leaders = self.shells.iter().filter(leads);
        leaders.max_by_key(|shell| shell.status().map(|status| status.epoch)).map(|shell| shell.index)
    }

    /// A node's id.
    pub(crate) fn id(node: usize) -> NodeId {
        NodeId(node as u64 + 1)
    }
}
