//! DeleteClient and DeleteProduct, with and without cascade, interrupted and repeated.

use portal::Error;
use portal::document::client::ClientRecord;
use portal::document::order::Phase;
use portal::error::Kind;
use portal::id::{Cid, Pid};
use portal::key;
use proto::portal::{
    DeleteClientRequest, DeleteProductRequest, InsertClientRequest, InsertProductRequest,
    UpdateClientRequest, UpdateProductRequest,
};
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, id, is_invalid};

fn client(cid: &str, cascade: bool) -> DeleteClientRequest {
    DeleteClientRequest { cid: cid.to_owned(), if_match: 0, cascade, request: None }
}

fn product(pid: &str, cascade: bool) -> DeleteProductRequest {
    DeleteProductRequest { pid: pid.to_owned(), if_match: 0, cascade, request: None }
}

async fn delete_client(fixture: &Fixture, request: DeleteClientRequest) -> Result<String, Error> {
    answer(fixture.admin().delete_client(request).await).map(|deleted| deleted.data)
}

async fn delete_product(fixture: &Fixture, request: DeleteProductRequest) -> Result<String, Error> {
    answer(fixture.admin().delete_product(request).await).map(|deleted| deleted.data)
}

async fn is_there(fixture: &Fixture, cid: &str) -> bool {
    let at = key::client(&Cid::parse("cid", cid).unwrap());
    fixture.record(at.clone()).await.is_some_and(|record| ClientRecord::registers(&at, &record))
}

#[tokio::test]
async fn what_is_free_is_deleted_and_shown_as_it_was() {
    let fixture = Fixture::open().await;
    let ana = fixture.insert_client("ana").await;
    let a = fixture.insert_product("a", 3).await;
    let request = DeleteClientRequest { if_match: ana.etag, ..client("ana", false) };
    assert_eq!(delete_client(&fixture, request).await.as_deref(), Ok("{}"));
    let request = DeleteProductRequest { if_match: a.etag, ..product("a", false) };
    let document = r#"{"description":"a","quantity":3,"price":"2.50"}"#;
    assert_eq!(delete_product(&fixture, request).await.as_deref(), Ok(document));
    assert!(!is_there(&fixture, "ana").await && fixture.stock("a").await.is_none());
}

#[tokio::test]
async fn the_missing_the_changed_and_the_wrong_are_refused() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 3).await;
    for cascade in [false, true] {
        let (kind, id) = (Kind::Client, "x".to_owned());
        assert_eq!(delete_client(&fixture, client("x", cascade)).await, Err(Error::NotFound { kind, id }));
        let (kind, id) = (Kind::Product, "x".to_owned());
        assert_eq!(delete_product(&fixture, product("x", cascade)).await, Err(Error::NotFound { kind, id }));
        let request = DeleteClientRequest { if_match: 99, ..client("ana", cascade) };
        assert!(matches!(delete_client(&fixture, request).await, Err(Error::Changed { .. })));
        let request = DeleteProductRequest { if_match: 99, ..product("a", cascade) };
        assert!(matches!(delete_product(&fixture, request).await, Err(Error::Changed { .. })));
        is_invalid(delete_client(&fixture, client("", cascade)).await, "cid");
        is_invalid(delete_product(&fixture, product("", cascade)).await, "pid");
    }
    assert!(is_there(&fixture, "ana").await);
}

#[tokio::test]
async fn open_orders_hold_a_client_and_a_product_and_are_listed() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 1_000).await;
    let mut oids = Vec::new();
    for number in 0..3 {
        oids.push(fixture.order("ana", number, &[("a", 2)]).await.to_string());
    }
    oids.sort();
    let (by, more) = (oids, 0);
    let held = Error::Held { kind: Kind::Client, id: "ana".to_owned(), by: by.clone(), more };
    assert_eq!(delete_client(&fixture, client("ana", false)).await, Err(held));
    let held = Error::Held { kind: Kind::Product, id: "a".to_owned(), by, more };
    assert_eq!(delete_product(&fixture, product("a", false)).await, Err(held));
}

#[tokio::test]
async fn a_long_list_is_cut_and_says_how_many_more() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 1_000).await;
    for number in 0..250 {
        fixture.order("ana", number, &[("a", 1)]).await;
    }
    for error in [
        delete_client(&fixture, client("ana", false)).await.unwrap_err(),
        delete_product(&fixture, product("a", false)).await.unwrap_err(),
    ] {
        let Error::Held { by, more, .. } = error else { panic!("{error}") };
        assert!(by.len() > 20, "{} orders named", by.len());
        assert_eq!(by.len() as u64 + more, 250);
    }
}

#[tokio::test]
async fn a_cascade_cancels_the_clients_open_orders_and_keeps_its_history() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 1_000).await;
    let sold = fixture.order("ana", 1_000, &[("a", 7)]).await;
    fixture.confirm("ana", &sold).await;
    let mut open = Vec::new();
    for number in 0..30 {
        open.push(fixture.order("ana", number, &[("a", 2)]).await);
    }
    let deleted = answer(fixture.admin().delete_client(client("ana", true)).await).unwrap();
    assert!(!is_there(&fixture, "ana").await);
    let mut named: Vec<String> = open.iter().map(ToString::to_string).collect();
    named.sort();
    let changed: Vec<String> = deleted.orders.into_iter().map(|order| order.oid).collect();
    assert_eq!((changed, deleted.orders_more, deleted.continued), (named, 0, false), "what it cancelled");
    for oid in &open {
        assert_eq!(fixture.order_of("ana", oid).await.phase, Phase::Cancelled);
    }
    assert_eq!(fixture.order_of("ana", &sold).await.phase, Phase::Confirmed);
    let stock = fixture.stock("a").await.unwrap();
    assert!(stock.is_conserved());
    assert_eq!((stock.available, stock.held, stock.open_orders), (993, 7, 0));
}

#[tokio::test]
async fn a_cascade_takes_the_product_out_of_open_orders() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 10).await;
    fixture.insert_product("b", 10).await;
    let oid = fixture.order("ana", 1, &[("a", 2), ("b", 3)]).await;
    let deleted = answer(fixture.admin().delete_product(product("a", true)).await).unwrap();
    let changed: Vec<(String, String)> =
        deleted.orders.into_iter().map(|order| (order.cid, order.oid)).collect();
    assert_eq!((changed, deleted.continued), (vec![("ana".to_owned(), oid.to_string())], false));
    let order = fixture.order_of("ana", &oid).await;
    assert_eq!(
        (order.phase, order.lines.len(), order.total.to_string()),
        (Phase::Open, 1, "7.50".to_owned())
    );
    assert!(fixture.stock("a").await.is_none());
    assert_eq!(fixture.stock("b").await.unwrap().held, 3);
}

#[tokio::test]
async fn stock_that_confirmed_orders_hold_outlives_its_product_and_is_taken_up_again() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 10).await;
    let sold = fixture.order("ana", 1, &[("a", 4)]).await;
    fixture.confirm("ana", &sold).await;
    let document = delete_product(&fixture, product("a", false)).await.unwrap();
    assert_eq!(document, r#"{"description":"a","quantity":6,"price":"2.50"}"#);
    assert!(fixture.record(key::product(&Pid::parse("pid", "a").unwrap())).await.is_none());
    let stock = fixture.stock("a").await.unwrap();
    assert!(stock.is_conserved());
    assert_eq!((stock.adjusted, stock.available, stock.held), (-6, 0, 4));
    let again = fixture.insert_product("a", 5).await.stock.unwrap();
    assert_eq!((again.initial, again.adjusted, again.available, again.held), (10, -1, 5, 4));
}

#[tokio::test]
async fn an_interrupted_cascade_refuses_new_orders_and_is_taken_up_by_another_request() {
    let fixture = Fixture::open().await;
    let ana = fixture.insert_client("ana").await;
    fixture.insert_product("a", 10).await;
    fixture.order("ana", 1, &[("a", 2)]).await;
    // It is read and closed; the scan that follows finds the store away.
    fixture.store.plan(None);
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::Refuse));
    let request = DeleteClientRequest { if_match: ana.etag, ..client("ana", true) };
    let error =
        delete_client(&fixture, DeleteClientRequest { if_match: 0, ..request.clone() }).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let record = fixture.record(key::client(&Cid::parse("cid", "ana").unwrap())).await.unwrap();
    assert!(String::from_utf8_lossy(&record.data).contains("closing"));
    // The version that the administrator saw is gone, but the cascade goes on, and says that it was begun before.
    let deleted = answer(fixture.admin().delete_client(request).await).unwrap();
    assert!(deleted.continued && deleted.orders.len() == 1, "{deleted:?}");
    assert!(!is_there(&fixture, "ana").await);
    assert_eq!(fixture.stock("a").await.unwrap().available, 10);
}

/// Whose deletion was begun and cut off takes no update, as it takes no order and its id no insertion.
#[tokio::test]
async fn what_is_being_deleted_is_neither_updated_nor_inserted() {
    let fixture = Fixture::open().await;
    let (ana, a) = (fixture.insert_client("ana").await, fixture.insert_product("a", 10).await);
    fixture.order("ana", 1, &[("a", 2)]).await;
    // Read and closed, and then the store is away.
    fixture.store.plan(None);
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::Refuse));
    delete_client(&fixture, client("ana", true)).await.unwrap_err();
    fixture.store.plan(None);
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::Refuse));
    delete_product(&fixture, product("a", true)).await.unwrap_err();
    let of_client = |if_match| UpdateClientRequest {
        cid: "ana".to_owned(),
        data: r#"{"name":"Ana"}"#.to_owned(),
        if_match,
        request: None,
    };
    let (kind, id) = (Kind::Client, "ana".to_owned());
    let update = answer(fixture.admin().update_client(of_client(0)).await);
    assert_eq!(update, Err(Error::Closing { kind, id: id.clone() }));
    let seen = answer(fixture.admin().update_client(of_client(ana.etag)).await);
    assert!(matches!(seen, Err(Error::Changed { .. })), "the version that was seen is gone: {seen:?}");
    let inserted = InsertClientRequest { cid: id.clone(), data: "{}".to_owned(), request: None };
    assert_eq!(answer(fixture.admin().insert_client(inserted).await), Err(Error::AlreadyExists { kind, id }));
    let (kind, id) = (Kind::Product, "a".to_owned());
    for data in [r#"{"description":"b","price":"1"}"#, r#"{"description":"b","price":"1","quantity":5}"#] {
        let (pid, data) = (id.clone(), data.to_owned());
        let request =
            UpdateProductRequest { pid, data, if_match: 0, if_match_stock: 0, request: None, rules: None };
        let update = answer(fixture.admin().update_product(request).await);
        assert_eq!(update, Err(Error::Closing { kind, id: id.clone() }));
    }
    assert_eq!(fixture.stock("a").await.unwrap().available, 8, "nothing was moved");
    assert_eq!(delete_client(&fixture, client("ana", true)).await.as_deref(), Ok("{}"), "as it was");
    let document = r#"{"description":"a","quantity":10,"price":"2.50"}"#;
    assert_eq!(delete_product(&fixture, product("a", true)).await.as_deref(), Ok(document));
    assert!(a.etag > 0 && !is_there(&fixture, "ana").await);
}

#[tokio::test]
async fn lost_answers_are_settled_with_what_was_deleted() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 3).await;
    let request = DeleteProductRequest { request: id("r1"), ..product("a", false) };
    // The product and its stock are read, then deleted.
    fixture.store.plan(None);
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::LoseAnswer));
    delete_product(&fixture, request.clone()).await.unwrap_err();
    assert!(delete_product(&fixture, request).await.unwrap().contains("\"quantity\":3"));
    // A look and close, scan, the note, a look at the client and its orders, and the deletion, whose answer is lost.
    let request = DeleteClientRequest { request: id("r2"), ..client("ana", true) };
    for _ in 0..6 {
        fixture.store.plan(None);
    }
    fixture.store.plan(Some(Fault::LoseAnswer));
    let lost = delete_client(&fixture, request.clone()).await.unwrap_err();
    assert!(matches!(lost, Error::OutcomeUnknown { .. }), "{lost}");
    assert_eq!(delete_client(&fixture, request).await.as_deref(), Ok("{}"));
}

#[tokio::test]
async fn a_cascade_sent_again_leaves_orders_made_since_alone() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 10).await;
    let of_client = DeleteClientRequest { request: id("r1"), ..client("ana", true) };
    delete_client(&fixture, of_client.clone()).await.unwrap();
    fixture.insert_client("ana").await;
    let of_product = DeleteProductRequest { request: id("r2"), ..product("a", true) };
    delete_product(&fixture, of_product.clone()).await.unwrap();
    fixture.insert_product("a", 10).await;
    let oid = fixture.order("ana", 1, &[("a", 3)]).await;
    delete_client(&fixture, of_client).await.unwrap();
    delete_product(&fixture, of_product).await.unwrap();
    let order = fixture.order_of("ana", &oid).await;
    assert_eq!(
        (order.phase, order.lines.len()),
        (Phase::Open, 1),
        "a repeated request is answered, not carried out"
    );
    assert!(is_there(&fixture, "ana").await);
    assert_eq!(fixture.stock("a").await.unwrap().held, 3);
}

#[tokio::test]
async fn a_cascade_overtaken_by_another_leaves_what_was_inserted_anew() {
    let fixture = Fixture::open().await;
    for round in ["one", "two"] {
        // Read and closed, then the scan finds the store away; another administrator ends it and registers the same id anew.
        let (of_client, of_product) = (id(&format!("c-{round}")), id(&format!("p-{round}")));
        let of_client = DeleteClientRequest { request: of_client, ..client("ana", true) };
        let of_product = DeleteProductRequest { request: of_product, ..product("a", true) };
        let _ = delete_client(&fixture, client("ana", true)).await;
        let _ = delete_product(&fixture, product("a", true)).await;
        fixture.insert_client("ana").await;
        fixture.insert_product("a", 10).await;
        fixture.store.plan(None);
        fixture.store.plan(None);
        fixture.store.plan(Some(Fault::Refuse));
        delete_client(&fixture, of_client.clone()).await.unwrap_err();
        delete_client(&fixture, client("ana", true)).await.unwrap();
        fixture.store.plan(None);
        fixture.store.plan(None);
        fixture.store.plan(Some(Fault::Refuse));
        delete_product(&fixture, of_product.clone()).await.unwrap_err();
        delete_product(&fixture, product("a", true)).await.unwrap();
        fixture.insert_client("ana").await;
        fixture.insert_product("a", 10).await;
        if round == "two" {
            fixture.order("ana", 7, &[("a", 3)]).await;
        }
        let error = delete_client(&fixture, of_client).await.unwrap_err();
        assert!(matches!(error, Error::Changed { kind: Kind::Client, .. }), "{error}");
        let error = delete_product(&fixture, of_product).await.unwrap_err();
        assert!(matches!(error, Error::Changed { kind: Kind::Product, .. }), "{error}");
        assert!(is_there(&fixture, "ana").await && fixture.stock("a").await.is_some());
    }
}

#[tokio::test]
async fn a_product_inserted_twice_at_once_exists_once() {
    let fixture = Fixture::open().await;
    let data = r#"{"description":"a","quantity":1,"price":"1"}"#.to_owned();
    let request = InsertProductRequest { pid: "a".to_owned(), data, request: None, rules: None };
    let (mut one, mut other) = (fixture.admin(), fixture.admin());
    let both =
        futures::future::join(one.insert_product(request.clone()), other.insert_product(request)).await;
    assert_ne!(both.0.is_ok(), both.1.is_ok());
}
