//! The actions of the model, and how often each is chosen.

use proptest::prelude::*;

use crate::world::KEYS;

#[derive(Clone, Debug)]
pub(crate) enum Action {
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
    /// A message that has been delivered is delivered again.
    Repeat(usize),
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
    /// A fetch of missed changes is answered: with all there are, or with half of them.
    RepairSampled(bool),
    RepairDone,
    RepairFailed,
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

pub(crate) fn action() -> impl Strategy<Value = Action> {
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
        4 => prop_oneof![any::<bool>().prop_map(RepairSampled), Just(RepairDone)],
        1 => Just(RepairFailed),
        4 => (0..KEYS).prop_map(Read),
        4 => prop_oneof![Just(ReadSampled), Just(ReadDone)],
        2 => prop_oneof![(0..KEYS).prop_map(OwnWrite), Just(OwnWriteDone)],
        1 => prop_oneof![Just(HealthyRound), Just(BarrierWhole), Just(ConnectWhole)],
        4 => Just(ReadAll),
    ]
}

/// What happens where nothing is lost and all comes in order, but what no leader said is said in between, and old messages are
/// repeated. Were true events also lost or overtaken, a forged one could stand in their place: see docs/PROTOCOL.md, 5.
pub(crate) fn forging() -> impl Strategy<Value = Action> {
    use Action::*;
    prop_oneof![
        4 => (0u64..900).prop_map(Advance),
        8 => (0..KEYS, any::<bool>()).prop_map(|(key, gap)| Write(key, gap)),
        2 => any::<bool>().prop_map(Publish),
        8 => (0u64..8, 0u64..12, any::<bool>()).prop_map(|(back, more, key)| Forge(back, more, key)),
        4 => any::<usize>().prop_map(Repeat),
        4 => Just(FreshnessHeartbeat),
        8 => Just(DeliverAll),
        4 => Just(Nonce(true)),
        4 => (0..KEYS).prop_map(Read),
        4 => prop_oneof![Just(ReadSampled), Just(ReadDone)],
        2 => prop_oneof![Just(BarrierSampled), Just(BarrierDone)],
        2 => prop_oneof![any::<bool>().prop_map(RepairSampled), Just(RepairDone), Just(RepairFailed)],
        2 => prop_oneof![Just(HealthyRound), Just(BarrierWhole), Just(ConnectWhole)],
        4 => Just(ReadAll),
    ]
}
