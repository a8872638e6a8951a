//! Sales: what is added up from the feed is what the orders say, whatever the span and the pages; a span that begins before the feed does
//! is refused, or said to be.

use std::collections::BTreeMap;

use portal::calendar::UtcOffset;
use portal::document::feed::{FROM_THE_BEGINNING, FeedRecord, GroupFeed, KEY};
use portal::document::order::{Line, OrderRecord, Phase};
use portal::event_place::Place;
use portal::id::{Cid, Oid};
use portal::money::Price;
use portal::{Error, key};
use proto::portal::{
    GetSalesRequest, InsertProductRequest, ListEventsRequest, Sales, StaffGetOrderRequest, StaffMoveRequest,
    StaffOrderRequest, StaffReturnRequest,
};
use proto::store::{Freshness, Txn};
use store_client::{Range, Store, now_ms};
use store_engine::memory::MemoryStore;

use crate::fixture::{Fixture, answer, is_invalid};

const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// 2026-11-28T00:00:00Z.
const BASE_MS: i64 = 1_795_824_000_000;
const PRODUCTS: [(&str, &str); 4] =
    [("bolt", "0.035"), ("cheese", "119.90"), ("gift", "0"), ("wire", "999999999999.999999")];

async fn page(fixture: &Fixture, asked: GetSalesRequest) -> Result<Sales, Error> {
    answer(fixture.admin().get_sales(asked).await)
}

fn between(from_ms: i64, to_ms: i64) -> GetSalesRequest {
    GetSalesRequest { from_ms, to_ms, ..GetSalesRequest::default() }
}

/// Millionths of what an amount says.
fn millionths(text: &str) -> i128 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{part:0<6}").parse().unwrap()
}

/// Orders, units, money; the same of what was taken back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Counts([i128; 6]);

/// Sums by day and by product.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Sums {
    days: BTreeMap<String, Counts>,
    products: BTreeMap<String, Counts>,
}

impl Sums {
    fn add(to: &mut BTreeMap<String, Counts>, of: &str, counts: [i128; 6]) {
        let there = to.entry(of.to_owned()).or_default();
        there.0.iter_mut().zip(counts).for_each(|(there, more)| *there += more);
    }

    fn page(&mut self, page: &Sales) {
        for day in &page.days {
            let [amount, back] = [&day.amount, &day.amount_back].map(|text| millionths(text));
            let [orders, units, orders_back, units_back] =
                [day.orders, day.units, day.orders_back, day.units_back].map(i128::from);
            Sums::add(&mut self.days, &day.day, [orders, units, amount, orders_back, units_back, back]);
        }
        for one in &page.products {
            let [amount, back] = [&one.amount, &one.amount_back].map(|text| millionths(text));
            let [orders, units, orders_back, units_back] =
                [one.orders, one.units, one.orders_back, one.units_back].map(i128::from);
            Sums::add(&mut self.products, &one.pid, [orders, units, amount, orders_back, units_back, back]);
        }
    }
}

/// All pages of a span.
async fn sums(fixture: &Fixture, asked: GetSalesRequest) -> Sums {
    let (mut sums, mut after) = (Sums::default(), String::new());
    loop {
        let sales = page(fixture, GetSalesRequest { after, ..asked.clone() }).await.unwrap();
        assert_eq!((sales.damage.clone(), sales.since_ms), (None, 0), "{sales:?}");
        sums.page(&sales);
        after = sales.next;
        if after.is_empty() {
            return sums;
        }
    }
}

/// Writes what the keeper says of the feed.
async fn keeping(fixture: &Fixture, feed: GroupFeed) {
    let record = FeedRecord { groups: BTreeMap::from([(1, feed)]), ..FeedRecord::default() };
    assert!(fixture.store.txn(Txn::new().put(KEY, 1, record.to_bytes()), None).await.unwrap().success);
}

/// A shop whose feed is as old as it is, with two clients and the products.
async fn shop() -> Fixture {
    let fixture = Fixture::with_times().await;
    fixture.insert_client("ana").await;
    fixture.insert_client("bia/é").await;
    for (pid, price) in PRODUCTS {
        let data = format!(r#"{{"description":"{pid}","price":"{price}","quantity":1000000}}"#);
        let request = InsertProductRequest { pid: pid.into(), data, request: None, rules: None };
        answer(fixture.admin().insert_product(request).await).unwrap();
    }
    let feed = GroupFeed { since: FROM_THE_BEGINNING, ..GroupFeed::default() };
    keeping(&fixture, feed).await;
    fixture
}

/// A move of an order.
async fn moved(fixture: &Fixture, cid: &str, oid: &str, to: &str) {
    let mut admin = fixture.admin();
    let (cid, oid, reason) = (cid.to_owned(), oid.to_owned(), "so it is".to_owned());
    let deciding = StaffOrderRequest {
        cid: cid.clone(),
        oid: oid.clone(),
        reason: reason.clone(),
        ..StaffOrderRequest::default()
    };
    let moving = StaffMoveRequest { cid: cid.clone(), oid: oid.clone(), ..StaffMoveRequest::default() };
    let back = |restock| StaffReturnRequest { cid, oid, reason, restock, ..StaffReturnRequest::default() };
    let done = match to {
        "confirmed" => admin.confirm_order(deciding).await,
        "cancelled" => admin.cancel_order(deciding).await,
        "paid" => admin.pay_order(moving).await,
        "packed" => admin.pack_order(moving).await,
        "sent" => admin.send_order(moving).await,
        "returned" => admin.return_order(back(true)).await,
        "discarded" => admin.return_order(back(false)).await,
        _ => admin.refund_order(deciding).await,
    };
    answer(done).unwrap();
}

/// What may become of an order.
const WAYS: [&[&str]; 10] = [
    &[],
    &["cancelled"],
    &["confirmed"],
    &["confirmed", "paid"],
    &["confirmed", "paid", "packed", "sent"],
    &["confirmed", "paid", "packed", "sent", "returned"],
    &["confirmed", "paid", "packed", "sent", "discarded"],
    &["confirmed", "paid", "packed", "sent", "returned", "refunded"],
    &["confirmed", "paid", "refunded"],
    &["confirmed", "paid", "packed", "refunded"],
];

/// Which event it was by which an order was sold, or taken back.
struct Done {
    nth: usize,
    cid: &'static str,
    oid: String,
    is_back: bool,
}

/// Orders by chance, each on its way, in no order; each operation leaves one event.
async fn by_chance(fixture: &Fixture, random: &mut fastrand::Rng) -> Vec<Done> {
    let mut under_way: Vec<(&str, String, Vec<&str>)> = Vec::new();
    let (mut done, mut nth) = (Vec::new(), 2 + PRODUCTS.len());
    let mut number = 0;
    while number < 40 || !under_way.is_empty() {
        if number < 40 && (under_way.is_empty() || random.bool()) {
            number += 1;
            let cid = ["ana", "bia/é"][random.usize(..2)];
            let mut lines: Vec<(&str, i64)> =
                PRODUCTS.iter().map(|(pid, _)| (*pid, random.i64(1..900))).collect();
            random.shuffle(&mut lines);
            lines.truncate(random.usize(1..=PRODUCTS.len()));
            let oid = fixture.order(cid, number, &lines).await.to_string();
            nth += 1;
            let way: Vec<&str> = WAYS[random.usize(..WAYS.len())].iter().rev().copied().collect();
            under_way.push((cid, oid, way));
            continue;
        }
        let at = random.usize(..under_way.len());
        let (cid, oid, way) = &mut under_way[at];
        let Some(to) = way.pop() else {
            under_way.swap_remove(at);
            continue;
        };
        moved(fixture, cid, oid, to).await;
        // Goods that came back are taken back once; the money follows them.
        let is_back = matches!(to, "returned" | "discarded")
            || (to == "refunded" && !done.iter().any(|one: &Done| one.oid == *oid && one.is_back));
        if to == "confirmed" || is_back {
            done.push(Done { nth, cid, oid: oid.clone(), is_back });
        }
        nth += 1;
    }
    done
}

/// Moves the times of all events so that the `nth` is at `times(nth)`.
async fn at_times(fixture: &Fixture, times: impl Fn(usize) -> i64) {
    let all =
        fixture.store.scan(Range::Prefix("f/".into()), 1_000, None, Freshness::linearizable()).await.unwrap();
    assert!(all.next.is_none());
    for (nth, one) in all.records.into_iter().enumerate() {
        let text = String::from_utf8(one.record.unwrap().data.to_vec()).unwrap();
        let (before, rest) = text.split_once("\"at_ms\":").unwrap();
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let text = format!("{before}\"at_ms\":{}{rest}", times(nth));
        assert!(fixture.store.txn(Txn::new().put(one.key, 1, text), None).await.unwrap().success);
    }
}

/// What the orders themselves say of what was done in a span.
async fn of_orders(
    fixture: &Fixture,
    done: &[Done],
    span: (i64, i64),
    place: &str,
    times: impl Fn(usize) -> i64,
) -> Sums {
    let mut sums = Sums::default();
    for one in done {
        let at_ms = times(one.nth);
        if at_ms < span.0 || at_ms >= span.1 {
            continue;
        }
        let asked = StaffGetOrderRequest { cid: one.cid.into(), oid: one.oid.clone() };
        let order = answer(fixture.admin().get_order(asked).await).unwrap();
        let side = |orders: i128, units: i128, amount: i128| {
            let of = [orders, units, amount];
            let mut all = [0; 6];
            all[if one.is_back { 3 } else { 0 }..][..3].copy_from_slice(&of);
            all
        };
        let units: i128 = order.lines.iter().map(|line| i128::from(line.quantity)).sum();
        let day = UtcOffset::parse(place).unwrap().day_of(at_ms);
        Sums::add(&mut sums.days, &day, side(1, units, millionths(&order.total)));
        for line in &order.lines {
            let amount = millionths(&line.price) * i128::from(line.quantity);
            Sums::add(&mut sums.products, &line.pid, side(1, i128::from(line.quantity), amount));
        }
    }
    sums
}

#[tokio::test]
async fn the_sales_of_any_span_are_those_of_the_orders_whatever_the_pages() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let fixture = shop().await;
    let done = by_chance(&fixture, &mut random).await;
    assert!(done.iter().any(|one| one.is_back) && done.iter().any(|one| !one.is_back));
    // Some of a moment, some hours apart: three weeks or so in all.
    let gaps: Vec<i64> = (0..400).map(|_| random.choice([0, 1, 60_000, 4 * 3_600_000]).unwrap()).collect();
    let times = move |nth: usize| BASE_MS + gaps[..nth].iter().sum::<i64>();
    at_times(&fixture, &times).await;
    let end = times(399);
    let mut spans = vec![(1, end + 1), (BASE_MS, BASE_MS + DAY_MS), (end + 1, end + 2)];
    spans.extend((0..5).map(|_| {
        let (one, other) = (random.i64(BASE_MS..=end), random.i64(BASE_MS..=end));
        (one.min(other), one.max(other) + 1)
    }));
    for span in spans {
        for (limit, place) in [(0, ""), (1, "-03:00"), (7, "+05:30")] {
            let expected = of_orders(&fixture, &done, span, place, &times).await;
            let asked = GetSalesRequest { limit, utc_offset: place.into(), ..between(span.0, span.1) };
            assert_eq!(sums(&fixture, asked).await, expected, "{span:?} in pages of {limit}, at {place:?}");
        }
    }
    let all = sums(&fixture, GetSalesRequest::default()).await;
    assert_eq!(all, of_orders(&fixture, &done, (0, i64::MAX), "", &times).await, "without any span");
}

#[tokio::test]
async fn an_order_that_is_taken_back_is_subtracted_once_on_the_day_on_which_it_came_back() {
    let fixture = shop().await;
    let oid = fixture.order("ana", 1, &[("cheese", 2), ("bolt", 3)]).await.to_string();
    for to in ["confirmed", "paid", "packed", "sent", "returned", "refunded"] {
        moved(&fixture, "ana", &oid, to).await;
    }
    // Each on a day of its own; the order begins with the seventh event.
    at_times(&fixture, |nth| BASE_MS + nth as i64 * DAY_MS).await;
    let sales = page(&fixture, GetSalesRequest::default()).await.unwrap();
    let shown: Vec<_> = sales
        .days
        .iter()
        .map(|day| {
            (
                day.day.as_str(),
                day.orders,
                day.units,
                day.amount.as_str(),
                day.orders_back,
                day.units_back,
                day.amount_back.as_str(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [("2026-12-05", 1, 5, "239.905", 0, 0, "0.00"), ("2026-12-09", 0, 0, "0.00", 1, 5, "239.905"),]
    );
    let cheese = sales.products.iter().find(|one| one.pid == "cheese").unwrap();
    assert_eq!((cheese.description.as_str(), cheese.units, cheese.units_back), ("cheese", 2, 2));
    assert_eq!((cheese.amount.as_str(), cheese.amount_back.as_str()), ("239.80", "239.80"));
    assert!(sales.so_far, "what has no end is not over");
    assert_eq!((sales.decimals, sales.currency.as_str(), sales.next.as_str()), (2, "", ""));
}

#[tokio::test]
async fn a_day_begins_and_ends_at_midnight_of_the_place_that_is_named() {
    let fixture = shop().await;
    for number in 1..=3 {
        let oid = fixture.order("ana", number, &[("bolt", i64::from(number))]).await.to_string();
        moved(&fixture, "ana", &oid, "confirmed").await;
    }
    // Confirmed in the last millisecond of a day, at midnight, and in the last millisecond of the next.
    let midnight = BASE_MS + DAY_MS;
    at_times(&fixture, |nth| match nth {
        7 => midnight - 1,
        8 | 9 => midnight,
        10 | 11 => midnight + DAY_MS - 1,
        _ => BASE_MS,
    })
    .await;
    let units = async |from_ms: i64, to_ms: i64, place: &str| -> Vec<(String, i128)> {
        let asked = GetSalesRequest { utc_offset: place.into(), ..between(from_ms, to_ms) };
        let days = sums(&fixture, asked).await.days;
        days.into_iter().map(|(day, counts)| (day, counts.0[1])).collect()
    };
    let day = |day: &str, units| (day.to_owned(), units);
    assert_eq!(units(BASE_MS, midnight, "").await, [day("2026-11-28", 1)]);
    assert_eq!(units(midnight, midnight + DAY_MS, "").await, [day("2026-11-29", 5)]);
    let place = UtcOffset::parse("-03:00").unwrap().day("2026-11-28").unwrap();
    assert_eq!(units(place.start, place.end, "-03:00").await, [day("2026-11-28", 3)]);
    assert_eq!(
        units(BASE_MS, midnight + DAY_MS, "+00:01").await,
        [day("2026-11-29", 3), day("2026-11-30", 3)]
    );
    let over = page(&fixture, between(BASE_MS, 2)).await;
    is_invalid(over, "to_ms");
}

#[tokio::test]
async fn a_span_of_which_events_were_dropped_is_refused_and_says_what_can_be_asked() {
    // Three from before the shop keeps them, one in between.
    let store = MemoryStore::new().raised();
    let now_ms = now_ms();
    let at_ms = |days: i64| now_ms - days * DAY_MS;
    let event = |days| format!(r#"{{"did":"inserted","of":"client","portal":"p","at_ms":{}}}"#, at_ms(days));
    let mut txn = Txn::new();
    for (offset, days) in [(5, 41), (6, 40), (7, 31), (8, 29)] {
        txn = txn.put(Place { offset, index: 0 }.key("old"), now_ms, event(days));
    }
    assert!(store.txn(txn, None).await.unwrap().success);
    let fixture = Fixture::keeping(store).await;
    let dropped = async || FeedRecord::read(fixture.record(KEY.into()).await.as_ref()).unwrap();
    let feed = fixture
        .until("old events are dropped", async || dropped().await.filter(|feed| feed.groups[&1].first == 8))
        .await;
    assert_eq!(feed.groups[&1].dropped_ms, Some(at_ms(31)));
    for from_ms in [1, at_ms(60), at_ms(35), at_ms(31)] {
        let refused = page(&fixture, between(from_ms, at_ms(1))).await;
        let trimmed = Error::FeedTrimmed { oldest: "1:7.65535".into(), kept_ms: at_ms(31) + 1 };
        assert_eq!(refused, Err(trimmed), "from {from_ms}");
    }
    let kept = page(&fixture, between(at_ms(31) + 1, at_ms(1))).await.unwrap();
    assert_eq!((kept.since_ms, kept.so_far, kept.days.len()), (0, false, 0));
}

#[tokio::test]
async fn events_that_go_while_pages_are_read_are_missed_by_nobody() {
    let fixture = Fixture::with_times().await;
    fixture.insert_client("ana").await;
    fixture.insert_client("bia").await;
    let asked = GetSalesRequest { limit: 1, ..GetSalesRequest::default() };
    let begun = page(&fixture, asked.clone()).await.unwrap();
    let events = answer(fixture.admin().list_events(ListEventsRequest::default()).await).unwrap().events;
    let feed = |dropped_ms| {
        let gone = GroupFeed { first: events[1].offset + 1, dropped_ms, ..GroupFeed::default() };
        FeedRecord { groups: BTreeMap::from([(1, gone)]), ..FeedRecord::default() }.to_bytes()
    };
    let put = Txn::new().delete(format!("f/{:016x}.0002/{{bia}}", events[1].offset)).put(
        KEY,
        1,
        feed(Some(events[1].at_ms)),
    );
    assert!(fixture.store.txn(put, None).await.unwrap().success);
    let rest = page(&fixture, GetSalesRequest { after: begun.next.clone(), ..asked.clone() }).await;
    assert!(
        matches!(rest, Err(Error::FeedTrimmed { kept_ms, .. }) if kept_ms == events[1].at_ms + 1),
        "{rest:?}"
    );
    // A program that did not note when the last one was: nothing is kept from before now.
    assert!(fixture.store.txn(Txn::new().put(KEY, 1, feed(None)), None).await.unwrap().success);
    fixture.insert_client("caio").await;
    let events = answer(fixture.admin().list_events(ListEventsRequest::default()).await).unwrap().events;
    let oldest = events.last().unwrap().at_ms;
    let refused = page(&fixture, between(oldest - 1, 0)).await;
    assert!(matches!(refused, Err(Error::FeedTrimmed { kept_ms, .. }) if kept_ms <= oldest), "{refused:?}");
}

#[tokio::test]
async fn a_span_in_which_operations_may_have_left_no_event_is_told_as_such() {
    // There was an order before the feed was kept.
    let store = MemoryStore::new().raised();
    let cid = Cid::parse("cid", "ana").unwrap();
    let order = OrderRecord::new(Phase::Open, Vec::new()).to_bytes();
    let put = Txn::new().put(key::order(&cid, &Oid::derive(&cid, b"1")), 1, order);
    assert!(store.txn(put, None).await.unwrap().success);
    let fixture = Fixture::keeping(store).await;
    let kept = async || FeedRecord::read(fixture.record(KEY.into()).await.as_ref()).unwrap();
    let feed = fixture.until("the feed has its keeper", kept).await;
    assert!(feed.groups.get(&1).is_none_or(|feed| feed.since == 0));
    let now_ms = now_ms();
    let sales = page(&fixture, between(now_ms - DAY_MS, now_ms + DAY_MS)).await.unwrap();
    assert!(sales.since_ms > now_ms - DAY_MS, "not known since when: {sales:?}");
    // Known since an offset whose next event is there.
    let fixture = Fixture::with_times().await;
    let feed = GroupFeed { since: 2, ..GroupFeed::default() };
    let feed = FeedRecord { groups: BTreeMap::from([(1, feed)]), ..FeedRecord::default() };
    assert!(fixture.store.txn(Txn::new().put(KEY, 1, feed.to_bytes()), None).await.unwrap().success);
    fixture.insert_client("ana").await;
    let event =
        answer(fixture.admin().list_events(ListEventsRequest::default()).await).unwrap().events.remove(0);
    assert_eq!(page(&fixture, between(event.at_ms - 1, 0)).await.unwrap().since_ms, event.at_ms);
    assert_eq!(page(&fixture, between(event.at_ms, 0)).await.unwrap().since_ms, 0);
    assert_eq!(page(&fixture, between(1, event.at_ms - 1)).await.unwrap().since_ms, event.at_ms - 1);
}

/// Orders with so many lines as no test makes one by one.
#[tokio::test]
async fn a_page_ends_when_it_has_looked_at_many_lines_and_the_next_goes_on() {
    let fixture = shop().await;
    let cid = Cid::parse("cid", "ana").unwrap();
    let line = |nth: u32| Line {
        pid: format!("p{nth}"),
        description: "d".repeat(256),
        quantity: 2,
        price: Price::parse("1.50").unwrap(),
        untracked: false,
        extra: None,
    };
    for number in 0..5_u32 {
        let oid = Oid::derive(&cid, &number.to_be_bytes());
        let lines = (0..900).map(|nth| line(900 * number + nth)).collect();
        let order = OrderRecord::new(Phase::Confirmed, lines).to_bytes();
        let event = format!(r#"{{"did":"confirmed","portal":"p","at_ms":{BASE_MS},"oid":"{oid}"}}"#);
        let put = Txn::new().put(key::order(&cid, &oid), 1, order);
        let put = fixture.store.txn(put, None).await.unwrap();
        let place = Place { offset: put.offset(), index: 0 };
        let told = Txn::new().put(place.key("ana"), 1, event);
        assert!(put.success && fixture.store.txn(told, None).await.unwrap().success);
    }
    let span = between(BASE_MS, BASE_MS + 1);
    let first = page(&fixture, span.clone()).await.unwrap();
    assert_eq!((first.days[0].orders, first.products.len()), (3, 2_700));
    let sums = sums(&fixture, span).await;
    assert_eq!(sums.days["2026-11-28"].0, [5, 9_000, 13_500_000_000, 0, 0, 0]);
    assert_eq!(sums.products.len(), 4_500);
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_not_counted() {
    let fixture = shop().await;
    let oid = fixture.order("ana", 1, &[("cheese", 2)]).await.to_string();
    moved(&fixture, "ana", &oid, "confirmed").await;
    let damaged = Place { offset: 1_000, index: 0 }.key("ana");
    let nobodys =
        format!(r#"{{"did":"confirmed","portal":"p","at_ms":{},"oid":"{}"}}"#, now_ms(), "0".repeat(24));
    let open = fixture.order("ana", 2, &[("bolt", 1)]).await;
    let never = format!(r#"{{"did":"confirmed","portal":"p","at_ms":{},"oid":"{open}"}}"#, now_ms());
    let txn = Txn::new()
        .put(damaged.clone(), 1, "{}")
        .put(Place { offset: 1_001, index: 0 }.key("ana"), 1, nobodys)
        .put(Place { offset: 1_002, index: 0 }.key("ana"), 1, never);
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
    let sales = page(&fixture, GetSalesRequest::default()).await.unwrap();
    assert_eq!((sales.days.len(), sales.days[0].orders, sales.products.len()), (1, 1, 1));
    let named: Vec<String> = sales.damage.unwrap().records.into_iter().map(|one| one.key).collect();
    let at = key::order(&Cid::parse("cid", "ana").unwrap(), &open);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(named[0], text(&damaged));
    assert!(named.contains(&text(&at)) && named.len() == 3, "{named:?}");
}

#[tokio::test]
async fn what_is_no_span_no_place_and_no_cursor_is_refused_by_field() {
    let fixture = Fixture::with_times().await;
    let asked = GetSalesRequest::default;
    is_invalid(page(&fixture, between(-1, 0)).await, "from_ms");
    is_invalid(page(&fixture, between(0, -1)).await, "to_ms");
    is_invalid(page(&fixture, between(5, 5)).await, "to_ms");
    is_invalid(page(&fixture, GetSalesRequest { limit: 1_001, ..asked() }).await, "limit");
    is_invalid(page(&fixture, GetSalesRequest { utc_offset: "3".into(), ..asked() }).await, "utc_offset");
    for nonsense in ["7", "1:x", "99:1.1", "1:1.1,1:2.1x"] {
        is_invalid(page(&fixture, GetSalesRequest { after: nonsense.into(), ..asked() }).await, "after");
    }
}
