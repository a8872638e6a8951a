//! Staff change, confirm and cancel orders for their clients: each success, each way to fail, repeated requests, and both at once.

use portal::change::{Change, RequestedLine};
use portal::document::client::ClientRecord;
use portal::document::order::Phase;
use portal::document::stock::StockRecord;
use portal::document::write;
use portal::error::{Full, Kind, Short};
use portal::id::{Cid, Oid, Pid};
use portal::{Error, key};
use proto::portal::{
    DeleteClientRequest, LineChange, Order, OrderState, StaffModifyOrderRequest, StaffOrderRequest,
};
use proto::store::Txn;
use store_client::Store;
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, id, is_invalid};

/// What staff do to an order as it is.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Confirm,
    Cancel,
}

const ENDS: [End; 2] = [End::Confirm, End::Cancel];

fn ending(cid: &str, oid: &str) -> StaffOrderRequest {
    let (cid, oid) = (cid.to_owned(), oid.to_owned());
    StaffOrderRequest { cid, oid, reason: "by telephone".into(), by: "joana".into(), ..Default::default() }
}

fn modifying(cid: &str, oid: &str, wanted: &[(&str, i64)]) -> StaffModifyOrderRequest {
    let StaffOrderRequest { cid, oid, reason, by, .. } = ending(cid, oid);
    let line = |(pid, quantity): &(&str, i64)| LineChange {
        pid: (*pid).to_owned(),
        quantity: *quantity,
        ..LineChange::default()
    };
    let lines = wanted.iter().map(line).collect();
    StaffModifyOrderRequest { cid, oid, lines, reason, by, ..Default::default() }
}

async fn end(fixture: &Fixture, end: End, request: StaffOrderRequest) -> Result<Order, Error> {
    answer(match end {
        End::Confirm => fixture.admin().confirm_order(request).await,
        End::Cancel => fixture.admin().cancel_order(request).await,
    })
}

async fn modify(fixture: &Fixture, request: StaffModifyOrderRequest) -> Result<Order, Error> {
    answer(fixture.admin().modify_order(request).await)
}

/// `ana`, 10 of `a` and 10 of `b`, and an open order of 4 `a`.
async fn shop() -> (Fixture, Oid) {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    for pid in ["a", "b"] {
        fixture.insert_product(pid, 10).await;
    }
    let oid = fixture.order("ana", 1, &[("a", 4)]).await;
    (fixture, oid)
}

/// Available, held, open orders.
async fn stock(fixture: &Fixture, pid: &str) -> (i64, i64, i64) {
    let stock = fixture.stock(pid).await.unwrap();
    assert!(stock.is_conserved(), "{pid}: {stock:?}");
    (stock.available, stock.held, stock.open_orders)
}

async fn open_orders(fixture: &Fixture, cid: &str) -> i64 {
    let at = key::client(&Cid::parse("cid", cid).unwrap());
    ClientRecord::read(&at, &fixture.record(at.clone()).await.unwrap()).unwrap().open_orders
}

async fn done(fixture: &Fixture, txn: Txn) {
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
}

fn lines(order: &Order) -> Vec<(&str, i64)> {
    order.lines.iter().map(|line| (line.pid.as_str(), line.quantity)).collect()
}

/// What staff did, by its word and reason.
fn notes(order: &Order) -> Vec<(&str, &str)> {
    order.staff.iter().map(|note| (note.did.as_str(), note.reason.as_str())).collect()
}

#[tokio::test]
async fn staff_change_an_order_and_it_keeps_why() {
    let (fixture, oid) = shop().await;
    let before_ms = store_client::now_ms();
    let request = StaffModifyOrderRequest {
        reason: " two fewer: bruised ".into(),
        ..modifying("ana", oid.as_str(), &[("a", 2), ("b", 3)])
    };
    let order = modify(&fixture, request).await.unwrap();
    assert_eq!((order.state(), lines(&order)), (OrderState::Open, vec![("a", 2), ("b", 3)]));
    assert_eq!((order.total.as_str(), order.version), ("12.50", 2));
    let note = &order.staff[0];
    assert_eq!((notes(&order), note.by.as_str()), (vec![("modified", "two fewer: bruised")], "joana"));
    assert!(note.at_ms >= before_ms && note.at_ms == order.changed_ms, "{note:?}");
    assert_eq!((stock(&fixture, "a").await, stock(&fixture, "b").await), ((8, 2, 1), (7, 3, 1)));
    let emptied = modify(&fixture, modifying("ana", oid.as_str(), &[("a", 0), ("b", 0)])).await.unwrap();
    assert_eq!((lines(&emptied), open_orders(&fixture, "ana").await), (Vec::new(), 1));
    assert_eq!((stock(&fixture, "a").await, stock(&fixture, "b").await), ((10, 0, 0), (10, 0, 0)));
}

#[tokio::test]
async fn staff_confirm_and_cancel_orders_and_they_keep_why() {
    for (end_of, state, word, left) in [
        (End::Confirm, OrderState::Confirmed, "confirmed", (6, 4, 0)),
        (End::Cancel, OrderState::Cancelled, "cancelled", (10, 0, 0)),
    ] {
        let (fixture, oid) = shop().await;
        let order = end(&fixture, end_of, ending("ana", oid.as_str())).await.unwrap();
        assert_eq!((order.state(), notes(&order)), (state, vec![(word, "by telephone")]));
        assert_eq!((stock(&fixture, "a").await, open_orders(&fixture, "ana").await), (left, 0));
        // Once more, under another id: nothing changes, and there is no second note.
        let again = end(&fixture, end_of, ending("ana", oid.as_str())).await.unwrap();
        assert_eq!(again, order);
        let record = fixture.record(key::order(&Cid::parse("cid", "ana").unwrap(), &oid)).await.unwrap();
        assert_eq!(record.version, 2);
    }
}

#[tokio::test]
async fn an_order_without_who_says_nothing_of_them() {
    let (fixture, oid) = shop().await;
    let request = StaffOrderRequest { by: String::new(), ..ending("ana", oid.as_str()) };
    let order = end(&fixture, End::Cancel, request).await.unwrap();
    assert_eq!((order.staff[0].by.as_str(), order.staff[0].did.as_str()), ("", "cancelled"));
    let stored = fixture.record(key::order(&Cid::parse("cid", "ana").unwrap(), &oid)).await.unwrap();
    let stored = String::from_utf8(stored.data.to_vec()).unwrap();
    let note = format!(
        r#""staff":[{{"did":"cancelled","reason":"by telephone","at_ms":{}}}]}}"#,
        order.staff[0].at_ms
    );
    assert!(stored.ends_with(&note), "{stored}");
}

/// The client's own changes leave the notes of staff where they are.
#[tokio::test]
async fn an_order_keeps_the_last_eight_notes_whoever_changes_it_next() {
    let (fixture, oid) = shop().await;
    for number in 1..=10_i64 {
        let request = StaffModifyOrderRequest {
            reason: format!("the {number}th"),
            ..modifying("ana", oid.as_str(), &[("a", number)])
        };
        modify(&fixture, request).await.unwrap();
    }
    let known = fixture.order_record("ana", &oid).await.unwrap();
    let cid = Cid::parse("cid", "ana").unwrap();
    let one = [RequestedLine::of(Pid::parse("pid", "a").unwrap(), 1)];
    let products = fixture.products(&one).await;
    done(&fixture, Change::by_client(&cid, &oid, 1).modify(&known, &one, &products).unwrap()).await;
    let kept = fixture.order_of("ana", &oid).await.staff;
    let kept: Vec<&str> = kept.iter().map(|note| note.reason.as_str()).collect();
    assert_eq!(
        kept,
        ["the 3th", "the 4th", "the 5th", "the 6th", "the 7th", "the 8th", "the 9th", "the 10th"]
    );
    fixture.confirm("ana", &oid).await;
    assert_eq!(fixture.order_of("ana", &oid).await.staff.len(), 8);
}

#[tokio::test]
async fn the_price_of_a_line_is_that_of_when_it_was_added() {
    let (fixture, oid) = shop().await;
    for pid in ["a", "b"] {
        let at = key::product(&Pid::parse("pid", pid).unwrap());
        done(&fixture, Txn::new().set_json(at, 1, "/price", "\"9.00\"")).await;
    }
    let order = modify(&fixture, modifying("ana", oid.as_str(), &[("a", 5), ("b", 1)])).await.unwrap();
    let prices: Vec<&str> = order.lines.iter().map(|line| line.price.as_str()).collect();
    assert_eq!((prices, order.total.as_str()), (vec!["2.50", "9.00"], "21.50"));
}

#[tokio::test]
async fn what_the_stock_cannot_give_is_refused_with_what_is_left_and_nothing_moves() {
    let (fixture, oid) = shop().await;
    let refused = modify(&fixture, modifying("ana", oid.as_str(), &[("a", 11), ("b", 12)])).await;
    let short = |pid: &str, wanted, left, holds| Short { pid: pid.into(), wanted, left, holds };
    let short = vec![short("a", 7, 6, 4), short("b", 12, 10, 0)];
    assert_eq!(refused, Err(Error::ShortStock { short, more: 0 }));
    assert_eq!((stock(&fixture, "a").await, stock(&fixture, "b").await), ((6, 4, 1), (10, 0, 0)));
    assert!(fixture.order_of("ana", &oid).await.staff.is_empty());
}

#[tokio::test]
async fn products_that_are_not_there_or_are_being_deleted_are_named() {
    let (fixture, oid) = shop().await;
    let none = modify(&fixture, modifying("ana", oid.as_str(), &[("c", 1)])).await;
    assert_eq!(none, Err(Error::NotFound { kind: Kind::Product, id: "c".into() }));
    let at = key::product(&Pid::parse("pid", "b").unwrap());
    done(&fixture, Txn::new().set_json(at, 1, "/state", "\"closing\"")).await;
    let closing = modify(&fixture, modifying("ana", oid.as_str(), &[("b", 1)])).await;
    assert_eq!(closing, Err(Error::Closing { kind: Kind::Product, id: "b".into() }));
}

#[tokio::test]
async fn orders_that_are_not_open_stay_as_they_are() {
    for (ended, other, state) in
        [(End::Confirm, End::Cancel, "confirmed"), (End::Cancel, End::Confirm, "cancelled")]
    {
        let (fixture, oid) = shop().await;
        let order = end(&fixture, ended, ending("ana", oid.as_str())).await.unwrap();
        let not_open = || Error::NotOpen { oid: oid.to_string(), state: state.to_owned() };
        assert_eq!(end(&fixture, other, ending("ana", oid.as_str())).await, Err(not_open()));
        let modified = modify(&fixture, modifying("ana", oid.as_str(), &[("a", 1)])).await;
        assert_eq!(modified, Err(not_open()));
        assert_eq!(notes(&order).len(), fixture.order_of("ana", &oid).await.staff.len());
    }
}

#[tokio::test]
async fn an_order_without_lines_is_cancelled_and_not_confirmed() {
    let (fixture, _) = shop().await;
    let oid = fixture.order("ana", 2, &[]).await;
    let refused = end(&fixture, End::Confirm, ending("ana", oid.as_str())).await;
    assert_eq!(refused, Err(Error::OrderEmpty { oid: oid.to_string() }));
    let cancelled = end(&fixture, End::Cancel, ending("ana", oid.as_str())).await.unwrap();
    assert_eq!(notes(&cancelled), [("cancelled", "by telephone")]);
}

#[tokio::test]
async fn clients_and_orders_that_are_not_there_are_told_apart() {
    let (fixture, oid) = shop().await;
    fixture.insert_client("bia").await;
    let oid = oid.as_str();
    let none = Oid::derive(&Cid::parse("cid", "ana").unwrap(), b"never").to_string();
    let no_order = |id: &str| Error::NotFound { kind: Kind::Order, id: id.to_owned() };
    let no_client = |id: &str| Error::NotFound { kind: Kind::Client, id: id.to_owned() };
    let nobodys = Oid::derive(&Cid::parse("cid", "caio").unwrap(), b"x").to_string();
    for (cid, oid, error) in [
        ("ana", none.as_str(), no_order(&none)),
        ("ana", "0193", no_order("0193")),
        ("bia", oid, Error::NotYours { oid: oid.to_owned() }),
        ("caio", oid, no_client("caio")),
        ("caio", &nobodys, no_client("caio")),
    ] {
        for end_of in ENDS {
            assert_eq!(end(&fixture, end_of, ending(cid, oid)).await, Err(error.clone()), "{cid} {oid}");
        }
        let modified = modify(&fixture, modifying(cid, oid, &[("a", 1)])).await;
        assert_eq!(modified, Err(error), "{cid} {oid}");
    }
    assert_eq!(stock(&fixture, "a").await, (6, 4, 1));
}

#[tokio::test]
async fn orders_of_clients_who_are_removed_or_being_removed_are_not_changed() {
    let (fixture, oid) = shop().await;
    let at = key::client(&Cid::parse("cid", "ana").unwrap());
    done(&fixture, Txn::new().set_json(at, 1, "/state", "\"closing\"")).await;
    let closing = Error::Closing { kind: Kind::Client, id: "ana".into() };
    let gone = Error::Gone { id: "ana".into() };
    for error in [closing, gone] {
        for end_of in ENDS {
            assert_eq!(end(&fixture, end_of, ending("ana", oid.as_str())).await, Err(error.clone()));
        }
        let modified = modify(&fixture, modifying("ana", oid.as_str(), &[("a", 1)])).await;
        assert_eq!(modified, Err(error));
        // For the second round she is removed, and her order cancelled.
        let request = DeleteClientRequest { cid: "ana".into(), cascade: true, ..Default::default() };
        let _ = fixture.admin().delete_client(request).await;
    }
    assert_eq!(
        (stock(&fixture, "a").await, fixture.order_of("ana", &oid).await.phase),
        ((10, 0, 0), Phase::Cancelled)
    );
}

#[tokio::test]
async fn wrong_fields_are_named_and_nothing_is_done() {
    let (fixture, oid) = shop().await;
    let oid = oid.as_str();
    let long = "x".repeat(501);
    let many: Vec<(String, i64)> = (0..1_001).map(|at| (format!("p{at}"), 1)).collect();
    let many: Vec<(&str, i64)> = many.iter().map(|(pid, quantity)| (pid.as_str(), *quantity)).collect();
    let good = || ending("ana", oid);
    for (request, field) in [
        (StaffOrderRequest { reason: String::new(), ..good() }, "reason"),
        (StaffOrderRequest { reason: "  ".into(), ..good() }, "reason"),
        (StaffOrderRequest { reason: long.clone(), ..good() }, "reason"),
        (StaffOrderRequest { reason: "a\nb".into(), ..good() }, "reason"),
        (StaffOrderRequest { by: long[..129].into(), ..good() }, "by"),
        (StaffOrderRequest { by: "\u{7}".into(), ..good() }, "by"),
        (ending("", oid), "cid"),
        (ending("a\u{7}", oid), "cid"),
        (ending("ana", ""), "oid"),
        (ending("ana", &long[..129]), "oid"),
        (StaffOrderRequest { request: id(&long[..65]), ..good() }, "request.id"),
        (StaffOrderRequest { request: id("\u{7}"), ..good() }, "request.id"),
    ] {
        for end_of in ENDS {
            is_invalid(end(&fixture, end_of, request.clone()).await, field);
        }
        let StaffOrderRequest { cid, oid, reason, by, if_match, request, .. } = request;
        let lines = vec![LineChange { pid: "a".into(), quantity: 1, ..LineChange::default() }];
        let request = StaffModifyOrderRequest {
            cid,
            oid,
            lines,
            reason,
            by,
            if_match,
            request,
            ..StaffModifyOrderRequest::default()
        };
        is_invalid(modify(&fixture, request).await, field);
    }
    for (lines, field) in [
        (&[][..], "lines"),
        (&many, "lines"),
        (&[("a", -1)], "lines[0].quantity"),
        (&[("a", 1), ("b", 1_000_001)], "lines[1].quantity"),
        (&[("", 1)], "lines[0].pid"),
    ] {
        is_invalid(modify(&fixture, modifying("ana", oid, lines)).await, field);
    }
    assert_eq!(stock(&fixture, "a").await, (6, 4, 1));
}

#[tokio::test]
async fn a_version_that_staff_did_not_see_is_not_changed() {
    let (fixture, oid) = shop().await;
    let seen = fixture.order_record("ana", &oid).await.unwrap().offset;
    let order = modify(&fixture, modifying("ana", oid.as_str(), &[("a", 5)])).await.unwrap();
    let changed = || Error::Changed { kind: Kind::Order, id: oid.to_string(), etag: order.etag };
    for end_of in ENDS {
        let request = StaffOrderRequest { if_match: seen, ..ending("ana", oid.as_str()) };
        assert_eq!(end(&fixture, end_of, request).await, Err(changed()));
    }
    let late = StaffModifyOrderRequest { if_match: seen, ..modifying("ana", oid.as_str(), &[("a", 6)]) };
    assert_eq!(modify(&fixture, late).await, Err(changed()));
    let request = StaffOrderRequest { if_match: order.etag, ..ending("ana", oid.as_str()) };
    assert_eq!(end(&fixture, End::Confirm, request).await.unwrap().state(), OrderState::Confirmed);
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_the_first_and_done_once() {
    for end_of in ENDS {
        let (fixture, oid) = shop().await;
        let request = StaffOrderRequest { request: id("r1"), ..ending("ana", oid.as_str()) };
        // The look at the order, then the transaction.
        fixture.store.plan(None);
        fixture.store.plan(Some(Fault::LoseAnswer));
        let lost = end(&fixture, end_of, request.clone()).await.unwrap_err();
        assert!(matches!(lost, Error::OutcomeUnknown { .. }), "{lost}");
        let left = (stock(&fixture, "a").await, open_orders(&fixture, "ana").await);
        let first = end(&fixture, end_of, request.clone()).await.unwrap();
        assert_eq!(end(&fixture, end_of, request.clone()).await.unwrap(), first);
        assert_eq!((first.staff.len(), first.version), (1, 2));
        assert_eq!((stock(&fixture, "a").await, open_orders(&fixture, "ana").await), left);
        let other = StaffOrderRequest { reason: "another".into(), ..request };
        let reused = Error::RequestReused { request: "r1".into() };
        assert_eq!(end(&fixture, end_of, other).await, Err(reused));
    }
    let (fixture, oid) = shop().await;
    let request =
        StaffModifyOrderRequest { request: id("r1"), ..modifying("ana", oid.as_str(), &[("a", 7)]) };
    let first = modify(&fixture, request.clone()).await.unwrap();
    // What has changed since makes no other answer of it.
    fixture.confirm("ana", &oid).await;
    assert_eq!(modify(&fixture, request.clone()).await.unwrap(), first);
    assert_eq!(stock(&fixture, "a").await, (3, 7, 0));
    let confirming = StaffOrderRequest { request: id("r1"), ..ending("ana", oid.as_str()) };
    let reused = end(&fixture, End::Confirm, confirming).await;
    assert_eq!(reused, Err(Error::RequestReused { request: "r1".into() }));
}

/// A refusal is remembered too: the same id gets it again, whatever has become of the order.
#[tokio::test]
async fn a_repeated_refusal_is_the_same_refusal() {
    let (fixture, oid) = shop().await;
    let request =
        StaffModifyOrderRequest { request: id("r1"), ..modifying("ana", oid.as_str(), &[("b", 11)]) };
    for _ in 0..2 {
        let refused = modify(&fixture, request.clone()).await.unwrap_err();
        assert!(matches!(refused, Error::ShortStock { .. }), "{refused}");
    }
    assert!(fixture.order_of("ana", &oid).await.staff.is_empty());
}

/// What earlier versions left: an open order with no room for a note, which its client alone can end.
#[tokio::test]
async fn an_order_as_large_as_a_record_is_refused_a_note_and_a_full_one_is_not() {
    let (fixture, _) = shop().await;
    let cid = Cid::parse("cid", "ana").unwrap();
    let oid = Oid::derive(&cid, b"large");
    let of_bytes = |bytes: usize| {
        let empty = r#"{"state":"open","lines":[{"pid":"a","description":"","quantity":1,"price":"2.50"}],"total":"2.50"}"#;
        empty.replace(
            r#""description":"""#,
            &format!(r#""description":"{}""#, "x".repeat(bytes - empty.len())),
        )
    };
    let stocked = |available: i64| {
        let (initial, held, open_orders) = (available + 1, 1, 1);
        write(&StockRecord { available, held, open_orders, ..StockRecord::new(initial) })
    };
    for (bytes, is_full) in [(512 * 1024 - 1_400, false), (512 * 1024, true)] {
        let stock_at = key::stock(&Pid::parse("pid", "a").unwrap());
        let txn = Txn::new()
            .put(key::order(&cid, &oid), 1, of_bytes(bytes))
            .put(stock_at, 1, stocked(9))
            .put(key::client(&cid), 1, r#"{"state":"active","open_orders":1,"data":{}}"#);
        done(&fixture, txn).await;
        let request = StaffOrderRequest { reason: "\"".repeat(500), ..ending("ana", oid.as_str()) };
        match end(&fixture, End::Cancel, request).await {
            Ok(order) => assert!(!is_full && order.staff.len() == 1, "{bytes}"),
            Err(error) => {
                let is_told = matches!(error, Error::OrderFull { full: Full::Bytes { .. }, .. });
                assert!(is_full && is_told, "{bytes}: {error}");
            }
        }
    }
}

/// Staff cancel while the client confirms: one of both is done, and the stock is conserved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_cancellation_and_a_confirmation_at_once_one_is_done() {
    let (fixture, _) = shop().await;
    let mut cancelled = 0;
    for number in 10..40 {
        let oid = fixture.order("ana", number, &[("b", 1)]).await;
        let request = ending("ana", oid.as_str());
        let (staff, ()) = tokio::join!(end(&fixture, End::Cancel, request), fixture.try_confirm("ana", &oid));
        let order = fixture.order_of("ana", &oid).await;
        match staff {
            Ok(answer) => {
                assert_eq!((answer.state(), order.phase), (OrderState::Cancelled, Phase::Cancelled));
                assert_eq!(order.staff.len(), 1);
                cancelled += 1;
            }
            Err(error) => {
                assert_eq!(error, Error::NotOpen { oid: oid.to_string(), state: "confirmed".into() });
                assert_eq!((order.phase, order.staff.len()), (Phase::Confirmed, 0));
                let at = key::stock(&Pid::parse("pid", "b").unwrap());
                // So that the next finds some.
                let more =
                    Txn::new().add(at.clone(), 1, "/adjusted", 1, None).add(at, 1, "/available", 1, None);
                done(&fixture, more).await;
            }
        }
        let (available, held, open) = stock(&fixture, "b").await;
        assert_eq!((available, held, open), (10, i64::from(number) - 9 - cancelled, 0));
    }
    assert_eq!(open_orders(&fixture, "ana").await, 1, "the one that was there before");
}
