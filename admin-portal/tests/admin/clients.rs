//! InsertClient, UpdateClient, GetClient, ListClients.

use portal::Error;
use portal::error::Kind;
use portal::id::Cid;
use portal::key;
use proto::portal::{GetClientRequest, InsertClientRequest, ListRequest, UpdateClientRequest};
use proto::store::Txn;
use store_client::Store;
use store_engine::memory::Fault;

use crate::fixture::{Fixture, answer, id, is_invalid};

fn inserting(cid: &str, data: &str) -> InsertClientRequest {
    InsertClientRequest { cid: cid.to_owned(), data: data.to_owned(), request: None }
}

fn updating(cid: &str, data: &str, if_match: u64) -> UpdateClientRequest {
    UpdateClientRequest { cid: cid.to_owned(), data: data.to_owned(), if_match, request: None }
}

fn getting(cid: &str) -> GetClientRequest {
    GetClientRequest { cid: cid.to_owned() }
}

#[tokio::test]
async fn a_client_is_inserted_shown_and_updated() {
    let fixture = Fixture::open().await;
    let data = r#"{"name":"Ana Maçã","points":1.50}"#;
    let inserted = answer(fixture.admin().insert_client(inserting("", data)).await).unwrap();
    assert_eq!((inserted.cid.as_str(), inserted.data.as_str(), inserted.version), ("ana-maca", data, 1));
    assert_eq!(answer(fixture.admin().get_client(getting("ana-maca")).await), Ok(inserted.clone()));
    let updated =
        answer(fixture.admin().update_client(updating("ana-maca", "{}", inserted.etag)).await).unwrap();
    assert_eq!((updated.data.as_str(), updated.version), ("{}", 2));
    assert_eq!(answer(fixture.admin().get_client(getting("ana-maca")).await), Ok(updated));
}

#[tokio::test]
async fn an_update_keeps_what_orders_have_counted() {
    let fixture = Fixture::open().await;
    fixture.insert_client("ana").await;
    fixture.order("ana", 1, &[]).await;
    let updated = answer(fixture.admin().update_client(updating("ana", r#"{"a":1}"#, 0)).await).unwrap();
    assert_eq!(updated.open_orders, 1);
}

#[tokio::test]
async fn taken_missing_and_changed_clients_are_refused() {
    let fixture = Fixture::open().await;
    let ana = fixture.insert_client("ana").await;
    let (kind, id) = (Kind::Client, "ana".to_owned());
    let taken = Error::AlreadyExists { kind, id: id.clone() };
    assert_eq!(answer(fixture.admin().insert_client(inserting("ana", "{}")).await), Err(taken));
    let missing = || Error::NotFound { kind, id: "bia".to_owned() };
    assert_eq!(answer(fixture.admin().get_client(getting("bia")).await), Err(missing()));
    assert_eq!(answer(fixture.admin().update_client(updating("bia", "{}", 0)).await), Err(missing()));
    assert_eq!(answer(fixture.admin().update_client(updating("bia", "{}", 7)).await), Err(missing()));
    let updated = answer(fixture.admin().update_client(updating("ana", "{}", 0)).await).unwrap();
    let changed = Error::Changed { kind, id, etag: updated.etag };
    assert_eq!(answer(fixture.admin().update_client(updating("ana", "{}", ana.etag)).await), Err(changed));
}

#[tokio::test]
async fn two_clients_never_have_ids_that_look_the_same() {
    let fixture = Fixture::open().await;
    let insert =
        |cid: &'static str| async { answer(fixture.admin().insert_client(inserting(cid, "{}")).await) };
    assert_eq!(insert("cafe\u{301}").await.unwrap().cid, "caf\u{e9}", "the normal form is stored");
    let taken = Error::AlreadyExists { kind: Kind::Client, id: "caf\u{e9}".to_owned() };
    assert_eq!(insert("caf\u{e9}").await, Err(taken));
    for form in ["caf\u{e9}", "cafe\u{301}"] {
        assert_eq!(answer(fixture.admin().get_client(getting(form)).await).unwrap().cid, "caf\u{e9}");
    }
    insert("ana").await.unwrap();
    is_invalid(insert("ana\u{200b}").await, "cid");
    // An earlier version stored what it was given: that is used by its exact bytes, beside the one in normal form.
    for old in ["ana\u{200b}", "bia\u{301}"] {
        let cid = Cid::parse("cid", old).unwrap();
        let record = r#"{"state":"active","open_orders":0,"data":{}}"#;
        fixture.store.txn(Txn::new().put(key::client(&cid), 1, record), None).await.unwrap();
    }
    insert("bi\u{e1}").await.unwrap();
    for cid in ["ana\u{200b}", "bia\u{301}", "bi\u{e1}"] {
        let shown = answer(fixture.admin().get_client(getting(cid)).await).unwrap();
        assert_eq!(shown.cid, cid);
        assert_eq!(answer(fixture.admin().update_client(updating(cid, "{}", 0)).await).unwrap().cid, cid);
    }
}

#[tokio::test]
async fn an_update_refuses_the_empty_name_that_an_insertion_refuses() {
    let fixture = Fixture::open().await;
    let ana = fixture.insert_client("ana").await;
    for empty in [r#"{"name":""}"#, r#"{"name":" ","city":"Recife"}"#] {
        is_invalid(answer(fixture.admin().insert_client(inserting("bia", empty)).await), "data.name");
        is_invalid(answer(fixture.admin().update_client(updating("ana", empty, 0)).await), "data.name");
    }
    assert_eq!(answer(fixture.admin().get_client(getting("ana")).await), Ok(ana));
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let fixture = Fixture::open().await;
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000));
    for (cid, data, field) in [
        ("", "{}", "cid"),
        ("", r#"{"name":"--"}"#, "cid"),
        (&"x".repeat(129), "{}", "cid"),
        ("ana", "", "data"),
        ("ana", "[]", "data"),
        ("ana", r#"{"a":1,"a":2}"#, "data.a"),
        ("ana", &large, "data"),
    ] {
        is_invalid(answer(fixture.admin().insert_client(inserting(cid, data)).await), field);
    }
    is_invalid(answer(fixture.admin().update_client(updating("", "{}", 0)).await), "cid");
    is_invalid(answer(fixture.admin().update_client(updating("ana", "7", 0)).await), "data");
    is_invalid(answer(fixture.admin().get_client(getting("")).await), "cid");
}

#[tokio::test]
async fn clients_are_listed_by_prefix_and_page() {
    let fixture = Fixture::open().await;
    for cid in ["ana", "ana/b", "anb", "bia", "an"] {
        fixture.insert_client(cid).await;
    }
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let request = ListRequest { prefix: "an".to_owned(), limit: 2, after, ..ListRequest::default() };
        let page = answer(fixture.admin().list_clients(request).await).unwrap();
        assert!(page.clients.len() <= 2);
        listed.extend(page.clients.into_iter().map(|client| client.cid));
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    // Key order: `%` stands for the slash, and `}` ends an id.
    assert_eq!(listed, ["ana/b", "ana", "anb", "an"]);
    for (limit, prefix, after, field) in
        [(1_001, String::new(), "", "limit"), (1, "x".repeat(129), "", "prefix")]
    {
        let request = ListRequest { prefix, limit, after: after.to_owned(), ..ListRequest::default() };
        is_invalid(answer(fixture.admin().list_clients(request).await), field);
    }
}

#[tokio::test]
async fn a_page_of_large_clients_ends_early() {
    let fixture = Fixture::open().await;
    let data = format!(r#"{{"notes":"{}"}}"#, "x".repeat(60_000));
    for i in 0..50 {
        answer(fixture.admin().insert_client(inserting(&format!("c{i:02}"), &data)).await).unwrap();
    }
    let (mut pages, mut seen, mut after) = (0, 0, String::new());
    loop {
        let request = ListRequest { limit: 1_000, after, ..ListRequest::default() };
        let page = answer(fixture.admin().list_clients(request).await).unwrap();
        (pages, seen) = (pages + 1, seen + page.clients.len());
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 50);
    assert!(pages > 1, "3 MB do not come in one page");
}

#[tokio::test]
async fn lost_answers_are_settled_and_ids_belong_to_one_request() {
    let fixture = Fixture::open().await;
    let request = InsertClientRequest { request: id("r1"), ..inserting("ana", "{}") };
    // In an empty shop the mark of the index (looked for, allowed, set); the look for orders under the id, then the insertion.
    for _ in 0..4 {
        fixture.store.plan(None);
    }
    fixture.store.plan(Some(Fault::LoseAnswer));
    let lost = answer(fixture.admin().insert_client(request.clone()).await).unwrap_err();
    assert!(
        matches!(&lost, Error::OutcomeUnknown { request, created_ms: 0, .. } if request == "r1"),
        "{lost}"
    );
    let inserted = answer(fixture.admin().insert_client(request.clone()).await).unwrap();
    assert_eq!(inserted.version, 1);
    let update = UpdateClientRequest { request: id("r2"), ..updating("ana", r#"{"a":1}"#, inserted.etag) };
    // The client is read, then the transaction is done.
    fixture.store.plan(None);
    fixture.store.plan(Some(Fault::LoseAnswer));
    answer(fixture.admin().update_client(update.clone()).await).unwrap_err();
    assert_eq!(answer(fixture.admin().update_client(update).await).unwrap().version, 2);
    let other = InsertClientRequest { data: r#"{"b":1}"#.to_owned(), ..request };
    let reused = Error::RequestReused { request: "r1".to_owned() };
    assert_eq!(answer(fixture.admin().insert_client(other).await), Err(reused));
}
