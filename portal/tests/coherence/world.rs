//! The model: a store, an honest leader, a bus, and the real cache, which is compared with the store of one lease ago.

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use portal::cache::{Cache, Capacity, Lookup, Token};
use portal::coherence::{Coherence, Input, Nonce, Output};
use proto::store::{BusMessage, Change, Events, FreshnessHeartbeat, Position, Record, bus_message};
use store_client::bus::Foreign;

use crate::action::Action;

pub(crate) const LEASE_MS: u64 = 1_000;
/// The maximum age of entries.
pub(crate) const AGE_MS_MAX: u64 = 2_500;
const GROUP: u64 = 1;
const LOG: u64 = 77;
pub(crate) const KEYS: u8 = 4;

struct Barrier {
    number: u64,
    started_ms: u64,
    /// The offset that it reflects, and the epoch of the leader that said so.
    said: Option<(u64, u64)>,
}

struct Repair {
    number: u64,
    after: u64,
    /// The changes, and up to where they go: the position of a leader of then.
    said: Option<(Vec<Change>, Position)>,
}

/// Added to what a leader with a wrong state says of a key.
const WRONG: u64 = 1 << 40;

pub(crate) struct Fetch {
    key: u8,
    token: Token,
    /// A when it was begun.
    min_offset: u64,
    /// What the store said: value and the offset it reflects.
    said: Option<(u64, u64)>,
    began_ms: u64,
}

pub(crate) struct World {
    pub(crate) now_ms: u64,
    /// (offset, time, key) of every change, in order; a change's offset is its key's new value.
    log: Vec<(u64, u64, u8)>,
    /// The last offset, changes or not.
    pub(crate) last: u64,
    /// Of the leader.
    epoch: u64,
    /// The leader's state is wrong.
    wrong: bool,
    /// When the last leader with a wrong state led no more.
    wrong_until_ms: Option<u64>,
    /// How many changes of `log` were published.
    published: usize,
    pub(crate) bus: Vec<BusMessage>,
    /// Everything that was ever on the bus.
    recorded: Vec<BusMessage>,
    /// Everything that the broker has delivered.
    delivered: Vec<BusMessage>,
    /// What is said may be a lie: A may be beyond the log.
    forged: bool,
    /// Nonces that reached the leader since its last freshness heartbeat.
    gathered: Vec<Nonce>,
    nonces: u64,
    pub(crate) cache: Arc<Cache>,
    connected: bool,
    barrier: Option<Barrier>,
    repair: Option<Repair>,
    /// Gaps over which A went without a flush.
    pub(crate) repaired: u64,
    pub(crate) fetches: Vec<Fetch>,
    /// Own writes under way: the token, the key and its new value, and when it was begun.
    writes: Vec<(Token, u8, u64, u64)>,
    /// Of each key, when the newest read or write was begun whose answer has come.
    begun_ms: [Option<u64>; KEYS as usize],
    pub(crate) hits: u64,
}

fn key(number: u8) -> Bytes {
    Bytes::from(format!("k{number}"))
}

fn record(value: u64) -> Option<Record> {
    (value > 0).then(|| Record { data: Bytes::from(value.to_string()), ..Record::default() })
}

impl World {
    pub(crate) fn new() -> World {
        let capacity = Capacity { entries: NonZeroUsize::new(64).unwrap(), bytes: 1 << 20 };
        let cache =
            Cache::new(capacity, [(GROUP, Coherence::new(GROUP, 1, LEASE_MS, 0).with_age_max(AGE_MS_MAX))]);
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
            delivered: Vec::new(),
            forged: false,
            gathered: Vec::new(),
            nonces: 0,
            cache,
            connected: false,
            barrier: None,
            repair: None,
            repaired: 0,
            fetches: Vec::new(),
            writes: Vec::new(),
            begun_ms: [None; KEYS as usize],
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

    /// What is said again is what the cluster said once; so it is delivered between what is in flight, and may overtake it.
    fn replay(&mut self, at: usize) {
        if !self.recorded.is_empty() {
            let message = self.recorded[at % self.recorded.len()].clone();
            self.step(Input::Message(message));
        }
    }

    /// The same, of what has been delivered.
    fn repeat(&mut self, at: usize) {
        if !self.delivered.is_empty() {
            let message = self.delivered[at % self.delivered.len()].clone();
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
                Output::Repair { number, after, .. } => {
                    self.repair = Some(Repair { number, after, said: None });
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
        self.delivered.push(message.clone());
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
        match self.cache.lookup(GROUP, &key(number), 0, self.now_ms) {
            Lookup::Hit(seen) => {
                self.hits += 1;
                let age_ms = self.begun_ms[usize::from(number)].map(|begun_ms| self.now_ms - begun_ms);
                assert!(age_ms.is_some_and(|age_ms| age_ms < AGE_MS_MAX), "a hit of age {age_ms:?}");
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
                let began_ms = self.now_ms;
                self.fetches.push(Fetch { key: number, min_offset, token, said: None, began_ms });
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
        self.answered(fetch.key, fetch.began_ms);
        if offset < fetch.min_offset {
            self.cache.beyond(&fetch.token, self.now_ms);
        } else {
            self.cache.fill(&fetch.token, record(value), offset, self.now_ms);
        }
    }

    fn answered(&mut self, key: u8, began_ms: u64) {
        let newest = &mut self.begun_ms[usize::from(key)];
        *newest = (*newest).max(Some(began_ms));
    }

    fn repair_sampled(&mut self, whole: bool) {
        let (last, epoch) = (self.last, self.epoch);
        let changes: Vec<Change> = (0..self.log.len()).map(|at| self.change(at)).collect();
        let Some(repair) = &mut self.repair else { return };
        let up_to = if whole { last } else { repair.after.midpoint(last) };
        let wanted = |change: &Change| change.offset > repair.after && change.offset <= up_to;
        let changes = changes.into_iter().filter(wanted).collect();
        repair.said.get_or_insert((changes, Position { epoch, offset: up_to }));
    }

    fn repair_done(&mut self) {
        let Some(Repair { number, said: Some((changes, up_to)), .. }) =
            self.repair.take_if(|one| one.said.is_some())
        else {
            return;
        };
        let flushes = self.cache.groups(self.now_ms)[0].flushes;
        self.step(Input::Repaired { number, changes, up_to });
        self.repaired +=
            u64::from(self.cache.groups(self.now_ms)[0].flushes == flushes && self.barrier.is_none());
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

    pub(crate) fn act(&mut self, action: &Action) {
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
            Action::Repeat(at) => self.repeat(at),
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
            Action::RepairSampled(whole) => self.repair_sampled(whole),
            Action::RepairDone => self.repair_done(),
            Action::RepairFailed => {
                if let Some(Repair { number, .. }) = self.repair.take() {
                    self.step(Input::RepairFailed { number });
                }
            }
            Action::OwnWrite(number) => {
                let token = self.cache.watch(GROUP, &key(number), self.now_ms);
                let at = self.write(number, false);
                self.writes.push((token, number, at, self.now_ms));
            }
            Action::OwnWriteDone if !self.writes.is_empty() => {
                let (token, number, at, began_ms) = self.writes.remove(0);
                self.answered(number, began_ms);
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
    pub(crate) fn healthy_round(&mut self) {
        for action in
            [Action::Nonce(true), Action::Advance(10), Action::FreshnessHeartbeat, Action::DeliverAll]
        {
            self.act(&action);
        }
        self.act(&Action::Advance(120));
        self.act(&Action::RepairSampled(true));
        self.act(&Action::RepairDone);
        self.act(&Action::Advance(120));
    }

    pub(crate) fn barrier_whole(&mut self) {
        self.act(&Action::BarrierSampled);
        self.act(&Action::BarrierDone);
    }

    pub(crate) fn connect(&mut self) {
        self.act(&Action::Connect(true));
        self.barrier_whole();
    }

    pub(crate) fn look_at_all(&mut self) {
        for number in 0..KEYS {
            self.act(&Action::Read(number));
        }
    }

    pub(crate) fn read_all(&mut self) {
        for number in 0..KEYS {
            for action in [Action::Read(number), Action::ReadSampled, Action::ReadDone] {
                self.act(&action);
            }
        }
    }
}
