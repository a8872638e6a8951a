//! Staff move confirmed orders on: paid, packed, sent, returned, refunded. Each step of the table with its units, each step that is not
//! in it, repeated requests, stocks of earlier versions, removed clients and products.

use portal::document::order::Phase;
use portal::document::order_move::Move;
use portal::document::stock::StockRecord;
use portal::error::Kind;
use portal::id::{Cid, Oid, Pid};
use portal::{Error, key};
use proto::portal::{
    DeleteClientRequest, DeleteProductRequest, InsertProductRequest, Order, StaffMoveRequest,
    StaffOrderRequest, StaffReturnRequest,
};
use proto::store::Txn;
use store_client::Store;
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, id, is_invalid};

/// What a move is asked with.
#[derive(Clone, Default)]
struct Asked {
    cid: String,
    oid: String,
    reason: String,
    by: String,
    if_match: u64,
    request: Option<proto::portal::RequestId>,
}

fn of(oid: &Oid) -> Asked {
    Asked {
        cid: "ana".into(),
        oid: oid.to_string(),
        reason: "so it is".into(),
        by: "joana".into(),
        ..Asked::default()
    }
}

async fn moved(fixture: &Fixture, of: Move, asked: Asked) -> Result<Order, Error> {
    let Asked { cid, oid, reason, by, if_match, request } = asked;
    let mut admin = fixture.admin();
    answer(match of {
        Move::Return { restock } => {
            let request = StaffReturnRequest { cid, oid, reason, by, restock, if_match, request };
            admin.return_order(request).await
        }
        Move::Refund => {
            admin
                .refund_order(StaffOrderRequest {
                    cid,
                    oid,
                    reason,
                    by,
                    if_match,
                    request,
                    ..StaffOrderRequest::default()
                })
                .await
        }
        Move::Pay | Move::Pack | Move::Send => {
            let request = StaffMoveRequest { cid, oid, reason, by, if_match, request };
            match of {
                Move::Pay => admin.pay_order(request).await,
                Move::Pack => admin.pack_order(request).await,
                _ => admin.send_order(request).await,
            }
        }
    })
}

/// `ana`, 10 of `a`, 10 of `b`, and an order of 4 `a` and 1 `b` in this state.
async fn shop(phase: Phase) -> (Fixture, Oid) {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    for pid in ["a", "b"] {
        fixture.insert_product(pid, 10).await;
    }
    let oid = fixture.order("ana", 1, &[("a", 4), ("b", 1)]).await;
    let sent = [Move::Pay, Move::Pack, Move::Send];
    let way: &[Move] = match phase {
        Phase::Open => return (fixture, oid),
        Phase::Cancelled => {
            let StaffMoveRequest { cid, oid: text, reason, by, .. } = request(&oid);
            let cancel = StaffOrderRequest { cid, oid: text, reason, by, ..Default::default() };
            answer(fixture.admin().cancel_order(cancel).await).unwrap();
            return (fixture, oid);
        }
        Phase::Confirmed => &[],
        Phase::Paid => &sent[..1],
        Phase::Packed => &sent[..2],
        Phase::Sent => &sent,
        Phase::Returned => &[Move::Pay, Move::Pack, Move::Send, Move::Return { restock: true }],
        Phase::Refunded => &[Move::Pay, Move::Refund],
    };
    fixture.confirm("ana", &oid).await;
    for step in way {
        moved(&fixture, *step, of(&oid)).await.unwrap();
    }
    assert_eq!(fixture.order_of("ana", &oid).await.phase, phase);
    (fixture, oid)
}

fn request(oid: &Oid) -> StaffMoveRequest {
    let Asked { cid, oid, reason, by, .. } = of(oid);
    StaffMoveRequest { cid, oid, reason, by, ..StaffMoveRequest::default() }
}

/// Adjusted, available, held, sold.
async fn stock(fixture: &Fixture, pid: &str) -> (i64, i64, i64, i64) {
    let stock = fixture.stock(pid).await.unwrap();
    assert!(stock.is_conserved() && stock.open_orders == 0, "{pid}: {stock:?}");
    (stock.adjusted, stock.available, stock.held, stock.sold)
}

async fn done(fixture: &Fixture, txn: Txn) {
    assert!(fixture.store.txn(txn, None).await.unwrap().success);
}

#[tokio::test]
async fn an_order_goes_its_way_and_its_units_with_it() {
    let (fixture, oid) = shop(Phase::Confirmed).await;
    for (of_order, state, word, left) in [
        (Move::Pay, "paid", "paid", (0, 6, 4, 0)),
        (Move::Pack, "packed", "packed", (0, 6, 4, 0)),
        (Move::Send, "sent", "sent", (0, 6, 0, 4)),
        (Move::Return { restock: true }, "returned", "returned", (0, 10, 0, 0)),
        (Move::Refund, "refunded", "refunded", (0, 10, 0, 0)),
    ] {
        let order = moved(&fixture, of_order, of(&oid)).await.unwrap();
        assert_eq!(proto::json::state::word(order.state), state);
        let note = order.staff.last().unwrap();
        assert_eq!((note.did.as_str(), note.reason.as_str(), note.by.as_str()), (word, "so it is", "joana"));
        assert_eq!(stock(&fixture, "a").await, left, "{of_order:?}");
        // Once more, under another id: nothing changes.
        assert_eq!(moved(&fixture, of_order, of(&oid)).await.unwrap(), order);
        assert_eq!(stock(&fixture, "a").await, left, "{of_order:?} again");
    }
}

#[tokio::test]
async fn what_comes_back_of_no_use_is_written_off() {
    let (fixture, oid) = shop(Phase::Sent).await;
    let order = moved(&fixture, Move::Return { restock: false }, of(&oid)).await.unwrap();
    assert_eq!(order.staff.last().unwrap().did, "discarded");
    assert_eq!((stock(&fixture, "a").await, stock(&fixture, "b").await), ((-4, 6, 0, 0), (-1, 9, 0, 0)));
    assert_eq!(moved(&fixture, Move::Return { restock: false }, of(&oid)).await.unwrap(), order);
    // That it came back is not told in two ways.
    let (state, needs) = ("returned".to_owned(), "sent".to_owned());
    let refused = moved(&fixture, Move::Return { restock: true }, of(&oid)).await;
    assert_eq!(refused, Err(Error::WrongState { oid: oid.to_string(), state, needs }));
    assert_eq!(stock(&fixture, "a").await, (-4, 6, 0, 0));
}

#[tokio::test]
async fn a_refund_before_the_goods_are_sent_lets_them_go() {
    for phase in [Phase::Paid, Phase::Packed] {
        let (fixture, oid) = shop(phase).await;
        let order = moved(&fixture, Move::Refund, of(&oid)).await.unwrap();
        assert_eq!(proto::json::state::word(order.state), "refunded");
        assert_eq!(stock(&fixture, "a").await, (0, 10, 0, 0), "from {phase:?}");
    }
}

#[tokio::test]
async fn what_is_not_in_the_table_is_refused_and_changes_nothing() {
    for phase in Phase::ALL {
        let (fixture, oid) = shop(phase).await;
        let at = key::order(&Cid::parse("cid", "ana").unwrap(), &oid);
        let before = (fixture.record(at.clone()).await.unwrap(), fixture.stock("a").await);
        for of_order in Move::ALL {
            if of_order.step(phase).is_some() || of_order.to() == phase {
                continue;
            }
            let refused = moved(&fixture, of_order, of(&oid)).await;
            let (state, needs) = (phase.word().to_owned(), of_order.from_words());
            assert_eq!(
                refused,
                Err(Error::WrongState { oid: oid.to_string(), state, needs }),
                "{of_order:?}"
            );
        }
        assert_eq!((fixture.record(at).await.unwrap(), fixture.stock("a").await), before, "{phase:?}");
    }
}

/// Neither its client nor staff change a moved order as if it were open.
#[tokio::test]
async fn a_moved_order_is_neither_cancelled_nor_confirmed_nor_modified() {
    for phase in [Phase::Paid, Phase::Packed, Phase::Sent, Phase::Returned, Phase::Refunded] {
        let (fixture, oid) = shop(phase).await;
        let StaffMoveRequest { cid, oid: text, reason, by, .. } = request(&oid);
        let asked = StaffOrderRequest { cid, oid: text, reason, by, ..Default::default() };
        let not_open = Error::NotOpen { oid: oid.to_string(), state: phase.word().to_owned() };
        let cancelled = answer(fixture.admin().cancel_order(asked.clone()).await);
        let confirmed = answer(fixture.admin().confirm_order(asked).await);
        assert_eq!((cancelled, confirmed), (Err(not_open.clone()), Err(not_open)), "{phase:?}");
    }
}

#[tokio::test]
async fn orders_and_fields_that_are_wrong_are_named() {
    let (fixture, oid) = shop(Phase::Confirmed).await;
    let none = Oid::derive(&Cid::parse("cid", "ana").unwrap(), b"never");
    for of_order in Move::ALL {
        let refused = moved(&fixture, of_order, of(&none)).await;
        assert_eq!(refused, Err(Error::NotFound { kind: Kind::Order, id: none.to_string() }));
        let refused = moved(&fixture, of_order, Asked { cid: "bia".into(), ..of(&oid) }).await;
        assert_eq!(refused, Err(Error::NotFound { kind: Kind::Client, id: "bia".into() }));
        is_invalid(moved(&fixture, of_order, Asked { oid: String::new(), ..of(&oid) }).await, "oid");
        is_invalid(moved(&fixture, of_order, Asked { reason: "x".repeat(501), ..of(&oid) }).await, "reason");
        is_invalid(moved(&fixture, of_order, Asked { by: "a\nb".into(), ..of(&oid) }).await, "by");
        is_invalid(moved(&fixture, of_order, Asked { request: id("\u{7}"), ..of(&oid) }).await, "request.id");
        let changed = moved(&fixture, of_order, Asked { if_match: 1, ..of(&oid) }).await.unwrap_err();
        assert!(matches!(changed, Error::Changed { kind: Kind::Order, .. }), "{of_order:?}: {changed}");
        if matches!(of_order, Move::Return { .. } | Move::Refund) {
            is_invalid(moved(&fixture, of_order, Asked { reason: " ".into(), ..of(&oid) }).await, "reason");
        }
    }
    let paid = moved(&fixture, Move::Pay, Asked { reason: String::new(), ..of(&oid) }).await.unwrap();
    assert_eq!(paid.staff.last().unwrap().reason, "");
}

#[tokio::test]
async fn a_repeated_move_is_answered_as_the_first_and_done_once() {
    for (phase, of_order) in [
        (Phase::Confirmed, Move::Pay),
        (Phase::Packed, Move::Send),
        (Phase::Sent, Move::Return { restock: true }),
        (Phase::Paid, Move::Refund),
    ] {
        let (fixture, oid) = shop(phase).await;
        let asked = Asked { request: id("r1"), ..of(&oid) };
        // The order is cached, and the transaction's answer is lost.
        fixture.store.plan(None);
        fixture.store.plan(Some(Fault::LoseAnswer));
        let lost = moved(&fixture, of_order, asked.clone()).await.unwrap_err();
        assert!(matches!(lost, Error::OutcomeUnknown { .. }), "{of_order:?}: {lost}");
        let left = stock(&fixture, "a").await;
        let first = moved(&fixture, of_order, asked.clone()).await.unwrap();
        assert_eq!(moved(&fixture, of_order, asked.clone()).await.unwrap(), first);
        assert_eq!(stock(&fixture, "a").await, left, "{of_order:?}");
        let other = Asked { by: "another".into(), ..asked };
        let reused = Error::RequestReused { request: "r1".into() };
        assert_eq!(moved(&fixture, of_order, other).await, Err(reused));
    }
}

/// A stock as earlier versions wrote it: without `sold`.
async fn as_before(fixture: &Fixture, pid: &str) {
    let stock = fixture.stock(pid).await.unwrap();
    let StockRecord { initial, adjusted, available, held, open_orders, .. } = stock;
    let before = format!(
        r#"{{"initial":{initial},"adjusted":{adjusted},"available":{available},"held":{held},"open_orders":{open_orders}}}"#
    );
    done(fixture, Txn::new().put(key::stock(&Pid::parse("pid", pid).unwrap()), 1, before)).await;
}

#[tokio::test]
async fn stocks_of_earlier_versions_get_the_member_that_they_lack() {
    let (fixture, oid) = shop(Phase::Packed).await;
    as_before(&fixture, "a").await;
    as_before(&fixture, "b").await;
    moved(&fixture, Move::Send, of(&oid)).await.unwrap();
    assert_eq!((stock(&fixture, "a").await, stock(&fixture, "b").await), ((0, 6, 0, 4), (0, 9, 0, 1)));
}

/// More products than a request has tries.
#[tokio::test]
async fn many_stocks_of_earlier_versions_are_completed_for_one_order() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    let pids: Vec<String> = (0..40).map(|at| format!("p{at}")).collect();
    for pid in &pids {
        fixture.insert_product(pid, 3).await;
    }
    let lines: Vec<(&str, i64)> = pids.iter().map(|pid| (pid.as_str(), 2)).collect();
    let oid = fixture.order("ana", 1, &lines).await;
    fixture.confirm("ana", &oid).await;
    for of_order in [Move::Pay, Move::Pack] {
        moved(&fixture, of_order, of(&oid)).await.unwrap();
    }
    for pid in &pids {
        as_before(&fixture, pid).await;
    }
    moved(&fixture, Move::Send, of(&oid)).await.unwrap();
    for pid in &pids {
        assert_eq!(stock(&fixture, pid).await, (0, 1, 0, 2), "{pid}");
    }
}

#[tokio::test]
async fn the_orders_of_a_removed_client_go_their_way() {
    let (fixture, oid) = shop(Phase::Confirmed).await;
    let removal = DeleteClientRequest { cid: "ana".into(), ..Default::default() };
    answer(fixture.admin().delete_client(removal).await).unwrap();
    for of_order in [Move::Pay, Move::Pack, Move::Send, Move::Return { restock: true }, Move::Refund] {
        moved(&fixture, of_order, of(&oid)).await.unwrap();
    }
    assert_eq!(stock(&fixture, "a").await, (0, 10, 0, 0));
}

/// The stock of a removed product stays while orders hold or have sold some of it, also one without `sold`.
#[tokio::test]
async fn a_stock_outlives_its_product_while_orders_may_bring_it_back() {
    let (fixture, oid) = shop(Phase::Packed).await;
    as_before(&fixture, "a").await;
    moved(&fixture, Move::Send, of(&oid)).await.unwrap();
    let removal = |pid: &str| DeleteProductRequest { pid: pid.into(), ..Default::default() };
    answer(fixture.admin().delete_product(removal("a")).await).unwrap();
    assert_eq!(stock(&fixture, "a").await, (-6, 0, 0, 4), "what was sold is not forgotten");
    moved(&fixture, Move::Return { restock: true }, of(&oid)).await.unwrap();
    assert_eq!(stock(&fixture, "a").await, (-6, 4, 0, 0));
    // Inserted again it has the quantity that was said, with what came back among it.
    let data = r#"{"description":"a","price":"2.50","quantity":7}"#.to_owned();
    let again = InsertProductRequest { pid: "a".into(), data, request: None, rules: None };
    answer(fixture.admin().insert_product(again).await).unwrap();
    assert_eq!(stock(&fixture, "a").await, (-3, 7, 0, 0));
    answer(fixture.admin().delete_product(removal("a")).await).unwrap();
    assert!(fixture.stock("a").await.is_none(), "nothing is held or sold");
}

/// Two of staff send one order at once: its units are sold once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_move_one_order_at_once_one_moves_the_units() {
    let (fixture, oid) = shop(Phase::Packed).await;
    let (one, other) =
        tokio::join!(moved(&fixture, Move::Send, of(&oid)), moved(&fixture, Move::Refund, of(&oid)));
    let left = stock(&fixture, "a").await;
    match (one, other) {
        (Ok(_), Err(Error::WrongState { state, .. })) => {
            assert_eq!((state.as_str(), left), ("sent", (0, 6, 0, 4)));
        }
        (Err(Error::WrongState { state, .. }), Ok(_)) => {
            assert_eq!((state.as_str(), left), ("refunded", (0, 10, 0, 0)));
        }
        both => panic!("exactly one is done: {both:?}"),
    }
}
