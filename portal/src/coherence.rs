//! A portal's trust in its cache: one pure state machine a replica group (docs/PROTOCOL.md, 5).
//!
//! ```text
//!   COLD ── connected, subscribed, barrier read at R: flush, A ← R ──► LIVE
//!                                                                      │  ▲
//!                          lease over · connection lost                ▼  │ a freshness heartbeat names our nonce
//!                                                                   SUSPECT, or barrier read and flush (new connection)
//!
//!   LIVE ── gap: an event names another before it, after A ──► the changes since A are fetched, and drop their keys ──► LIVE
//! ```
//!
//! **Promise (`lease-bounds-staleness`): a hit is never older than the lease L, under any loss, repetition, reordering,
//! delay or silence of the bus**, old leaders' late messages and resumed sessions included. The reasons:
//! - *A* is the offset up to which the cache knows all changes. It grows only over an unbroken chain (each event and
//!   freshness heartbeat names the event before it), or to the offset of a barrier read that began after the subscription
//!   was acknowledged, with the cache flushed. So every key with a change at or before A has been dropped since its fill.
//! - A leader makes a freshness heartbeat with a nonce of ours after the nonce was sent, and proves its leadership after
//!   gathering it. So the heartbeat's offset I is at or after every write acknowledged at the time t of the nonce.
//!   When A ≥ I the cache is as new as the store was at t: it may be used until t + L. However late the heartbeat
//!   arrives, t stays; counting from its arrival would be wrong. A barrier read that began at t proves the same.
//! - In a gap A stands still, and hits go on until the lease ends: the cache is as new as it was at t. The changes that were
//!   missed come from the store, and only then A moves over the gap; if they cannot be had, the cache begins anew.
//! - Only the cluster's bus key proves a message (`store_client::bus`); others are counted and ignored.
//! - Old messages say only true things about committed entries. Every event drops its keys, at any offset and in any
//!   phase: a repetition costs a miss and no more, and an event at or below A is never taken for known.
//! - Messages name their log. Those of another log than the first barrier read's are ignored, and no other log is ever
//!   followed: a cluster made anew at our addresses is another, and the portal learns of it by its key file.
//! - Were A beyond the log (a holder of the bus key can lie), changes would still drop their keys; the leader's freshness
//!   heartbeats are behind A, extend no lease, and the cache begins anew. So it does at once when a read shows it.
//!
//! No I/O, no clock: time comes in, duties go out. Leaves out: what a client has seen elsewhere ([`crate::session`]).

mod age;
mod repair;
mod span;

pub use age::AGE_MS_MAX_DEFAULT;

use std::collections::VecDeque;

use bytes::Bytes;
use proto::store::{BusMessage, Change, FreshnessHeartbeat, Position, bus_message};
use store_client::bus::Foreign;
use store_client::pace::Pace;
use store_core::mutant;

use crate::limits::NONCES_OUTSTANDING_MAX;
use span::{Span, chain};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 16;
/// A question to the leader: name this in a freshness heartbeat.
pub type Nonce = [u8; NONCE_BYTES];

/// What is told of a group's cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Never yet LIVE: the store is read.
    Cold,
    /// Hits are served.
    Live,
    /// It was LIVE once and now lacks proof of freshness (lease over, connection lost): the store is read.
    Suspect,
}

/// What happens to a group's cache.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// A connection to the broker was made; whether the broker kept a session makes no difference.
    Connected,
    /// The subscription of this connection was acknowledged.
    Subscribed,
    /// A barrier read has returned.
    Barrier {
        /// Which one ([`Output::ReadBarrier`]).
        number: u64,
        /// When it was begun.
        started_ms: u64,
        /// It reflects the log up to here.
        offset: u64,
        /// The epoch of that entry: the leader's, which has committed an entry of its own before it reads.
        epoch: u64,
        /// Which log that is.
        log_id: u64,
    },
    /// A barrier read has failed.
    BarrierFailed {
        /// Which one.
        number: u64,
    },
    /// The changes that were missed have come, up to here.
    Repaired {
        /// Which repair ([`Output::Repair`]).
        number: u64,
        /// All changes after A, up to `up_to`.
        changes: Vec<Change>,
        /// Where that is in the log.
        up_to: Position,
    },
    /// They cannot be had: trimmed, too many, or nobody answers.
    RepairFailed {
        /// Which repair.
        number: u64,
    },
    /// The bus delivered this, and the cluster's key proves it.
    Message(BusMessage),
    /// A nonce is about to be sent.
    NonceSent {
        /// 16 random bytes, never used before.
        nonce: Nonce,
        /// The time before it is handed to the bus.
        at_ms: u64,
    },
    /// The bus delivered what is no message of this cluster.
    Foreign(Foreign),
    /// A linearizable read that was begun in this generation reflects less than A.
    Beyond {
        /// When the read was begun.
        generation: u64,
    },
    /// The connection was lost, or messages were thrown away.
    Lost,
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Subscribe to the group's changes.
    Subscribe,
    /// Read the group linearizably, and report the offset. Begun after this output; it may be repeated after a pause.
    ReadBarrier {
        /// To tell it from earlier ones.
        number: u64,
    },
    /// Fetch the changes of the group after an offset, up to another at least.
    Repair {
        /// To tell it from earlier ones.
        number: u64,
        /// A.
        after: u64,
        /// Events after this have come.
        up_to: u64,
    },
    /// This key changed at this offset: what was true before is no longer.
    Drop {
        /// Which.
        key: Bytes,
        /// Where in the log.
        offset: u64,
    },
    /// Drop everything of the group.
    Flush,
    /// What was delivered was none of this log's, and was ignored: so many since this was last said.
    Ignored {
        /// Why the last one was.
        why: Foreign,
        /// How many.
        count: u64,
    },
}

/// Where the machine stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No subscription.
    Cold,
    /// Subscribed; a barrier read is under way.
    Catching { number: u64, span: Option<Span> },
    /// Subscribed; A is not of this log. A barrier read begins at the next tick.
    Astray,
    /// Everything at or before `applied` is known.
    Following,
}

/// A point of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Point {
    offset: u64,
    epoch: u64,
    log_id: u64,
}

/// Changes after A were missed, and are being fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Repair {
    /// Which fetch.
    number: u64,
    /// Up to where it has to bring them.
    asked: u64,
    /// The chain that came behind the gap.
    behind: Span,
    /// A freshness heartbeat behind the gap named a nonce of ours: its offset, and when the nonce was sent.
    proof: Option<(u64, u64)>,
}

/// What a group's cache has been through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Gaps seen.
    pub gaps: u64,
    /// Flushes made.
    pub flushes: u64,
    /// Deliveries that were none of this log's: of another cluster of the same name, not proven, or no messages at all.
    pub ignored: u64,
    /// Those among them that claimed to be of this cluster, and that its key does not prove.
    pub unproven: u64,
    /// Milliseconds in which hits were not served.
    pub idle_ms: u64,
}

/// The state machine of one group.
#[derive(Clone, Debug)]
pub struct Coherence {
    /// The group; messages of others are ignored.
    group: u64,
    /// The ring version; messages of others are ignored.
    ring_version: u64,
    /// L: how old a hit may be, milliseconds.
    lease_ms: u64,
    /// How old an entry may become under the lease, milliseconds.
    age_ms_max: u64,
    /// The log that the first barrier read was of; messages of others are ignored. 0: not known.
    log_id: u64,
    /// The latest epoch of a leader that was heard of: nothing in the cache is of an earlier one. 0: none was, and nothing is
    /// in the log.
    epoch: u64,
    phase: Phase,
    /// A: every event at or before this has been applied. Only meaningful when following.
    applied: u64,
    /// Only when following.
    repair: Option<Repair>,
    /// Hits are served before this time.
    lease_end_ms: u64,
    /// The lease was seen to be over, and the generation raised for it.
    lapsed: bool,
    /// Raised by everything that voids fills under way.
    generation: u64,
    /// Nonces that no freshness heartbeat has named, oldest first, with the times before they were sent.
    nonces: VecDeque<(Nonce, u64)>,
    /// The number of the newest barrier read or repair.
    barriers: u64,
    /// Gaps seen.
    gaps: u64,
    /// Flushes made.
    flushes: u64,
    /// Deliveries that were none of this log's.
    ignored: u64,
    /// Those among them that were not proven.
    unproven: u64,
    /// When they are told of.
    telling: Pace,
    /// Since when hits have not been served; `None` while they are.
    idle_since_ms: Option<u64>,
    /// Time in which hits were not served, before `idle_since_ms`.
    idle_total_ms: u64,
}

impl Coherence {
    /// A cold cache of this group. `lease_ms` is L.
    #[must_use]
    pub fn new(group: u64, ring_version: u64, lease_ms: u64, now_ms: u64) -> Coherence {
        assert!(lease_ms > 0, "a lease lasts some time");
        Coherence {
            group,
            ring_version,
            lease_ms,
            age_ms_max: AGE_MS_MAX_DEFAULT,
            log_id: 0,
            epoch: 0,
            phase: Phase::Cold,
            applied: 0,
            repair: None,
            lease_end_ms: 0,
            lapsed: true,
            generation: 0,
            nonces: VecDeque::with_capacity(NONCES_OUTSTANDING_MAX),
            barriers: 0,
            gaps: 0,
            flushes: 0,
            ignored: 0,
            unproven: 0,
            telling: Pace::default(),
            idle_since_ms: Some(now_ms),
            idle_total_ms: 0,
        }
    }

    /// Whether hits are served now.
    #[must_use]
    pub fn is_live(&self, now_ms: u64) -> bool {
        self.phase == Phase::Following && now_ms < self.lease_end_ms
    }

    /// What is told of it now.
    #[must_use]
    pub fn state(&self, now_ms: u64) -> State {
        match self.phase {
            Phase::Following if now_ms < self.lease_end_ms => State::Live,
            _ if self.flushes > 0 => State::Suspect,
            _ => State::Cold,
        }
    }

    /// The log that is followed, to be named in nonces; 0: not known.
    #[must_use]
    pub fn log_id(&self) -> u64 {
        self.log_id
    }

    /// A: what a read must at least reflect, so that it cannot fill the cache with the past.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Fills begun in another generation are void.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Milliseconds left of the lease.
    #[must_use]
    pub fn lease_left_ms(&self, now_ms: u64) -> u64 {
        if self.phase == Phase::Following { self.lease_end_ms.saturating_sub(now_ms) } else { 0 }
    }

    /// How old a hit may be now: the time since the newest proof of freshness.
    #[must_use]
    pub fn age_ms(&self, now_ms: u64) -> u64 {
        (now_ms + self.lease_ms).saturating_sub(self.lease_end_ms)
    }

    /// What it has been through.
    #[must_use]
    pub fn totals(&self, now_ms: u64) -> Totals {
        let idle_ms = self.idle_since_ms.map_or(0, |since| now_ms.saturating_sub(since));
        Totals {
            gaps: self.gaps,
            flushes: self.flushes,
            ignored: self.ignored,
            unproven: self.unproven,
            idle_ms: self.idle_total_ms + idle_ms,
        }
    }

    /// Takes one input; what is to be done is added to `out`, in order.
    pub fn step(&mut self, now_ms: u64, input: Input, out: &mut Vec<Output>) {
        self.note_lapse(now_ms);
        match input {
            Input::Connected => {
                self.go_cold();
                out.push(Output::Subscribe);
            }
            Input::Subscribed => self.catch_up(out),
            Input::Barrier { number, started_ms, offset, epoch, log_id } => {
                self.barrier(number, started_ms, Point { offset, epoch, log_id }, out);
            }
            Input::BarrierFailed { number } => self.barrier_again(number, out),
            Input::Repaired { number, changes, up_to } => self.repaired(number, changes, up_to, out),
            Input::RepairFailed { number } => self.repair_failed(number, out),
            Input::Message(message) => self.message(now_ms, message, out),
            Input::NonceSent { nonce, at_ms } => self.nonce_sent(nonce, at_ms),
            Input::Foreign(why) => self.ignore(now_ms, why, out),
            Input::Beyond { generation } => self.beyond(generation),
            Input::Lost => self.go_cold(),
            Input::Tick if self.phase == Phase::Astray => self.catch_up(out),
            Input::Tick => {}
        }
        self.count_idle(now_ms);
    }

    /// The lease ran out unseen: what was being filled is void.
    fn note_lapse(&mut self, now_ms: u64) {
        if !self.lapsed && now_ms >= self.lease_end_ms {
            self.lapsed = true;
            self.generation += 1;
            // The time since it ran out was idle, though nobody looked.
            self.idle_since_ms.get_or_insert(self.lease_end_ms);
        }
    }

    fn count_idle(&mut self, now_ms: u64) {
        match (self.is_live(now_ms), self.idle_since_ms) {
            (true, Some(since)) => {
                self.idle_total_ms += now_ms.saturating_sub(since);
                self.idle_since_ms = None;
            }
            (false, None) => self.idle_since_ms = Some(now_ms),
            _ => {}
        }
    }

    fn go_cold(&mut self) {
        self.phase = Phase::Cold;
        self.repair = None;
        self.end_lease();
        self.nonces.clear();
    }

    fn end_lease(&mut self) {
        self.lease_end_ms = 0;
        self.lapsed = true;
        self.generation += 1;
    }

    fn catch_up(&mut self, out: &mut Vec<Output>) {
        self.repair = None;
        self.end_lease();
        self.barriers += 1;
        self.phase = Phase::Catching { number: self.barriers, span: None };
        out.push(Output::ReadBarrier { number: self.barriers });
    }

    fn barrier(&mut self, number: u64, started_ms: u64, at: Point, out: &mut Vec<Output>) {
        let Phase::Catching { number: awaited, span, .. } = self.phase else { return };
        if number != awaited {
            return;
        }
        if self.log_id != 0 && at.log_id != self.log_id {
            // Not our log: the read is repeated at the next tick, until our cluster answers it.
            self.phase = Phase::Astray;
            return;
        }
        self.log_id = at.log_id;
        self.epoch = self.epoch.max(at.epoch);
        // What the chain brought meanwhile dropped its keys, and all is flushed now.
        let joins = |span: &Span| span.from <= at.offset && span.log_id == at.log_id;
        self.applied = span.filter(joins).map_or(at.offset, |span| span.to.max(at.offset));
        self.phase = Phase::Following;
        self.generation += 1;
        self.flushes += 1;
        out.push(Output::Flush);
        self.extend_lease(started_ms);
    }

    fn barrier_again(&mut self, number: u64, out: &mut Vec<Output>) {
        if let Phase::Catching { number: awaited, .. } = self.phase
            && number == awaited
        {
            self.catch_up(out);
        }
    }

    fn extend_lease(&mut self, proved_ms: u64) {
        self.lease_end_ms = self.lease_end_ms.max(proved_ms + self.lease_ms);
        self.lapsed = false;
    }

    fn nonce_sent(&mut self, nonce: Nonce, at_ms: u64) {
        if self.nonces.len() == NONCES_OUTSTANDING_MAX {
            self.nonces.pop_front();
        }
        self.nonces.push_back((nonce, at_ms));
    }

    /// A read showed that A is beyond the log. Not if the cache has begun anew since the read.
    fn beyond(&mut self, generation: u64) {
        if self.phase == Phase::Following && self.generation == generation {
            self.gaps += 1;
            self.repair = None;
            self.end_lease();
            self.phase = Phase::Astray;
        }
    }

    fn ignore(&mut self, now_ms: u64, why: Foreign, out: &mut Vec<Output>) {
        self.ignored += 1;
        self.unproven += u64::from(why == Foreign::Unproven);
        out.extend(self.telling.note(now_ms).map(|count| Output::Ignored { why, count }));
    }

    fn message(&mut self, now_ms: u64, message: BusMessage, out: &mut Vec<Output>) {
        let misled = message.group != self.group || message.ring_version != self.ring_version;
        if misled || message.log_id == 0 {
            return self.ignore(now_ms, Foreign::Malformed, out);
        }
        let is_learning = self.log_id == 0 && self.phase != Phase::Following;
        if message.log_id != self.log_id && !is_learning {
            return self.ignore(now_ms, Foreign::OtherCluster, out);
        }
        // Of which log it is shows when the store has answered. An epoch of another log would hide later leaders of our own.
        if message.epoch > self.epoch && !is_learning {
            self.new_epoch(message.epoch, out);
        }
        let log_id = message.log_id;
        match message.kind {
            Some(bus_message::Kind::Events(events)) => {
                for change in events.changes {
                    self.event(log_id, change, out);
                }
            }
            Some(bus_message::Kind::FreshnessHeartbeat(heartbeat)) => {
                self.heartbeat(now_ms, log_id, &heartbeat, out);
            }
            None => self.ignore(now_ms, Foreign::Malformed, out),
        }
    }

    /// Another leader. The one before may have had a wrong state, and no event tells of that: everything is read anew.
    fn new_epoch(&mut self, epoch: u64, out: &mut Vec<Output>) {
        let is_another = self.epoch > 0;
        self.epoch = epoch;
        if is_another && self.phase == Phase::Following {
            self.catch_up(out);
        }
    }

    fn event(&mut self, log_id: u64, change: Change, out: &mut Vec<Output>) {
        let (previous, offset) = (change.previous, change.offset);
        // First, and whatever else it says: an entry that reflects the log up to this offset stays, any older one goes.
        out.extend(change.keys.into_iter().map(|key| Output::Drop { key, offset }));
        if previous >= offset {
            return; // Nonsense proves nothing; if an event is missing thereby, the next one shows the gap.
        }
        match &mut self.phase {
            Phase::Cold | Phase::Astray => {}
            Phase::Catching { span, .. } => chain(span, Span { log_id, from: previous, to: offset }),
            Phase::Following if offset <= self.applied => {}
            Phase::Following if previous > self.applied && !mutant!(GapForgotten) => {
                self.gap(Span { log_id, from: previous, to: offset }, out);
            }
            Phase::Following => self.advance(offset),
        }
    }

    /// A freshness heartbeat that names a nonce of ours and is behind A proves nothing new: it is late, or A is not of this log (a forged
    /// event, another cluster's under our name) and would let later changes pass unseen. So it extends no lease; and if the
    /// lease is over, for want of better ones, the cache begins anew from what the store says.
    fn heartbeat(&mut self, now_ms: u64, log_id: u64, heartbeat: &FreshnessHeartbeat, out: &mut Vec<Output>) {
        if heartbeat.previous > heartbeat.offset {
            return;
        }
        let said = Span { log_id, from: heartbeat.previous, to: heartbeat.offset };
        match &mut self.phase {
            Phase::Cold | Phase::Astray => {}
            Phase::Catching { span, .. } => chain(span, said),
            Phase::Following if heartbeat.previous > self.applied => {
                self.gap(said, out);
                let named = self.take_named(&heartbeat.nonces);
                self.prove_later(heartbeat.offset, named);
            }
            Phase::Following => {
                let Some(sent_ms) = self.take_named(&heartbeat.nonces) else {
                    self.advance(self.applied.max(heartbeat.offset));
                    return;
                };
                if heartbeat.offset >= self.applied {
                    self.advance(heartbeat.offset);
                    self.extend_lease(mutant!(sent_ms, LeaseFromArrival => now_ms));
                } else if now_ms >= self.lease_end_ms {
                    self.begin_anew(said, out);
                }
            }
        }
    }

    /// When the newest of our nonces in this freshness heartbeat was sent; named ones are not awaited any more.
    fn take_named(&mut self, named: &[Bytes]) -> Option<u64> {
        let mut newest = None;
        self.nonces.retain(|(nonce, sent_ms)| {
            let is_named = named.iter().any(|one| one[..] == nonce[..]);
            if is_named {
                newest = newest.max(Some(*sent_ms));
            }
            !is_named
        });
        newest
    }

    /// A is not to be trusted. What came now begins the chain that the barrier read is joined to.
    fn begin_anew(&mut self, said: Span, out: &mut Vec<Output>) {
        self.gaps += 1;
        self.catch_up(out);
        if let Phase::Catching { span, .. } = &mut self.phase {
            *span = Some(said);
        }
    }
}

#[cfg(test)]
mod tests;
