//! The administrators' service over real processes, through two portals: every operation with success and with each
//! way to fail, ids made from names, caches of presence and absence as the portals' own counters
//! show them (C4, C5), deletion with and without cascade.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::shop::{
    Refusal, insert_client, insert_product, order, patient, product, refusal, refused, request_id,
};
use feira_tests::wait;
use nix::sys::signal::Signal;
use proto::portal::admin_client::AdminClient;
use proto::portal::{
    AdjustStockRequest, BrowseProductsRequest, Client, DeleteClientRequest, DeleteProductRequest,
    GetClientRequest, GetOrderRequest, GetProductRequest, InsertClientRequest, InsertProductRequest,
    ListRequest, OrderRequest, OrderState, PortalStatusResponse, Product, RequestId, UpdateClientRequest,
    UpdateProductRequest,
};
use tonic::Code;
use tonic::transport::Channel;

type Admin = AdminClient<Channel>;

/// The bound on staleness, as configured by default.
const LEASE: Duration = Duration::from_secs(1);

const INVALID: (Code, &str) = (Code::InvalidArgument, "INVALID_FIELD");
const NOT_FOUND: (Code, &str) = (Code::NotFound, "NOT_FOUND");
const TAKEN: (Code, &str) = (Code::AlreadyExists, "ALREADY_EXISTS");
const CHANGED: (Code, &str) = (Code::Aborted, "CHANGED");
const HELD: (Code, &str) = (Code::FailedPrecondition, "HELD_BY_ORDERS");
const SHORT: (Code, &str) = (Code::FailedPrecondition, "STOCK_SHORT");

async fn two_admins() -> Cluster {
    Cluster::start(feira_tests::feira!(), Options { admin_portals: 2, ..Options::default() }).await
}

fn inserting(cid: &str, data: &str) -> InsertClientRequest {
    InsertClientRequest { cid: cid.to_owned(), data: data.to_owned(), request: request_id() }
}

fn updating(cid: &str, data: &str, if_match: u64) -> UpdateClientRequest {
    UpdateClientRequest { cid: cid.to_owned(), data: data.to_owned(), if_match, request: request_id() }
}

fn new_product(pid: &str, data: &str) -> InsertProductRequest {
    InsertProductRequest { pid: pid.to_owned(), data: data.to_owned(), request: request_id(), rules: None }
}

fn changing(pid: &str, data: &str) -> UpdateProductRequest {
    UpdateProductRequest { pid: pid.into(), data: data.into(), request: request_id(), ..Default::default() }
}

fn without_client(cid: &str, cascade: bool) -> DeleteClientRequest {
    DeleteClientRequest { cid: cid.to_owned(), if_match: 0, cascade, request: request_id() }
}

fn without_product(pid: &str, cascade: bool) -> DeleteProductRequest {
    DeleteProductRequest { pid: pid.to_owned(), if_match: 0, cascade, request: request_id() }
}

fn adjusting(pid: &str, amount: i64) -> AdjustStockRequest {
    AdjustStockRequest { pid: pid.to_owned(), amount, request: request_id(), if_match_stock: 0 }
}

async fn client(admin: &mut Admin, cid: &str) -> Result<Client, tonic::Status> {
    Ok(admin.get_client(patient(GetClientRequest { cid: cid.to_owned() })).await?.into_inner())
}

fn numbers(product: &Product) -> (i64, i64, i64, i64) {
    let stock = product.stock.unwrap();
    (stock.initial, stock.adjusted, stock.available, stock.held)
}

#[track_caller]
fn names_field(refusal: &Refusal, field: &str) {
    assert_eq!(refusal.class(), INVALID, "{refusal:?}");
    assert_eq!((refusal.says("field"), refusal.fields.as_slice()), (field, &[field.to_owned()][..]));
}

#[track_caller]
fn is_about(refusal: &Refusal, class: (Code, &str), kind: &str, id: &str) {
    assert_eq!((refusal.class(), refusal.says("kind"), refusal.says("id")), (class, kind, id), "{refusal:?}");
    assert!(refusal.message.contains(id), "{refusal:?}");
}

#[tokio::test]
async fn clients_are_inserted_updated_shown_and_deleted_and_the_other_portal_sees_it() {
    let cluster = two_admins().await;
    let (mut here, mut there) = (cluster.admin(1), cluster.admin(2));
    let data = r#"{"name":"Ana Maçã (Recife)","points":1.50}"#;
    let inserted = here.insert_client(patient(inserting("", data))).await.unwrap().into_inner();
    assert_eq!(inserted.cid, "ana-maca-recife", "the id is made from the name");
    assert_eq!((inserted.data.as_str(), inserted.version, inserted.open_orders), (data, 1, 0));
    assert_eq!(client(&mut there, "ana-maca-recife").await.unwrap(), inserted);
    let given = here.insert_client(patient(inserting("0042", "{}"))).await.unwrap().into_inner();
    assert_eq!(given.cid, "0042", "or it is given");

    let request = updating("ana-maca-recife", r#"{"name":"Ana"}"#, inserted.etag);
    let updated = there.update_client(patient(request)).await.unwrap().into_inner();
    assert_eq!((updated.data.as_str(), updated.version), (r#"{"name":"Ana"}"#, 2));
    assert!(updated.etag > inserted.etag);
    wait::until("the update to be seen", PATIENCE, || async {
        let seen = client(&mut cluster.admin(1), "ana-maca-recife").await.unwrap();
        if seen == updated { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;

    let request = DeleteClientRequest { if_match: updated.etag, ..without_client("ana-maca-recife", false) };
    let deleted = here.delete_client(patient(request)).await.unwrap().into_inner();
    assert_eq!(deleted.data, r#"{"name":"Ana"}"#);
    assert_eq!(refused(client(&mut here, "ana-maca-recife").await).class(), NOT_FOUND);
    insert_client(&mut there, "ana-maca-recife").await.unwrap();
}

#[tokio::test]
async fn operations_on_clients_are_refused_with_status_reason_and_fields() {
    let cluster = two_admins().await;
    let (mut here, mut there) = (cluster.admin(1), cluster.admin(2));
    let ana = insert_client(&mut here, "ana").await.unwrap();
    is_about(&refusal(there.insert_client(patient(inserting("ana", "{}"))).await), TAKEN, "client", "ana");
    let by_name = there.insert_client(patient(inserting("", r#"{"name":"ÂNA"}"#))).await;
    is_about(&refusal(by_name), TAKEN, "client", "ana");

    is_about(&refused(client(&mut here, "bia").await), NOT_FOUND, "client", "bia");
    for if_match in [0, 7] {
        let missing = here.update_client(patient(updating("bia", "{}", if_match))).await;
        is_about(&refusal(missing), NOT_FOUND, "client", "bia");
    }
    for cascade in [false, true] {
        let missing = here.delete_client(patient(without_client("bia", cascade))).await;
        is_about(&refusal(missing), NOT_FOUND, "client", "bia");
        let request = DeleteClientRequest { if_match: 1, ..without_client("ana", cascade) };
        is_about(&refusal(here.delete_client(patient(request)).await), CHANGED, "client", "ana");
    }
    let updated = here.update_client(patient(updating("ana", "{}", ana.etag))).await.unwrap().into_inner();
    let late = refusal(there.update_client(patient(updating("ana", r#"{"a":1}"#, ana.etag))).await);
    is_about(&late, CHANGED, "client", "ana");
    assert_eq!(late.says("etag"), updated.etag.to_string(), "the etag to read again");

    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(66_000));
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    for (cid, data, field) in [
        ("", "{}", "cid"),
        ("", r#"{"name":"--"}"#, "cid"),
        (&"x".repeat(129), "{}", "cid"),
        ("x", "", "data"),
        ("x", "[1]", "data"),
        ("x", r#"{"a":1,"a":2}"#, "data.a"),
        ("x", &large, "data"),
        ("x", &deep, "data"),
    ] {
        names_field(&refusal(here.insert_client(patient(inserting(cid, data))).await), field);
    }
    names_field(&refusal(here.update_client(patient(updating("", "{}", 0))).await), "cid");
    names_field(&refusal(here.update_client(patient(updating("ana", "7", 0))).await), "data");
    names_field(&refused(client(&mut here, "").await), "cid");
    names_field(&refusal(here.delete_client(patient(without_client("", true))).await), "cid");
    let long = RequestId { id: "r".repeat(65), created_ms: 0 };
    let request = InsertClientRequest { request: Some(long), ..inserting("x", "{}") };
    names_field(&refusal(here.insert_client(patient(request)).await), "request.id");
    assert_eq!(client(&mut there, "ana").await.unwrap(), updated, "none of it changed anything");
}

#[tokio::test]
async fn clients_and_products_are_listed_by_prefix_and_page() {
    let cluster = two_admins().await;
    let (mut here, mut there) = (cluster.admin(1), cluster.admin(2));
    for id in ["ana", "ana/b", "anb", "bia", "an"] {
        insert_client(&mut here, id).await.unwrap();
        insert_product(&mut here, id, 3, "1").await.unwrap();
    }
    let page = |after: &str| ListRequest {
        prefix: "an".into(),
        limit: 2,
        after: after.to_owned(),
        ..Default::default()
    };
    let (mut clients, mut products, mut after) = (Vec::new(), Vec::new(), [String::new(), String::new()]);
    loop {
        let answer = there.list_clients(patient(page(&after[0]))).await.unwrap().into_inner();
        assert!(answer.clients.len() <= 2);
        clients.extend(answer.clients.into_iter().map(|one| one.cid));
        let listed = there.list_products(patient(page(&after[1]))).await.unwrap().into_inner();
        products.extend(listed.products.into_iter().map(|one| (one.pid.clone(), numbers(&one).2)));
        after = [answer.next, listed.next];
        if after[0].is_empty() {
            break;
        }
    }
    assert_eq!(clients, ["ana/b", "ana", "anb", "an"], "key order, as docs/SCHEMA.md tells it");
    assert_eq!(products, clients.into_iter().map(|id| (id, 3)).collect::<Vec<_>>());
    for (limit, prefix, after, field) in
        [(1_001, String::new(), "", "limit"), (1, "x".repeat(129), "", "prefix")]
    {
        let request = ListRequest { prefix, limit, after: after.to_owned(), ..ListRequest::default() };
        names_field(&refusal(here.list_clients(patient(request.clone())).await), field);
        names_field(&refusal(here.list_products(patient(request)).await), field);
    }
}

#[tokio::test]
async fn products_are_inserted_updated_adjusted_shown_and_deleted() {
    let cluster = two_admins().await;
    let (mut here, mut there) = (cluster.admin(1), cluster.admin(2));
    let data = r#"{"description":"Maçã Fuji","quantity":10,"price":2.5,"origin":{"state":"SC"}}"#;
    let made = here.insert_product(patient(new_product("", data))).await.unwrap().into_inner();
    assert_eq!(
        (made.pid.as_str(), made.price.as_str()),
        ("maca-fuji", "2.50"),
        "the id is made from the name"
    );
    assert_eq!(made.extra, r#"{"origin":{"state":"SC"}}"#);
    assert_eq!(numbers(&made), (10, 0, 10, 0));
    let seen = product(&mut there, "maca-fuji").await.unwrap();
    assert_eq!((seen.etag, numbers(&seen)), (made.etag, numbers(&made)));

    let request = changing("maca-fuji", r#"{"description":"Maçã","price":"3.10"}"#);
    let request = UpdateProductRequest { if_match: made.etag, ..request };
    let updated = there.update_product(patient(request)).await.unwrap().into_inner();
    assert_eq!((updated.price.as_str(), updated.version, numbers(&updated)), ("3.10", 2, (10, 0, 10, 0)));
    let adjusted = here.adjust_stock(patient(adjusting("maca-fuji", -4))).await.unwrap().into_inner();
    assert_eq!(numbers(&adjusted), (10, -4, 6, 0));
    let request = changing("maca-fuji", r#"{"description":"Maçã","price":"3.10","quantity":20}"#);
    let request = UpdateProductRequest { if_match_stock: adjusted.stock.unwrap().etag, ..request };
    let counted = there.update_product(patient(request.clone())).await.unwrap().into_inner();
    assert_eq!(numbers(&counted), (10, 10, 20, 0), "a quantity is an adjustment by the difference");
    let again = UpdateProductRequest { request: request_id(), ..request };
    is_about(&refusal(there.update_product(patient(again)).await), CHANGED, "product", "maca-fuji");

    let deleted =
        here.delete_product(patient(without_product("maca-fuji", false))).await.unwrap().into_inner();
    assert_eq!(deleted.data, r#"{"description":"Maçã","quantity":20,"price":"3.10"}"#);
    assert_eq!(refused(product(&mut here, "maca-fuji").await).class(), NOT_FOUND);
    cluster.assert_audited().await;
}

#[tokio::test]
async fn operations_on_products_are_refused_with_status_reason_and_fields() {
    let cluster = two_admins().await;
    let (mut here, mut there) = (cluster.admin(1), cluster.admin(2));
    let fig = insert_product(&mut here, "fig", 10, "1").await.unwrap();
    let data = r#"{"description":"fig","quantity":1,"price":"1"}"#;
    is_about(
        &refusal(there.insert_product(patient(new_product("fig", data))).await),
        TAKEN,
        "product",
        "fig",
    );
    is_about(&refusal(there.insert_product(patient(new_product("", data))).await), TAKEN, "product", "fig");
    for pid in ["x", "y"] {
        is_about(&refused(product(&mut here, pid).await), NOT_FOUND, "product", pid);
        is_about(
            &refusal(here.update_product(patient(changing(pid, data))).await),
            NOT_FOUND,
            "product",
            pid,
        );
        is_about(&refusal(here.adjust_stock(patient(adjusting(pid, 1))).await), NOT_FOUND, "product", pid);
        let missing = here.delete_product(patient(without_product(pid, pid == "y"))).await;
        is_about(&refusal(missing), NOT_FOUND, "product", pid);
    }
    let price = r#"{"description":"fig","price":"2"}"#;
    let request = UpdateProductRequest { if_match: fig.etag, ..changing("fig", price) };
    let updated = here.update_product(patient(request)).await.unwrap().into_inner();
    let request = UpdateProductRequest { if_match: fig.etag, ..changing("fig", price) };
    let late = refusal(there.update_product(patient(request)).await);
    is_about(&late, CHANGED, "product", "fig");
    assert_eq!(late.says("etag"), updated.etag.to_string());
    let request = DeleteProductRequest { if_match: fig.etag, ..without_product("fig", false) };
    is_about(&refusal(there.delete_product(patient(request)).await), CHANGED, "product", "fig");

    let short = refusal(there.adjust_stock(patient(adjusting("fig", -11))).await);
    assert_eq!(short.class(), SHORT);
    assert_eq!(short.items, [("fig".to_owned(), "left=10 wanted=11".to_owned())]);
    for amount in [0, i64::MIN, i64::MAX, 1_000_000_000_001] {
        names_field(&refusal(here.adjust_stock(patient(adjusting("fig", amount))).await), "amount");
    }
    assert_eq!(numbers(&product(&mut there, "fig").await.unwrap()), (10, 0, 10, 0));
    cluster.assert_audited().await;
}

#[tokio::test]
async fn wrong_fields_of_products_are_named() {
    let cluster = two_admins().await;
    let mut here = cluster.admin(1);
    let fig = insert_product(&mut here, "fig", 10, "1").await.unwrap();
    let data = r#"{"description":"fig","quantity":1,"price":"1"}"#;
    let price = r#"{"description":"fig","price":"2"}"#;
    for (pid, data, field) in [
        ("", r#"{"description":"--","quantity":1,"price":"1"}"#, "pid"),
        ("a", r#"{"description":"a","price":"1"}"#, "data.quantity"),
        ("a", r#"{"description":"a","quantity":-1,"price":"1"}"#, "data.quantity"),
        ("a", r#"{"description":"a","quantity":1.5,"price":"1"}"#, "data.quantity"),
        ("a", r#"{"description":"a","quantity":1,"price":"1,5"}"#, "data.price"),
        ("a", r#"{"description":"a","quantity":1,"price":-1}"#, "data.price"),
        ("a", r#"{"description":"a","quantity":1,"price":1e3}"#, "data.price"),
        ("a", r#"{"quantity":1,"price":"1"}"#, "data.description"),
        ("a", "nonsense", "data"),
    ] {
        names_field(&refusal(here.insert_product(patient(new_product(pid, data))).await), field);
    }
    names_field(&refusal(here.update_product(patient(changing("", data))).await), "pid");
    let request = UpdateProductRequest { if_match_stock: 5, ..changing("fig", price) };
    names_field(&refusal(here.update_product(patient(request)).await), "if_match_stock");
    names_field(&refusal(here.adjust_stock(patient(adjusting("", 1))).await), "pid");
    names_field(&refusal(here.delete_product(patient(without_product("", true))).await), "pid");
    assert_eq!(product(&mut here, "fig").await.unwrap().etag, fig.etag, "none of it changed anything");
    cluster.assert_audited().await;
}

#[tokio::test]
async fn what_orders_hold_is_deleted_only_with_cascade() {
    let cluster = two_admins().await;
    let (mut here, mut there, mut shop) = (cluster.admin(1), cluster.admin(2), cluster.shop(1));
    for cid in ["ana", "bia"] {
        insert_client(&mut here, cid).await.unwrap();
    }
    for pid in ["fig", "kiwi"] {
        insert_product(&mut here, pid, 100, "2").await.unwrap();
    }
    let mut oids = Vec::new();
    for _ in 0..12 {
        oids.push(order(&mut shop, "ana", &[("fig", 2), ("kiwi", 1)]).await.unwrap().oid);
    }
    let of_bia = order(&mut shop, "bia", &[("fig", 5), ("kiwi", 3)]).await.unwrap().oid;
    let confirm = OrderRequest {
        cid: "ana".into(),
        oid: oids.pop().unwrap(),
        request: request_id(),
        ..OrderRequest::default()
    };
    let sold = shop.confirm_order(patient(confirm)).await.unwrap().into_inner();
    oids.sort();
    let held = refusal(there.delete_client(patient(without_client("ana", false))).await);
    is_about(&held, HELD, "client", "ana");
    let by: Vec<String> = held.items.into_iter().map(|(oid, _)| oid).collect();
    assert_eq!(by, oids, "the list of what holds it");
    let held = refusal(there.delete_product(patient(without_product("fig", false))).await);
    is_about(&held, HELD, "product", "fig");
    assert_eq!(held.items.len(), 12, "{held:?}");

    there.delete_client(patient(without_client("ana", true))).await.unwrap();
    let gone = refused(client(&mut there, "ana").await);
    is_about(&gone, (Code::NotFound, "CLIENT_GONE"), "client", "ana");
    assert_eq!(numbers(&product(&mut there, "fig").await.unwrap()), (100, 0, 93, 7), "its stock is back");
    // Its history stays under the id, which is given to nobody else: not even its reader is let in any more.
    let kept = refused(insert_client(&mut here, "ana").await);
    is_about(&kept, (Code::AlreadyExists, "ID_KEPT"), "client", "ana");
    assert_eq!(kept.says("free"), "ana-2");
    for oid in oids.iter().chain([&sold.oid]) {
        let request = GetOrderRequest { cid: "ana".into(), oid: oid.clone() };
        let stranger = refusal(shop.get_order(patient(request)).await);
        assert_eq!(stranger.class(), (Code::Unauthenticated, "CLIENT_UNKNOWN"));
    }

    here.delete_product(patient(without_product("fig", true))).await.unwrap();
    let request = GetOrderRequest { cid: "bia".into(), oid: of_bia };
    let left = shop.get_order(patient(request)).await.unwrap().into_inner();
    let lines: Vec<_> = left.lines.iter().map(|line| (line.pid.as_str(), line.quantity)).collect();
    assert_eq!((left.state(), lines, left.total.as_str()), (OrderState::Open, vec![("kiwi", 3)], "6.00"));
    let gone = refused(order(&mut shop, "bia", &[("fig", 1)]).await);
    is_about(&gone, NOT_FOUND, "product", "fig");
    cluster.assert_audited().await;
}

/// Orders race with the removal of their client, and with whoever is registered next: through real portals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_races_nobody_is_handed_the_orders_of_somebody_else() {
    let cluster = two_admins().await;
    insert_product(&mut cluster.admin(1), "fig", 10_000, "2").await.unwrap();
    let rounds = (0..24).map(|round| {
        let (mut here, mut there, mut shop) = (cluster.admin(1), cluster.admin(2), cluster.shop(1));
        tokio::spawn(async move {
            let cid = format!("c{round}");
            insert_client(&mut here, &cid).await.unwrap();
            let shopping = async {
                let mut made_at = Vec::new();
                for _ in 0..4 {
                    let Ok(made) = order(&mut shop, &cid, &[("fig", 1)]).await else { continue };
                    made_at.push(made.etag);
                    let confirm = OrderRequest {
                        cid: cid.clone(),
                        oid: made.oid,
                        request: request_id(),
                        ..OrderRequest::default()
                    };
                    drop(shop.confirm_order(patient(confirm)).await);
                }
                made_at
            };
            let removing = async {
                let request = without_client(&cid, round % 2 == 0);
                let removed = there.delete_client(patient(request)).await.is_ok();
                (removed, insert_client(&mut there, &cid).await)
            };
            let (made_at, (removed, again)) = futures::future::join(shopping, removing).await;
            (cid, made_at, removed, again)
        })
    });
    let ended = futures::future::join_all(rounds.collect::<Vec<_>>()).await;
    for round in ended {
        let (cid, made_at, removed, again) = round.unwrap();
        match again {
            // What was ordered since is of whoever was registered since.
            Ok(other) => assert!(removed && made_at.iter().all(|at| *at > other.etag), "{cid}: {made_at:?}"),
            Err(status) if removed => {
                assert_eq!(refused(Err::<(), _>(status)).class(), (Code::AlreadyExists, "ID_KEPT"), "{cid}");
                assert!(!made_at.is_empty(), "{cid}");
            }
            Err(status) => assert_eq!(refused(Err::<(), _>(status)).class(), TAKEN, "{cid}"),
        }
    }
    cluster.assert_audited().await;
}

#[tokio::test]
async fn a_repeated_request_changes_nothing_twice_through_whichever_portal() {
    let cluster = two_admins().await;
    let (mut here, mut there) = (cluster.admin(1), cluster.admin(2));
    let insert = inserting("ana", r#"{"name":"Ana"}"#);
    let first = here.insert_client(patient(insert.clone())).await.unwrap().into_inner();
    assert_eq!(there.insert_client(patient(insert.clone())).await.unwrap().into_inner(), first);
    let insert_fig = new_product("fig", r#"{"description":"fig","quantity":7,"price":"1"}"#);
    let made = here.insert_product(patient(insert_fig.clone())).await.unwrap().into_inner();
    let adjust = adjusting("fig", 5);
    for admin in [&mut here, &mut there, &mut cluster.admin(1)] {
        let adjusted = admin.adjust_stock(patient(adjust.clone())).await.unwrap().into_inner();
        assert_eq!(numbers(&adjusted), (7, 5, 12, 0), "moved once");
    }
    let repeated = there.insert_product(patient(insert_fig)).await.unwrap().into_inner();
    assert_eq!((repeated.etag, numbers(&repeated)), (made.etag, (7, 0, 7, 0)), "the answer of then");
    let update = updating("ana", r#"{"n":1}"#, first.etag);
    let updated = there.update_client(patient(update.clone())).await.unwrap().into_inner();
    assert_eq!(
        here.update_client(patient(update)).await.unwrap().into_inner(),
        updated,
        "if_match fits once"
    );
    let delete = without_client("ana", false);
    let deleted = here.delete_client(patient(delete.clone())).await.unwrap().into_inner();
    assert_eq!(there.delete_client(patient(delete)).await.unwrap().into_inner(), deleted);

    // A refusal is remembered like any other answer.
    let early = adjusting("late", 1);
    assert_eq!(refusal(here.adjust_stock(patient(early.clone())).await).class(), NOT_FOUND);
    insert_product(&mut here, "late", 1, "1").await.unwrap();
    assert_eq!(refusal(there.adjust_stock(patient(early)).await).class(), NOT_FOUND);

    let other = AdjustStockRequest { amount: 6, ..adjust };
    let reused = refusal(there.adjust_stock(patient(other.clone())).await);
    assert_eq!(reused.class(), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    assert_eq!(reused.says("request"), other.request.unwrap().id);
    let old = RequestId { created_ms: 1, ..request_id().unwrap() };
    let expired = AdjustStockRequest { request: Some(old), ..adjusting("fig", 1) };
    let expired = refusal(here.adjust_stock(patient(expired)).await);
    assert_eq!(expired.class(), (Code::FailedPrecondition, "REQUEST_ID_EXPIRED"));
    assert_eq!(numbers(&product(&mut here, "fig").await.unwrap()), (7, 5, 12, 0));
}

/// What a portal's cache has counted.
async fn counted(cluster: &Cluster, portal: &str) -> PortalStatusResponse {
    cluster.portal_status(portal).await.unwrap()
}

#[tokio::test]
async fn repeated_reads_are_hits_and_a_write_elsewhere_makes_the_next_one_a_miss() {
    const READS: u64 = 50;
    let cluster = two_admins().await;
    let (mut here, mut there) = (cluster.admin(1), cluster.admin(2));
    let ana = insert_client(&mut here, "ana").await.unwrap();
    // On a machine that does much else a freshness heartbeat may be late, and reads pass the cache by: then once more.
    let after = wait::until("reads to be hits", PATIENCE, || async {
        let (mut there, before) = (cluster.admin(2), counted(&cluster, "admin-2").await);
        for _ in 0..READS {
            assert_eq!(client(&mut there, "ana").await.unwrap(), ana);
        }
        let after = counted(&cluster, "admin-2").await;
        let misses = after.misses + after.bypasses - before.misses - before.bypasses;
        let hits = after.hits - before.hits;
        assert_eq!(hits + misses, READS, "each read is a hit, a miss or passes the cache by");
        assert_eq!(after.transactions, before.transactions, "reads are no transactions");
        if misses <= 1 { Ok(after) } else { Err(format!("{hits} hits, {misses} others")) }
    })
    .await;

    let updated = here.update_client(patient(updating("ana", r#"{"n":2}"#, 0))).await.unwrap().into_inner();
    wait::pass(LEASE).await;
    assert_eq!(client(&mut there, "ana").await.unwrap(), updated, "not older than the lease");
    let last = counted(&cluster, "admin-2").await;
    assert!(
        last.misses + last.bypasses > after.misses + after.bypasses,
        "what was cached was dropped: {after:?} {last:?}"
    );
}

#[tokio::test]
async fn an_absence_is_cached_and_refuses_nobody_who_was_registered_since() {
    let cluster = two_admins().await;
    let (mut admin, mut shop) = (cluster.admin(1), cluster.shop(1));
    let browse = || BrowseProductsRequest { cid: "new".to_owned(), ..BrowseProductsRequest::default() };
    let before = counted(&cluster, "client-1").await;
    wait::until("the absence to be cached", PATIENCE, || async {
        let refused = refusal(cluster.shop(1).browse_products(patient(browse())).await);
        assert_eq!(refused.class(), (Code::Unauthenticated, "CLIENT_UNKNOWN"));
        assert_eq!(refused.says("cid"), "new");
        let now = counted(&cluster, "client-1").await;
        let cached = now.hits > before.hits && now.cached > before.cached;
        if cached { Ok(()) } else { Err(format!("{before:?} {now:?}")) }
    })
    .await;
    // No event can tell that it is wrong now: only asking the store can.
    let broker = cluster.mosquitto.as_ref().unwrap().process.as_ref().unwrap();
    broker.signal(Signal::SIGSTOP);
    insert_client(&mut admin, "new").await.unwrap();
    shop.browse_products(patient(browse())).await.unwrap();
    broker.signal(Signal::SIGCONT);

    // The same for an administrator's own read of what was absent a moment ago.
    let mut there = cluster.admin(2);
    for _ in 0..3 {
        assert_eq!(refused(client(&mut there, "late").await).class(), NOT_FOUND);
        let missing = there.get_product(patient(GetProductRequest { pid: "late".to_owned() })).await;
        assert_eq!(refusal(missing).class(), NOT_FOUND);
    }
    insert_client(&mut admin, "late").await.unwrap();
    insert_product(&mut admin, "late", 1, "1").await.unwrap();
    client(&mut there, "late").await.unwrap();
    product(&mut there, "late").await.unwrap();
}

#[tokio::test]
async fn without_a_majority_nothing_is_done_and_the_portal_says_so() {
    let options = Options { admin_portals: 2, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let mut admin = cluster.admin(1);
    insert_product(&mut admin, "fig", 7, "1").await.unwrap();
    let nodes = cluster.nodes();
    for node in &nodes[..2] {
        cluster.kill(node);
    }
    let adjust = adjusting("fig", 5);
    let lost = refusal(admin.adjust_stock(patient(adjust.clone())).await);
    match lost.reason.as_str() {
        "STORE_UNAVAILABLE" => assert_eq!(lost.code, Code::Unavailable),
        "OUTCOME_UNKNOWN" => {
            assert_eq!(
                (lost.code, lost.says("request")),
                (Code::DeadlineExceeded, adjust.request.as_ref().unwrap().id.as_str())
            );
        }
        _ => panic!("{lost:?}"),
    }
    let read = refusal(cluster.admin(2).list_products(patient(ListRequest::default())).await);
    assert_eq!(read.class(), (Code::Unavailable, "STORE_UNAVAILABLE"));
    for node in &nodes[..2] {
        cluster.run(node);
    }
    cluster.leader().await;
    let settled = cluster.admin(2).adjust_stock(patient(adjust)).await.unwrap().into_inner();
    assert_eq!(numbers(&settled), (7, 5, 12, 0), "the same request settles it: moved once");
}
