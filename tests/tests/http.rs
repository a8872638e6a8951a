//! HTTP/JSON at both portals, as a stranger's client of HTTP/1.1 meets it: every operation with its status, what is refused
//! with the reason as problem details, versions, repeated requests, and the description for programs. What the shoppers'
//! operations do is the suite in `shop.rs`, which runs over HTTP too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use feira_tests::cluster::{Cluster, Options};
use feira_tests::http1::{Answer, ask};
use portal::id::{Cid, Oid};
use portal::operation::Registered;
use portal::transport::mqtt::topic;
use portal::transport::resource::Resource;
use serde_json::{Value, json};

/// A cluster's two portals.
struct Portals {
    cluster: Cluster,
    admin: String,
    shop: String,
}

impl Portals {
    async fn start() -> Portals {
        let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
        let [admin, shop] = ["admin-1", "client-1"].map(|name| cluster.address(name).to_owned());
        Portals { cluster, admin, shop }
    }

    fn admin(&self, line: &str, body: &Value) -> Answer {
        send(&self.admin, line, &[], body)
    }

    fn shop(&self, line: &str, body: &Value) -> Answer {
        send(&self.shop, line, &[], body)
    }

    /// `ana`, and 100 figs.
    fn stock(&self) {
        let made = self.admin("POST /v1/clients", &json!({ "cid": "ana", "data": { "name": "Ana" } }));
        assert_eq!(made.status, 201, "{made:?}");
        let fig = json!({ "description": "fig", "price": "1.50", "quantity": 100 });
        assert_eq!(self.admin("POST /v1/products", &json!({ "pid": "fig", "data": fig })).status, 201);
    }
}

fn send(address: &str, line: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut headers = headers.to_vec();
    if !body.is_empty() {
        headers.push(("content-type", "application/json"));
    }
    ask(address, line, &headers, &body)
}

/// A refusal: its status, its reason, and that it is problem details.
#[track_caller]
fn refused(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    let document = answer.json();
    assert_eq!(document["status"], json!(answer.status), "{answer:?}");
    assert!(document["detail"].is_string() && document["title"].is_string(), "{answer:?}");
    (answer.status, document["reason"].as_str().unwrap_or_default().to_owned())
}

fn is(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_keep_clients_over_http() {
    let portals = Portals::start().await;
    let data = r#"{"name":"Ana","since":1999.50}"#;
    let text = format!(r#"{{"cid":"ana","data":{data}}}"#);
    let made = ask(&portals.admin, "POST /v1/clients", &[("content-type", "application/json")], &text);
    assert_eq!((made.status, made.header("location")), (201, "/v1/clients/ana"), "{made:?}");
    assert!(made.body.contains(data), "a document is kept byte for byte: {made:?}");
    let etag = made.header("etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", made.json()["etag"]));
    let got = portals.admin("GET /v1/clients/ana", &Value::Null);
    assert_eq!((got.status, got.json()), (200, made.json()));
    let changed = send(
        &portals.admin,
        "PUT /v1/clients/ana",
        &[("if-match", &etag)],
        &json!({ "data": { "name": "Ana M" } }),
    );
    assert_eq!((changed.status, &changed.json()["data"]["name"]), (200, &json!("Ana M")), "{changed:?}");
    let late = send(
        &portals.admin,
        "PUT /v1/clients/ana",
        &[("if-match", &etag)],
        &json!({ "data": { "name": "x" } }),
    );
    assert_eq!(refused(&late), is(412, "CHANGED"), "{late:?}");
    assert_eq!(late.json()["etag"], changed.json()["etag"]);

    portals.cluster.assert_audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_keep_products_and_lists_over_http() {
    let portals = Portals::start().await;
    let ana = json!({ "cid": "ana", "data": { "name": "Ana" } });
    assert_eq!(portals.admin("POST /v1/clients", &ana).status, 201);
    let fig = json!({ "pid": "fig", "data": { "description": "fig", "price": "1.50", "quantity": 10 } });
    assert_eq!(portals.admin("POST /v1/products", &fig).status, 201);
    let adjusted = portals.admin("POST /v1/products/fig/stock/adjustments", &json!({ "amount": -4 }));
    assert_eq!((adjusted.status, &adjusted.json()["stock"]["available"]), (200, &json!(6)), "{adjusted:?}");
    let updated =
        portals.admin("PUT /v1/products/fig", &json!({ "data": { "description": "figs", "price": "2" } }));
    assert_eq!(updated.json()["description"], json!("figs"), "{updated:?}");
    assert_eq!(portals.admin("GET /v1/products/fig", &Value::Null).json()["price"], json!("2.00"));

    let order =
        portals.shop("POST /v1/clients/ana/orders", &json!({ "lines": [{ "pid": "fig", "quantity": 1 }] }));
    assert_eq!(order.status, 201, "{order:?}");
    let held = portals.admin("DELETE /v1/products/fig", &Value::Null);
    assert_eq!(refused(&held), is(409, "HELD_BY_ORDERS"));
    assert_eq!(held.json()["by"], json!([order.json()["oid"]]), "{held:?}");
    let deleted = portals.admin("DELETE /v1/products/fig?cascade=true", &Value::Null);
    assert_eq!(
        (deleted.status, &deleted.json()["orders"][0]["oid"]),
        (200, &order.json()["oid"]),
        "{deleted:?}"
    );
    assert_eq!(refused(&portals.admin("GET /v1/products/fig", &Value::Null)), is(404, "NOT_FOUND"));
    let cids: Vec<String> = (0..3).map(|at| format!("b{at}")).collect();
    for cid in &cids {
        assert_eq!(
            portals.admin("POST /v1/clients", &json!({ "cid": cid, "data": { "name": cid } })).status,
            201
        );
    }
    let first = portals.admin("GET /v1/clients?prefix=b&limit=2", &Value::Null).json();
    let next = format!("GET /v1/clients?prefix=b&limit=2&after={}", first["next"].as_str().unwrap());
    let second = portals.admin(&next, &Value::Null).json();
    let listed = [&first, &second].map(|page| page["clients"].as_array().unwrap().clone()).concat();
    assert_eq!(listed.iter().map(|one| one["cid"].as_str().unwrap()).collect::<Vec<_>>(), cids);
    assert_eq!(portals.admin("GET /v1/products", &Value::Null).json()["products"], json!([]));
    assert_eq!(refused(&portals.admin("DELETE /v1/clients/ana", &Value::Null)).1, "HELD_BY_ORDERS");
    portals.cluster.assert_audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_problem_details_that_say_what_is_wrong_and_where() {
    let portals = Portals::start().await;
    portals.stock();
    let at = "POST /v1/clients/ana/orders";
    let line = |quantity: Value| json!({ "lines": [{ "pid": "fig", "quantity": quantity }] });
    let short = portals.shop(at, &line(json!(101)));
    assert_eq!(refused(&short), is(409, "STOCK_SHORT"));
    assert_eq!(short.json()["short"], json!([{ "pid": "fig", "wanted": 101, "left": 100, "holds": 0 }]));
    let shown = json!({ "lines": [{ "pid": "fig", "quantity": 1, "expect_price": "1.4" }] });
    let repriced = portals.shop(at, &shown);
    assert_eq!(refused(&repriced), is(409, "PRICE_CHANGED"));
    let both = json!([{ "pid": "fig", "expected": "1.40", "price": "1.50" }]);
    assert_eq!(repriced.json()["changed"], both, "{repriced:?}");
    assert_eq!(
        refused(&portals.shop("GET /v1/clients/nobody/orders", &Value::Null)),
        is(404, "CLIENT_UNKNOWN")
    );
    assert_eq!(refused(&portals.shop("GET /v1/clients/ana/orders/7", &Value::Null)), is(404, "NOT_FOUND"));
    for (line, body, field) in [
        (at, line(json!("two")), "lines[0].quantity"),
        (at, line(json!(-1)), "lines[0].quantity"),
        (at, json!({ "lines": [], "colour": "red" }), "colour"),
        (at, json!({ "cid": "bia" }), "body"),
        (at, json!({ "request": { "id": "r" } }), "request"),
        (at, json!([1]), "body"),
        ("GET /v1/clients/ana/orders?limit=many", Value::Null, "limit"),
        ("GET /v1/clients/ana/orders?limit=1&limit=2", Value::Null, "limit"),
        ("GET /v1/clients/ana/orders?page=2", Value::Null, "page"),
        ("GET /v1/clients/ana/orders?after=%ff", Value::Null, "after"),
        ("GET /v1/clients/%ff/orders", Value::Null, "path"),
        ("GET /v1/clients/ana/orders", json!({}), "body"),
    ] {
        let answer = portals.shop(line, &body);
        assert_eq!(refused(&answer), is(400, "INVALID_FIELD"), "{line} {body}: {answer:?}");
        assert_eq!(answer.json()["field"], json!(field), "{line} {body}: {answer:?}");
    }
    assert_eq!(
        portals.shop("GET /v1/clients/ana/orders", &Value::Null).json()["orders"],
        json!([]),
        "nothing was done"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_headers_paths_and_sizes_are_refused_in_the_same_form() {
    let portals = Portals::start().await;
    portals.stock();
    let at = "POST /v1/clients/ana/orders";
    for (headers, field) in [
        (vec![("content-type", "text/plain")], "content-type"),
        (vec![("if-match", "\"1\"")], "if-match"),
        (vec![("if-none-match", "*")], "if-none-match"),
        (vec![("content-type", "application/grpc")], "content-type"),
        (vec![("idempotency-key", "a"), ("idempotency-key", "b")], "idempotency-key"),
        (vec![("idempotency-key", "\"\"")], "idempotency-key"),
    ] {
        let answer = ask(&portals.shop, at, &headers, "{}");
        assert_eq!((refused(&answer).0, &answer.json()["field"]), (400, &json!(field)), "{answer:?}");
    }
    let large = format!("{{\"lines\":[],\"x\":\"{}\"}}", "x".repeat(1 << 20));
    let answer = ask(&portals.shop, at, &[("content-type", "application/json")], &large);
    assert_eq!(
        (refused(&answer).0, answer.json()["why"].as_str().unwrap().contains("1 MiB")),
        (400, true),
        "{answer:?}"
    );
    let elsewhere = [("feira-cluster-id", "00000000000000ff")];
    assert_eq!(refused(&send(&portals.shop, at, &elsewhere, &json!({}))), is(421, "WRONG_CLUSTER"));
    assert_eq!(
        refused(&portals.shop("GET /v1/clients", &Value::Null)),
        is(404, ""),
        "staff's, and at no shopper's portal"
    );
    assert_eq!(refused(&portals.shop("GET /nothing", &Value::Null)), is(404, ""));
    let not_allowed = portals.shop("DELETE /v1/clients/ana/orders", &Value::Null);
    assert_eq!(
        (refused(&not_allowed), not_allowed.header("allow")),
        (is(405, ""), "POST,GET,HEAD"),
        "{not_allowed:?}"
    );
    assert_eq!(
        portals.shop("GET /v1/clients/ana/orders", &Value::Null).json()["orders"],
        json!([]),
        "nothing was done"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_repeated_under_its_key_is_answered_as_it_was_and_changes_nothing_twice() {
    let portals = Portals::start().await;
    portals.stock();
    let key = [("idempotency-key", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"")];
    let body = json!({ "lines": [{ "pid": "fig", "quantity": 3 }] });
    let at = "POST /v1/clients/ana/orders";
    let made = send(&portals.shop, at, &key, &body);
    assert_eq!(made.status, 201, "{made:?}");
    let path = made.header("location").to_owned();
    assert_eq!(path, format!("/v1/clients/ana/orders/{}", made.json()["oid"].as_str().unwrap()));
    for _ in 0..2 {
        assert_eq!(send(&portals.shop, at, &key, &body).json(), made.json());
    }
    let other = send(&portals.shop, at, &key, &json!({ "lines": [{ "pid": "fig", "quantity": 4 }] }));
    assert_eq!(refused(&other), is(422, "REQUEST_ID_REUSED"), "{other:?}");
    let seen = [("if-match", made.header("etag"))];
    let changed = send(
        &portals.shop,
        &format!("PATCH {path}"),
        &seen,
        &json!({ "lines": [{ "pid": "fig", "quantity": 5 }] }),
    );
    assert_eq!((changed.status, &changed.json()["lines"][0]["quantity"]), (200, &json!(5)), "{changed:?}");
    let confirmed = portals.shop(&format!("POST {path}/confirm"), &Value::Null);
    assert_eq!((confirmed.status, &confirmed.json()["state"]), (200, &json!("confirmed")), "{confirmed:?}");
    assert_eq!(
        refused(&portals.shop(&format!("POST {path}/cancel"), &Value::Null)),
        is(409, "ORDER_NOT_OPEN")
    );
    let shelf = portals.shop("GET /v1/clients/ana/products/fig", &Value::Null).json();
    assert_eq!((&shelf["stock"]["held"], &shelf["stock"]["available"]), (&json!(5), &json!(95)));
    let listed = portals.shop("GET /v1/clients/ana/products?prefix=f", &Value::Null).json();
    assert_eq!(listed["products"][0]["pid"], json!("fig"));
    portals.cluster.assert_audited().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_import_orders_over_http() {
    let portals = Portals::start().await;
    portals.stock();
    let oid = Oid::derive(&Cid::parse("cid", "ana").unwrap(), b"elsewhere").to_string();
    let line = json!({ "pid": "fig", "description": "Fig", "quantity": 2, "price": "0.75" });
    let order = json!({
        "cid": "ana", "oid": oid, "state": "sent", "created_ms": 5, "changed_ms": 9, "lines": [line],
    });
    let made = portals.admin("POST /v1/orders", &order);
    assert_eq!(made.status, 201, "{made:?}");
    let place = made.header("location").to_owned();
    assert!(place.starts_with("/v1/clients/ana/orders/"), "{place}");
    let got = portals.admin(&format!("GET {place}"), &Value::Null);
    assert_eq!((got.status, got.json()), (200, made.json()));
    let shown = got.json();
    assert_eq!(
        (&shown["total"], &shown["imported"], &shown["changed_ms"]),
        (&json!("1.50"), &json!(true), &json!(9))
    );
    assert_eq!(refused(&portals.admin("POST /v1/orders", &order)), is(409, "ALREADY_EXISTS"));
    let mut wrong = order.clone();
    wrong["lines"][0]["subtotal"] = json!("1.50");
    let answer = portals.admin("POST /v1/orders", &wrong);
    assert_eq!(
        (refused(&answer), &answer.json()["field"]),
        (is(400, "INVALID_FIELD"), &json!("lines[0].subtotal"))
    );
    portals.cluster.assert_audited().await;
}

/// Every operation is described, each reference leads somewhere, and what is described is there.
#[tokio::test(flavor = "multi_thread")]
async fn each_portal_describes_all_its_operations_for_programs() {
    let portals = Portals::start().await;
    for (address, operations) in
        [(&portals.admin, admin_portal::operations::ALL), (&portals.shop, client_portal::operations::ALL)]
    {
        let answer = send(address, "GET /openapi.json", &[], &Value::Null);
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        let document = answer.json();
        assert_eq!(document["openapi"], json!("3.1.0"));
        for operation in operations {
            let at = &document["paths"][operation.resource.path.0][operation.resource.method.word()];
            assert_eq!(at["operationId"], json!(operation.name), "{}", operation.name);
        }
        let paths = document["paths"].as_object().unwrap().values();
        assert_eq!(paths.map(|path| path.as_object().unwrap().len()).sum::<usize>(), operations.len());
        let mut references = Vec::new();
        collect(&document, &mut references);
        for reference in references {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }
}

/// The page for people has a row for each operation, with its places, and no other.
#[test]
fn the_page_of_operations_lists_each_with_its_places() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/API.md")).unwrap();
    let row = |operation: &Registered, service: Option<&str>| {
        let Resource { method, path, query, .. } = operation.resource;
        let query: Vec<&str> = query.iter().map(|parameter| parameter.name).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let topic = service.map(|service| format!("`{}` ", topic("<cluster>", service, operation.name)));
        let method = method.word().to_uppercase();
        format!("| `{}` | `{method} {}{query}` | {}|", operation.name, path.0, topic.unwrap_or_default())
    };
    let staff = admin_portal::operations::ALL.iter().map(|operation| row(operation, None));
    let shoppers = client_portal::operations::ALL.iter();
    let rows: BTreeSet<String> =
        staff.chain(shoppers.map(|operation| row(operation, Some(client_portal::TOPICS)))).collect();
    let told = page.lines().filter(|line| line.starts_with("| `") && line.contains(" /v1/"));
    assert_eq!(told.map(str::to_owned).collect::<BTreeSet<_>>(), rows);
}

fn collect<'d>(document: &'d Value, references: &mut Vec<&'d str>) {
    match document {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| collect(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
