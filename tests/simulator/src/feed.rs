//! Readers of the feed, killed now and then, who go on from the last cursor that they kept; and the laws of the feed.
//!
//! Judged: *a change has its event* (each version of an order, from its last back to its creation, has exactly one, in the log where the
//! version is, and no event of an order is beside them), and *a reader misses nothing* (of what lies before its cursor it was given all, in the
//! order of the log, each once between two kills).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portal::document::event::{EventRecord, What};
use portal::event_place::{Cursor, Place, placed, placed_early};
use portal::feed::{Wanted, keeper};
use portal::{Error, Portal, key};
use proto::store::Record;

use crate::tasks::Sleeper;
use crate::time::{MS, Micros};
use crate::violation::ensure;

/// The group of a simulated store.
const GROUP: u64 = 1;

/// What a reader was given.
#[derive(Default)]
pub(crate) struct Heard {
    events: BTreeSet<Place>,
    /// Everything before it was looked at.
    cursor: Cursor,
}

/// What all readers were given.
pub(crate) type AllHeard = Rc<RefCell<Vec<Heard>>>;

/// Reads the feed until `until`.
pub(crate) async fn read(
    portal: Arc<Portal>,
    heard: AllHeard,
    sleeper: Sleeper,
    mut random: fastrand::Rng,
    until: Micros,
) {
    let number = heard.borrow().len();
    heard.borrow_mut().push(Heard::default());
    let groups = portal.store().groups();
    let (mut kept, mut cursor, mut last) = (Cursor::default(), Cursor::default(), None);
    while sleeper.now.us() < until {
        sleeper.until(sleeper.now.us() + random.u64(20..400) * MS).await;
        if random.u8(..16) == 0 {
            // It is killed, and begins behind the last cursor that it kept.
            (cursor, last) = (kept.clone(), None);
        }
        let limit = random.u32(1..20);
        match portal.events(&cursor, limit, Duration::ZERO, &Wanted::default()).await {
            Ok(page) => {
                cursor = Cursor::parse(&page.next, &groups).expect("what was answered is a cursor");
                let mut heard = heard.borrow_mut();
                for event in page.events {
                    ensure(last.is_none_or(|last| last < event.offset), "a reader misses nothing", || {
                        format!("reader {number} is given {event:?} after offset {last:?}")
                    });
                    last = Some(event.offset);
                    let of_event = Cursor::parse(&event.cursor, &groups).ok();
                    heard[number].events.extend(of_event.and_then(|cursor| cursor.of(GROUP)));
                }
                if let Some(place) = cursor.of(GROUP) {
                    heard[number].cursor.saw(GROUP, place);
                }
                if random.bool() {
                    kept = cursor.clone();
                }
            }
            // Of events that came early the keeper makes it a habit; here whoever meets them.
            Err(Error::NotListed) => drop(keeper::place_early(&portal, GROUP).await),
            Err(_) => {}
        }
    }
}

/// The laws, on what a table has in the end. How many events there are.
pub(crate) fn check(orders: &[(Bytes, Record)], events: &[(Bytes, Record)], heard: &[Heard]) -> u64 {
    let mut of_orders: BTreeMap<(String, u64), EventRecord> = BTreeMap::new();
    let mut places = BTreeSet::new();
    for (at, record) in events {
        let event = EventRecord::read(at, &record.data);
        let place = placed(at).or_else(|| placed_early(at)).map(|(place, _)| place);
        let (Ok(event), Some(place)) = (event, place) else {
            panic!("{} is no event", String::from_utf8_lossy(at))
        };
        places.insert(place);
        if let Some(oid) = event.oid.clone() {
            of_orders.insert((oid, place.offset), event);
        }
    }
    for (at, record) in orders {
        let Some((_, oid)) = key::order_in(at) else { continue };
        let (oid, mut offset) = (oid.to_string(), record.offset());
        loop {
            let event = of_orders.remove(&(oid.clone(), offset));
            ensure(event.is_some(), "a change has its event", || format!("order {oid} at offset {offset}"));
            match event.map(|event| (event.previous, event.did)) {
                Some((0, did)) => {
                    ensure(did == What::Created, "a change has its event", || {
                        format!("{oid} begins {did:?}")
                    });
                    break;
                }
                Some((previous, _)) => offset = previous,
                None => break,
            }
        }
    }
    ensure(of_orders.is_empty(), "a change has its event", || {
        format!("of nothing: {:?}", of_orders.keys().next())
    });
    for (number, heard) in heard.iter().enumerate() {
        let seen_to = heard.cursor.of(GROUP).unwrap_or_default();
        let due: BTreeSet<Place> = places.range(..=seen_to).copied().collect();
        ensure(due == heard.events, "a reader misses nothing", || {
            let differs: Vec<_> = due.symmetric_difference(&heard.events).take(3).collect();
            format!(
                "reader {number}, up to {seen_to}: {} due, {} given; {differs:?}",
                due.len(),
                heard.events.len()
            )
        });
    }
    events.len() as u64
}
