//! The publisher of changes, as far as it decides: the next message to be published, without clock, broker or table
//! (docs/PROTOCOL.md, 5).
//!
//! ```text
//!   offsets of changes   …  marked      acked        sent        last change
//!                            │ in the log │ by broker  │ on the way │ to be read
//! ```
//!
//! Promises: events go out in offset order, each after the one before it or after one that the broker has already
//! acknowledged; a freshness heartbeat goes out only after a round that was asked for after its nonces were gathered, and after
//! every event at or below its offset; a mark never says more than the broker acknowledged.

use std::collections::VecDeque;

use bytes::Bytes;
use proto::store::{Change, ChangeBatch};
use store_db::changes::Feed;

/// Changes in one message.
pub const EVENTS_MAX: usize = 256;
/// Bytes of the changes in one message, unless one alone is larger: with what wraps them they stay well below the
/// 1 MiB that brokers take (`mosquitto.conf`, the embedded one). A message that the broker refuses ends the
/// connection, and the next one would begin with the same message.
const EVENTS_BYTES_MAX: usize = 512 << 10;
/// Bytes beside each change in a message of several: tag and length.
const CHANGE_BYTES_BESIDE: usize = 6;
/// Bytes beside a nonce in a freshness heartbeat, with itself.
const NONCE_BYTES: usize = 18;
/// Messages on their way to the broker; brokers allow 20 and more.
pub const IN_FLIGHT_MAX: usize = 16;
/// A mark is written after so many events.
const MARK_EVENTS: usize = 256;
/// Or after so long, if something was published.
const MARK_MS: u64 = 1_000;
/// Nonces are gathered for so long before the round; a freshness heartbeat comes at least every 250 ms while nonces come.
const GATHER_MS: u64 = 100;
/// Nonces in one freshness heartbeat; each is 16 bytes.
const NONCES_MAX: usize = 1_024;

const _: () = assert!(GATHER_MS < 250, "a freshness heartbeat comes at least every 250 ms while nonces come");

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Read the feed after this offset and publish what is there.
    Read {
        /// The last change that was sent.
        after: u64,
    },
    /// Do a read-index round.
    Ask,
    /// Publish a freshness heartbeat.
    FreshnessHeartbeat {
        /// Everything up to here was sent.
        offset: u64,
        /// The last change at or below it.
        previous: u64,
        /// Whose lease it extends.
        nonces: Vec<Bytes>,
    },
    /// Write a publish mark.
    Mark {
        /// Everything up to here was acknowledged by the broker.
        offset: u64,
    },
    /// Nothing, until something happens or this time.
    Wait {
        /// Milliseconds on the caller's clock; `None`: only until something happens.
        until_ms: Option<u64>,
    },
}

/// A freshness heartbeat in the making.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Making {
    nonces: Vec<Bytes>,
    /// What the round noted; everything up to it has to be sent first.
    confirmed: Option<u64>,
}

/// A message that the broker has not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct InFlight {
    /// With its ack, changes up to here are published.
    up_to: u64,
    /// Changes in it.
    events: usize,
}

/// The plan of one session.
#[derive(Debug)]
pub struct Plan {
    /// Changes up to here were sent.
    sent: u64,
    /// Everything up to here was seen in the feed: no change at or below it is unsent.
    reached: u64,
    /// Changes up to here were acknowledged.
    acked: u64,
    /// Changes up to here are marked in the log.
    marked: u64,
    /// Acknowledged events since the mark.
    events_unmarked: usize,
    /// When the first of them was acknowledged.
    unmarked_since_ms: Option<u64>,
    /// Messages on their way, oldest first; the last may be filled in after it was sent.
    in_flight: VecDeque<InFlight>,
    /// Acks seen on this connection.
    acks_seen: u64,
    /// Nonces of the next freshness heartbeat.
    gathering: Vec<Bytes>,
    /// When the first of them came.
    gathering_since_ms: Option<u64>,
    /// The freshness heartbeat in the making.
    making: Option<Making>,
}

/// How many changes of these sizes go into one message whose changes may have `bytes_max`; 0: the first is too large for any.
fn fitting(sizes: impl Iterator<Item = usize>, bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fits = |(taken, size): &(usize, usize)| {
        bytes += size + CHANGE_BYTES_BESIDE;
        bytes <= bytes_max && (*taken == 0 || bytes <= EVENTS_BYTES_MAX)
    };
    sizes.enumerate().take_while(fits).count()
}

/// What there is to publish after an offset.
#[derive(Clone, PartialEq, Debug)]
pub enum Found {
    /// These changes make one message, if there are any; then say [`Plan::read`].
    Changes {
        /// The changes.
        changes: Vec<Change>,
        /// How far the feed was looked at.
        up_to: u64,
    },
    /// The next change is too large for any message: [`Plan::skip`].
    TooLarge {
        /// Its offset.
        offset: u64,
        /// Its keys.
        keys: usize,
    },
    /// The feed begins later: [`Plan::skip_to`].
    Trimmed {
        /// The first offset that is there.
        first: u64,
    },
}

/// What goes into the next message, of a feed that was read after `after`; its changes may have `bytes_max`.
#[must_use]
pub fn found(feed: Feed, after: u64, bytes_max: usize) -> Found {
    let (mut changes, up_to) = match feed {
        Feed::CompactedBefore(first) => return Found::Trimmed { first },
        Feed::Changes(ChangeBatch { changes, up_to }) => (changes, up_to),
    };
    let count = fitting(changes.iter().map(prost::Message::encoded_len), bytes_max);
    if let (0, Some(first)) = (count, changes.first()) {
        return Found::TooLarge { offset: first.offset, keys: first.keys.len() };
    }
    let is_whole = count == changes.len();
    changes.truncate(count);
    let last = changes.last().map(|change| change.offset);
    let up_to = up_to.filter(|_| is_whole).map(|up_to| up_to.offset).or(last).unwrap_or(after);
    Found::Changes { changes, up_to }
}

/// How many nonces go into a freshness heartbeat that may have `bytes_max`.
#[must_use]
pub fn nonces_fitting(bytes_max: usize) -> usize {
    bytes_max / NONCE_BYTES
}

impl Plan {
    /// Begins after the log's mark, or after what the broker acknowledged earlier under the same leadership.
    #[must_use]
    pub fn new(mark: u64, acked: Option<u64>) -> Plan {
        let from = acked.map_or(mark, |acked| acked.max(mark));
        Plan {
            sent: from,
            reached: from,
            acked: from,
            marked: mark,
            events_unmarked: 0,
            unmarked_since_ms: (from > mark).then_some(0),
            in_flight: VecDeque::new(),
            acks_seen: 0,
            gathering: Vec::new(),
            gathering_since_ms: None,
            making: None,
        }
    }

    /// What to do next, when the last change applied is `last_change`.
    pub fn next(&mut self, now_ms: u64, last_change: u64) -> Step {
        if self.is_mark_due(now_ms) {
            return Step::Mark { offset: self.acked };
        }
        if self.has_headroom() {
            if last_change > self.sent {
                return Step::Read { after: self.sent };
            }
            if let Some(step) = self.next_of_heartbeat() {
                return step;
            }
            if self.making.is_none()
                && self.gathering_since_ms.is_some_and(|since| now_ms >= since + GATHER_MS)
            {
                self.gathering_since_ms = None;
                self.making = Some(Making { nonces: std::mem::take(&mut self.gathering), confirmed: None });
                return Step::Ask;
            }
        }
        Step::Wait { until_ms: self.due_ms() }
    }

    fn next_of_heartbeat(&mut self) -> Option<Step> {
        let confirmed = self.making.as_ref()?.confirmed?;
        if self.reached < confirmed {
            return Some(Step::Read { after: self.sent });
        }
        let nonces = self.making.take()?.nonces;
        Some(Step::FreshnessHeartbeat { offset: self.reached, previous: self.sent, nonces })
    }

    fn is_mark_due(&self, now_ms: u64) -> bool {
        self.acked > self.marked
            && (self.events_unmarked >= MARK_EVENTS
                || self.unmarked_since_ms.is_some_and(|since| now_ms >= since + MARK_MS))
    }

    fn due_ms(&self) -> Option<u64> {
        let mark = self.unmarked_since_ms.filter(|_| self.acked > self.marked).map(|since| since + MARK_MS);
        let heartbeat =
            self.gathering_since_ms.filter(|_| self.has_headroom()).map(|since| since + GATHER_MS);
        mark.into_iter().chain(heartbeat).min()
    }

    /// Whether another message may be sent.
    #[must_use]
    pub fn has_headroom(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_MAX
    }

    /// The last change that was sent.
    #[must_use]
    pub fn last_sent(&self) -> u64 {
        self.sent
    }

    /// Changes up to here were acknowledged by the broker.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// A portal asks to be named. Beyond the bound it is not named now, and asks again; who repeats what another asked takes
    /// no place.
    pub fn nonce(&mut self, nonce: Bytes, now_ms: u64) {
        if self.gathering.len() < NONCES_MAX && !self.gathering.contains(&nonce) {
            self.gathering.push(nonce);
            self.gathering_since_ms.get_or_insert(now_ms);
        }
    }

    /// A message was handed to the connection.
    pub fn sent(&mut self) {
        self.in_flight.push_back(InFlight { up_to: self.sent, events: 0 });
    }

    /// The feed was read: `last` is its last change, which has been sent, and `up_to` how far it reaches.
    pub fn read(&mut self, last: Option<u64>, up_to: u64, events: usize) {
        if let Some(last) = last {
            assert!(last > self.sent, "events go out in offset order");
            self.sent = last;
            let message = self.in_flight.back_mut().expect("what was read was sent");
            *message = InFlight { up_to: last, events };
        }
        self.reached = self.reached.max(up_to);
    }

    /// The feed begins at `first`: what was before it is gone. The gap shows in the next event's `previous`.
    pub fn skip_to(&mut self, first: u64) {
        self.sent = self.sent.max(first.saturating_sub(1));
        self.reached = self.reached.max(self.sent);
    }

    /// The change at `offset` is never sent: it is too large. The gap shows in what is said next.
    pub fn skip(&mut self, offset: u64) {
        self.skip_to(offset.saturating_add(1));
    }

    /// The end of the first message with changes that the broker has not acknowledged.
    #[must_use]
    pub fn first_unacked(&self) -> Option<u64> {
        self.in_flight.iter().find(|message| message.events > 0).map(|message| message.up_to)
    }

    /// The round is through, and noted this offset.
    pub fn confirmed(&mut self, offset: u64) {
        if let Some(making) = &mut self.making {
            making.confirmed = Some(offset);
        }
    }

    /// The round failed: the nonces wait for another.
    pub fn not_confirmed(&mut self) {
        if let Some(making) = self.making.take() {
            // They are older than GATHER_MS already.
            self.gathering_since_ms = Some(0);
            self.gathering.splice(0..0, making.nonces);
            self.gathering.truncate(NONCES_MAX);
        }
    }

    /// The broker has acknowledged so many messages on this connection.
    pub fn acknowledged(&mut self, acks: u64, now_ms: u64) {
        while self.acks_seen < acks {
            self.acks_seen += 1;
            let Some(message) = self.in_flight.pop_front() else { continue };
            if message.events > 0 {
                self.acked = message.up_to;
                self.events_unmarked += message.events;
                self.unmarked_since_ms.get_or_insert(now_ms);
            }
        }
    }

    /// A mark was written, or tried.
    pub fn marked(&mut self, offset: u64, now_ms: u64) {
        self.marked = offset;
        self.events_unmarked = 0;
        self.unmarked_since_ms = (self.acked > offset).then_some(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Step = Step::Wait { until_ms: None };

    fn nonce(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// Reads and sends one batch that ends in `last`.
    fn publish(plan: &mut Plan, after: u64, last: u64, events: usize) {
        assert_eq!(plan.next(0, last), Step::Read { after });
        plan.sent();
        plan.read(Some(last), last, events);
    }

    #[test]
    fn a_message_reaches_as_far_as_its_changes_and_only_a_whole_feed_reaches_further() {
        let change = |offset: u64, bytes: usize| Change {
            offset,
            keys: vec![Bytes::from(vec![b'k'; bytes])],
            ..Change::default()
        };
        let feed = |changes: &[Change]| {
            let up_to = Some(proto::store::Position::at(3, 50));
            Feed::Changes(ChangeBatch { changes: changes.to_vec(), up_to })
        };
        let all = [change(11, 100), change(20, 100)];
        let whole = Found::Changes { changes: all.to_vec(), up_to: 50 };
        assert_eq!(found(feed(&all), 10, 1_000), whole);
        let first = Found::Changes { changes: all[..1].to_vec(), up_to: 11 };
        assert_eq!(found(feed(&all), 10, 150), first, "the second waits for the next message");
        assert_eq!(found(feed(&all), 10, 50), Found::TooLarge { offset: 11, keys: 1 });
        assert_eq!(found(feed(&[]), 10, 50), Found::Changes { changes: Vec::new(), up_to: 50 });
        assert_eq!(found(Feed::CompactedBefore(30), 10, 50), Found::Trimmed { first: 30 });
    }

    #[test]
    fn a_session_begins_at_the_mark_and_sends_what_follows_once() {
        let mut plan = Plan::new(10, None);
        assert_eq!(plan.next(0, 10), IDLE);
        publish(&mut plan, 10, 15, 3);
        assert_eq!(plan.next(0, 15), IDLE);
        publish(&mut plan, 15, 16, 1);
        assert_eq!((plan.acked(), plan.last_sent()), (10, 16));
    }

    #[test]
    fn the_next_session_begins_where_the_broker_acknowledged() {
        let mut plan = Plan::new(10, None);
        publish(&mut plan, 10, 15, 3);
        publish(&mut plan, 15, 20, 3);
        plan.acknowledged(1, 5);
        let mut next = Plan::new(10, Some(plan.acked()));
        assert_eq!(next.next(0, 20), Step::Read { after: 15 });
        assert_eq!(Plan::new(18, Some(15)).last_sent(), 18, "a later mark knows more");
    }

    #[test]
    fn a_slow_broker_stops_the_plan_until_it_acknowledges() {
        let mut plan = Plan::new(0, None);
        for i in 0..IN_FLIGHT_MAX as u64 {
            publish(&mut plan, i, i + 1, 1);
        }
        assert_eq!(plan.next(0, 99), IDLE);
        plan.acknowledged(1, 0);
        assert_eq!(plan.next(0, 99), Step::Read { after: IN_FLIGHT_MAX as u64 });
    }

    #[test]
    fn marks_come_by_count_and_by_time_and_only_for_what_is_acknowledged() {
        let mut plan = Plan::new(0, None);
        publish(&mut plan, 0, 300, MARK_EVENTS);
        assert_eq!(plan.next(9_999, 300), IDLE, "nothing is acknowledged");
        plan.acknowledged(1, 10_000);
        assert_eq!(plan.next(10_000, 300), Step::Mark { offset: 300 });
        plan.marked(300, 10_000);
        publish(&mut plan, 300, 301, 1);
        plan.acknowledged(2, 10_100);
        assert_eq!(plan.next(10_200, 301), Step::Wait { until_ms: Some(10_100 + MARK_MS) });
        assert_eq!(plan.next(10_100 + MARK_MS, 301), Step::Mark { offset: 301 });
        plan.marked(301, 11_100);
        assert_eq!(plan.next(99_999, 301), IDLE, "only if something was published");
    }

    #[test]
    fn a_freshness_heartbeat_follows_a_round_and_every_event_up_to_it() {
        let mut plan = Plan::new(7, None);
        plan.nonce(nonce("a"), 1_000);
        assert_eq!(plan.next(1_000, 7), Step::Wait { until_ms: Some(1_000 + GATHER_MS) });
        assert_eq!(plan.next(1_000 + GATHER_MS, 7), Step::Ask);
        plan.nonce(nonce("late"), 1_150);
        plan.confirmed(12);
        assert_eq!(plan.next(1_151, 11), Step::Read { after: 7 }, "change 11 goes first");
        plan.sent();
        plan.read(Some(11), 11, 1);
        assert_eq!(plan.next(1_152, 11), Step::Read { after: 11 }, "12 must be known to be no change");
        plan.read(None, 13, 0);
        let heartbeat = Step::FreshnessHeartbeat { offset: 13, previous: 11, nonces: vec![nonce("a")] };
        assert_eq!(plan.next(1_153, 11), heartbeat);
        plan.sent();
        assert_eq!(plan.next(1_160, 11), Step::Wait { until_ms: Some(1_150 + GATHER_MS) });
        assert_eq!(plan.next(1_150 + GATHER_MS, 11), Step::Ask, "the late one has a round of its own");
    }

    #[test]
    fn without_a_round_there_is_no_heartbeat_and_no_nonce_is_lost() {
        let mut plan = Plan::new(0, None);
        plan.nonce(nonce("a"), 500);
        assert_eq!(plan.next(700, 0), Step::Ask);
        plan.nonce(nonce("b"), 710);
        plan.not_confirmed();
        assert_eq!(plan.next(800, 0), Step::Ask);
        plan.confirmed(0);
        let nonces = vec![nonce("a"), nonce("b")];
        assert_eq!(plan.next(801, 0), Step::FreshnessHeartbeat { offset: 0, previous: 0, nonces });
        plan.sent();
        plan.acknowledged(1, 900);
        assert_eq!(
            (plan.acked(), plan.next(9_999, 0)),
            (0, IDLE),
            "a freshness heartbeat publishes no change"
        );
    }

    #[test]
    fn large_changes_together_fit_into_messages_that_brokers_take() {
        let fitting = |sizes: &[usize]| fitting(sizes.iter().copied(), 1 << 20);
        assert_eq!(fitting(&[300 << 10, 200 << 10, 300 << 10]), 2);
        assert_eq!(fitting(&[900 << 10, 1]), 1, "one alone goes if any broker takes it");
        assert_eq!(fitting(&[100; EVENTS_MAX]), EVENTS_MAX);
        assert_eq!(fitting(&[]), 0);
    }

    #[test]
    fn a_change_that_no_message_can_carry_shows_as_a_gap_and_what_follows_goes_out() {
        assert_eq!(fitting([40 << 10, 1].into_iter(), 32 << 10), 0);
        let mut plan = Plan::new(5, None);
        assert_eq!(plan.next(0, 9), Step::Read { after: 5 });
        plan.skip(9);
        plan.nonce(nonce("a"), 0);
        assert_eq!(plan.next(200, 9), Step::Ask);
        plan.confirmed(9);
        let nonces = vec![nonce("a")];
        assert_eq!(plan.next(201, 9), Step::FreshnessHeartbeat { offset: 9, previous: 9, nonces });
        plan.sent();
        assert_eq!(plan.first_unacked(), None, "a freshness heartbeat is no change");
        publish(&mut plan, 9, 12, 1);
        assert_eq!(plan.first_unacked(), Some(12));
    }

    #[test]
    fn what_was_trimmed_shows_as_a_gap() {
        let mut plan = Plan::new(3, None);
        assert_eq!(plan.next(0, 90), Step::Read { after: 3 });
        plan.skip_to(50);
        assert_eq!(plan.next(0, 90), Step::Read { after: 49 });
    }
}
