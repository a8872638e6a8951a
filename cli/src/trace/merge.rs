//! One order of the events of all nodes.
//!
//! ```text
//!   n1  sends push ──────────── takes ack ── commits          clocks only break ties: n2's may be hours behind
//!            ╲                 ╱
//!   n2        takes push ── sends ack
//! ```
//!
//! Promises: the events of one node keep their order; a receipt stands after its sending, if that is here before the receipt
//! is asked for; nothing waits for longer than [`PATIENCE_MS`]. A message is known by what it says; of two that say the same,
//! the first receipt belongs to the first sending. So a sending that was never delivered (an ack that a later one replaced)
//! may lend itself to the receipt of a later message that says the same.

use std::collections::{BTreeMap, HashMap, VecDeque};

use proto::store::{TraceDirection, TraceEvent};

/// Messages whose receipts are remembered to be open: one that never comes (an answer that a later one replaced) is
/// forgotten with all others beyond so many.
const OPEN_MAX: usize = 100_000;
/// A receipt that came so long ago waits no more for a sending that says the same: its own may never have been recorded.
const PATIENCE_MS: u64 = 1_000;

/// Where an event was: at a node's replica of a shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The node.
    pub node: u64,
    /// The shard.
    pub shard: u64,
}

/// A message on its way within a shard: from, to, and what it says.
type Message = (Place, u64, Vec<u8>);

/// Sendings of a message.
#[derive(Clone, Copy, Default)]
struct Sendings {
    /// Recorded, and still in their node's queue.
    queued: usize,
    /// In the order already, without a receipt.
    open: usize,
}

/// See the module.
#[derive(Default)]
pub struct Merge {
    places: BTreeMap<Place, VecDeque<(u64, TraceEvent)>>,
    sendings: HashMap<Message, Sendings>,
}

impl Merge {
    /// An event of a replica, which came at this moment of the caller's clock; a replica's events come in their order.
    pub fn add(&mut self, at: Place, came_ms: u64, event: TraceEvent) {
        if event.direction() == TraceDirection::Sent {
            self.sendings.entry(message(at, event.peer, &event)).or_default().queued += 1;
        }
        self.places.entry(at).or_default().push_back((came_ms, event));
    }

    /// The next event of the order among those that came before this moment; `None`: there is none yet.
    pub fn next(&mut self, before_ms: u64) -> Option<(Place, TraceEvent)> {
        let is_end = before_ms == u64::MAX;
        let heads = self.places.iter().filter_map(|(at, queue)| Some((*at, queue.front()?)));
        let heads = heads.filter(|(_, (came, _))| *came < before_ms);
        let waits_too_long = |came: u64| !is_end && came.saturating_add(PATIENCE_MS) < before_ms;
        let ready =
            heads.clone().filter(|(at, (came, event))| waits_too_long(*came) || self.is_ready(*at, event));
        let first = |(at, (_, event)): &(Place, &(u64, TraceEvent))| (event.wall_us, *at);
        let (at, _) = ready.min_by_key(first).or_else(|| heads.filter(|_| is_end).min_by_key(first))?;
        let (_, event) = self.places.get_mut(&at)?.pop_front()?;
        self.passed(at, &event);
        Some((at, event))
    }

    /// Whether nothing that must stand before it is still in a queue.
    fn is_ready(&self, at: Place, event: &TraceEvent) -> bool {
        if event.direction() != TraceDirection::Taken {
            return true;
        }
        let sendings = self.sendings.get(&received(at, event));
        sendings.is_none_or(|sendings| sendings.open > 0 || sendings.queued == 0)
    }

    fn passed(&mut self, at: Place, event: &TraceEvent) {
        match event.direction() {
            TraceDirection::Sent => {
                if self.sendings.len() > OPEN_MAX {
                    self.sendings.retain(|_, sendings| sendings.queued > 0);
                }
                let sendings = self.sendings.entry(message(at, event.peer, event)).or_default();
                sendings.queued = sendings.queued.saturating_sub(1);
                sendings.open += 1;
            }
            TraceDirection::Taken => {
                let key = received(at, event);
                if let Some(sendings) = self.sendings.get_mut(&key) {
                    sendings.open = sendings.open.saturating_sub(1);
                    if sendings.open + sendings.queued == 0 {
                        self.sendings.remove(&key);
                    }
                }
            }
            TraceDirection::Own | TraceDirection::Unspecified => {}
        }
    }
}

/// What makes two events the two ends of one message.
fn message(from: Place, to: u64, event: &TraceEvent) -> Message {
    let said = TraceEvent { number: 0, wall_us: 0, direction: 0, peer: 0, ..event.clone() };
    (from, to, prost::Message::encode_to_vec(&said))
}

/// The message whose receipt at a replica the event is.
fn received(at: Place, event: &TraceEvent) -> Message {
    message(Place { node: event.peer, ..at }, at.node, event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::store::TraceKind;

    fn event(wall_us: u64, direction: TraceDirection, peer: u64, round: u64) -> TraceEvent {
        let (kind, direction) = (TraceKind::Heartbeat.into(), direction.into());
        TraceEvent { wall_us, kind, direction, peer, round, ..TraceEvent::default() }
    }

    fn at(node: u64) -> Place {
        Place { node, shard: 1 }
    }

    fn all(merge: &mut Merge) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| merge.next(u64::MAX)).map(|(at, event)| (at.node, event.round)).collect()
    }

    #[test]
    fn a_receipt_stands_after_its_sending_whatever_the_clocks_say() {
        let mut merge = Merge::default();
        // Node 2's clock is far behind.
        merge.add(at(2), 0, event(1, TraceDirection::Taken, 1, 7));
        merge.add(at(2), 0, event(2, TraceDirection::Own, 0, 8));
        merge.add(at(1), 0, event(900, TraceDirection::Own, 0, 6));
        merge.add(at(1), 0, event(1_000, TraceDirection::Sent, 2, 7));
        assert_eq!(all(&mut merge), [(1, 6), (1, 7), (2, 7), (2, 8)]);
    }

    #[test]
    fn each_receipt_of_messages_that_say_the_same_has_its_own_sending() {
        let mut merge = Merge::default();
        for wall in [1, 2] {
            merge.add(at(2), 0, event(wall, TraceDirection::Taken, 1, 7));
        }
        for wall in [100, 200] {
            merge.add(at(1), 0, event(wall, TraceDirection::Sent, 2, 7));
        }
        assert_eq!(all(&mut merge), [(1, 7), (2, 7), (1, 7), (2, 7)]);
    }

    #[test]
    fn a_receipt_in_one_shard_has_no_sending_in_another() {
        let mut merge = Merge::default();
        let of = |shard, node| Place { node, shard };
        // Both shards' leaders are on node 1, and say the same to node 2.
        merge.add(of(1, 2), 0, event(1, TraceDirection::Taken, 1, 7));
        merge.add(of(2, 2), 0, event(1, TraceDirection::Taken, 1, 7));
        merge.add(of(2, 1), 0, event(900, TraceDirection::Sent, 2, 7));
        assert_eq!(merge.next(1).unwrap().0, of(1, 2), "nobody recorded its sending");
        let rest: Vec<Place> = std::iter::from_fn(|| merge.next(1)).map(|(at, _)| at).collect();
        assert_eq!(rest, [of(2, 1), of(2, 2)]);
    }

    #[test]
    fn a_receipt_whose_sending_nobody_recorded_waits_for_nothing() {
        let mut merge = Merge::default();
        merge.add(at(2), 5, event(1, TraceDirection::Taken, 1, 7));
        assert!(merge.next(5).is_none(), "its sending may still come");
        assert_eq!(all(&mut merge), [(2, 7)]);
    }

    #[test]
    fn two_nodes_whose_receipts_wait_for_each_other_are_let_go() {
        // Node 1's first sending of 7 was before it was watched; its second says the same.
        let waiting = || {
            let mut merge = Merge::default();
            merge.add(at(3), 0, event(1, TraceDirection::Taken, 1, 7));
            merge.add(at(3), 0, event(2, TraceDirection::Sent, 1, 8));
            merge.add(at(1), 0, event(3, TraceDirection::Taken, 3, 8));
            merge.add(at(1), 0, event(4, TraceDirection::Sent, 3, 7));
            merge
        };
        assert!(waiting().next(PATIENCE_MS).is_none());
        let mut patient = waiting();
        let all_of_them: Vec<_> =
            std::iter::from_fn(|| patient.next(PATIENCE_MS + 1)).map(|(at, e)| (at.node, e.round)).collect();
        assert_eq!(all_of_them, [(3, 7), (3, 8), (1, 8), (1, 7)]);
        assert_eq!(all(&mut waiting()).len(), 4, "at the end nothing waits");
    }

    proptest! {
        /// Nodes that send rounds to each other, each with a clock of its own: any interleaving of what comes in.
        #[test]
        fn every_order_keeps_each_node_and_each_message(
            sends in proptest::collection::vec((1u64..4, 1u64..4), 0..40),
            skew in [0u64..1_000, 0u64..1_000, 0u64..1_000],
        ) {
            let mut merge = Merge::default();
            let mut count = 0;
            let skewed = |node: u64, wall: u64| wall + skew[usize::try_from(node - 1).unwrap_or(0)];
            for (nth, (from, to)) in sends.iter().filter(|(from, to)| from != to).enumerate() {
                let (nth, wall) = (nth as u64, nth as u64 * 2);
                merge.add(at(*from), 0, event(skewed(*from, wall), TraceDirection::Sent, *to, nth));
                merge.add(at(*to), 0, event(skewed(*to, wall + 1), TraceDirection::Taken, *from, nth));
                count += 2;
            }
            let order: Vec<_> = std::iter::from_fn(|| merge.next(1)).collect();
            prop_assert_eq!(order.len(), count);
            let place = |node: u64, round: u64| order.iter().position(|(n, e)| (n.node, e.round) == (node, round));
            for (at, event) in &order {
                if event.direction() == TraceDirection::Taken {
                    prop_assert!(place(event.peer, event.round) < place(at.node, event.round));
                }
            }
            for node in 1..4 {
                let walls: Vec<u64> = order.iter().filter(|(n, _)| n.node == node).map(|(_, e)| e.wall_us).collect();
                prop_assert!(walls.is_sorted());
            }
        }
    }
}
