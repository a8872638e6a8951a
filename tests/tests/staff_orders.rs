//! Staff's work on orders over real processes: seen, changed, confirmed and cancelled for their clients, over gRPC, over HTTP and by
//! the tool, on one group and on a ring of three shards; at once with the clients, and repeated under the same request id. Each
//! test ends with the audit of the books where there is one view of them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::http1::{Answer, ask};
use feira_tests::shop::{insert_client, insert_product, lines, order, patient, refusal, refused, request_id};
use feira_tests::wait;
use proto::portal::admin_client::AdminClient;
use proto::portal::{
    DeleteClientRequest, Order, OrderRequest, OrderState, StaffGetOrderRequest, StaffListOrdersRequest,
    StaffModifyOrderRequest, StaffMoveRequest, StaffOrderRequest, StaffReturnRequest,
};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

type Admin = AdminClient<Channel>;

/// Clients of the shop: enough that each of three shards has some.
const CLIENTS: [&str; 9] = ["ana", "bia", "caio", "davi", "eva", "fabio", "gil", "hugo", "iara"];

/// The clients, 1,000 figs and 1,000 kiwis.
async fn open(shards: u64) -> Cluster {
    let options = Options { shards, admin_portals: 2, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let mut admin = cluster.admin(1);
    for cid in CLIENTS {
        insert_client(&mut admin, cid).await.unwrap();
    }
    for pid in ["fig", "kiwi"] {
        insert_product(&mut admin, pid, 1_000, "1.50").await.unwrap();
    }
    cluster
}

fn ending(order: &Order) -> StaffOrderRequest {
    StaffOrderRequest {
        cid: order.cid.clone(),
        oid: order.oid.clone(),
        reason: "by telephone".into(),
        by: "joana".into(),
        request: request_id(),
        ..StaffOrderRequest::default()
    }
}

fn modifying(order: &Order, wanted: &[(&str, i64)]) -> StaffModifyOrderRequest {
    let StaffOrderRequest { cid, oid, reason, by, if_match, request, .. } = ending(order);
    StaffModifyOrderRequest {
        cid,
        oid,
        lines: lines(wanted),
        reason,
        by,
        if_match,
        request,
        ..StaffModifyOrderRequest::default()
    }
}

async fn confirm(admin: &mut Admin, request: StaffOrderRequest) -> Result<Order, Status> {
    Ok(admin.confirm_order(patient(request)).await?.into_inner())
}

async fn cancel(admin: &mut Admin, request: StaffOrderRequest) -> Result<Order, Status> {
    Ok(admin.cancel_order(patient(request)).await?.into_inner())
}

async fn modify(admin: &mut Admin, request: StaffModifyOrderRequest) -> Result<Order, Status> {
    Ok(admin.modify_order(patient(request)).await?.into_inner())
}

async fn get(admin: &mut Admin, cid: &str, oid: &str) -> Result<Order, Status> {
    let request = StaffGetOrderRequest { cid: cid.to_owned(), oid: oid.to_owned() };
    Ok(admin.get_order(patient(request)).await?.into_inner())
}

/// `CID/OID` of all orders that a list shows, page by page.
async fn listed(admin: &mut Admin, mut request: StaffListOrdersRequest) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let page = admin.list_orders(patient(request.clone())).await.unwrap().into_inner();
        assert_eq!(page.damage, None);
        all.extend(page.orders.into_iter().map(|order| format!("{}/{}", order.cid, order.oid)));
        if page.next.is_empty() {
            return all;
        }
        request.after = page.next;
    }
}

fn named(orders: &[Order]) -> Vec<String> {
    let named: BTreeSet<String> = orders.iter().map(|order| format!("{}/{}", order.cid, order.oid)).collect();
    named.into_iter().collect()
}

/// Available and held, as lists show them: past the caches.
async fn stock(cluster: &Cluster, pid: &str) -> (i64, i64) {
    let request = proto::portal::ListRequest { prefix: pid.into(), limit: 1, ..Default::default() };
    let page = cluster.admin(1).list_products(patient(request)).await.unwrap().into_inner();
    let stock = page.products[0].stock.unwrap();
    let has = stock.available + stock.held + stock.sold;
    assert_eq!(stock.initial + stock.adjusted, has, "{pid}: {stock:?}");
    (stock.available, stock.held)
}

/// Each operation over gRPC, with two orders of each client.
async fn seen_and_worked(shards: u64) {
    let cluster = open(shards).await;
    let (mut admin, mut other, mut shop) = (cluster.admin(1), cluster.admin(2), cluster.shop(1));
    let mut made = Vec::new();
    for cid in CLIENTS {
        made.push(order(&mut shop, cid, &[("fig", 2)]).await.unwrap());
        made.push(order(&mut shop, cid, &[("fig", 1), ("kiwi", 3)]).await.unwrap());
    }
    for limit in [1, 4, 0] {
        let all = StaffListOrdersRequest { limit, ..StaffListOrdersRequest::default() };
        assert_eq!(listed(&mut admin, all).await, named(&made), "by {limit}");
    }
    let of_eva = StaffListOrdersRequest { cid: "eva".into(), limit: 1, ..Default::default() };
    assert_eq!(listed(&mut admin, of_eva).await, named(&made[8..10]));
    let with_kiwi = StaffListOrdersRequest { pid: "kiwi".into(), limit: 2, ..Default::default() };
    let kiwis: Vec<Order> = made.iter().skip(1).step_by(2).cloned().collect();
    assert_eq!(listed(&mut admin, with_kiwi).await, named(&kiwis));

    let confirmed = confirm(&mut admin, ending(&made[0])).await.unwrap();
    assert_eq!((confirmed.state(), confirmed.staff[0].by.as_str()), (OrderState::Confirmed, "joana"));
    let cancelled = cancel(&mut admin, ending(&made[1])).await.unwrap();
    assert_eq!(cancelled.state(), OrderState::Cancelled);
    let changed = modify(&mut admin, modifying(&made[2], &[("fig", 5), ("kiwi", 1)])).await.unwrap();
    assert_eq!((changed.lines.len(), changed.staff[0].did.as_str()), (2, "modified"));
    let by_state = |state: OrderState| StaffListOrdersRequest { state: state.into(), ..Default::default() };
    assert_eq!(listed(&mut other, by_state(OrderState::Confirmed)).await, named(&made[..1]));
    assert_eq!(listed(&mut other, by_state(OrderState::Cancelled)).await, named(&made[1..2]));
    assert_eq!(listed(&mut other, by_state(OrderState::Open)).await, named(&made[2..]));
    let since = StaffListOrdersRequest { changed_from_ms: confirmed.changed_ms, ..Default::default() };
    let since: BTreeSet<String> = listed(&mut other, since).await.into_iter().collect();
    assert!(named(&made[..3]).iter().all(|one| since.contains(one)), "{since:?}");

    // The client sees what staff did, and why.
    let seen = proto::portal::GetOrderRequest { cid: made[1].cid.clone(), oid: made[1].oid.clone() };
    let notes = wait::until("the client's portal to show the change", PATIENCE, || async {
        let order = shop.clone().get_order(patient(seen.clone())).await.unwrap().into_inner();
        if order.staff.is_empty() { Err(format!("{order:?}")) } else { Ok(order.staff) }
    });
    assert_eq!(notes.await[0].reason, "by telephone");

    // 18 orders of figs: 9 of 2 and 9 of 1; one of 1 is cancelled, one of 2 has 5 now.
    assert_eq!(stock(&cluster, "fig").await, (1_000 - 29, 29));
    assert_eq!(stock(&cluster, "kiwi").await, (1_000 - 25, 25));
    cluster.assert_audited().await;
}

#[tokio::test]
async fn staff_see_and_work_the_orders_of_all_clients() {
    seen_and_worked(1).await;
}

#[tokio::test]
async fn on_a_ring_of_three_shards_staff_see_and_work_the_orders_of_all_clients() {
    seen_and_worked(3).await;
}

/// Staff cancel while the client confirms, each at a portal of its own: one of both is done, and the books balance.
async fn at_once(shards: u64, rounds: usize) {
    let cluster = open(shards).await;
    let (mut admin, mut shop) = (cluster.admin(1), cluster.shop(1));
    let (mut confirmed, mut cancelled) = (0, 0);
    for round in 0..rounds {
        let made = order(&mut shop, CLIENTS[round % CLIENTS.len()], &[("fig", 1)]).await.unwrap();
        let own = OrderRequest {
            cid: made.cid.clone(),
            oid: made.oid.clone(),
            request: request_id(),
            ..OrderRequest::default()
        };
        let (staff, client) =
            tokio::join!(cancel(&mut admin, ending(&made)), shop.confirm_order(patient(own)));
        let state = match (staff, client) {
            (Ok(order), Err(refused)) => {
                let refused = refusal::<Order>(Err(refused));
                assert_eq!((refused.class(), refused.says("state")), (NOT_OPEN, "cancelled"));
                cancelled += 1;
                order.state()
            }
            (Err(refused), Ok(order)) => {
                let refused = refusal::<Order>(Err(refused));
                assert_eq!((refused.class(), refused.says("state")), (NOT_OPEN, "confirmed"));
                confirmed += 1;
                order.into_inner().state()
            }
            both => panic!("exactly one is done: {both:?}"),
        };
        // What was written is read back, whichever portal wrote it.
        let list = StaffListOrdersRequest { cid: made.cid.clone(), ..Default::default() };
        let page = admin.list_orders(patient(list)).await.unwrap().into_inner();
        let there = page.orders.into_iter().find(|order| order.oid == made.oid).unwrap();
        assert_eq!(there.state(), state);
    }
    assert_eq!(stock(&cluster, "fig").await, (1_000 - confirmed, confirmed), "{cancelled} cancelled");
    cluster.assert_audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_staffs_cancellation_and_the_clients_confirmation_one_is_done() {
    at_once(1, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_ring_of_three_shards_one_of_cancellation_and_confirmation_is_done() {
    at_once(3, 18).await;
}

const INVALID: (Code, &str) = (Code::InvalidArgument, "INVALID_FIELD");
const NOT_FOUND: (Code, &str) = (Code::NotFound, "NOT_FOUND");
const NOT_OPEN: (Code, &str) = (Code::FailedPrecondition, "ORDER_NOT_OPEN");

#[tokio::test]
async fn what_staff_cannot_do_is_refused_with_the_reason() {
    let cluster = open(1).await;
    let (mut admin, mut shop) = (cluster.admin(1), cluster.shop(1));
    let made = order(&mut shop, "ana", &[("fig", 2)]).await.unwrap();
    let empty = order(&mut shop, "bia", &[]).await.unwrap();
    let of = |cid: &str, oid: &str| StaffOrderRequest { cid: cid.into(), oid: oid.into(), ..ending(&made) };
    for (request, class) in [
        (of("ana", "0193"), NOT_FOUND),
        (of("nobody", &made.oid), NOT_FOUND),
        (of("bia", &made.oid), (Code::PermissionDenied, "ORDER_OF_ANOTHER_CLIENT")),
        (StaffOrderRequest { reason: String::new(), ..ending(&made) }, INVALID),
        (StaffOrderRequest { by: "x".repeat(129), ..ending(&made) }, INVALID),
        (StaffOrderRequest { if_match: 1, ..ending(&made) }, (Code::Aborted, "CHANGED")),
    ] {
        let confirmed = refused(confirm(&mut admin, request.clone()).await);
        // Another operation, under an id of its own.
        let other = StaffOrderRequest { request: request_id(), ..request.clone() };
        let cancelled = refused(cancel(&mut admin, other).await);
        assert_eq!((confirmed.class(), cancelled.class()), (class, class), "{request:?}");
    }
    let refused_empty = refused(confirm(&mut admin, ending(&empty)).await);
    assert_eq!(refused_empty.class(), (Code::FailedPrecondition, "ORDER_EMPTY"));
    let short = refused(modify(&mut admin, modifying(&made, &[("fig", 1_001)])).await);
    assert_eq!(short.class(), (Code::FailedPrecondition, "STOCK_SHORT"));
    assert_eq!(short.items, [("fig".to_owned(), "left=998 wanted=999 holds=2".to_owned())]);
    let mut priced = modifying(&made, &[("fig", 3)]);
    priced.lines[0].expect_price = "1.40".into();
    let repriced = refused(modify(&mut admin, priced).await);
    assert_eq!(repriced.class(), (Code::FailedPrecondition, "PRICE_CHANGED"));
    assert_eq!(repriced.items, [("fig".to_owned(), "expected=1.40 price=1.50".to_owned())]);
    let shown = StaffOrderRequest { expect_total: "2.99".into(), ..ending(&made) };
    let changed = refused(confirm(&mut admin, shown.clone()).await);
    assert_eq!(changed.class(), (Code::FailedPrecondition, "TOTAL_CHANGED"));
    let other = StaffOrderRequest { request: request_id(), ..shown };
    let of_none = refused(cancel(&mut admin, other).await);
    assert_eq!((of_none.class(), of_none.says("field")), (INVALID, "expect_total"));
    let none = refused(modify(&mut admin, modifying(&made, &[])).await);
    assert_eq!((none.class(), none.says("field")), (INVALID, "lines"));
    let wrong = StaffListOrdersRequest { after: "ana".into(), ..Default::default() };
    let wrong = refusal(admin.list_orders(patient(wrong)).await);
    assert_eq!((wrong.class(), wrong.says("field")), (INVALID, "after"));
    assert_eq!(refused(get(&mut admin, "ana", "0193").await).class(), NOT_FOUND);
    assert_eq!(stock(&cluster, "fig").await, (998, 2), "nothing was moved");
    cluster.assert_audited().await;
}

/// The same request id at another portal: one effect, the same answer; and none of the client's ids is one of staff.
#[tokio::test]
async fn a_request_repeated_through_another_portal_is_done_once() {
    let cluster = open(1).await;
    let (mut admin, mut other, mut shop) = (cluster.admin(1), cluster.admin(2), cluster.shop(1));
    let made = order(&mut shop, "ana", &[("fig", 2)]).await.unwrap();
    let request = modifying(&made, &[("fig", 5)]);
    let first = modify(&mut admin, request.clone()).await.unwrap();
    assert_eq!(modify(&mut other, request.clone()).await.unwrap(), first);
    let ended = cancel(&mut other, ending(&made)).await.unwrap();
    assert_eq!(modify(&mut other, request.clone()).await.unwrap(), first, "as it was answered then");
    assert_eq!((ended.staff.len(), get(&mut other, "ana", &made.oid).await.unwrap()), (2, ended.clone()));
    let own = OrderRequest {
        cid: "ana".into(),
        oid: made.oid.clone(),
        request: request.request.clone(),
        ..OrderRequest::default()
    };
    let reused = refusal(shop.cancel_order(patient(own)).await);
    assert_eq!(reused.class(), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
    assert_eq!(stock(&cluster, "fig").await, (1_000, 0));
    cluster.assert_audited().await;
}

#[tokio::test]
async fn the_orders_of_a_removed_client_are_seen_and_stay_as_they_are() {
    let cluster = open(1).await;
    let (mut admin, mut shop) = (cluster.admin(1), cluster.shop(1));
    let sold = order(&mut shop, "ana", &[("fig", 2)]).await.unwrap();
    confirm(&mut admin, ending(&sold)).await.unwrap();
    let removal =
        DeleteClientRequest { cid: "ana".into(), cascade: true, request: request_id(), ..Default::default() };
    admin.delete_client(patient(removal)).await.unwrap();
    let seen = get(&mut admin, "ana", &sold.oid).await.unwrap();
    assert_eq!((seen.state(), seen.total.as_str()), (OrderState::Confirmed, "3.00"));
    let of_ana = StaffListOrdersRequest { cid: "ana".into(), ..Default::default() };
    assert_eq!(listed(&mut admin, of_ana).await, named(std::slice::from_ref(&sold)));
    let gone = refused(cancel(&mut admin, ending(&sold)).await);
    assert_eq!(gone.class(), (Code::NotFound, "CLIENT_GONE"));
    cluster.assert_audited().await;
}

fn http(address: &str, line: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let mut headers = headers.to_vec();
    if !body.is_null() {
        headers.push(("content-type", "application/json"));
    }
    ask(address, line, &headers, &text)
}

fn wrong_queries_are_named(admin: &str) {
    for (query, field) in [
        ("state=lost", "state"),
        ("limit=1001", "limit"),
        ("changed_from_ms=-1", "changed_from_ms"),
        ("after=x", "after"),
        ("colour=red", "colour"),
    ] {
        let refused = http(admin, &format!("GET /v1/orders?{query}"), &[], &Value::Null);
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!(field)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_see_and_work_orders_over_http() {
    let cluster = open(1).await;
    let admin = cluster.address("admin-1").to_owned();
    let mut shop = cluster.shop(1);
    let made = order(&mut shop, "ana", &[("fig", 2)]).await.unwrap();
    let other = order(&mut shop, "bia", &[("kiwi", 1)]).await.unwrap();
    let oids = |answer: &Answer| -> Vec<Value> {
        answer.json()["orders"].as_array().unwrap().iter().map(|order| order["oid"].clone()).collect()
    };
    let all = http(&admin, "GET /v1/orders?state=open&limit=1", &[], &Value::Null);
    assert_eq!((all.status, oids(&all)), (200, vec![json!(made.oid)]), "{all:?}");
    let next = all.json()["next"].as_str().unwrap().replace('/', "%2F");
    let rest = http(&admin, &format!("GET /v1/orders?state=open&limit=1&after={next}"), &[], &Value::Null);
    assert_eq!(oids(&rest), [json!(other.oid)], "{rest:?}");
    for filter in ["cid=bia", "pid=kiwi", "cid=bia&pid=kiwi&changed_from_ms=1"] {
        let found = http(&admin, &format!("GET /v1/orders?{filter}"), &[], &Value::Null);
        assert_eq!(oids(&found), [json!(other.oid)], "{filter}");
    }
    let none = http(&admin, "GET /v1/orders?changed_to_ms=1", &[], &Value::Null);
    assert_eq!((none.status, &none.json()["orders"]), (200, &json!([])));
    wrong_queries_are_named(&admin);
    let at = format!("/v1/clients/ana/orders/{}", made.oid);
    let got = http(&admin, &format!("GET {at}"), &[], &Value::Null);
    assert_eq!((got.status, &got.json()["staff"]), (200, &json!([])), "{got:?}");
    let etag = got.header("etag").to_owned();
    let why = json!({ "reason": "by telephone", "by": "joana" });
    let change = json!({ "lines": [{ "pid": "fig", "quantity": 3 }], "reason": "one more" });
    let missing = json!({ "lines": [{ "pid": "fig", "quantity": 3 }] });
    let refused = http(&admin, &format!("PATCH {at}"), &[], &missing);
    assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("reason")), "{refused:?}");
    let changed = http(&admin, &format!("PATCH {at}"), &[("if-match", &etag)], &change);
    assert_eq!((changed.status, &changed.json()["total"]), (200, &json!("4.50")), "{changed:?}");
    let late = http(&admin, &format!("POST {at}/confirm"), &[("if-match", &etag)], &why);
    assert_eq!((late.status, &late.json()["reason"]), (412, &json!("CHANGED")), "{late:?}");
    let key = [("idempotency-key", "staff-1")];
    let confirmed = http(&admin, &format!("POST {at}/confirm"), &key, &why);
    assert_eq!((confirmed.status, &confirmed.json()["state"]), (200, &json!("confirmed")), "{confirmed:?}");
    let note = &confirmed.json()["staff"][1];
    assert_eq!(
        (&note["did"], &note["by"], &note["reason"]),
        (&json!("confirmed"), &json!("joana"), &json!("by telephone"))
    );
    assert_eq!(http(&admin, &format!("POST {at}/confirm"), &key, &why).json(), confirmed.json());
    let over = http(&admin, &format!("POST {at}/cancel"), &[], &why);
    assert_eq!((over.status, &over.json()["reason"]), (409, &json!("ORDER_NOT_OPEN")), "{over:?}");
    let at = format!("/v1/clients/bia/orders/{}", other.oid);
    let cancelled = http(&admin, &format!("POST {at}/cancel"), &[], &why);
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &json!("cancelled")), "{cancelled:?}");
    let nobodys = http(&admin, "GET /v1/clients/ana/orders/0193", &[], &Value::Null);
    assert_eq!((nobodys.status, &nobodys.json()["reason"]), (404, &json!("NOT_FOUND")), "{nobodys:?}");
    cluster.assert_audited().await;
}

/// The words of a tool's output; it must have ended so.
#[track_caller]
fn told(cluster: &Cluster, arguments: &[&str], code: i32) -> String {
    let output = cluster.tool(arguments);
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_see_and_work_orders_by_the_tool() {
    let cluster = open(1).await;
    let mut shop = cluster.shop(1);
    let made = order(&mut shop, "ana", &[("fig", 2)]).await.unwrap();
    let other = order(&mut shop, "bia", &[("kiwi", 1)]).await.unwrap();
    let (oid, kiwis) = (made.oid.as_str(), other.oid.as_str());
    let has =
        |said: &str, parts: &[&str]| parts.iter().for_each(|part| assert!(said.contains(part), "{said}"));
    has(
        &told(&cluster, &["admin", "listarPedidos", "--since", "1h"], 0),
        &["ana", oid, "bia", kiwis, "orders: 2"],
    );
    let of_bia = told(&cluster, &["admin", "list-orders", "bia", "--state", "open", "--product", "kiwi"], 0);
    assert!(of_bia.contains(kiwis) && !of_bia.contains(oid), "{of_bia}");
    let cut = told(&cluster, &["admin", "list-orders", "--limit", "1"], 0);
    has(&cut, &["1 order shown, there are more: --after", &format!("ana/{oid}")]);
    let rest = told(&cluster, &["--json", "admin", "list-orders", "--after", &format!("ana/{oid}")], 0);
    let rest: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!(
        (&rest[0]["oid"], &rest[0]["state"], &rest[0]["cid"]),
        (&json!(kiwis), &json!("open"), &json!("bia"))
    );
    has(&told(&cluster, &["admin", "consultarPedido", "ana", oid], 0), &["(open): total 3.00", "fig"]);

    let missing = told(&cluster, &["admin", "cancel-order", "ana", oid], 2);
    has(&missing, &["the reason is missing", "--reason"]);
    let why = ["--reason", "two were bruised", "--by", "joana"];
    let changed = told(&cluster, &[&["admin", "modificarPedido", "ana", oid, "fig=1"][..], &why].concat(), 0);
    has(&changed, &["changed order", "total 1.50", "modified by staff (joana): two were bruised"]);
    let confirmed = told(&cluster, &[&["admin", "confirmarPedido", "ana", oid][..], &why].concat(), 0);
    has(&confirmed, &["confirmed order", "confirmed by staff (joana)"]);
    let late = told(&cluster, &[&["admin", "cancelarPedido", "ana", oid][..], &why].concat(), 1);
    has(&late, &["is confirmed", "get-order"]);
    let again = ["--request", "r-1", "--json"];
    let cancelling = [&["admin", "cancel-order", "bia", kiwis][..], &why, &again].concat();
    let first = told(&cluster, &cancelling, 0);
    assert_eq!(told(&cluster, &cancelling, 0), first);
    let document: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(
        (&document["state"], &document["staff"][0]["did"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    has(&told(&cluster, &["admin", "get-order", "bia", oid], 1), &["is not this client's", "list-orders"]);
    has(&told(&cluster, &["admin", "list-orders", "--state", "lost"], 2), &["open, confirmed, cancelled"]);
    let shown = told(&cluster, &["shop", "--cid", "bia", "get-order", kiwis], 0);
    has(&shown, &["cancelled by staff (joana): two were bruised"]);
    cluster.assert_audited().await;
}

/// An order of two products goes all its way, over two portals, and comes back; the books balance after each step.
async fn all_the_way(shards: u64) {
    let cluster = open(shards).await;
    let (mut admin, mut other, mut shop) = (cluster.admin(1), cluster.admin(2), cluster.shop(1));
    let made = order(&mut shop, "ana", &[("fig", 2), ("kiwi", 3)]).await.unwrap();
    let moving = || {
        let StaffOrderRequest { cid, oid, reason, by, if_match, request, .. } = ending(&made);
        StaffMoveRequest { cid, oid, reason, by, if_match, request }
    };
    let early = refusal(admin.send_order(patient(moving())).await);
    assert_eq!(early.class(), (Code::FailedPrecondition, "ORDER_WRONG_STATE"));
    assert_eq!((early.says("state"), early.says("needs")), ("open", "packed"));
    confirm(&mut admin, ending(&made)).await.unwrap();
    admin.pay_order(patient(moving())).await.unwrap();
    other.pack_order(patient(moving())).await.unwrap();
    assert_eq!(stock(&cluster, "fig").await, (998, 2));
    let sending = moving();
    let sent = admin.send_order(patient(sending.clone())).await.unwrap().into_inner();
    assert_eq!(other.send_order(patient(sending)).await.unwrap().into_inner(), sent, "the same request");
    assert_eq!((stock(&cluster, "fig").await, stock(&cluster, "kiwi").await), ((998, 0), (997, 0)));
    cluster.assert_audited().await;
    let StaffMoveRequest { cid, oid, reason, by, request, .. } = moving();
    let back = StaffReturnRequest { cid, oid, reason, by, restock: true, request, ..Default::default() };
    other.return_order(patient(back)).await.unwrap();
    let refunded = admin.refund_order(patient(ending(&made))).await.unwrap().into_inner();
    let did: Vec<&str> = refunded.staff.iter().map(|note| note.did.as_str()).collect();
    assert_eq!(did, ["confirmed", "paid", "packed", "sent", "returned", "refunded"]);
    assert_eq!((stock(&cluster, "fig").await, stock(&cluster, "kiwi").await), ((1_000, 0), (1_000, 0)));
    cluster.assert_audited().await;
}

#[tokio::test]
async fn a_confirmed_order_goes_its_way_and_comes_back() {
    all_the_way(1).await;
}

#[tokio::test]
async fn on_a_ring_of_three_shards_a_confirmed_order_goes_its_way_and_comes_back() {
    all_the_way(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_are_made_over_http_and_by_the_tool() {
    let cluster = open(1).await;
    let admin = cluster.address("admin-1").to_owned();
    let made = order(&mut cluster.shop(1), "ana", &[("fig", 2)]).await.unwrap();
    confirm(&mut cluster.admin(1), ending(&made)).await.unwrap();
    let at = format!("/v1/clients/ana/orders/{}", made.oid);
    let post = |word: &str, body: &Value| http(&admin, &format!("POST {at}/{word}"), &[], body);
    let early = post("send", &json!({}));
    assert_eq!((early.status, &early.json()["reason"]), (409, &json!("ORDER_WRONG_STATE")), "{early:?}");
    for (word, state) in [("pay", "paid"), ("pack", "packed"), ("send", "sent")] {
        let moved = post(word, &json!({}));
        assert_eq!((moved.status, &moved.json()["state"]), (200, &json!(state)), "{moved:?}");
    }
    let missing = post("return", &json!({ "restock": true }));
    assert_eq!((missing.status, &missing.json()["field"]), (400, &json!("reason")), "{missing:?}");
    let shelf = told(&cluster, &["--json", "admin", "get-product", "fig"], 0);
    let shelf: Value = serde_json::from_str(&shelf).unwrap();
    assert_eq!((&shelf["stock"]["sold"], &shelf["stock"]["held"]), (&json!(2), &json!(0)), "{shelf}");
    let why = ["--reason", "eaten by ants"];
    let back = told(&cluster, &[&["admin", "devolverPedido", "ana", &made.oid][..], &why].concat(), 0);
    assert!(back.contains("returned order") && back.contains("discarded by staff: eaten by ants"), "{back}");
    let refunded = told(&cluster, &[&["admin", "reembolsarPedido", "ana", &made.oid][..], &why].concat(), 0);
    assert!(refunded.contains("refunded order"), "{refunded}");
    let late = told(&cluster, &["admin", "pagarPedido", "ana", &made.oid], 1);
    assert!(late.contains("is refunded; for this it must be confirmed"), "{late}");
    assert_eq!(stock(&cluster, "fig").await, (998, 0), "written off");
    cluster.assert_audited().await;
}
