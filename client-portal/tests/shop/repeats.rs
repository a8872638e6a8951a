//! The same request id: lost answers are settled, nothing is done twice, and another request cannot take the id.

use portal::Error;
use proto::portal::{CreateOrderRequest, ModifyOrderRequest, OrderRequest};
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, change, create, creation, id, lines, modify, naming};

#[tokio::test]
async fn a_lost_answer_is_settled_by_the_same_request() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 10).await;
    let request = CreateOrderRequest { request: id("r1"), ..creation("ana", &[("a", 4)]) };
    // The product is read first; then the transaction is done, and its answer lost.
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::LoseAnswer));
    let error = answer(fixture.shop().create_order(request.clone()).await).unwrap_err();
    assert!(
        matches!(&error, Error::OutcomeUnknown { request, created_ms: 0, .. } if request == "r1"),
        "{error}"
    );
    let order = answer(fixture.shop().create_order(request.clone()).await).unwrap();
    assert_eq!(fixture.stock("a").await.available, 6, "taken once");
    assert_eq!(answer(fixture.shop().create_order(request).await), Ok(order), "and the same answer again");
    fixture.audit().await;
}

#[tokio::test]
async fn a_request_that_was_made_without_an_id_tells_the_id_that_settles_it() {
    let fixture = Fixture::open().await;
    fixture.store.plan(Some(Fault::LoseAnswer));
    let error = create(&fixture, "ana", &[]).await.unwrap_err();
    let Error::OutcomeUnknown { request, created_ms, .. } = error else { panic!("{error}") };
    let given = Some(proto::portal::RequestId { id: request, created_ms });
    let request = CreateOrderRequest { request: given, ..creation("ana", &[]) };
    answer(fixture.shop().create_order(request).await).unwrap();
    assert_eq!(fixture.open_orders("ana").await, 1);
}

#[tokio::test]
async fn lost_answers_of_every_change_are_settled() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 10).await;
    let order = create(&fixture, "ana", &[("a", 1)]).await.unwrap();
    let request = ModifyOrderRequest { request: id("m1"), ..change(&order, &[("a", 5)]) };
    // The order is read, and the product, then the transaction is done.
    fixture.store.plan(None);
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::LoseAnswer));
    answer(fixture.shop().modify_order(request.clone()).await).unwrap_err();
    // Another change comes in between: the repeated request is still answered as the first.
    modify(&fixture, &order, &[("a", 2)]).await.unwrap();
    let settled = answer(fixture.shop().modify_order(request).await).unwrap();
    assert_eq!((settled.lines[0].quantity, fixture.stock("a").await.held), (5, 2));
    let request = OrderRequest { request: id("x1"), ..naming(&order) };
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::LoseAnswer));
    answer(fixture.shop().cancel_order(request.clone()).await).unwrap_err();
    answer(fixture.shop().cancel_order(request).await).unwrap();
    assert_eq!(fixture.stock("a").await.available, 10);
    fixture.audit().await;
}

#[tokio::test]
async fn a_success_is_answered_again_even_when_it_could_not_be_done_now() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 10).await;
    let request = CreateOrderRequest { request: id("r1"), ..creation("ana", &[("a", 4)]) };
    let order = answer(fixture.shop().create_order(request.clone()).await).unwrap();
    answer(fixture.shop().cancel_order(naming(&order)).await).unwrap();
    fixture.delete_product("a").await;
    assert_eq!(answer(fixture.shop().create_order(request).await), Ok(order));
}

#[tokio::test]
async fn a_refusal_is_remembered_too() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 1).await;
    let request = CreateOrderRequest { request: id("r1"), ..creation("ana", &[("a", 4)]) };
    let refused = answer(fixture.shop().create_order(request.clone()).await).unwrap_err();
    fixture.insert_product("a", "1", 100).await;
    assert_eq!(answer(fixture.shop().create_order(request).await), Err(refused));
}

#[tokio::test]
async fn an_id_belongs_to_one_request() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", "1", 10).await;
    let request = CreateOrderRequest { request: id("r1"), ..creation("ana", &[("a", 4)]) };
    let order = answer(fixture.shop().create_order(request.clone()).await).unwrap();
    let other = CreateOrderRequest { lines: lines(&[("a", 5)]), ..request };
    let reused = || Error::RequestReused { request: "r1".to_owned() };
    assert_eq!(answer(fixture.shop().create_order(other).await), Err(reused()));
    let cancel = OrderRequest { request: id("r1"), ..naming(&order) };
    assert_eq!(answer(fixture.shop().cancel_order(cancel).await), Err(reused()));
    // Ids are a client's own: another may use the same.
    fixture.insert_client("bia").await;
    let of_bia = CreateOrderRequest { request: id("r1"), ..creation("bia", &[("a", 1)]) };
    assert_ne!(answer(fixture.shop().create_order(of_bia).await).unwrap().oid, order.oid);
    let long = CreateOrderRequest { request: id(&"x".repeat(65)), ..creation("ana", &[]) };
    let error = answer(fixture.shop().create_order(long).await).unwrap_err();
    assert!(matches!(error, Error::Invalid { field, .. } if field == "request.id"));
    fixture.audit().await;
}
