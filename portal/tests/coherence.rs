//! `lease-bounds-staleness`: a hit is never older than the lease, whatever the bus does.
//!
//! A model of the store (a log of changes in time), of an honest leader (events in a chain, freshness heartbeats after gathering
//! nonces) and of a bus that loses, repeats, reorders and delays as it likes, around the real cache; everything that was
//! ever said is said again by an eavesdropper. Each hit is compared with the store's record of one lease ago.
//!
//! A leader may have a wrong state, until another one leads: what it answered is in no hit a lease later.
//!
//! A second attacker forges *events*, as a captured portal could: it holds the bus key. A forgery without
//! the key never reaches the machine (`store_client::bus`), and costs nothing here.
#![allow(clippy::unwrap_used)]

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use portal::cache::{Cache, Capacity, Lookup, Token};
use portal::coherence::{Coherence, Input, Nonce, Output};
use proptest::prelude::*;
use proto::store::{BusMessage, Change, Events, FreshnessHeartbeat, Record, bus_message};
use store_client::bus::Foreign;

const LEASE_MS: u64 = 1_000;
const GROUP: u64 = 1;
const LOG: u64 = 77;
const KEYS: u8 = 4;

#[derive(Clone, Debug)]
enum Action {
    Advance(u64),
    /// Another portal writes a key; the flag says whether entries without changes stand between.
    Write(u8, bool),
    /// The leader publishes what it has not published, in one message or one each.
    Publish(bool),
    /// A new leader publishes again, from some changes back.
    Republish(usize),
    /// Another leader; the flag: its state is wrong.
    Elect(bool),
    /// Another cluster of the same name publishes: an event and a freshness heartbeat about this range, with all our nonces.
    Foreign(u64, u64),
    /// A recorded message is delivered, however old; whatever the phase.
    Replay(usize),
    /// What no leader said: an event from this offset, so much further, with a key or none.
    Forge(u64, u64, bool),
    /// What is no message of this cluster, or is not proven.
    Foreigner(bool),
    /// The leader proves its place and freshness heartbeats, with the nonces that have reached it.
    FreshnessHeartbeat,
    /// The broker delivers one of the messages in flight, in any order; the flag keeps a copy.
    Deliver(usize, bool),
    DeliverAll,
    Lose(usize),
    /// A nonce is sent; the flag: it reaches the leader.
    Nonce(bool),
    Lost,
    /// Connects anew; the flag: the subscription is acknowledged at once.
    Connect(bool),
    Subscribed,
    BarrierSampled,
    BarrierDone,
    Read(u8),
    ReadSampled,
    ReadDone,
    OwnWrite(u8),
    OwnWriteDone,
    /// A quarter of a second in which everything goes well.
    HealthyRound,
    /// Every key is read and filled.
    ReadAll,
    /// A barrier read that is under way returns.
    BarrierWhole,
    /// Connects anew, subscribes, reads the barrier.
    ConnectWhole,
}

fn action() -> impl Strategy<Value = Action> {
    use Action::*;
    prop_oneof![
        10 => (0u64..900).prop_map(Advance),
        8 => (0..KEYS, any::<bool>()).prop_map(|(key, gap)| Write(key, gap)),
        2 => any::<bool>().prop_map(Publish),
        1 => (1usize..6).prop_map(Republish),
        2 => any::<bool>().prop_map(Elect),
        2 => (0u64..60, 0u64..60).prop_map(|(from, more)| Foreign(from, from + more)),
        2 => any::<usize>().prop_map(Replay),
        1 => any::<bool>().prop_map(Foreigner),
        8 => Just(FreshnessHeartbeat),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(at, keep)| Deliver(at, keep)),
        8 => Just(DeliverAll),
        1 => any::<usize>().prop_map(Lose),
        8 => prop::bool::weighted(0.9).prop_map(Nonce),
        1 => prop_oneof![Just(Lost), any::<bool>().prop_map(Connect), Just(Subscribed)],
        1 => prop_oneof![Just(BarrierSampled), Just(BarrierDone)],
        4 => (0..KEYS).prop_map(Read),
        4 => prop_oneof![Just(ReadSampled), Just(ReadDone)],
        2 => prop_oneof![(0..KEYS).prop_map(OwnWrite), Just(OwnWriteDone)],
        1 => prop_oneof![Just(HealthyRound), Just(BarrierWhole), Just(ConnectWhole)],
        4 => Just(ReadAll),
    ]
}

/// What happens where nothing is lost and all comes in order, but what no leader said is said in between.
fn forging() -> impl Strategy<Value = Action> {
    use Action::*;
    prop_oneof![
        4 => (0u64..900).prop_map(Advance),
        8 => (0..KEYS, any::<bool>()).prop_map(|(key, gap)| Write(key, gap)),
        2 => any::<bool>().prop_map(Publish),
        8 => (0u64..8, 0u64..12, any::<bool>()).prop_map(|(back, more, key)| Forge(back, more, key)),
        4 => any::<usize>().prop_map(Replay),
        4 => Just(FreshnessHeartbeat),
        8 => Just(DeliverAll),
        4 => Just(Nonce(true)),
        4 => (0..KEYS).prop_map(Read),
        4 => prop_oneof![Just(ReadSampled), Just(ReadDone)],
        2 => prop_oneof![Just(BarrierSampled), Just(BarrierDone)],
        2 => prop_oneof![Just(HealthyRound), Just(BarrierWhole), Just(ConnectWhole)],
        4 => Just(ReadAll),
    ]
}

struct Barrier {
    number: u64,
    started_ms: u64,
    /// The offset that it reflects, and the epoch of the leader that said so.
    said: Option<(u64, u64)>,
}

/// Added to what a leader with a wrong state says of a key.
const WRONG: u64 = 1 << 40;

struct Fetch {
    key: u8,
    token: Token,
    /// A when it was begun.
    min_offset: u64,
    /// What the store said: value and the offset it reflects.
    said: Option<(u64, u64)>,
}

struct World {
    now_ms: u64,
    /// (offset, time, key) of every change, in order; a change's offset is its key's new value.
    log: Vec<(u64, u64, u8)>,
    /// The last offset, changes or not.
    last: u64,
    /// Of the leader.
    epoch: u64,
    /// The leader's state is wrong.
    wrong: bool,
    /// When the last leader with a wrong state led no more.
    wrong_until_ms: Option<u64>,
    /// How many changes of `log` were published.
    published: usize,
    bus: Vec<BusMessage>,
    /// Everything that was ever on the bus.
    recorded: Vec<BusMessage>,
    /// What is said may be a lie: A may be beyond the log.
    forged: bool,
    /// Nonces that reached the leader since its last freshness heartbeat.
    gathered: Vec<Nonce>,
    nonces: u64,
    cache: Arc<Cache>,
    connected: bool,
    barrier: Option<Barrier>,
    fetches: Vec<Fetch>,
    writes: Vec<(Token, u64)>,
    hits: u64,
}

fn key(number: u8) -> Bytes {
    Bytes::from(format!("k{number}"))
}

fn record(value: u64) -> Option<Record> {
    (value > 0).then(|| Record { data: Bytes::from(value.to_string()), ..Record::default() })
}

impl World {
    fn new() -> World {
        let capacity = Capacity { entries: NonZeroUsize::new(64).unwrap(), bytes: 1 << 20 };
        let cache = Cache::new(capacity, [(GROUP, Coherence::new(GROUP, 1, LEASE_MS, 0))]);
        World {
            now_ms: 0,
            log: Vec::new(),
            last: 0,
            epoch: 1,
            wrong: false,
            wrong_until_ms: None,
            published: 0,
            bus: Vec::new(),
            recorded: Vec::new(),
            forged: false,
            gathered: Vec::new(),
            nonces: 0,
            cache,
            connected: false,
            barrier: None,
            fetches: Vec::new(),
            writes: Vec::new(),
            hits: 0,
        }
    }

    fn value_when(&self, key: u8, holds: impl Fn(u64, u64) -> bool) -> u64 {
        let change = |one: &&(u64, u64, u8)| one.2 == key && holds(one.0, one.1);
        self.log.iter().rev().find(change).map_or(0, |(offset, ..)| *offset)
    }

    fn write(&mut self, key: u8, gap: bool) -> u64 {
        self.last += if gap { 3 } else { 1 };
        self.log.push((self.last, self.now_ms, key));
        self.last
    }

    fn change(&self, at: usize) -> Change {
        let (offset, _, number) = self.log[at];
        let previous = if at == 0 { 0 } else { self.log[at - 1].0 };
        Change { offset, previous, keys: vec![key(number)], epoch: 1 }
    }

    fn elect(&mut self, wrong: bool) {
        if self.wrong {
            self.wrong_until_ms = Some(self.now_ms);
        }
        (self.epoch, self.wrong) = (self.epoch + 1, wrong);
    }

    fn send(&mut self, kind: bus_message::Kind) {
        let (kind, epoch) = (Some(kind), self.epoch);
        let message = BusMessage { group: GROUP, ring_version: 1, epoch, kind, log_id: LOG };
        self.recorded.push(message.clone());
        self.bus.push(message);
    }

    /// What is said again is what the cluster said once; so it is delivered between what is in flight.
    fn replay(&mut self, at: usize) {
        if !self.recorded.is_empty() {
            let message = self.recorded[at % self.recorded.len()].clone();
            self.step(Input::Message(message));
        }
    }

    /// A lie near the end of the log, delivered at once.
    fn forge(&mut self, back: u64, more: u64, with_key: bool) {
        self.forged = true;
        let previous = self.last.saturating_sub(back);
        let keys = if with_key { vec![key(0)] } else { Vec::new() };
        let change = Change { offset: previous + more, previous, keys, epoch: 1 };
        let kind = Some(bus_message::Kind::Events(Events { changes: vec![change] }));
        let message = BusMessage { group: GROUP, ring_version: 1, epoch: self.epoch, kind, log_id: LOG };
        self.step(Input::Message(message));
    }

    fn publish(&mut self, from: usize, together: bool) {
        let changes: Vec<Change> = (from..self.log.len()).map(|at| self.change(at)).collect();
        let size = if together { changes.len().max(1) } else { 1 };
        for part in changes.chunks(size) {
            self.send(bus_message::Kind::Events(Events { changes: part.to_vec() }));
        }
        self.published = self.log.len();
    }

    fn heartbeat(&mut self) {
        let nonces = self.gathered.drain(..).map(|nonce| Bytes::copy_from_slice(&nonce)).collect();
        let offset = self.last;
        self.publish(self.published, true);
        let previous = self.log.last().map_or(0, |(offset, ..)| *offset);
        self.send(bus_message::Kind::FreshnessHeartbeat(FreshnessHeartbeat { offset, previous, nonces }));
    }

    fn foreign(&mut self, from: u64, to: u64) {
        let change = Change { offset: to, previous: from, keys: vec![key(0)], epoch: 1 };
        let nonces = (1..=self.nonces).map(|nonce| Bytes::copy_from_slice(&u128::from(nonce).to_be_bytes()));
        let heartbeat = FreshnessHeartbeat { offset: to, previous: from, nonces: nonces.collect() };
        let events = bus_message::Kind::Events(Events { changes: vec![change] });
        for kind in [events, bus_message::Kind::FreshnessHeartbeat(heartbeat)] {
            self.bus.push(BusMessage {
                group: GROUP,
                ring_version: 1,
                epoch: 9,
                kind: Some(kind),
                log_id: LOG + 1,
            });
        }
    }

    fn step(&mut self, input: Input) {
        for output in self.cache.step(GROUP, self.now_ms, input) {
            match output {
                Output::ReadBarrier { number } => {
                    self.barrier = Some(Barrier { number, started_ms: self.now_ms, said: None });
                }
                Output::Subscribe | Output::Ignored { .. } => {}
                Output::Drop { .. } | Output::Flush => panic!("the cache carries these out"),
            }
        }
    }

    fn deliver(&mut self, at: usize, keep: bool) {
        if self.bus.is_empty() {
            return;
        }
        let at = at % self.bus.len();
        let message = if keep { self.bus[at].clone() } else { self.bus.remove(at) };
        self.step(Input::Message(message));
    }

    fn nonce(&mut self, arrives: bool) {
        self.nonces += 1;
        let nonce = u128::from(self.nonces).to_be_bytes();
        self.step(Input::NonceSent { nonce, at_ms: self.now_ms });
        if arrives {
            self.gathered.push(nonce);
        }
    }

    fn read(&mut self, number: u8) {
        match self.cache.lookup(GROUP, &key(number), self.now_ms) {
            Lookup::Hit(seen) => {
                self.hits += 1;
                let mut value =
                    seen.record.map_or(0, |record| String::from_utf8_lossy(&record.data).parse().unwrap());
                if value >= WRONG {
                    value -= WRONG;
                    let lately =
                        self.wrong_until_ms.is_some_and(|until_ms| self.now_ms < until_ms + LEASE_MS);
                    assert!(
                        self.wrong || lately,
                        "a hit at {} is what a former leader said wrongly",
                        self.now_ms
                    );
                }
                let lease_ago = |_, at_ms| at_ms + LEASE_MS <= self.now_ms;
                let expected = self.value_when(number, lease_ago);
                assert!(
                    value >= expected,
                    "a hit at {} says {value}, {expected} is older than a lease",
                    self.now_ms
                );
            }
            Lookup::Miss { token, min_offset } => {
                assert!(self.forged || min_offset <= self.last, "nobody knows of more than there is");
                self.fetches.push(Fetch { key: number, min_offset, token, said: None });
            }
            Lookup::Bypass => {}
        }
    }

    fn read_sampled(&mut self) {
        let last = self.last;
        let Some(at) = self.fetches.iter().position(|fetch| fetch.said.is_none()) else { return };
        let value = self.value_when(self.fetches[at].key, |offset, _| offset <= last);
        let wrongly = if self.wrong { WRONG } else { 0 };
        self.fetches[at].said = Some((value + wrongly, last));
    }

    fn read_done(&mut self) {
        let Some(at) = self.fetches.iter().position(|fetch| fetch.said.is_some()) else { return };
        let fetch = self.fetches.remove(at);
        let (value, offset) = fetch.said.unwrap();
        if offset < fetch.min_offset {
            self.cache.beyond(&fetch.token, self.now_ms);
        } else {
            self.cache.fill(&fetch.token, record(value), offset, self.now_ms);
        }
    }

    fn connection(&mut self, action: &Action) {
        match action {
            Action::Lost => {
                self.connected = false;
                self.step(Input::Lost);
            }
            Action::Connect(acknowledged) => {
                self.connected = true;
                self.step(Input::Connected);
                if *acknowledged {
                    self.step(Input::Subscribed);
                }
            }
            Action::Subscribed if self.connected => self.step(Input::Subscribed),
            Action::BarrierSampled => {
                if let Some(barrier) = &mut self.barrier {
                    barrier.said.get_or_insert((self.last, self.epoch));
                }
            }
            Action::BarrierDone => {
                if let Some(Barrier { number, started_ms, said: Some((offset, epoch)) }) = self.barrier {
                    self.barrier = None;
                    self.step(Input::Barrier { number, started_ms, offset, epoch, log_id: LOG });
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Advance(ms) => self.now_ms += ms,
            Action::Write(key, gap) => {
                self.write(key, gap);
            }
            Action::Publish(together) => self.publish(self.published, together),
            Action::Republish(back) => self.publish(self.published.saturating_sub(back), true),
            Action::Foreign(from, to) => self.foreign(from, to),
            Action::Elect(wrong) => self.elect(wrong),
            Action::Replay(at) => self.replay(at),
            Action::Forge(back, more, with_key) => self.forge(back, more, with_key),
            Action::Foreigner(unproven) => {
                let why = if unproven { Foreign::Unproven } else { Foreign::Malformed };
                self.step(Input::Foreign(why));
            }
            Action::FreshnessHeartbeat => self.heartbeat(),
            Action::Deliver(at, keep) => self.deliver(at, keep),
            Action::DeliverAll => {
                for _ in 0..self.bus.len() {
                    self.deliver(0, false);
                }
            }
            Action::Lose(at) if !self.bus.is_empty() => {
                self.bus.remove(at % self.bus.len());
            }
            Action::Nonce(arrives) => self.nonce(arrives),
            Action::Read(key) => self.read(key),
            Action::ReadSampled => self.read_sampled(),
            Action::ReadDone => self.read_done(),
            Action::OwnWrite(number) => {
                let token = self.cache.watch(GROUP, &key(number));
                let at = self.write(number, false);
                self.writes.push((token, at));
            }
            Action::OwnWriteDone if !self.writes.is_empty() => {
                let (token, at) = self.writes.remove(0);
                self.cache.written(&token, Some(record(at)), at, self.now_ms);
            }
            Action::HealthyRound => self.healthy_round(),
            Action::ReadAll => self.read_all(),
            Action::BarrierWhole => self.barrier_whole(),
            Action::ConnectWhole => self.connect(),
            _ => self.connection(action),
        }
    }

    /// What a healthy cluster does in a quarter of a second.
    fn healthy_round(&mut self) {
        for action in
            [Action::Nonce(true), Action::Advance(10), Action::FreshnessHeartbeat, Action::DeliverAll]
        {
            self.act(&action);
        }
        self.act(&Action::Advance(240));
    }

    fn barrier_whole(&mut self) {
        self.act(&Action::BarrierSampled);
        self.act(&Action::BarrierDone);
    }

    fn connect(&mut self) {
        self.act(&Action::Connect(true));
        self.barrier_whole();
    }

    fn look_at_all(&mut self) {
        for number in 0..KEYS {
            self.act(&Action::Read(number));
        }
    }

    fn read_all(&mut self) {
        for number in 0..KEYS {
            for action in [Action::Read(number), Action::ReadSampled, Action::ReadDone] {
                self.act(&action);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_hit_is_never_older_than_the_lease(
        bursts in prop::collection::vec((prop::bool::weighted(0.8), prop::collection::vec(action(), 1..16)), 1..10),
    ) {
        let mut world = World::new();
        for (healed, burst) in &bursts {
            if *healed {
                world.connect();
                world.healthy_round();
                world.read_all();
            }
            for action in burst {
                world.act(action);
            }
            world.look_at_all();
        }
    }

    /// Events that no leader published, at any offset and at any time, also while catching up: true ones still reach the
    /// cache, which is never older than its lease.
    #[test]
    fn a_forged_event_hides_no_true_one(
        bursts in prop::collection::vec(prop::collection::vec(forging(), 1..16), 1..10),
    ) {
        let mut world = World::new();
        for burst in &bursts {
            world.connect();
            world.healthy_round();
            world.read_all();
            for action in burst {
                world.act(action);
            }
            world.look_at_all();
        }
    }

    /// After any disorder, an honest quarter of a minute brings the cache back: LIVE, and hits again.
    #[test]
    fn the_cache_comes_back_by_itself(actions in prop::collection::vec(action(), 1..80)) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
        }
        world.bus.clear();
        world.fetches.clear();
        world.connect();
        for round in 0..6 {
            world.act(&Action::Write(round % KEYS, true));
            world.healthy_round();
            world.barrier_whole();
        }
        world.read_all();
        let before = world.hits;
        world.read_all();
        prop_assert_eq!(world.hits, before + u64::from(KEYS));
    }
}

#[test]
fn a_healthy_cluster_serves_hits_and_sees_writes_within_the_lease() {
    let mut world = World::new();
    world.connect();
    for round in 0..40u8 {
        world.act(&Action::Write(round % KEYS, round % 3 == 0));
        world.healthy_round();
        world.read_all();
    }
    assert!(world.hits > 100, "{} hits", world.hits);
    assert!(world.hits < 160, "each write drops its key: {} hits", world.hits);
}

#[test]
fn a_barrier_read_under_a_stream_of_writes_catches_up_at_once() {
    let mut world = World::new();
    world.act(&Action::Connect(true));
    for round in 0..20u8 {
        world.act(&Action::Write(round % KEYS, false));
        world.act(&Action::Publish(true));
        world.act(&Action::DeliverAll);
        if round == 10 {
            world.act(&Action::BarrierSampled);
        }
    }
    world.act(&Action::BarrierDone);
    world.act(&Action::Write(0, false));
    world.act(&Action::Publish(true));
    world.act(&Action::DeliverAll);
    let group = world.cache.groups(world.now_ms)[0];
    assert_eq!((group.state, group.gaps, group.applied), (portal::coherence::State::Live, 0, world.last));
}

/// What counting the lease from a freshness heartbeat's arrival would break.
#[test]
fn a_heartbeat_that_the_broker_held_back_does_not_let_an_old_value_live_on() {
    let mut world = World::new();
    world.connect();
    world.healthy_round();
    world.read_all();
    for action in
        [Action::Nonce(true), Action::FreshnessHeartbeat, Action::Write(0, false), Action::Advance(600)]
    {
        world.act(&action);
    }
    for action in [Action::DeliverAll, Action::Advance(600), Action::Read(0)] {
        world.act(&action);
    }
    assert_eq!(world.hits, 0, "the store is read");
}
