//! One client's session: what waits for it, what it was sent and has not acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use tokio::sync::Notify;

use crate::limits::{IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX};
use crate::message::{Delivery, Message};

/// A connection that serves a session; when another takes it over, this one ends.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// There is something to send, or it was taken over.
    pub(crate) wake: Notify,
    taken: AtomicBool,
}

impl Link {
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }

    pub(crate) fn take_over(&self) {
        self.taken.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// A message on its way to a client.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) message: Arc<Message>,
    pub(crate) how: Delivery,
}

/// What a session may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    /// The client's id.
    pub(crate) client: String,
    /// The connection that serves it; `None`: it is away.
    pub(crate) link: Option<Arc<Link>>,
    /// Its filters, with what each costs.
    pub(crate) filters: BTreeMap<String, usize>,
    pub(crate) filter_bytes: usize,
    /// When it is over, if it is away.
    pub(crate) ends: Option<Instant>,
    /// How long it outlives its connection.
    pub(crate) expiry: Duration,
    /// What is published when its connection ends without a word, and how long after.
    pub(crate) will: Option<(Message, Duration)>,
    /// When that is, if the client is away.
    pub(crate) will_due: Option<Instant>,
    queue: VecDeque<Queued>,
    in_flight: BTreeMap<u16, Queued>,
    in_flight_bytes: usize,
    /// Bytes of all that waits or is in flight.
    bytes: usize,
    last_packet: u16,
    /// QoS 1 messages that the client takes without acknowledging any.
    window: u16,
    bounds: Bounds,
}

impl Session {
    pub(crate) fn new(client: String, bounds: Bounds) -> Session {
        Session {
            client,
            link: None,
            filters: BTreeMap::new(),
            filter_bytes: 0,
            ends: None,
            expiry: Duration::ZERO,
            will: None,
            will_due: None,
            queue: VecDeque::new(),
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            bytes: 0,
            last_packet: 0,
            window: IN_FLIGHT_MAX,
            bounds,
        }
    }

    /// A connection serves it now: what was in flight is sent again, first.
    pub(crate) fn serve(&mut self, link: Arc<Link>, receive_max: u16) {
        if let Some(before) = self.link.replace(link) {
            before.take_over();
        }
        self.ends = None;
        self.will = None;
        self.will_due = None;
        self.window = receive_max.clamp(1, IN_FLIGHT_MAX);
        for (_, mut again) in std::mem::take(&mut self.in_flight).into_iter().rev() {
            again.how.again = true;
            self.queue.push_front(again);
        }
        self.in_flight_bytes = 0;
    }

    /// Bytes that wait and are not in flight: what it can lose.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes - self.in_flight_bytes
    }

    /// Whether it would send another message at once.
    pub(crate) fn is_ready(&self) -> bool {
        self.link.is_some() && self.queue.is_empty() && self.has_window()
    }

    fn has_window(&self) -> bool {
        self.in_flight.len() < usize::from(self.window)
            && (self.in_flight_bytes < IN_FLIGHT_BYTES_MAX || self.in_flight.is_empty())
    }

    /// Puts a message behind the others; how many old ones, or this one, were lost for it.
    pub(crate) fn queue(&mut self, queued: Queued) -> u64 {
        let cost = queued.message.cost();
        let mut lost = 0;
        let over = |session: &Session| {
            session.bytes + cost > session.bounds.bytes_max
                || session.queue.len() + session.in_flight.len() >= session.bounds.messages_max
        };
        while over(self) {
            lost += 1;
            if self.lose_oldest().is_none() {
                return lost;
            }
        }
        self.bytes += cost;
        self.queue.push_back(queued);
        self.wake();
        lost
    }

    /// Loses the oldest message that is not in flight; its bytes.
    pub(crate) fn lose_oldest(&mut self) -> Option<usize> {
        let lost = self.queue.pop_front()?;
        self.bytes -= lost.message.cost();
        Some(lost.message.cost())
    }

    pub(crate) fn wake(&self) {
        if let Some(link) = &self.link {
            link.wake.notify_one();
        }
    }

    /// The next message to send, if the client may get one.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Queued> {
        loop {
            let qos = self.queue.front()?.how.qos;
            if qos != QoS::AtMostOnce && !self.has_window() {
                return None;
            }
            let mut next = self.queue.pop_front()?;
            let cost = next.message.cost();
            if next.message.is_expired(now) {
                self.bytes -= cost;
                continue;
            }
            if qos == QoS::AtMostOnce {
                self.bytes -= cost;
            } else {
                // One that was sent before keeps its number; another connection's numbers begin anew with it.
                if next.how.packet == 0 || self.in_flight.contains_key(&next.how.packet) {
                    next.how.packet = self.free_packet();
                }
                self.in_flight_bytes += cost;
                self.in_flight.insert(next.how.packet, next.clone());
            }
            return Some(next);
        }
    }

    fn free_packet(&mut self) -> u16 {
        loop {
            self.last_packet = self.last_packet.wrapping_add(1).max(1);
            let taken = |packet| {
                self.in_flight.contains_key(&packet)
                    || self
                        .queue
                        .iter()
                        .take(usize::from(IN_FLIGHT_MAX))
                        .any(|queued| queued.how.packet == packet)
            };
            if !taken(self.last_packet) {
                return self.last_packet;
            }
        }
    }

    /// The client has it.
    pub(crate) fn acknowledged(&mut self, packet: u16) {
        if let Some(done) = self.in_flight.remove(&packet) {
            self.in_flight_bytes -= done.message.cost();
            self.bytes -= done.message.cost();
            self.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Held, Number};
    use bytes::Bytes;
    use rumqttc::v5::mqttbytes::v5::Publish;

    fn queued(held: &Held, bytes: usize) -> Queued {
        let publish =
            Publish { payload: Bytes::from(vec![0; bytes]), qos: QoS::AtLeastOnce, ..Publish::default() };
        let how = Delivery { qos: QoS::AtLeastOnce, retain: false, ids: Vec::new(), packet: 0, again: false };
        Queued { message: Arc::new(Message::new("t", publish, Number(0), held)), how }
    }

    #[test]
    fn whoever_does_not_read_loses_the_oldest_and_keeps_to_the_bound() {
        let (held, bounds) = (Held::default(), Bounds { messages_max: 1_000, bytes_max: 100_000 });
        let mut session = Session::new("slow".to_owned(), bounds);
        session.serve(Arc::default(), 2);
        let lost: u64 = (0..100).map(|at| session.queue(queued(&held, 10_000 + at))).sum();
        assert!(held.bytes() <= 100_000 && lost == 91, "{} {lost}", held.bytes());
        let now = Instant::now();
        let sent: Vec<(u16, usize)> = std::iter::from_fn(|| session.next(now))
            .map(|next| (next.how.packet, next.message.payload.len()))
            .collect();
        assert_eq!(sent, [(1, 10_091), (2, 10_092)], "the first that were not lost, no more than its window");
        session.acknowledged(1);
        assert_eq!(session.next(now).map(|next| next.how.packet), Some(3));
        session.serve(Arc::default(), 10);
        let again: Vec<(u16, bool)> =
            std::iter::from_fn(|| session.next(now)).map(|next| (next.how.packet, next.how.again)).collect();
        assert_eq!(again[..3], [(2, true), (3, true), (4, false)]);
        drop(session);
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn messages_are_bounded_by_count_too() {
        let (held, bounds) = (Held::default(), Bounds { messages_max: 3, bytes_max: 100_000 });
        let mut session = Session::new("away".to_owned(), bounds);
        assert_eq!((0..5).map(|_| session.queue(queued(&held, 1))).collect::<Vec<_>>(), [0, 0, 0, 1, 1]);
    }
}
