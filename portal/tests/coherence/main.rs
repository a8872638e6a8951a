//! `lease-bounds-staleness`: a hit is never older than the lease, whatever the bus does.
//!
//! A model of the store (a log of changes in time), of an honest leader (events in a chain, freshness heartbeats after gathering
//! nonces) and of a bus that loses, repeats, reorders and delays as it likes, around the real cache; everything that was
//! ever said is said again by an eavesdropper. Each hit is compared with the store's record of one lease ago.
//!
//! A leader may have a wrong state, until another one leads: what it answered is in no hit a lease later.
//!
//! An entry is never older than the maximum age either, counted from when the read or write was begun that it came from, though the lease holds
//! and nothing is lost (`an_entry_ages_though_the_lease_holds`).
//!
//! A second attacker forges *events*, as a captured portal could: it holds the bus key. A forgery without
//! the key never reaches the machine (`store_client::bus`), and costs nothing here.
#![allow(clippy::unwrap_used)]

mod action;
mod world;

use proptest::prelude::*;

use crate::action::{Action, action, forging};
use crate::world::{AGE_MS_MAX, KEYS, LEASE_MS, World};

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

    /// Events that no leader published, at any offset and at any time, also while catching up: true ones that come in order still
    /// reach the cache, which is never older than its lease.
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
fn an_entry_ages_though_the_lease_holds() {
    let mut world = World::new();
    world.connect();
    world.read_all();
    let (mut hits, mut reads) = (0, 0);
    while world.now_ms < 4 * AGE_MS_MAX {
        world.healthy_round();
        let before = world.hits;
        world.read_all();
        hits += world.hits - before;
        reads += u64::from(KEYS);
    }
    // Nothing is written: without an age every read were a hit.
    assert_eq!(world.cache.counts().aged, 4 * u64::from(KEYS), "once a key in each maximum age");
    assert_eq!(hits, reads - 4 * u64::from(KEYS));
}

#[test]
fn a_lost_message_costs_the_keys_that_it_named_and_no_flush() {
    let mut world = World::new();
    world.connect();
    for round in 0..40u8 {
        world.read_all();
        world.act(&Action::Write(0, false));
        world.act(&Action::Publish(true));
        world.act(&Action::Lose(0));
        world.act(&Action::Write(round % KEYS, true));
        world.healthy_round();
    }
    assert_eq!(world.cache.groups(world.now_ms)[0].flushes, 1, "the first barrier read's");
    assert_eq!(world.repaired, 40);
    assert!(world.hits > 50, "{} hits", world.hits);
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

/// Before the first answer of the store a portal knows no log, and listens to all that hold the bus key: a restored copy of the
/// cluster among them, whose epochs are its own.
#[test]
fn an_epoch_of_another_cluster_hides_no_new_leader_of_ours() {
    let mut world = World::new();
    for action in [Action::Foreign(0, 0), Action::Elect(true), Action::Deliver(0, false)] {
        world.act(&action);
    }
    world.connect();
    world.healthy_round();
    world.read_all();
    for action in [Action::Elect(false), Action::Nonce(true), Action::FreshnessHeartbeat] {
        world.act(&action);
    }
    for action in [Action::Advance(LEASE_MS - 100), Action::DeliverAll] {
        world.act(&action);
    }
    world.look_at_all();
    assert_eq!(world.hits, 0, "what the leader before said is read anew");
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
