//! The outcome of a request, settled: done, refused, or not done and never to be.

use portal::Error;
use proto::portal::{CreateOrderRequest, ModifyOrderRequest, RequestId, SettleRequest, Settled};

use crate::fixture::{Fixture, answer, change, creation, id, lines};

async fn settle(fixture: &Fixture, cid: &str, request: &str) -> Result<Settled, Error> {
    // Of an id that says when it was made.
    let request = Some(RequestId { id: request.to_owned(), created_ms: store_client::now_ms() });
    let asked = SettleRequest { cid: cid.to_owned(), request };
    answer(fixture.shop().settle(asked).await)
}

async fn open() -> Fixture {
    let fixture = Fixture::open().await;
    fixture.insert_product("fig", "2.50", 10).await;
    fixture
}

#[tokio::test]
async fn what_was_done_is_shown_as_it_was_answered() {
    let fixture = open().await;
    let asked = CreateOrderRequest { request: id("r1"), ..creation("ana", &[("fig", 2)]) };
    let order = answer(fixture.shop().create_order(asked.clone()).await).unwrap();
    answer(fixture.shop().modify_order(change(&order, &[("fig", 3)])).await).unwrap();
    for _ in 0..2 {
        let settled = settle(&fixture, "ana", "r1").await.unwrap();
        assert_eq!((settled.outcome.as_str(), settled.order.as_ref()), ("done", Some(&order)));
    }
    assert_eq!(answer(fixture.shop().create_order(asked).await), Ok(order), "it is answered as before");
    fixture.audit().await;
}

#[tokio::test]
async fn what_was_not_done_never_will_be() {
    let fixture = open().await;
    let settled = settle(&fixture, "ana", "r1").await.unwrap();
    assert_eq!(settled, Settled { outcome: "not_done".to_owned(), order: None });
    let asked = CreateOrderRequest { request: id("r1"), ..creation("ana", &[("fig", 2)]) };
    let refused = answer(fixture.shop().create_order(asked).await);
    assert_eq!(refused, Err(Error::RequestClosed { request: "r1".to_owned() }));
    assert_eq!(settle(&fixture, "ana", "r1").await.unwrap().outcome, "not_done");
    assert_eq!(fixture.stock("fig").await.held, 0);
}

#[tokio::test]
async fn what_was_refused_is_closed() {
    let fixture = open().await;
    let asked = CreateOrderRequest { request: id("r1"), ..creation("ana", &[("fig", 11)]) };
    let refused = answer(fixture.shop().create_order(asked.clone()).await);
    assert!(matches!(refused, Err(Error::ShortStock { .. })), "{refused:?}");
    assert_eq!(settle(&fixture, "ana", "r1").await.unwrap().outcome, "refused");
    // Stock that comes later changes nothing about it.
    fixture.insert_product("nut", "1.00", 10).await;
    let other = ModifyOrderRequest { lines: lines(&[("nut", 1)]), ..ModifyOrderRequest::default() };
    assert!(answer(fixture.shop().modify_order(other).await).is_err());
    assert!(answer(fixture.shop().create_order(asked).await).is_err());
    assert_eq!(fixture.stock("fig").await.held, 0);
}

#[tokio::test]
async fn an_id_is_closed_for_the_client_who_asks_and_for_no_other() {
    let fixture = open().await;
    fixture.insert_client("bia").await;
    assert_eq!(settle(&fixture, "bia", "r1").await.unwrap().outcome, "not_done");
    let asked = CreateOrderRequest { request: id("r1"), ..creation("ana", &[("fig", 2)]) };
    answer(fixture.shop().create_order(asked).await).unwrap();
    assert!(matches!(settle(&fixture, "nobody", "r1").await, Err(Error::UnknownClient { .. })));
    for (cid, request, wrong) in [("", "r", "cid"), ("ana", "", "request.id"), ("ana", "\u{7}", "request.id")]
    {
        let told = settle(&fixture, cid, request).await;
        assert!(matches!(&told, Err(Error::Invalid { field, .. }) if field == wrong), "{told:?}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_closes_nothing() {
    let fixture = open().await;
    // The portal has seen its shop.
    settle(&fixture, "ana", "r0").await.unwrap();
    fixture.store.set_down(true);
    let told = settle(&fixture, "ana", "r1").await;
    assert!(matches!(told, Err(Error::Unavailable { .. })), "{told:?}");
    fixture.store.set_down(false);
    let asked = CreateOrderRequest { request: id("r1"), ..creation("ana", &[("fig", 2)]) };
    answer(fixture.shop().create_order(asked).await).unwrap();
}
