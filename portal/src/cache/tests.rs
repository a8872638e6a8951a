//! The cache's own rules; what holds over all schedules is in `tests/coherence`.

use super::*;

const LEASE_MS: u64 = 1_000;

fn live(entries: usize, bytes: usize) -> Arc<Cache> {
    let entries = NonZeroUsize::new(entries).expect("some room");
    let groups = [1, 2].map(|group| (group, Coherence::new(group, 1, LEASE_MS, 0)));
    following(Capacity { entries, bytes }, groups.to_vec())
}

fn following(capacity: Capacity, groups: Vec<(u64, Coherence)>) -> Arc<Cache> {
    let numbers: Vec<u64> = groups.iter().map(|(group, _)| *group).collect();
    let cache = Cache::new(capacity, groups);
    for group in numbers {
        cache.step(group, 0, Input::Connected);
        let outputs = cache.step(group, 0, Input::Subscribed);
        let [Output::ReadBarrier { number }] = outputs[..] else { panic!("{outputs:?}") };
        cache.step(group, 0, Input::Barrier { number, started_ms: 0, offset: 10, epoch: 1, log_id: 1 });
    }
    cache
}

fn record(data: &str) -> Option<Record> {
    Some(Record { data: Bytes::copy_from_slice(data.as_bytes()), ..Record::default() })
}

fn miss(cache: &Arc<Cache>, group: u64, key: &Bytes) -> Token {
    match cache.lookup(group, key, 0, 1) {
        Lookup::Miss { min_offset: 10, token } => token,
        other => panic!("a miss: {other:?}"),
    }
}

fn is_hit(cache: &Arc<Cache>, group: u64, key: &Bytes) -> bool {
    matches!(cache.lookup(group, key, 0, 1), Lookup::Hit(_))
}

fn event(cache: &Cache, group: u64, previous: u64, offset: u64, key: &Bytes) {
    let change = proto::store::Change { offset, previous, keys: vec![key.clone()], epoch: 1 };
    let events = proto::store::Events { changes: vec![change] };
    let kind = Some(proto::store::bus_message::Kind::Events(events));
    let message = proto::store::BusMessage { group, ring_version: 1, epoch: 1, kind, log_id: 1 };
    cache.step(group, 1, Input::Message(message));
}

#[test]
fn presence_and_absence_are_kept() {
    let (cache, a, b) = (live(8, 1 << 20), Bytes::from("a"), Bytes::from("b"));
    cache.fill(&miss(&cache, 1, &a), record("1"), 11, 1);
    cache.fill(&miss(&cache, 1, &b), None, 11, 1);
    let Lookup::Hit(seen) = cache.lookup(1, &b, 0, 5) else { panic!("an absence is cached") };
    assert_eq!((seen.record, seen.at, seen.age_ms), (None, 11, 5));
    assert!(is_hit(&cache, 1, &a));
    assert_eq!(cache.counts(), Counts { hits: 2, misses: 2, ..Counts::default() });
    assert!(matches!(cache.lookup(1, &a, 0, LEASE_MS), Lookup::Bypass), "the lease is over");
}

#[test]
fn an_event_voids_a_fill_under_way() {
    let (cache, a) = (live(8, 1 << 20), Bytes::from("a"));
    let token = miss(&cache, 1, &a);
    event(&cache, 1, 10, 12, &a);
    cache.fill(&token, record("old"), 11, 1);
    assert!(!is_hit(&cache, 1, &a));
}

#[test]
fn an_event_spares_what_already_reflects_it() {
    let (cache, a) = (live(8, 1 << 20), Bytes::from("a"));
    cache.fill(&miss(&cache, 1, &a), record("new"), 12, 1);
    event(&cache, 1, 10, 12, &a);
    assert!(is_hit(&cache, 1, &a));
    event(&cache, 1, 12, 13, &a);
    assert!(!is_hit(&cache, 1, &a));
}

#[test]
fn an_own_write_replaces_what_was_cached() {
    let (cache, a) = (live(8, 1 << 20), Bytes::from("a"));
    cache.fill(&miss(&cache, 1, &a), record("1"), 11, 1);
    let token = cache.watch(1, &a, 1);
    cache.written(&token, Some(record("2")), 12, 1);
    let Lookup::Hit(seen) = cache.lookup(1, &a, 0, 1) else { panic!("refilled") };
    assert_eq!(seen.record, record("2"));
    event(&cache, 1, 10, 13, &a);
    cache.written(&token, Some(record("2")), 12, 1);
    assert!(!is_hit(&cache, 1, &a), "an event of the key came first");
}

#[test]
fn an_own_write_voids_fills_that_may_have_read_the_past() {
    let (cache, a) = (live(8, 1 << 20), Bytes::from("a"));
    for forgotten in [false, true] {
        let reader = miss(&cache, 1, &a);
        let writer = cache.watch(1, &a, 1);
        if forgotten {
            cache.forget(&a);
        } else {
            cache.written(&writer, None, 12, 1);
        }
        cache.fill(&reader, record("old"), 11, 1);
        assert!(!is_hit(&cache, 1, &a));
    }
}

#[test]
fn an_entry_over_the_maximum_age_is_read_again_though_the_lease_holds() {
    let a = Bytes::from("a");
    let coherence = Coherence::new(1, 1, LEASE_MS, 0).with_age_max(100);
    let cache = following(Capacity { entries: NonZeroUsize::MIN, bytes: 1 << 20 }, vec![(1, coherence)]);
    // The age counts from when the read was begun, at 1, not from when its answer came.
    cache.fill(&miss(&cache, 1, &a), record("1"), 11, 50);
    assert!(matches!(cache.lookup(1, &a, 0, 100), Lookup::Hit(_)) && cache.peek(1, &a, 100).is_some());
    assert!(cache.peek(1, &a, 101).is_none());
    let Lookup::Miss { min_offset: 10, token } = cache.lookup(1, &a, 0, 101) else { panic!("a miss") };
    assert_eq!((cache.len(), cache.counts().aged, cache.lock().bytes), (0, 1, 0));
    cache.fill(&token, record("1"), 10, 102);
    assert!(
        matches!(cache.lookup(1, &a, 0, 200), Lookup::Hit(_)),
        "though it was true earlier than the one before"
    );
}

#[test]
fn a_token_that_is_renewed_fills_after_a_flush() {
    let (cache, a) = (live(8, 1 << 20), Bytes::from("a"));
    let token = miss(&cache, 1, &a);
    let outputs = cache.step(1, 1, Input::Subscribed);
    let [Output::ReadBarrier { number }] = outputs[..] else { panic!("{outputs:?}") };
    cache.step(1, 1, Input::Barrier { number, started_ms: 1, offset: 12, epoch: 1, log_id: 1 });
    let (min_offset, renewed) = cache.renew(&token, 1);
    cache.fill(&token, record("old"), 11, 1);
    assert!(!is_hit(&cache, 1, &a));
    cache.fill(&renewed, record("new"), 12, 1);
    assert!(min_offset == 12 && is_hit(&cache, 1, &a));
}

#[test]
fn a_flush_takes_its_group_only_and_voids_fills() {
    let (cache, a, b) = (live(8, 1 << 20), Bytes::from("a"), Bytes::from("b"));
    cache.fill(&miss(&cache, 1, &a), record("1"), 11, 1);
    cache.fill(&miss(&cache, 2, &b), record("1"), 11, 1);
    let token = cache.watch(1, &Bytes::from("c"), 1);
    let outputs = cache.step(1, 1, Input::Subscribed);
    let [Output::ReadBarrier { number }] = outputs[..] else { panic!("{outputs:?}") };
    cache.step(1, 1, Input::Barrier { number, started_ms: 1, offset: 10, epoch: 1, log_id: 1 });
    cache.fill(&token, record("1"), 11, 1);
    assert!(!is_hit(&cache, 1, &a) && !is_hit(&cache, 1, &Bytes::from("c")) && is_hit(&cache, 2, &b));
}

#[test]
fn entries_and_bytes_are_bounded_and_tokens_leave_nothing() {
    let cache = live(4, 4_000);
    for i in 0..100 {
        let key = Bytes::from(format!("key{i}"));
        cache.fill(&miss(&cache, 1, &key), record(&"x".repeat(i * 10)), 11, 1);
    }
    let inner = cache.lock();
    let weights: usize = inner.entries.iter().map(|(key, entry)| weight(key, entry)).sum();
    assert!(inner.entries.len() <= 4 && inner.bytes == weights && weights <= 4_000);
    assert!(inner.watched.is_empty());
}
