//! Removed clients and their remaining orders: the id stays taken while there are any.

use std::time::Duration;

use portal::Error;
use portal::document::client::ClientRecord;
use portal::error::Kind;
use portal::id::Cid;
use portal::key;
use proto::portal::{
    DeleteClientRequest, GetClientRequest, InsertClientRequest, ListRequest, UpdateClientRequest,
};
use proto::store::{Record, Txn};
use store_client::{Range, Store};
use store_engine::memory::{Fault, Faults};

use crate::fixture::{Fixture, answer, id};

fn deleting(cid: &str, cascade: bool, request: &str) -> DeleteClientRequest {
    let request = (!request.is_empty()).then(|| id(request).unwrap());
    DeleteClientRequest { cid: cid.to_owned(), if_match: 0, cascade, request }
}

async fn delete(fixture: &Fixture, request: DeleteClientRequest) -> Result<String, Error> {
    answer(fixture.admin().delete_client(request).await).map(|deleted| deleted.data)
}

async fn insert(fixture: &Fixture, cid: &str, data: &str) -> Result<String, Error> {
    let request = InsertClientRequest { cid: cid.to_owned(), data: data.to_owned(), request: None };
    answer(fixture.admin().insert_client(request).await).map(|client| client.cid)
}

async fn client_record(fixture: &Fixture, cid: &str) -> Option<Record> {
    fixture.record(key::client(&Cid::parse("cid", cid).unwrap())).await
}

fn kept(id: &str, free: &str) -> Error {
    Error::IdKept { id: id.to_owned(), free: Some(free.to_owned()) }
}

/// A client with a confirmed and a cancelled order, removed.
async fn with_ana_removed(cascade: bool) -> Fixture {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.insert_product("a", 10).await;
    let sold = fixture.order("ana", 1, &[("a", 4)]).await;
    fixture.confirm("ana", &sold).await;
    if cascade {
        fixture.order("ana", 2, &[("a", 1)]).await;
    }
    delete(&fixture, deleting("ana", cascade, "")).await.unwrap();
    fixture
}

#[tokio::test]
async fn a_removed_client_leaves_its_id_taken_while_orders_are_left() {
    for cascade in [false, true] {
        let fixture = with_ana_removed(cascade).await;
        let left = client_record(&fixture, "ana").await.unwrap();
        assert_eq!(left.data.as_ref(), br#"{"state":"gone","open_orders":0,"data":{}}"#);
        assert_eq!(insert(&fixture, "ana", "{}").await, Err(kept("ana", "ana-2")));
        assert_eq!(insert(&fixture, "", r#"{"name":"Aná"}"#).await, Err(kept("ana", "ana-2")));
        fixture.insert_client("ana-2").await;
        assert_eq!(insert(&fixture, "ana", "{}").await, Err(kept("ana", "ana-3")));
    }
}

#[tokio::test]
async fn a_removed_client_is_neither_shown_listed_changed_nor_removed_again() {
    let fixture = with_ana_removed(false).await;
    fixture.insert_client("bia").await;
    let gone = || Error::Gone { id: "ana".to_owned() };
    let get = GetClientRequest { cid: "ana".to_owned() };
    assert_eq!(answer(fixture.admin().get_client(get).await), Err(gone()));
    for if_match in [0, 7, client_record(&fixture, "ana").await.unwrap().offset()] {
        let update = UpdateClientRequest {
            cid: "ana".to_owned(),
            data: r#"{"name":"Ana"}"#.to_owned(),
            if_match,
            request: None,
        };
        assert_eq!(answer(fixture.admin().update_client(update).await), Err(gone()));
        for cascade in [false, true] {
            let request = DeleteClientRequest { if_match, ..deleting("ana", cascade, "") };
            assert_eq!(delete(&fixture, request).await, Err(gone()));
        }
    }
    let page = answer(fixture.admin().list_clients(ListRequest::default()).await).unwrap();
    let listed: Vec<String> = page.clients.into_iter().map(|client| client.cid).collect();
    assert_eq!((listed, page.damage), (vec!["bia".to_owned()], None));
    let left = client_record(&fixture, "ana").await.unwrap();
    assert_eq!(left.data.as_ref(), br#"{"state":"gone","open_orders":0,"data":{}}"#);
}

#[tokio::test]
async fn an_id_under_which_no_order_lies_is_free_again() {
    let fixture = Fixture::open().await;
    for cascade in [false, true] {
        fixture.insert_client("ana").await;
        delete(&fixture, deleting("ana", cascade, "")).await.unwrap();
        assert!(client_record(&fixture, "ana").await.is_none());
    }
    assert_eq!(insert(&fixture, "ana", "{}").await.as_deref(), Ok("ana"));
}

/// Versions before this state was known left orders under an id that was absent.
#[tokio::test]
async fn an_absent_id_under_which_orders_lie_is_given_to_nobody() {
    let fixture = with_ana_removed(false).await;
    let absent = Txn::new().delete(key::client(&Cid::parse("cid", "ana").unwrap()));
    assert!(fixture.store.txn(absent, None).await.unwrap().success);
    assert_eq!(insert(&fixture, "ana", "{}").await, Err(kept("ana", "ana-2")));
    assert!(client_record(&fixture, "ana").await.is_none());
}

#[tokio::test]
async fn removing_a_client_with_orders_is_done_once_however_often_it_is_asked() {
    for cascade in [false, true] {
        let fixture = Fixture::open().await;
        let data = r#"{"name":"Ana"}"#;
        insert(&fixture, "ana", data).await.unwrap();
        fixture.insert_product("a", 10).await;
        let sold = fixture.order("ana", 1, &[("a", 4)]).await;
        fixture.confirm("ana", &sold).await;
        // The look at the client, at its orders, then the deletion; a cascade looks, closes, scans and touches its note before.
        for _ in 0..if cascade { 6 } else { 2 } {
            fixture.store.plan(None);
        }
        fixture.store.plan(Some(Fault::LoseAnswer));
        let lost = delete(&fixture, deleting("ana", cascade, "r1")).await.unwrap_err();
        assert!(matches!(lost, Error::OutcomeUnknown { .. }), "{lost}");
        let left = client_record(&fixture, "ana").await.unwrap();
        for _ in 0..2 {
            assert_eq!(delete(&fixture, deleting("ana", cascade, "r1")).await.as_deref(), Ok(data));
        }
        assert_eq!(client_record(&fixture, "ana").await.unwrap(), left, "nothing was changed twice");
        let other = delete(&fixture, deleting("ana", cascade, "r2")).await;
        assert_eq!(other, Err(Error::Gone { id: "ana".to_owned() }));
    }
}

/// Every order moves the client's record, so a deletion that saw no orders fails on one that came since.
#[tokio::test]
async fn an_order_that_comes_while_its_client_is_removed_keeps_the_id() {
    let fixture = Fixture::open().await;
    fixture.insert_product("a", 10).await;
    fixture.insert_client("ana").await;
    // The look at the client passes, the one at its orders passes, the deletion comes late.
    fixture.store.plan(None);
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::DelayBefore(Duration::from_secs(3))));
    let mut admin = fixture.admin();
    let deletion = tokio::spawn(async move { admin.delete_client(deleting("ana", false, "r1")).await });
    tokio::time::timeout(Duration::from_secs(60), async {
        while fixture.store.planned() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let sold = fixture.order("ana", 1, &[("a", 4)]).await;
    fixture.confirm("ana", &sold).await;
    assert_eq!(answer(deletion.await.unwrap()).map(|deleted| deleted.data).as_deref(), Ok("{}"));
    assert!(client_record(&fixture, "ana").await.is_some());
    assert_eq!(insert(&fixture, "ana", "{}").await, Err(kept("ana", "ana-2")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_races_no_order_lies_under_an_id_that_is_free_or_anothers() {
    let fixture = std::sync::Arc::new(Fixture::open().await);
    fixture.insert_product("a", 100_000).await;
    fixture.store.set_faults(Some(Faults {
        seed: 7,
        reorder_per_mille: 500,
        delay_ms_max: 3,
        ..Faults::default()
    }));
    let rounds = (0..60u32).map(|round| {
        let fixture = fixture.clone();
        tokio::spawn(async move {
            let cid = format!("c{round}");
            let named = format!(r#"{{"name":"{cid}"}}"#);
            insert(&fixture, &cid, &named).await.unwrap();
            let shopping = async {
                for number in 0..3 {
                    if let Some(oid) = fixture.try_order(&cid, number, &[("a", 1)]).await {
                        fixture.try_confirm(&cid, &oid).await;
                    }
                }
            };
            let removing = async { delete(&fixture, deleting(&cid, round % 2 == 0, "")).await.is_ok() };
            let ((), removed) = futures::future::join(shopping, removing).await;
            let again = insert(&fixture, &cid, r#"{"name":"another"}"#).await;
            (cid, removed, again)
        })
    });
    let ended = futures::future::join_all(rounds).await;
    fixture.store.set_faults(None);
    for round in ended {
        let (cid, removed, again) = round.unwrap();
        let at = key::client(&Cid::parse("cid", &cid).unwrap());
        let orders = key::orders_of(&Cid::parse("cid", &cid).unwrap());
        let page =
            fixture.store.scan(Range::Prefix(orders), 10, None, proto::store::Freshness::linearizable());
        let has_orders = !page.await.unwrap().records.is_empty();
        let there = fixture.record(at.clone()).await;
        match (removed, has_orders) {
            (false, _) => {
                let taken = Error::AlreadyExists { kind: Kind::Client, id: cid.clone() };
                assert_eq!(again, Err(taken), "{cid} was not removed");
            }
            (true, true) => {
                assert!(matches!(again, Err(Error::IdKept { .. })), "{cid}: {again:?}");
                assert!(!ClientRecord::registers(&at, &there.unwrap()), "{cid}");
            }
            (true, false) => assert_eq!(again.as_deref(), Ok(cid.as_str())),
        }
    }
}
