//! The feed: each operation leaves one event, in its own transaction; readers are given all of them, in order, or told what is missing.

use futures::StreamExt;
use portal::Error;
use portal::document::feed::{FeedRecord, GroupFeed, KEY};
use portal::event_place::Place;
use proto::portal::{
    AdjustStockRequest, DeleteClientRequest, DeleteProductRequest, Event, InsertProductRequest,
    ListEventsRequest, ListEventsResponse, OrderState, StaffModifyOrderRequest, StaffMoveRequest,
    StaffOrderRequest, StaffReturnRequest, StockRules, UpdateClientRequest, UpdateProductRequest,
    UpdateShopRequest, WatchEventsRequest,
};
use proto::store::{Freshness, Txn};
use store_client::{Range, Store, now_ms};
use store_engine::memory::MemoryStore;

use crate::fixture::{Fixture, answer, id, is_invalid};

const DAY_MS: i64 = 24 * 3_600 * 1_000;

async fn page(fixture: &Fixture, asked: ListEventsRequest) -> Result<ListEventsResponse, Error> {
    answer(fixture.admin().list_events(asked).await)
}

/// All events, the oldest first.
async fn all(fixture: &Fixture) -> Vec<Event> {
    page(fixture, ListEventsRequest { limit: 1_000, ..Default::default() }).await.unwrap().events
}

fn words(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| format!("{} {} {}", event.kind, event.id, event.did)).collect()
}

/// `ana`, and 10 of `pen`, which is low at 4.
async fn shop() -> Fixture {
    let fixture = Fixture::with_times().await;
    fixture.insert_client("ana").await;
    let data = r#"{"description":"Pen","price":"2.50","quantity":10}"#.to_owned();
    let rules = Some(StockRules { low_stock: 4, ..StockRules::default() });
    let request = InsertProductRequest { pid: "pen".into(), data, request: None, rules };
    answer(fixture.admin().insert_product(request).await).unwrap();
    fixture
}

fn moving(oid: &str, reason: &str) -> StaffMoveRequest {
    let (cid, oid, reason) = ("ana".into(), oid.into(), reason.into());
    StaffMoveRequest { cid, oid, reason, by: "joana".into(), ..Default::default() }
}

fn deciding(oid: &str) -> StaffOrderRequest {
    let (cid, oid, reason) = ("ana".into(), oid.into(), "by telephone".into());
    StaffOrderRequest { cid, oid, reason, by: "joana".into(), ..Default::default() }
}

/// Each operation once, and the order's id.
async fn each_operation(fixture: &Fixture) -> String {
    let mut admin = fixture.admin();
    let data = r#"{"name":"Ana","phone":"1"}"#.to_owned();
    answer(admin.update_client(UpdateClientRequest { cid: "ana".into(), data, ..Default::default() }).await)
        .unwrap();
    let data = r#"{"description":"Pen","price":"3","colour":"red"}"#.to_owned();
    answer(
        admin.update_product(UpdateProductRequest { pid: "pen".into(), data, ..Default::default() }).await,
    )
    .unwrap();
    let oid = fixture.order("ana", 1, &[("pen", 5)]).await.to_string();
    let lines = vec![proto::portal::LineChange { pid: "pen".into(), quantity: 7, ..Default::default() }];
    let (cid, reason, by) = ("ana".to_owned(), "two more".to_owned(), "joana".to_owned());
    let modify = StaffModifyOrderRequest { cid, oid: oid.clone(), reason, by, lines, ..Default::default() };
    answer(admin.modify_order(modify).await).unwrap();
    answer(admin.confirm_order(deciding(&oid)).await).unwrap();
    answer(admin.pay_order(moving(&oid, "")).await).unwrap();
    answer(admin.pack_order(moving(&oid, "")).await).unwrap();
    answer(admin.send_order(moving(&oid, "")).await).unwrap();
    let back = StaffReturnRequest {
        cid: "ana".into(),
        oid: oid.clone(),
        reason: "broken".into(),
        restock: false,
        ..Default::default()
    };
    answer(admin.return_order(back).await).unwrap();
    answer(admin.refund_order(deciding(&oid)).await).unwrap();
    after_the_order(fixture).await;
    oid
}

/// What is done when the order has come to its end.
async fn after_the_order(fixture: &Fixture) {
    let mut admin = fixture.admin();
    let adjust = AdjustStockRequest { pid: "pen".into(), amount: 6, ..Default::default() };
    answer(admin.adjust_stock(adjust).await).unwrap();
    let rules = UpdateShopRequest { hold_minutes: 30, ..Default::default() };
    answer(admin.update_shop(rules).await).unwrap();
    answer(admin.delete_product(DeleteProductRequest { pid: "pen".into(), ..Default::default() }).await)
        .unwrap();
    answer(admin.delete_client(DeleteClientRequest { cid: "ana".into(), ..Default::default() }).await)
        .unwrap();
}

#[tokio::test]
async fn each_operation_leaves_one_event_with_what_it_did() {
    let fixture = shop().await;
    let oid = each_operation(&fixture).await;
    let events = all(&fixture).await;
    let of_order = |did: &str| format!("order {oid} {did}");
    let done = [
        "client ana inserted".to_owned(),
        "product pen inserted".to_owned(),
        "client ana updated".to_owned(),
        "product pen updated".to_owned(),
        of_order("created"),
        of_order("modified"),
        of_order("confirmed"),
        of_order("paid"),
        of_order("packed"),
        of_order("sent"),
        of_order("discarded"),
        of_order("refunded"),
        "product pen adjusted".to_owned(),
        "shop rules updated".to_owned(),
        "product pen deleted".to_owned(),
        "client ana deleted".to_owned(),
    ];
    assert_eq!(words(&events), done);
    assert!(events.is_sorted_by(|one, next| one.offset < next.offset && one.at_ms <= next.at_ms));

    // Of a client's data only the names of what was changed.
    assert_eq!(events[2].changed, ["name", "phone"]);
    let text = format!("{:?}", events[2]);
    assert!(!text.contains("Ana"), "no data of the client is kept in the feed: {text}");
    let (before, after) = (events[3].before.clone().unwrap(), events[3].after.clone().unwrap());
    assert_eq!((before.price.as_str(), after.price.as_str()), ("2.50", "3.00"));
    assert_eq!((after.description.as_str(), &events[3].changed[..]), ("", &["colour".to_owned()][..]));

    assert_eq!(events[13].after.as_ref().and_then(|after| after.hold_minutes), Some(30));
}

#[tokio::test]
async fn the_events_of_an_order_follow_on_each_other_and_tell_what_moved() {
    let fixture = shop().await;
    each_operation(&fixture).await;
    let events = all(&fixture).await;
    // Each version of the order follows on the one before it.
    let of_the_order: Vec<&Event> = events.iter().filter(|event| event.kind == "order").collect();
    assert_eq!(of_the_order[0].previous, 0);
    for two in of_the_order.windows(2) {
        assert_eq!(two[1].previous, two[0].offset, "{two:?}");
    }
    assert!(of_the_order.iter().all(|event| event.cid == "ana"));
    let states: Vec<OrderState> =
        of_the_order.iter().filter_map(|event| event.after.as_ref().map(|after| after.state())).collect();
    assert_eq!(states[..2], [OrderState::Open, OrderState::Unspecified], "what did not change is not told");
    assert_eq!(states.last(), Some(&OrderState::Refunded));
    let note = of_the_order[1].note.clone().unwrap();
    assert_eq!(
        (note.did.as_str(), note.reason.as_str(), note.by.as_str()),
        ("modified", "two more", "joana")
    );

    // Units: 5 taken of 10, 2 more, then sold, then of no use; low from 5 to 3.
    let moved = |event: &Event| {
        event
            .stocks
            .iter()
            .map(|one| (one.available, one.held, one.sold, one.adjusted, one.left, one.low))
            .next()
    };
    let moves: Vec<_> = of_the_order.iter().filter_map(|event| moved(event)).collect();
    let expected = [
        (-5, 5, 0, 0, Some(5), false),
        (-2, 2, 0, 0, Some(3), true),
        (0, -7, 7, 0, None, false),
        (0, 0, -7, -7, None, false),
    ];
    assert_eq!(moves, expected);
    assert_eq!(moved(&events[12]), Some((6, 0, 0, 6, Some(9), false)), "{:?}", events[12]);
}

#[tokio::test]
async fn what_is_refused_leaves_no_event_and_what_is_repeated_one() {
    let fixture = shop().await;
    let mut admin = fixture.admin();
    let adjust =
        |amount| AdjustStockRequest { pid: "pen".into(), amount, request: id("one"), ..Default::default() };
    let more = AdjustStockRequest { request: id("two"), ..adjust(-11) };
    assert!(matches!(answer(admin.adjust_stock(more).await), Err(Error::ShortStock { .. })));
    for _ in 0..3 {
        answer(admin.adjust_stock(adjust(1)).await).unwrap();
    }
    let oid = fixture.order("ana", 1, &[("pen", 1)]).await.to_string();
    for _ in 0..2 {
        answer(admin.cancel_order(deciding(&oid)).await).unwrap();
    }
    let done: Vec<String> = all(&fixture).await.into_iter().map(|event| event.did).collect();
    assert_eq!(done, ["inserted", "inserted", "adjusted", "created", "cancelled"]);
}

#[tokio::test]
async fn pages_of_any_size_show_each_event_once_and_filters_what_they_name() {
    let fixture = shop().await;
    fixture.insert_client("bia").await;
    fixture.insert_product("cup", 9).await;
    let mut oids = Vec::new();
    for number in 1..=5 {
        oids.push(fixture.order("ana", number, &[("pen", 1)]).await.to_string());
        fixture.order("bia", number, &[("cup", 1)]).await;
    }
    let whole = all(&fixture).await;
    assert_eq!(whole.len(), 14);
    for limit in [1, 2, 3, 7, 14, 15] {
        let (mut after, mut seen) = (String::new(), Vec::new());
        loop {
            let page =
                page(&fixture, ListEventsRequest { after, limit, ..Default::default() }).await.unwrap();
            seen.extend(page.events);
            after = page.next;
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, whole, "in pages of {limit}");
    }
    // The cursor of an event goes on behind it.
    let rest = ListEventsRequest { after: whole[9].cursor.clone(), ..Default::default() };
    assert_eq!(page(&fixture, rest).await.unwrap().events, whole[10..]);

    let count = async |asked: ListEventsRequest| page(&fixture, asked).await.unwrap().events.len();
    let asked = ListEventsRequest::default;
    assert_eq!(count(ListEventsRequest { cid: "ana".into(), ..asked() }).await, 6);
    assert_eq!(count(ListEventsRequest { pid: "cup".into(), ..asked() }).await, 6);
    assert_eq!(count(ListEventsRequest { oid: oids[2].clone(), ..asked() }).await, 1);
    assert_eq!(count(ListEventsRequest { cid: "ana".into(), pid: "cup".into(), ..asked() }).await, 0);
    is_invalid(page(&fixture, ListEventsRequest { limit: 1_001, ..asked() }).await, "limit");
    is_invalid(page(&fixture, ListEventsRequest { wait_ms: 30_001, ..asked() }).await, "wait_ms");
    for nonsense in ["7", "1:x", "99:1.1"] {
        is_invalid(page(&fixture, ListEventsRequest { after: nonsense.into(), ..asked() }).await, "after");
    }
}

#[tokio::test]
async fn a_cursor_of_a_shop_that_was_ahead_passes_over_nothing_of_this_one() {
    let fixture = shop().await;
    let end =
        page(&fixture, ListEventsRequest { after: "now".into(), ..Default::default() }).await.unwrap().next;
    let (group, place) = end.split_once(':').unwrap();
    let offset: u64 = place.split_once('.').unwrap().0.parse().unwrap();
    let at = |offset: u64| ListEventsRequest { after: format!("{group}:{offset}.0"), ..Default::default() };
    is_invalid(page(&fixture, at(offset + 1)).await, "after");
    assert!(page(&fixture, at(offset)).await.is_ok(), "the end itself is reached");
    fixture.insert_client("bia").await;
    assert!(page(&fixture, at(offset + 1)).await.is_ok(), "it is reached now");
}

#[tokio::test]
async fn who_waits_is_told_of_an_event_when_it_comes() {
    let fixture = shop().await;
    let end = page(&fixture, ListEventsRequest { after: "now".into(), ..Default::default() }).await.unwrap();
    assert!(end.events.is_empty());
    let waiting = ListEventsRequest { after: end.next.clone(), wait_ms: 30_000, ..Default::default() };
    let watching = WatchEventsRequest { after: end.next, ..Default::default() };
    let mut stream = fixture.admin().watch_events(watching).await.unwrap().into_inner();
    let (waited, _) = tokio::join!(page(&fixture, waiting), fixture.insert_client("bia"));
    assert_eq!(words(&waited.unwrap().events), ["client bia inserted"]);
    fixture.insert_client("caio").await;
    let mut watched = Vec::new();
    while watched.len() < 2 {
        watched.extend(stream.next().await.unwrap().unwrap().events);
    }
    assert_eq!(words(&watched), ["client bia inserted", "client caio inserted"]);
}

#[tokio::test]
async fn events_made_while_an_earlier_program_was_in_the_store_come_to_their_places() {
    let fixture = Fixture::keeping(MemoryStore::new()).await;
    fixture.insert_client("bia").await;
    fixture.insert_product("pen", 10).await;
    fixture.insert_client("ana").await;
    assert!(all(&fixture).await.is_empty(), "nobody is told of what is not in its place yet");
    let _raised = fixture.store.clone().raised();
    fixture.insert_product("cup", 10).await;
    // A reader sees none before the keeper has put all of them in order.
    let events = fixture
        .until("all events are in order", async || match page(&fixture, ListEventsRequest::default()).await {
            Ok(page) => Some(page.events),
            Err(Error::NotListed) => None,
            Err(error) => panic!("{error}"),
        })
        .await;
    let done = ["client bia inserted", "product pen inserted", "client ana inserted", "product cup inserted"];
    assert_eq!(words(&events), done);
}

#[tokio::test]
async fn old_events_are_dropped_and_a_reader_who_has_missed_some_is_told() {
    // Two from before the shop keeps them, one in between.
    let store = MemoryStore::new().raised();
    let event = |days: i64| {
        format!(r#"{{"did":"inserted","of":"client","portal":"p","at_ms":{}}}"#, now_ms() - days * DAY_MS)
    };
    let places = [5u64, 6, 7].map(|offset| Place { offset, index: 0 });
    let mut txn = Txn::new();
    for (place, days) in places.into_iter().zip([40, 31, 29]) {
        txn = txn.put(place.key("old"), now_ms(), event(days));
    }
    assert!(store.txn(txn, None).await.unwrap().success);
    let fixture = Fixture::keeping(store).await;
    fixture.insert_client("ana").await;
    let events = fixture
        .until("old events are dropped", async || {
            let events = all(&fixture).await;
            (events.len() == 2).then_some(events)
        })
        .await;
    assert_eq!(words(&events), ["client old inserted", "client ana inserted"]);
    let missed = ListEventsRequest { after: "1:4.0".into(), ..Default::default() };
    let oldest = match page(&fixture, missed).await {
        Err(Error::FeedTrimmed { oldest, kept_ms: 0 }) => oldest,
        other => panic!("{other:?}"),
    };
    let rest = ListEventsRequest { after: oldest, ..Default::default() };
    assert_eq!(page(&fixture, rest).await.unwrap().events, events, "and where what is kept begins");
    let has_all = ListEventsRequest { after: "1:6.0".into(), ..Default::default() };
    assert_eq!(
        page(&fixture, has_all).await.unwrap().events.len(),
        2,
        "who has what was dropped misses nothing"
    );
    let kept =
        fixture.store.scan(Range::Prefix("f/".into()), 0, None, Freshness::linearizable()).await.unwrap();
    let sum: usize =
        kept.records.iter().map(|one| one.key.len() + one.record.as_ref().unwrap().data.len()).sum();
    fixture
        .until("what is kept is counted", async || {
            let record = fixture.record(KEY.into()).await;
            let GroupFeed { first, events, bytes, .. } =
                FeedRecord::read(record.as_ref()).unwrap().unwrap().groups[&1];
            ((first, events, bytes) == (7, 2, sum as u64)).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_reader_who_began_when_nothing_was_there_is_told_what_he_missed() {
    let fixture = Fixture::with_times().await;
    let begun = page(&fixture, ListEventsRequest::default()).await.unwrap();
    assert!(begun.events.is_empty() && !begun.next.is_empty(), "he has a place: {begun:?}");
    let mut watched = fixture.admin().watch_events(WatchEventsRequest::default()).await.unwrap().into_inner();
    assert_eq!(watched.next().await.unwrap().unwrap().next, begun.next);
    for cid in ["ana", "bia"] {
        fixture.insert_client(cid).await;
    }
    let after_it = ListEventsRequest { after: begun.next, ..Default::default() };
    let events = page(&fixture, after_it.clone()).await.unwrap().events;
    assert_eq!(words(&events), ["client ana inserted", "client bia inserted"]);
    // The first goes, as the keeper drops it, before he comes back.
    let first = events[1].offset;
    let feed = GroupFeed { first, dropped_ms: Some(events[0].at_ms), ..GroupFeed::default() };
    let feed = FeedRecord { groups: [(1, feed)].into(), ..FeedRecord::default() };
    let kept =
        fixture.store.scan(Range::Prefix("f/".into()), 1, None, Freshness::linearizable()).await.unwrap();
    let txn = Txn::new().delete(kept.records[0].key.clone()).put(KEY, 1, feed.to_bytes());
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
    let oldest = match page(&fixture, after_it).await {
        Err(Error::FeedTrimmed { oldest, kept_ms: 0 }) => oldest,
        other => panic!("{other:?}"),
    };
    let rest = page(&fixture, ListEventsRequest { after: oldest, ..Default::default() }).await.unwrap();
    assert_eq!(words(&rest.events), ["client bia inserted"]);
    // Who begins now misses nothing, and has his place behind what went.
    let anew = page(&fixture, ListEventsRequest { limit: 1, ..Default::default() }).await.unwrap();
    assert_eq!(words(&anew.events), ["client bia inserted"]);
}

#[tokio::test]
async fn events_of_a_log_come_in_its_order_whatever_their_times() {
    let fixture = shop().await;
    let mut txn = Txn::new();
    for (offset, at_ms) in [(1_000u64, 9), (1_001, 3), (1_002, 7)] {
        let event = format!(r#"{{"did":"updated","of":"client","portal":"p","at_ms":{at_ms}}}"#);
        txn = txn.put(Place { offset, index: 0 }.key("ana"), 1, event);
    }
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
    let offsets: Vec<u64> = all(&fixture).await.into_iter().map(|event| event.offset).collect();
    assert!(offsets.is_sorted() && offsets.ends_with(&[1_000, 1_001, 1_002]), "{offsets:?}");
}

#[tokio::test]
async fn a_damaged_event_is_told_as_such_and_the_feed_goes_on() {
    let fixture = shop().await;
    let end =
        page(&fixture, ListEventsRequest { after: "now".into(), ..Default::default() }).await.unwrap().next;
    let at = Place { offset: 1_000, index: 0 }.key("ana");
    assert!(fixture.store.txn(Txn::new().put(at.clone(), 1, "{}"), None).await.unwrap().success);
    let events = page(&fixture, ListEventsRequest { after: end, ..Default::default() }).await.unwrap().events;
    assert_eq!((events[0].did.as_str(), events[0].id.as_bytes()), ("damaged", &at[..]));
}
