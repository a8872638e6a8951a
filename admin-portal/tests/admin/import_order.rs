//! Orders from elsewhere: in each state with its units, with its times and its mark; each refusal; repeated; of clients and products
//! that were removed; and what staff do to an imported order afterwards.

use portal::document::order::{OrderRecord, Phase};
use portal::document::stock::StockRecord;
use portal::error::{Kind, Short};
use portal::id::{Cid, Oid, Pid};
use portal::{Error, key};
use proto::portal::{
    DeleteClientRequest, DeleteProductRequest, ImportOrderRequest, ImportedLine, ImportedNote,
    InsertClientRequest, InsertProductRequest, ListSort, Order, StaffMoveRequest, StaffOrderRequest,
    StockRules, UpdateProductRequest,
};
use proto::store::Txn;
use store_client::Store;
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, id, is_invalid};
use crate::sorted::by;

async fn import(fixture: &Fixture, order: ImportOrderRequest) -> Result<Order, Error> {
    answer(fixture.admin().import_order(order).await)
}

fn cid(text: &str) -> Cid {
    Cid::parse("cid", text).unwrap()
}

fn line(pid: &str, quantity: i64) -> ImportedLine {
    let (description, price) = (format!("old {pid}"), "1.25".to_owned());
    ImportedLine { pid: pid.into(), description, quantity, price, ..ImportedLine::default() }
}

/// An order of `ana` from elsewhere: 4 of `a` and 1 of `b`.
fn order(phase: Phase) -> ImportOrderRequest {
    ImportOrderRequest {
        cid: "ana".into(),
        oid: Oid::derive(&cid("ana"), b"elsewhere").to_string(),
        state: phase.shown().into(),
        lines: vec![line("a", 4), line("b", 1)],
        created_ms: 1_000,
        changed_ms: 2_000,
        ..ImportOrderRequest::default()
    }
}

/// `ana`, 10 of `a`, 10 of `b`.
async fn shop() -> Fixture {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    for pid in ["a", "b"] {
        fixture.insert_product(pid, 10).await;
    }
    fixture
}

/// Adjusted, available, held, sold, open orders.
async fn stock(fixture: &Fixture, pid: &str) -> (i64, i64, i64, i64, i64) {
    let stock = fixture.stock(pid).await.unwrap();
    assert!(stock.is_conserved(), "{pid}: {stock:?}");
    (stock.adjusted, stock.available, stock.held, stock.sold, stock.open_orders)
}

async fn open_orders(fixture: &Fixture) -> i64 {
    let request = proto::portal::GetClientRequest { cid: "ana".into() };
    answer(fixture.admin().get_client(request).await).unwrap().open_orders
}

/// Whether `h/` lists the order at this product.
async fn is_listed(fixture: &Fixture, pid: &str, oid: &str) -> bool {
    let (pid, oid) = (Pid::parse("pid", pid).unwrap(), Oid::parse(oid).unwrap());
    fixture.record(key::holder(&pid, &oid)).await.is_some()
}

#[tokio::test]
async fn an_order_in_each_state_has_its_units_its_times_and_its_mark() {
    for phase in Phase::ALL {
        let fixture = shop().await;
        let asked = order(phase);
        let imported = import(&fixture, asked.clone()).await.unwrap();
        assert_eq!((imported.oid.as_str(), imported.state), (asked.oid.as_str(), asked.state), "{phase:?}");
        assert_eq!((imported.created_ms, imported.changed_ms, imported.imported), (1_000, 2_000, true));
        assert_eq!((imported.lines[0].price.as_str(), imported.total.as_str()), ("1.25", "6.25"));
        assert_eq!(imported.lines[0].description, "old a");
        let open = i64::from(phase == Phase::Open);
        let left = match phase {
            Phase::Open | Phase::Confirmed | Phase::Paid | Phase::Packed => (0, 6, 4, 0, open),
            Phase::Sent => (0, 6, 0, 4, 0),
            Phase::Cancelled | Phase::Returned | Phase::Refunded => (0, 10, 0, 0, 0),
        };
        assert_eq!(stock(&fixture, "a").await, left, "{phase:?}");
        assert_eq!(open_orders(&fixture).await, open, "{phase:?}");
        assert_eq!(is_listed(&fixture, "b", &asked.oid).await, open == 1, "{phase:?}");
        let at = key::order(&cid("ana"), &Oid::parse(&asked.oid).unwrap());
        let record = fixture.record(at.clone()).await.unwrap();
        let stored = OrderRecord::read(&at, &record).unwrap();
        assert_eq!((stored.created_ms, stored.changed_ms, stored.imported), (Some(1_000), Some(2_000), true));
    }
}

#[tokio::test]
async fn what_staff_did_comes_with_the_order_and_what_they_do_is_added() {
    let fixture = shop().await;
    let note =
        ImportedNote { did: "confirmed".into(), reason: "agreed".into(), by: "joana".into(), at_ms: 1_500 };
    let asked = ImportOrderRequest { staff: vec![note], created_ms: 0, ..order(Phase::Confirmed) };
    let imported = import(&fixture, asked.clone()).await.unwrap();
    assert_eq!((imported.created_ms, imported.staff[0].by.as_str()), (0, "joana"));
    let pay = StaffMoveRequest { cid: "ana".into(), oid: asked.oid, ..StaffMoveRequest::default() };
    let paid = answer(fixture.admin().pay_order(pay).await).unwrap();
    let did: Vec<&str> = paid.staff.iter().map(|note| note.did.as_str()).collect();
    assert_eq!((did, paid.imported), (vec!["confirmed", "paid"], true));
    assert!(paid.changed_ms > 2_000, "from now on by the store's time");
}

#[tokio::test]
async fn data_of_staff_come_with_the_order_and_stay_with_it() {
    let fixture = shop().await;
    let mut asked =
        ImportOrderRequest { extra: r#"{ "note" : "gate 2" }"#.into(), ..order(Phase::Confirmed) };
    asked.lines[1].extra = r#"{"colour":"red"}"#.into();
    let imported = import(&fixture, asked.clone()).await.unwrap();
    assert_eq!(imported.extra, r#"{"note":"gate 2"}"#);
    let lines: Vec<&str> = imported.lines.iter().map(|line| line.extra.as_str()).collect();
    assert_eq!(lines, ["", r#"{"colour":"red"}"#]);
    let pay = StaffMoveRequest { cid: "ana".into(), oid: asked.oid.clone(), ..StaffMoveRequest::default() };
    let paid = answer(fixture.admin().pay_order(pay).await).unwrap();
    assert_eq!((paid.extra, paid.lines), (imported.extra, imported.lines));
    for (extra, field) in [("[]", "extra"), (r#"{"a":1,"a":2}"#, "extra.a")] {
        is_invalid(
            import(&fixture, ImportOrderRequest { extra: extra.into(), ..asked.clone() }).await,
            field,
        );
    }
    asked.lines[0].extra = format!(r#"{{"a":"{}"}}"#, "x".repeat(256));
    is_invalid(import(&fixture, asked).await, "lines[0].extra");
}

#[tokio::test]
async fn an_imported_open_order_is_an_order_as_any_other() {
    let fixture = shop().await;
    let asked = order(Phase::Open);
    import(&fixture, asked.clone()).await.unwrap();
    let (cid, oid, reason) = (asked.cid, asked.oid, "by telephone".to_owned());
    let cancel = StaffOrderRequest { cid, oid: oid.clone(), reason, ..StaffOrderRequest::default() };
    let cancelled = answer(fixture.admin().cancel_order(cancel).await).unwrap();
    assert!(cancelled.imported && cancelled.created_ms == 1_000);
    assert_eq!(stock(&fixture, "a").await, (0, 10, 0, 0, 0));
    assert_eq!((open_orders(&fixture).await, is_listed(&fixture, "a", &oid).await), (0, false));
}

#[tokio::test]
async fn an_import_is_done_once_and_an_id_that_is_taken_is_refused() {
    let fixture = shop().await;
    let asked = ImportOrderRequest { request: id("r1"), ..order(Phase::Sent) };
    fixture.store.plan(None);
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::LoseAnswer));
    let lost = import(&fixture, asked.clone()).await.unwrap_err();
    assert!(matches!(lost, Error::OutcomeUnknown { .. }), "{lost}");
    let first = import(&fixture, asked.clone()).await.unwrap();
    assert_eq!(import(&fixture, asked.clone()).await.unwrap(), first);
    assert_eq!(stock(&fixture, "a").await, (0, 6, 0, 4, 0));
    let taken = Error::AlreadyExists { kind: Kind::Order, id: asked.oid.clone() };
    assert_eq!(import(&fixture, ImportOrderRequest { request: None, ..asked.clone() }).await, Err(taken));
    let other = ImportOrderRequest { changed_ms: 3_000, ..asked };
    assert_eq!(import(&fixture, other).await, Err(Error::RequestReused { request: "r1".into() }));
    assert_eq!(stock(&fixture, "a").await, (0, 6, 0, 4, 0));
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let fixture = shop().await;
    let base = order(Phase::Confirmed);
    let of_line = |line: ImportedLine| ImportOrderRequest { lines: vec![line], ..base.clone() };
    let long = "x".repeat(257);
    let note = |did: &str, reason: &str| ImportOrderRequest {
        staff: vec![ImportedNote { did: did.into(), reason: reason.into(), ..ImportedNote::default() }],
        ..base.clone()
    };
    // Two days ahead: a day is the clocks' due.
    let ahead_ms = store_client::now_ms() + 48 * 3_600 * 1_000;
    let noted_at = |at_ms: i64| ImportOrderRequest {
        staff: vec![ImportedNote { did: "paid".into(), at_ms, ..ImportedNote::default() }],
        ..base.clone()
    };
    for (wrong, field) in [
        (ImportOrderRequest { state: 0, ..base.clone() }, "state"),
        (ImportOrderRequest { state: 99, ..base.clone() }, "state"),
        (ImportOrderRequest { cid: String::new(), ..base.clone() }, "cid"),
        (ImportOrderRequest { oid: String::new(), ..base.clone() }, "oid"),
        (ImportOrderRequest { oid: "nope".into(), ..base.clone() }, "oid"),
        (ImportOrderRequest { created_ms: -1, ..base.clone() }, "created_ms"),
        (ImportOrderRequest { changed_ms: 0, ..base.clone() }, "changed_ms"),
        (ImportOrderRequest { changed_ms: i64::MAX, ..base.clone() }, "changed_ms"),
        (ImportOrderRequest { created_ms: 3_000, ..base.clone() }, "changed_ms"),
        (ImportOrderRequest { lines: vec![line("a", 1), line("a", 2)], ..base.clone() }, "lines[1].pid"),
        (of_line(line("", 1)), "lines[0].pid"),
        (of_line(line("a", 0)), "lines[0].quantity"),
        (of_line(line("a", 1_000_001)), "lines[0].quantity"),
        (of_line(ImportedLine { price: "1,25".into(), ..line("a", 1) }), "lines[0].price"),
        (of_line(ImportedLine { description: String::new(), ..line("a", 1) }), "lines[0].description"),
        (of_line(ImportedLine { description: long, ..line("a", 1) }), "lines[0].description"),
        (of_line(ImportedLine { description: "a\tb".into(), ..line("a", 1) }), "lines[0].description"),
        (ImportOrderRequest { changed_ms: ahead_ms, ..base.clone() }, "changed_ms"),
        (ImportOrderRequest { created_ms: ahead_ms, changed_ms: ahead_ms, ..base.clone() }, "created_ms"),
        (noted_at(ahead_ms), "staff[0].at_ms"),
        (noted_at(-1), "staff[0].at_ms"),
        (note("sold", ""), "staff[0].did"),
        (note("paid", "a\nb"), "staff[0].reason"),
        (ImportOrderRequest { staff: vec![ImportedNote::default(); 9], ..base.clone() }, "staff"),
        (ImportOrderRequest { client_removed: true, ..order(Phase::Open) }, "client_removed"),
        (
            ImportOrderRequest {
                lines: vec![ImportedLine { product_removed: true, ..line("a", 1) }],
                ..order(Phase::Open)
            },
            "lines[0].product_removed",
        ),
        (ImportOrderRequest { request: id("\u{7}"), ..base.clone() }, "request.id"),
    ] {
        is_invalid(import(&fixture, wrong).await, field);
    }
    let foreign = ImportOrderRequest { cid: "bia".into(), ..base };
    let oid = foreign.oid.clone();
    assert_eq!(import(&fixture, foreign).await, Err(Error::NotYours { oid }));
    assert_eq!(stock(&fixture, "a").await, (0, 10, 0, 0, 0));
}

#[tokio::test]
async fn a_client_or_product_that_is_not_there_is_refused_unless_it_was_removed() {
    let fixture = shop().await;
    for phase in [Phase::Open, Phase::Sent, Phase::Cancelled] {
        let unknown = ImportOrderRequest {
            cid: "bia".into(),
            oid: Oid::derive(&cid("bia"), b"1").to_string(),
            ..order(phase)
        };
        let refused = import(&fixture, unknown).await;
        assert_eq!(refused, Err(Error::NotFound { kind: Kind::Client, id: "bia".into() }), "{phase:?}");
        let nothing = ImportOrderRequest { lines: vec![line("a", 1), line("x", 1)], ..order(phase) };
        let refused = import(&fixture, nothing).await;
        assert_eq!(refused, Err(Error::NotFound { kind: Kind::Product, id: "x".into() }), "{phase:?}");
        assert_eq!(stock(&fixture, "a").await, (0, 10, 0, 0, 0));
    }
}

#[tokio::test]
async fn too_little_stock_is_named_and_nothing_is_taken() {
    let fixture = shop().await;
    let much = ImportOrderRequest { lines: vec![line("b", 10), line("a", 11)], ..order(Phase::Paid) };
    let short = vec![Short { pid: "a".into(), wanted: 11, left: 10, holds: 0 }];
    assert_eq!(import(&fixture, much.clone()).await, Err(Error::ShortStock { short, more: 0 }));
    assert_eq!(stock(&fixture, "b").await, (0, 10, 0, 0, 0));
    // What gives its units back takes none, however many.
    let returned = ImportOrderRequest { state: Phase::Returned.shown().into(), ..much };
    import(&fixture, returned).await.unwrap();
}

#[tokio::test]
async fn rules_of_now_keep_what_is_available_and_not_the_quantities_of_then() {
    let fixture = shop().await;
    let rules = StockRules { safety_stock: 5, quantity_max: 2, ..StockRules::default() };
    let data = r#"{"description":"a","price":"2.50"}"#.to_owned();
    let update = UpdateProductRequest { pid: "a".into(), data, rules: Some(rules), ..Default::default() };
    answer(fixture.admin().update_product(update).await).unwrap();
    import(&fixture, order(Phase::Sent)).await.unwrap();
    let again = ImportOrderRequest {
        oid: Oid::derive(&cid("ana"), b"2").to_string(),
        lines: vec![line("a", 2)],
        ..order(Phase::Sent)
    };
    let short = vec![Short { pid: "a".into(), wanted: 2, left: 1, holds: 0 }];
    assert_eq!(import(&fixture, again).await, Err(Error::ShortStock { short, more: 0 }));
}

#[tokio::test]
async fn a_line_that_took_no_stock_takes_none() {
    let fixture = shop().await;
    let untracked = vec![ImportedLine { untracked: true, ..line("a", 400) }];
    import(&fixture, ImportOrderRequest { lines: untracked, ..order(Phase::Open) }).await.unwrap();
    assert_eq!(stock(&fixture, "a").await, (0, 10, 0, 0, 1));
    let none = ImportOrderRequest {
        oid: Oid::derive(&cid("ana"), b"2").to_string(),
        lines: Vec::new(),
        ..order(Phase::Open)
    };
    assert_eq!(import(&fixture, none).await.unwrap().total, "0.00");
    assert_eq!(open_orders(&fixture).await, 2);
}

#[tokio::test]
async fn the_orders_of_a_removed_client_keep_the_id_taken() {
    let fixture = shop().await;
    let of = |number: &[u8], phase| ImportOrderRequest {
        cid: "bia".into(),
        oid: Oid::derive(&cid("bia"), number).to_string(),
        client_removed: true,
        ..order(phase)
    };
    import(&fixture, of(b"1", Phase::Sent)).await.unwrap();
    import(&fixture, of(b"2", Phase::Confirmed)).await.unwrap();
    assert_eq!(stock(&fixture, "a").await, (0, 2, 4, 4, 0));
    let insert = InsertClientRequest { cid: "bia".into(), data: "{}".into(), request: None };
    let kept = answer(fixture.admin().insert_client(insert).await).unwrap_err();
    assert!(matches!(kept, Error::IdKept { .. }), "{kept}");
    // One that is there is somebody else by now, who is given nobody's orders.
    let taken = Error::AlreadyExists { kind: Kind::Client, id: "ana".into() };
    let of_ana = ImportOrderRequest { client_removed: true, ..order(Phase::Sent) };
    assert_eq!(import(&fixture, of_ana).await, Err(taken));
    // And one who was removed has orders that say so.
    let not_said = ImportOrderRequest { client_removed: false, ..of(b"3", Phase::Sent) };
    assert_eq!(import(&fixture, not_said).await, Err(Error::Gone { id: "bia".into() }));
}

/// Its client is the first record of one: without the mark no list by name would ever be served.
#[tokio::test]
async fn an_order_of_a_removed_client_begins_the_index_of_a_shop_without_clients() {
    let fixture = Fixture::open().await;
    let lines = Vec::new();
    let of_ana = ImportOrderRequest { client_removed: true, lines, ..order(Phase::Sent) };
    import(&fixture, of_ana).await.unwrap();
    let listed = answer(fixture.admin().list_clients(by(ListSort::Name, 10)).await).unwrap();
    assert!(listed.clients.is_empty(), "{listed:?}");
}

#[tokio::test]
async fn a_line_of_a_removed_product_brings_its_own_units() {
    let fixture = shop().await;
    let removed = |pid: &str, quantity| ImportedLine { product_removed: true, ..line(pid, quantity) };
    let of = |number: &[u8], phase, lines| ImportOrderRequest {
        oid: Oid::derive(&cid("ana"), number).to_string(),
        lines,
        ..order(phase)
    };
    import(&fixture, of(b"1", Phase::Sent, vec![removed("x", 3), line("a", 1)])).await.unwrap();
    assert_eq!(stock(&fixture, "x").await, (3, 0, 0, 3, 0));
    import(&fixture, of(b"2", Phase::Packed, vec![removed("x", 2)])).await.unwrap();
    assert_eq!(stock(&fixture, "x").await, (5, 0, 2, 3, 0));
    // Another product has the id now: it gives none of its units.
    import(&fixture, of(b"3", Phase::Sent, vec![removed("b", 20)])).await.unwrap();
    assert_eq!(stock(&fixture, "b").await, (20, 10, 0, 20, 0));
    // What was given back touches no stock.
    import(&fixture, of(b"4", Phase::Returned, vec![removed("y", 1)])).await.unwrap();
    assert_eq!(fixture.stock("y").await, None);
    // Inserted again, it goes on from there.
    let data = r#"{"description":"x","price":"1","quantity":7}"#.to_owned();
    let insert = InsertProductRequest { pid: "x".into(), data, request: None, rules: None };
    answer(fixture.admin().insert_product(insert).await).unwrap();
    assert_eq!(stock(&fixture, "x").await, (12, 7, 2, 3, 0));
}

#[tokio::test]
async fn a_stock_of_an_earlier_version_gets_the_member_that_it_lacks() {
    let fixture = shop().await;
    let before = r#"{"initial":10,"adjusted":0,"available":10,"held":0,"open_orders":0}"#;
    let txn = Txn::new().put(key::stock(&Pid::parse("pid", "a").unwrap()), 1, before);
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
    import(&fixture, order(Phase::Sent)).await.unwrap();
    assert_eq!(stock(&fixture, "a").await, (0, 6, 0, 4, 0));
}

#[tokio::test]
async fn an_order_too_large_for_one_transaction_is_refused() {
    let fixture = shop().await;
    let lines: Vec<ImportedLine> = (0..2_001).map(|at| line(&format!("p{at}"), 1)).collect();
    is_invalid(import(&fixture, ImportOrderRequest { lines, ..order(Phase::Sent) }).await, "lines");
    let lines: Vec<ImportedLine> =
        (0..2_000).map(|at| ImportedLine { product_removed: true, ..line(&format!("p{at}"), 1) }).collect();
    let largest = ImportOrderRequest { lines, ..order(Phase::Cancelled) };
    assert_eq!(import(&fixture, largest).await.unwrap().lines.len(), 2_000);
}

/// An import is a change that a deletion must see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_is_imported_under_a_client_that_is_deleted_at_once() {
    for number in 0_u32..20 {
        let fixture = shop().await;
        let asked = ImportOrderRequest {
            oid: Oid::derive(&cid("ana"), &number.to_be_bytes()).to_string(),
            ..order(Phase::Confirmed)
        };
        let removal = DeleteClientRequest { cid: "ana".into(), ..DeleteClientRequest::default() };
        let mut admin = fixture.admin();
        let (imported, _) = tokio::join!(import(&fixture, asked), admin.delete_client(removal));
        let client = fixture.record(key::client(&cid("ana"))).await;
        assert!(imported.is_err() || client.is_some(), "an order lies under nobody: {imported:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_units_are_lost_when_a_product_is_deleted_at_once() {
    for _ in 0..20 {
        let fixture = shop().await;
        let removal = DeleteProductRequest { pid: "a".into(), ..DeleteProductRequest::default() };
        let mut admin = fixture.admin();
        let (imported, _) = tokio::join!(import(&fixture, order(Phase::Paid)), admin.delete_product(removal));
        let held = fixture.stock("a").await.map_or(0, |stock: StockRecord| stock.held);
        assert_eq!(held, if imported.is_ok() { 4 } else { 0 }, "{imported:?}");
    }
}
