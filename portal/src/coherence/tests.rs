//! Single steps of the machine; what holds over all schedules is in `tests/coherence.rs`.

use proto::store::Events;

use super::*;

const LEASE_MS: u64 = 1_000;
const LOG: u64 = 77;

struct Machine {
    coherence: Coherence,
    out: Vec<Output>,
}

impl Machine {
    fn step(&mut self, now_ms: u64, input: Input) -> Vec<Output> {
        self.coherence.step(now_ms, input, &mut self.out);
        std::mem::take(&mut self.out)
    }

    /// Connected at 0, following from offset 10 by a barrier read begun at 0.
    fn following() -> Machine {
        let mut machine = Machine { coherence: Coherence::new(1, 1, LEASE_MS, 0), out: Vec::new() };
        assert_eq!(machine.step(0, Input::Connected), [Output::Subscribe]);
        assert_eq!(machine.coherence.state(0), State::Cold);
        assert_eq!(machine.step(0, Input::Subscribed), [Output::ReadBarrier { number: 1 }]);
        let barrier = barrier(1, 0, 10);
        assert_eq!(machine.step(5, barrier), [Output::Flush]);
        assert_eq!((machine.coherence.state(5), machine.coherence.applied()), (State::Live, 10));
        machine
    }

    fn state_and_applied(&self, now_ms: u64) -> (State, u64) {
        (self.coherence.state(now_ms), self.coherence.applied())
    }
}

fn barrier(number: u64, started_ms: u64, offset: u64) -> Input {
    Input::Barrier { number, started_ms, offset, epoch: 1, log_id: LOG }
}

fn message(kind: bus_message::Kind) -> Input {
    Input::Message(BusMessage { group: 1, ring_version: 1, epoch: 1, kind: Some(kind), log_id: LOG })
}

fn event(previous: u64, offset: u64) -> Input {
    let keys = vec![Bytes::from("k")];
    let change = Change { offset, previous, keys, epoch: 1 };
    message(bus_message::Kind::Events(Events { changes: vec![change] }))
}

fn heartbeat(previous: u64, offset: u64, nonces: &[Nonce]) -> Input {
    let nonces = nonces.iter().map(|nonce| Bytes::copy_from_slice(nonce)).collect();
    message(bus_message::Kind::FreshnessHeartbeat(FreshnessHeartbeat { offset, previous, nonces }))
}

fn drop_at(offset: u64) -> Output {
    Output::Drop { key: Bytes::from("k"), offset }
}

#[test]
fn events_in_order_drop_their_keys() {
    let mut machine = Machine::following();
    assert_eq!(machine.step(6, event(7, 12)), [drop_at(12)]);
    assert_eq!(machine.step(6, event(12, 13)), [drop_at(13)]);
    assert_eq!(machine.step(6, event(7, 12)), [drop_at(12)], "a repeated event costs a miss at most");
    assert_eq!(machine.state_and_applied(6), (State::Live, 13));
}

/// What a leader with a wrong state answered stays in no cache: it has stepped down, and its successor says its epoch.
#[test]
fn another_leader_begins_the_cache_anew() {
    let mut machine = Machine::following();
    let of_epoch = |epoch: u64, input: Input| match input {
        Input::Message(message) => Input::Message(BusMessage { epoch, ..message }),
        other => other,
    };
    let generation = machine.coherence.generation();
    assert_eq!(machine.step(6, of_epoch(2, event(7, 12))), [Output::ReadBarrier { number: 2 }, drop_at(12)]);
    assert_eq!(machine.coherence.state(6), State::Suspect, "no hits meanwhile");
    assert!(machine.coherence.generation() > generation, "what was being filled is void");
    let by_the_next = Input::Barrier { number: 2, started_ms: 6, offset: 12, epoch: 2, log_id: LOG };
    assert_eq!(machine.step(7, by_the_next), [Output::Flush]);
    assert_eq!(machine.state_and_applied(7), (State::Live, 12));
    assert_eq!(machine.step(8, of_epoch(2, event(12, 13))), [drop_at(13)], "once an epoch");
    assert_eq!(
        machine.step(9, of_epoch(1, event(13, 14))),
        [drop_at(14)],
        "an earlier leader's late word is no news"
    );
    assert_eq!(machine.state_and_applied(9), (State::Live, 14));
}

/// The changes that a fetch of them brings: each with the key.
fn repaired(number: u64, offsets: &[u64], up_to: u64) -> Input {
    let change = |offset: &u64| Change { offset: *offset, keys: vec![Bytes::from("k")], ..Change::default() };
    let changes = offsets.iter().map(change).collect();
    Input::Repaired { number, changes, up_to: Position { epoch: 1, offset: up_to } }
}

#[test]
fn what_was_missed_is_fetched_while_hits_go_on_for_the_lease() {
    let mut machine = Machine::following();
    let fetch = Output::Repair { number: 2, after: 10, up_to: 15 };
    assert_eq!(machine.step(6, event(15, 16)), [drop_at(16), fetch]);
    assert_eq!(machine.state_and_applied(6), (State::Live, 10), "as new as it was when the nonce was sent");
    machine.step(7, Input::NonceSent { nonce: [1; 16], at_ms: 7 });
    assert_eq!(machine.step(8, heartbeat(16, 18, &[[1; 16]])), []);
    assert_eq!(machine.step(9, event(18, 20)), [drop_at(20)], "one fetch at a time");
    assert_eq!(machine.step(10, repaired(1, &[11], 19)), [], "an old one");
    assert_eq!(machine.step(10, repaired(2, &[12, 15], 17)), [drop_at(12), drop_at(15)]);
    // What came meanwhile hangs together with it.
    assert_eq!(machine.state_and_applied(10), (State::Live, 20));
    assert_eq!(machine.step(11, event(20, 21)), [drop_at(21)]);
    assert_eq!(machine.coherence.lease_left_ms(10), 7 + LEASE_MS - 10, "what the heartbeat proved holds now");
    assert_eq!(machine.coherence.totals(10).flushes, 1, "nothing was flushed for it");
}

#[test]
fn what_was_missed_may_come_late_by_itself() {
    let mut machine = Machine::following();
    machine.step(6, event(12, 16));
    assert_eq!(machine.step(7, event(10, 12)), [drop_at(12)]);
    assert_eq!(machine.state_and_applied(7), (State::Live, 16));
    assert_eq!(machine.step(8, repaired(2, &[12], 14)), [], "nobody waits for it any more");
}

#[test]
fn a_gap_behind_a_gap_is_fetched_after_the_first() {
    let mut machine = Machine::following();
    machine.step(6, event(15, 16));
    assert_eq!(machine.step(7, event(18, 20)), [drop_at(20)]);
    let next = Output::Repair { number: 3, after: 17, up_to: 18 };
    assert_eq!(machine.step(8, repaired(2, &[15, 16], 17)), [drop_at(15), drop_at(16), next]);
    assert_eq!(machine.state_and_applied(8), (State::Live, 17));
    machine.step(9, repaired(3, &[18], 18));
    assert_eq!(machine.state_and_applied(9), (State::Live, 20));
}

#[test]
fn what_cannot_be_fetched_begins_the_cache_anew() {
    let behind = Input::Repaired { number: 2, changes: Vec::new(), up_to: Position { epoch: 1, offset: 10 } };
    let later = Input::Repaired { number: 2, changes: Vec::new(), up_to: Position { epoch: 2, offset: 19 } };
    for answer in [Input::RepairFailed { number: 2 }, behind, later] {
        let mut machine = Machine::following();
        machine.step(6, event(15, 16));
        assert_eq!(machine.step(7, answer), [Output::ReadBarrier { number: 3 }]);
        assert_eq!(machine.coherence.state(7), State::Suspect);
        assert_eq!(machine.step(8, event(16, 20)), [drop_at(20)]);
        assert_eq!(machine.step(9, barrier(3, 7, 18)), [Output::Flush]);
        // 20 came while the read was under way and hangs together with it.
        assert_eq!(machine.state_and_applied(9).0, State::Live);
        assert_eq!(machine.step(10, repaired(2, &[], 30)), [], "an old one");
    }
}

#[test]
fn a_chain_that_the_barrier_does_not_reach_is_not_joined() {
    let mut machine = Machine::following();
    machine.step(6, event(15, 16));
    machine.step(6, Input::RepairFailed { number: 2 });
    machine.step(6, event(18, 20));
    machine.step(8, barrier(3, 6, 17));
    assert_eq!(machine.state_and_applied(8), (State::Live, 17));
    let fetch = Output::Repair { number: 4, after: 17, up_to: 20 };
    assert_eq!(machine.step(9, event(20, 21)), [drop_at(21), fetch]);
}

#[test]
fn a_heartbeat_extends_the_lease_from_the_sending_of_its_nonce() {
    let mut machine = Machine::following();
    machine.step(400, Input::NonceSent { nonce: [1; 16], at_ms: 400 });
    machine.step(900, heartbeat(7, 11, &[[1; 16]]));
    assert_eq!(machine.state_and_applied(1_399), (State::Live, 11));
    assert_eq!(machine.coherence.age_ms(900), 500);
    assert_eq!(machine.coherence.state(1_400), State::Suspect);
}

#[test]
fn a_late_heartbeat_or_one_of_others_proves_nothing() {
    let mut machine = Machine::following();
    machine.step(100, Input::NonceSent { nonce: [1; 16], at_ms: 100 });
    machine.step(1_500, heartbeat(7, 11, &[[2; 16]]));
    assert_eq!(machine.coherence.state(1_500), State::Suspect);
    machine.step(1_500, heartbeat(7, 12, &[[1; 16]]));
    assert_eq!(machine.coherence.state(1_500), State::Suspect);
    assert_eq!(machine.coherence.applied(), 12);
}

#[test]
fn an_offset_that_no_leader_published_is_outlived() {
    let mut machine = Machine::following();
    assert_eq!(machine.step(6, event(7, u64::MAX)), [drop_at(u64::MAX)]);
    for (at_ms, nonce) in [(300, 1), (600, 2), (900, 3)] {
        machine.step(at_ms, Input::NonceSent { nonce: [nonce; 16], at_ms });
        assert_eq!(machine.step(at_ms + 99, heartbeat(7, 12, &[[nonce; 16]])), [], "it may be a late one");
    }
    assert_eq!(machine.coherence.state(LEASE_MS), State::Suspect, "changes pass unseen: no hits");
    machine.step(1_200, Input::NonceSent { nonce: [4; 16], at_ms: 1_200 });
    assert_eq!(machine.step(1_300, heartbeat(12, 13, &[[5; 16]])), [], "a freshness heartbeat for others");
    assert_eq!(machine.step(1_300, heartbeat(12, 13, &[[4; 16]])), [Output::ReadBarrier { number: 2 }]);
    let barrier = barrier(2, 1_300, 14);
    assert_eq!(machine.step(1_301, barrier), [Output::Flush]);
    assert_eq!(machine.state_and_applied(1_301), (State::Live, 14));
}

#[test]
fn a_lease_that_lapsed_comes_back_with_a_heartbeat_and_voids_fills() {
    let mut machine = Machine::following();
    let generation = machine.coherence.generation();
    machine.step(1_400, Input::NonceSent { nonce: [1; 16], at_ms: 1_400 });
    assert_eq!(machine.step(1_500, heartbeat(7, 11, &[[1; 16]])), []);
    assert_eq!(machine.coherence.state(1_500), State::Live);
    assert!(machine.coherence.generation() > generation);
    assert_eq!(machine.coherence.totals(1_500).idle_ms, 5 + 500, "cold to 5, and from 1000 to 1500");
}

#[test]
fn a_heartbeat_that_shows_a_gap_does_not_extend_the_lease() {
    let mut machine = Machine::following();
    machine.step(100, Input::NonceSent { nonce: [1; 16], at_ms: 100 });
    let fetch = Output::Repair { number: 2, after: 10, up_to: 11 };
    assert_eq!(machine.step(110, heartbeat(11, 12, &[[1; 16]])), [fetch]);
    assert_eq!(machine.coherence.lease_left_ms(110), LEASE_MS - 110);
}

#[test]
fn a_lost_connection_is_suspect_at_once_and_a_new_one_begins_anew() {
    let mut machine = Machine::following();
    machine.step(6, Input::Lost);
    assert_eq!(machine.coherence.state(6), State::Suspect);
    assert_eq!(machine.step(7, event(10, 11)), [drop_at(11)]);
    assert_eq!(machine.step(8, Input::Connected), [Output::Subscribe]);
    assert_eq!(machine.step(8, event(10, 11)), [drop_at(11)]);
    assert_eq!(machine.state_and_applied(8), (State::Suspect, 10), "no chain begins before the subscription");
    assert_eq!(machine.step(9, Input::Subscribed), [Output::ReadBarrier { number: 2 }]);
    assert_eq!(machine.step(9, Input::BarrierFailed { number: 2 }), [Output::ReadBarrier { number: 3 }]);
}

#[test]
fn messages_of_other_groups_and_rings_and_nonsense_are_ignored() {
    let mut machine = Machine::following();
    for (group, ring_version) in [(2, 1), (1, 2)] {
        let kind = Some(bus_message::Kind::FreshnessHeartbeat(FreshnessHeartbeat {
            offset: 99,
            previous: 98,
            nonces: vec![],
        }));
        machine.step(6, Input::Message(BusMessage { group, ring_version, epoch: 1, kind, log_id: LOG }));
    }
    machine.step(6, Input::Foreign(Foreign::Malformed));
    machine.step(6, Input::Foreign(Foreign::Unproven));
    machine.step(6, event(12, 12));
    machine.step(6, heartbeat(99, 12, &[]));
    machine
        .step(6, Input::Message(BusMessage { group: 1, ring_version: 1, epoch: 1, kind: None, log_id: LOG }));
    assert_eq!(machine.state_and_applied(6), (State::Live, 10));
    assert_eq!((machine.coherence.totals(6).ignored, machine.coherence.totals(6).unproven), (5, 1));
}

fn of_log(log_id: u64, input: Input) -> Input {
    let Input::Message(message) = input else { panic!("a message") };
    Input::Message(BusMessage { log_id, ..message })
}

#[test]
fn another_cluster_of_the_same_name_moves_neither_a_nor_the_lease() {
    let mut machine = Machine::following();
    machine.step(400, Input::NonceSent { nonce: [1; 16], at_ms: 400 });
    let told = Output::Ignored { why: Foreign::OtherCluster, count: 1 };
    assert_eq!(machine.step(401, of_log(78, event(10, 11))), [told], "told of once a second");
    assert_eq!(machine.step(402, of_log(78, event(90, 99))), [], "no gap");
    assert_eq!(machine.step(403, of_log(78, heartbeat(7, 99, &[[1; 16]]))), [], "no lease");
    assert_eq!(machine.step(404, of_log(0, heartbeat(7, 99, &[[1; 16]]))), [], "a message must say its log");
    assert_eq!(machine.state_and_applied(405), (State::Live, 10));
    assert_eq!((machine.coherence.lease_left_ms(405), machine.coherence.totals(405).ignored), (595, 4));
    machine.step(500, heartbeat(7, 11, &[[1; 16]]));
    assert_eq!(
        (machine.coherence.lease_left_ms(500), machine.coherence.applied()),
        (900, 11),
        "our own does"
    );
    let told = [Output::Ignored { why: Foreign::OtherCluster, count: 4 }];
    assert_eq!(machine.step(1_401, of_log(78, event(10, 11))), told, "with those that were not told of");
}

#[test]
fn another_clusters_chain_is_not_joined_to_the_first_barrier_read() {
    let mut machine = Machine { coherence: Coherence::new(1, 1, LEASE_MS, 0), out: Vec::new() };
    machine.step(0, Input::Connected);
    machine.step(0, Input::Subscribed);
    machine.step(1, event(5, 12));
    machine.step(1, of_log(78, event(5, 500)));
    machine.step(2, barrier(1, 0, 10));
    assert_eq!(machine.state_and_applied(2), (State::Live, 10));
}

#[test]
fn another_log_is_never_followed_neither_by_messages_nor_by_a_read() {
    let mut machine = Machine::following();
    machine.step(LEASE_MS, of_log(78, event(3, 4)));
    assert_eq!(machine.state_and_applied(LEASE_MS), (State::Suspect, 10), "nothing of ours is heard");
    let fetch = Output::Repair { number: 2, after: 10, up_to: 19 };
    assert_eq!(machine.step(1_001, event(19, 20)), [drop_at(20), fetch], "a gap");
    assert_eq!(machine.step(1_001, Input::RepairFailed { number: 2 }), [Output::ReadBarrier { number: 3 }]);
    let anew = Input::Barrier { number: 3, started_ms: 1_001, offset: 25, epoch: 1, log_id: 78 };
    assert_eq!(machine.step(1_002, anew), [], "a node of another cluster answered");
    assert_eq!((machine.coherence.state(1_002), machine.coherence.log_id()), (State::Suspect, LOG));
    assert_eq!(machine.step(1_003, Input::Tick), [Output::ReadBarrier { number: 4 }]);
    assert_eq!(machine.step(1_004, barrier(4, 1_003, 21)), [Output::Flush]);
    assert_eq!(machine.state_and_applied(1_004), (State::Live, 21));
}

#[test]
fn an_event_at_or_below_what_was_applied_still_drops_its_keys() {
    let mut machine = Machine::following();
    // Said by who is no leader, at the next offset: no keys, and the true event comes after it.
    let nothing = Change { offset: 11, previous: 10, keys: vec![], epoch: 1 };
    let lie = message(bus_message::Kind::Events(Events { changes: vec![nothing] }));
    assert_eq!(machine.step(6, lie), []);
    assert_eq!(machine.state_and_applied(6), (State::Live, 11));
    assert_eq!(machine.step(7, event(10, 11)), [drop_at(11)], "the true one is not taken for known");
    assert_eq!(machine.step(8, event(2, 5)), [drop_at(5)], "nor is any older one");
    assert_eq!(machine.state_and_applied(8), (State::Live, 11), "and a repetition moves nothing");
}

#[test]
fn a_repetition_while_catching_up_drops_its_keys_and_joins_nothing() {
    let mut machine = Machine::following();
    machine.step(6, event(15, 16));
    machine.step(6, Input::RepairFailed { number: 2 });
    assert_eq!(machine.step(6, event(15, 16)), [drop_at(16)]);
    assert_eq!(machine.step(6, event(2, 5)), [drop_at(5)]);
    machine.step(8, barrier(3, 6, 15));
    assert_eq!(machine.state_and_applied(8), (State::Live, 16));
}

#[test]
fn a_read_that_shows_less_than_a_begins_the_cache_anew() {
    let mut machine = Machine::following();
    machine.step(6, event(7, u64::MAX));
    let generation = machine.coherence.generation();
    assert_eq!(machine.step(7, Input::Beyond { generation }), []);
    assert_eq!(machine.coherence.state(7), State::Suspect, "at once");
    assert_eq!(machine.step(8, event(10, 11)), [drop_at(11)]);
    assert_eq!(machine.coherence.state(8), State::Suspect, "nothing is followed before the barrier read");
    assert_eq!(machine.step(9, Input::Tick), [Output::ReadBarrier { number: 2 }]);
    assert_eq!(machine.step(9, Input::Tick), [], "one is enough");
    assert_eq!(machine.step(10, barrier(2, 9, 11)), [Output::Flush]);
    assert_eq!(machine.state_and_applied(10), (State::Live, 11));
    machine.step(11, Input::Beyond { generation });
    assert_eq!(machine.coherence.state(11), State::Live, "a read from before");
}

#[test]
fn outstanding_nonces_are_bounded() {
    let mut machine = Machine::following();
    for i in 0..100u8 {
        machine.step(6, Input::NonceSent { nonce: [i; 16], at_ms: 6 });
    }
    assert_eq!(machine.coherence.nonces.len(), NONCES_OUTSTANDING_MAX);
}
