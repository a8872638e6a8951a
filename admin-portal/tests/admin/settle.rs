//! The outcome of a request of staff: where it is remembered, for how long, and of a deletion with cascade as far as it came.

use portal::Error;
use portal::document::order::Phase;
use portal::id::{Cid, Oid, Pid};
use portal::key;
use proto::portal::{
    AdjustStockRequest, DeleteClientRequest, DeleteProductRequest, InsertProductRequest, RequestId,
    StaffSettleRequest, UpdateShopRequest,
};
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, id, is_invalid};

/// Of an id that says when it was made.
fn timed(id: &str) -> Option<RequestId> {
    Some(RequestId { id: id.to_owned(), created_ms: store_client::now_ms() })
}

fn of_client(cid: &str, request: Option<RequestId>) -> StaffSettleRequest {
    StaffSettleRequest { cid: cid.to_owned(), request, ..StaffSettleRequest::default() }
}

fn of_product(pid: &str, request: Option<RequestId>) -> StaffSettleRequest {
    StaffSettleRequest { pid: pid.to_owned(), request, ..StaffSettleRequest::default() }
}

fn of_shop(request: Option<RequestId>) -> StaffSettleRequest {
    StaffSettleRequest { shop: true, request, ..StaffSettleRequest::default() }
}

async fn settle(fixture: &Fixture, asked: StaffSettleRequest) -> Result<String, Error> {
    answer(fixture.admin().settle(asked).await).map(|settled| settled.outcome)
}

fn deleting_client(request: Option<RequestId>) -> DeleteClientRequest {
    DeleteClientRequest { cid: "ana".to_owned(), cascade: true, request, ..DeleteClientRequest::default() }
}

fn deleting_product(request: Option<RequestId>) -> DeleteProductRequest {
    DeleteProductRequest { pid: "a".to_owned(), cascade: true, request, ..DeleteProductRequest::default() }
}

/// Ana's open order of 3 of the 10 of product a.
async fn ordered() -> (Fixture, Oid) {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 10).await;
    let oid = fixture.order("ana", 1, &[("a", 3)]).await;
    (fixture, oid)
}

async fn is_untouched(fixture: &Fixture, oid: &Oid) {
    let order = fixture.order_of("ana", oid).await;
    assert_eq!((order.phase, order.lines.len()), (Phase::Open, 1));
    for at in
        [key::client(&Cid::parse("cid", "ana").unwrap()), key::product(&Pid::parse("pid", "a").unwrap())]
    {
        let record = fixture.record(at).await.unwrap();
        assert!(!String::from_utf8_lossy(&record.data).contains("closing"), "{record:?}");
    }
}

#[tokio::test]
async fn a_request_of_staff_is_settled_by_what_it_was_about() {
    let fixture = Fixture::open().await;
    let rules = UpdateShopRequest { hold_minutes: 30, request: timed("r1"), ..UpdateShopRequest::default() };
    answer(fixture.admin().update_shop(rules).await).unwrap();
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 10).await;
    let adjust =
        AdjustStockRequest { pid: "a".into(), amount: 1, request: timed("r2"), ..Default::default() };
    answer(fixture.admin().adjust_stock(adjust).await).unwrap();
    assert_eq!(settle(&fixture, of_shop(timed("r1"))).await.unwrap(), "done");
    assert_eq!(settle(&fixture, of_product("a", timed("r2"))).await.unwrap(), "done");
    assert_eq!(settle(&fixture, of_client("ana", timed("r3"))).await.unwrap(), "not_done");
    assert_eq!(settle(&fixture, of_product("b", timed("r4"))).await.unwrap(), "not_done");
    let insert = InsertProductRequest {
        pid: "b".into(),
        data: r#"{"description":"B","quantity":1,"price":"1"}"#.into(),
        request: timed("r4"),
        ..Default::default()
    };
    let refused = answer(fixture.admin().insert_product(insert).await);
    assert_eq!(refused, Err(Error::RequestClosed { request: "r4".to_owned() }));
    is_invalid(settle(&fixture, of_client("ana", timed(""))).await, "request.id");
}

/// Where nothing is remembered of it, what was done would be told as never to be.
#[tokio::test]
async fn a_request_is_settled_nowhere_unless_it_is_said_where() {
    let fixture = Fixture::open().await;
    is_invalid(settle(&fixture, StaffSettleRequest { shop: false, ..of_shop(timed("r")) }).await, "cid");
    is_invalid(
        settle(&fixture, StaffSettleRequest { pid: "a".into(), ..of_client("ana", timed("r")) }).await,
        "pid",
    );
    is_invalid(
        settle(&fixture, StaffSettleRequest { shop: true, ..of_client("ana", timed("r")) }).await,
        "pid",
    );
    is_invalid(
        settle(&fixture, StaffSettleRequest { shop: true, ..of_product("a", timed("r")) }).await,
        "shop",
    );
}

/// Once it is not remembered any more it is a new id: nobody can promise that it never will be.
#[tokio::test]
async fn of_an_id_without_a_time_is_told_what_is_remembered_alone() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    for _ in 0..2 {
        assert_eq!(settle(&fixture, of_client("ana", id("nightly-7"))).await.unwrap(), "not_remembered");
    }
}

#[tokio::test]
async fn a_cascade_that_never_will_be_does_nothing_at_all_when_it_comes_late() {
    let (fixture, oid) = ordered().await;
    let (one, two) = (timed("r1"), timed("r2"));
    assert_eq!(settle(&fixture, of_client("ana", one.clone())).await.unwrap(), "not_done");
    assert_eq!(settle(&fixture, of_product("a", two.clone())).await.unwrap(), "not_done");
    let late = answer(fixture.admin().delete_client(deleting_client(one)).await);
    assert_eq!(late, Err(Error::RequestClosed { request: "r1".to_owned() }));
    let late = answer(fixture.admin().delete_product(deleting_product(two)).await);
    assert_eq!(late, Err(Error::RequestClosed { request: "r2".to_owned() }));
    is_untouched(&fixture, &oid).await;
}

#[tokio::test]
async fn a_cascade_that_came_to_no_end_is_begun_and_another_deletion_ends_it() {
    let (fixture, _) = ordered().await;
    let (one, two) = (timed("r1"), timed("r2"));
    // Each is read and closed; then the store is away.
    for _ in 0..2 {
        fixture.store.plan(None);
    }
    fixture.store.plan(Some(Fault::Refuse));
    answer(fixture.admin().delete_product(deleting_product(two.clone())).await).unwrap_err();
    for _ in 0..2 {
        fixture.store.plan(None);
    }
    fixture.store.plan(Some(Fault::Refuse));
    answer(fixture.admin().delete_client(deleting_client(one.clone())).await).unwrap_err();
    for _ in 0..2 {
        assert_eq!(settle(&fixture, of_product("a", two.clone())).await.unwrap(), "begun");
        assert_eq!(settle(&fixture, of_client("ana", one.clone())).await.unwrap(), "begun");
    }
    // Its end is closed under this id.
    let late = answer(fixture.admin().delete_client(deleting_client(one.clone())).await);
    assert_eq!(late, Err(Error::RequestClosed { request: "r1".to_owned() }));
    let again = timed("r3");
    answer(fixture.admin().delete_client(deleting_client(again.clone())).await).unwrap();
    answer(fixture.admin().delete_product(deleting_product(timed("r4"))).await).unwrap();
    assert_eq!(settle(&fixture, of_client("ana", one)).await.unwrap(), "begun");
    // What took the cascade up and was done is done, and answered as before when it is repeated.
    assert_eq!(settle(&fixture, of_client("ana", again.clone())).await.unwrap(), "done");
    answer(fixture.admin().delete_client(deleting_client(again)).await).unwrap();
}

#[tokio::test]
async fn a_cascade_that_took_up_an_earlier_one_is_begun_too() {
    let (fixture, _) = ordered().await;
    for request in [timed("r1"), timed("r2")] {
        for _ in 0..2 {
            fixture.store.plan(None);
        }
        fixture.store.plan(Some(Fault::Refuse));
        answer(fixture.admin().delete_client(deleting_client(request.clone())).await).unwrap_err();
        assert_eq!(settle(&fixture, of_client("ana", request)).await.unwrap(), "begun");
    }
}

/// So whoever hears nothing is told that it may be closed, and asks again.
#[tokio::test]
async fn a_settling_whose_answer_is_lost_may_have_closed_the_request() {
    let fixture = Fixture::open().await;
    fixture.store.plan(Some(Fault::LoseAnswer));
    let lost = settle(&fixture, of_shop(timed("r1"))).await;
    assert!(matches!(lost, Err(Error::Unavailable { .. })), "{lost:?}");
    let rules = UpdateShopRequest { hold_minutes: 30, request: timed("r1"), ..UpdateShopRequest::default() };
    let refused = answer(fixture.admin().update_shop(rules).await);
    assert_eq!(refused, Err(Error::RequestClosed { request: "r1".to_owned() }));
    assert_eq!(settle(&fixture, of_shop(timed("r1"))).await.unwrap(), "not_done");
}
