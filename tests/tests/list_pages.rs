//! Lists in every order over real processes and a ring of two shards, whose rows are merged: over gRPC, HTTP and the tools.
#![allow(clippy::unwrap_used)]

use feira_tests::cluster::{Cluster, Options};
use feira_tests::http1::ask;
use feira_tests::shop::{insert_client, patient};
use proto::portal::admin_client::AdminClient;
use proto::portal::{InsertProductRequest, ListRequest, ListSort};
use proto::store::Txn;
use serde_json::{Value, json};
use store_client::Store as _;
use tonic::transport::Channel;

async fn insert(admin: &mut AdminClient<Channel>, pid: &str, description: &str, price: &str, category: &str) {
    let data = json!({ "description": description, "price": price, "quantity": 9, "category": category });
    let request = InsertProductRequest {
        pid: pid.to_owned(),
        data: data.to_string(),
        ..InsertProductRequest::default()
    };
    admin.insert_product(patient(request)).await.unwrap();
}

fn pids(listed: &Value) -> Vec<String> {
    let products = listed.as_array().unwrap().iter();
    products.map(|product| product["pid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn products_of_a_ring_are_sorted_and_found_over_every_door() {
    let options = Options { shards: 2, embedded_broker: true, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let mut admin = cluster.admin(1);
    insert_client(&mut admin, "ana").await.unwrap();
    for at in 0..12 {
        let (pid, price) = (format!("p{at:02}"), format!("{}.50", (at * 5) % 12));
        let (description, category) =
            (format!("Maçã {}", (at * 7) % 12), if at % 3 == 0 { "fruit" } else { "tool" });
        insert(&mut admin, &pid, &description, &price, category).await;
    }
    let by_price: Vec<String> = (0..12).map(|place| format!("p{:02}", (place * 5) % 12)).collect();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let request = ListRequest { limit: 5, after, sort: ListSort::Price.into(), ..ListRequest::default() };
        let page = admin.list_products(patient(request)).await.unwrap().into_inner();
        found.extend(page.products.into_iter().map(|product| product.pid));
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(found, by_price, "rows of both shards are merged");
    let line = "GET /v1/clients/ana/products?sort=price&category=fruit&words=maca&limit=3";
    let over_http = ask(cluster.address("client-1"), line, &[], "");
    let fruit: Vec<String> =
        by_price.iter().filter(|pid| ["p00", "p03", "p06", "p09"].contains(&&***pid)).cloned().collect();
    assert_eq!(pids(&over_http.json()["products"]), fruit[..3], "{over_http:?}");
    let listed = |arguments: &[&str]| {
        let output = cluster.tool(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let by_tool = listed(&["admin", "list-products", "--sort", "price", "--category", "fruit", "--json"]);
    assert_eq!(pids(&by_tool), fruit);
    let shown = cluster.tool(&["shop", "--cid", "ana", "products", "--sort", "price", "--limit", "3"]);
    let told = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(told.contains("--after p/000000000002.500000/{p10} or"), "{told}");
    // A row that is lost is found, and made anew.
    cluster.assert_audited().await;
    let row = "i/p/p/000000000001.500000/{p05}";
    let lost = Txn::new().delete(row.as_bytes().to_vec());
    assert!(cluster.ring().txn(lost, None).await.unwrap().success);
    let done = listed(&["admin", "reindex", "--json"]);
    assert_eq!((&done["written"], &done["removed"]), (&json!(1), &json!(0)), "{done}");
    cluster.assert_audited().await;
}
