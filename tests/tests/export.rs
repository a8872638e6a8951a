//! `feira export` and `feira import` of a shop's own records, as real processes: from one cluster into another, on two shards too,
//! and what scripts get of it. What files may hold is tested where they are read (`cli/src/exchange/tests`).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;

use feira_tests::cluster::{Cluster, Options};
use serde_json::Value;

/// The order in which a shop is imported.
const COLLECTIONS: [&str; 4] = ["clients", "products", "orders", "stock"];

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The answer of a tool that ends with this code.
#[track_caller]
fn ends(cluster: &Cluster, arguments: &[&str], code: i32) -> Vec<u8> {
    let output = cluster.tool(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
    output.stdout
}

fn told(cluster: &Cluster, arguments: &[&str], code: i32) -> Value {
    serde_json::from_slice(&ends(cluster, &[&["--json"][..], arguments].concat(), code)).unwrap()
}

async fn cluster(shards: u64) -> Cluster {
    let options = Options { shards, nodes: 3, ..Options::default() };
    Cluster::start(feira_tests::feira!(), options).await
}

/// The catalogue and the clients of the examples, and orders of some of them.
fn open_shop(cluster: &Cluster) {
    let examples = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"));
    for (what, name) in [("clients", "clients.csv"), ("products", "catalogue.csv")] {
        let (file, list) = (examples.join(name), cluster.path().join("refused.csv"));
        let (file, list) = (file.to_str().unwrap(), list.to_str().unwrap());
        let report = told(cluster, &["import", what, file, "--refused", list], 0);
        assert!(report["new"].as_u64().unwrap() >= 4 && report["refused"] == 0, "{report}");
    }
    for (cid, order) in
        [("severino-lima", "abacate=2 caju=1"), ("benedita-rocha", "caju=3"), ("joaquim-sousa", "jilo=1")]
    {
        let lines: Vec<&str> = order.split(' ').collect();
        let made = told(cluster, &[&["shop", "--cid", cid, "create-order"][..], &lines].concat(), 0);
        if cid != "severino-lima" {
            let oid = made["oid"].as_str().unwrap();
            told(cluster, &["admin", "confirm-order", cid, oid, "--reason", "agreed"], 0);
        }
    }
}

#[tokio::test]
async fn a_shop_moves_to_another_cluster_and_comes_out_the_same() {
    let (one, other) = (cluster(1).await, cluster(2).await);
    open_shop(&one);
    for (format, times) in [("csv", 0), ("jsonl", 1)] {
        let mut files = Vec::new();
        for what in COLLECTIONS {
            let file = one.path().join(format!("{what}.{format}"));
            let name = file.to_str().unwrap();
            let written = told(&one, &["export", what, "--format", format, "--out", name], 0);
            assert!(written["records"].as_u64().unwrap() >= 3, "{written}");
            let list = one.path().join("refused.csv");
            let report = told(&other, &["import", what, name, "--refused", list.to_str().unwrap()], 0);
            let (new, there) = (report["new"].as_u64().unwrap(), report["there_already"].as_u64().unwrap());
            assert!(times == 0 || (new, report["changed"].as_u64()) == (0, Some(0)), "{report}");
            assert_eq!(new + there, written["records"].as_u64().unwrap(), "{report}");
            files.push(std::fs::read(&file).unwrap());
        }
        for (what, file) in COLLECTIONS.iter().zip(files) {
            let again = ends(&other, &["export", what, "--format", format], 0);
            assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&file), "{what}");
        }
    }
    one.assert_audited().await;
}

/// Millionths of what an amount says.
fn millionths(amount: &Value) -> i128 {
    let text = amount.as_str().unwrap();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{part:0<6}").parse().unwrap()
}

#[tokio::test]
async fn the_sales_that_the_tool_adds_up_are_those_of_the_exported_orders_over_all_shards() {
    let cluster = cluster(2).await;
    open_shop(&cluster);
    for (cid, order) in
        [("severino-lima", "caju=7"), ("joaquim-sousa", "abacate=1"), ("benedita-rocha", "jilo=2")]
    {
        let made = told(&cluster, &["shop", "--cid", cid, "create-order", order], 0);
        let oid = made["oid"].as_str().unwrap();
        told(&cluster, &["admin", "confirm-order", cid, oid, "--reason", "agreed"], 0);
        if cid == "joaquim-sousa" {
            told(&cluster, &["admin", "pay-order", cid, oid], 0);
            told(&cluster, &["admin", "refund-order", cid, oid, "--reason", "paid twice"], 0);
        }
    }
    let exported = String::from_utf8(ends(&cluster, &["export", "orders", "--format", "jsonl"], 0)).unwrap();
    let orders: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mut sold, mut back) =
        (BTreeMap::<String, (i64, i128)>::new(), BTreeMap::<String, (i64, i128)>::new());
    for order in orders.iter().filter(|order| !matches!(order["state"].as_str(), Some("open" | "cancelled")))
    {
        for line in order["lines"].as_array().unwrap() {
            let quantity = line["quantity"].as_i64().unwrap();
            let amount = millionths(&line["price"]) * i128::from(quantity);
            let sums =
                if order["state"] == "refunded" { vec![&mut sold, &mut back] } else { vec![&mut sold] };
            for sum in sums {
                let of_product = sum.entry(line["pid"].as_str().unwrap().to_owned()).or_default();
                *of_product = (of_product.0 + quantity, of_product.1 + amount);
            }
        }
    }
    assert!(sold.len() >= 3 && back.len() == 1, "{sold:?} {back:?}");
    let told_by_product = told(&cluster, &["admin", "list-sales", "--from", "1d", "--by", "product"], 0);
    let (mut sold_there, mut back_there) = (BTreeMap::new(), BTreeMap::new());
    for one in told_by_product["products"].as_array().unwrap() {
        let pid = one["pid"].as_str().unwrap().to_owned();
        let of = |units: &str, amount: &str| (one[units].as_i64().unwrap(), millionths(&one[amount]));
        sold_there.insert(pid.clone(), of("units", "amount"));
        if one["orders_back"] != 0 {
            back_there.insert(pid, of("units_back", "amount_back"));
        }
    }
    assert_eq!((sold_there, back_there), (sold.clone(), back), "{told_by_product}");
    let today = told(&cluster, &["admin", "sales", "--from", "1d"], 0);
    assert_eq!(
        today["total"]["units"].as_i64(),
        Some(sold.values().map(|(units, _)| units).sum()),
        "{today}"
    );
    assert_eq!(
        (&today["total"]["orders"], &today["total"]["orders_back"]),
        (&5.into(), &1.into()),
        "{today}"
    );
    ends(&cluster, &["admin", "sales", "--day", "2026-02-30"], 2);
    let ended = told(&cluster, &["admin", "sales", "--month", "2020-01", "--utc-offset", "-03:00"], 0);
    assert_eq!((&ended["total"]["orders"], &ended["so_far"]), (&0.into(), &false.into()), "{ended}");
}

#[tokio::test]
async fn scripts_get_the_exit_code_and_the_list_of_what_was_refused() {
    let cluster = cluster(1).await;
    let path = |name: &str| cluster.path().join(name).to_str().unwrap().to_owned();
    let (file, list) = (path("people.csv"), path("refused.csv"));
    std::fs::write(&file, b"cid;name\nana;Ana\n-x;X\njoao;Jo\xe3o\n").unwrap();
    let import = |rest: &[&str]| [&["import", "clients", &file, "--refused", &list], rest].concat().join(" ");
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let run = |rest: &[&str], code| {
        let line = words(&import(rest));
        told(&cluster, &line.iter().map(String::as_str).collect::<Vec<_>>(), code)
    };
    let counted = run(&["--dry-run"], 1);
    assert_eq!((&counted["read"], &counted["refused"], &counted["new"]), (&1.into(), &2.into(), &0.into()));
    let report = run(&[], 1);
    assert_eq!((&report["new"], &report["refused"]), (&1.into(), &2.into()), "{report}");
    let refused = std::fs::read_to_string(&list).unwrap();
    assert!(refused.starts_with("line,column,reason\n3,cid,") && refused.contains("\n4,name,"), "{refused}");
    let report = run(&["--encoding", "latin-1"], 1);
    assert_eq!(
        (&report["new"], &report["there_already"], &report["refused"]),
        (&1.into(), &1.into(), &1.into())
    );
    ends(&cluster, &["import", "products", &file], 2);
    ends(&cluster, &["import", "clients", &path("none.csv")], 1);
    ends(&cluster, &["import", "clients", &file, "--label", "x"], 2);
    // A file of sales is known by its first line, in its second edition too.
    let sales = path("sales.csv");
    let second = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n";
    std::fs::write(&sales, format!("{second}1,A,a,2,2009-12-01 07:45:00,1.5,13085.0,UK\n")).unwrap();
    let report = told(&cluster, &["import", &sales, "--refused", &list], 0);
    assert_eq!((&report["accepted"], &report["orders"]), (&1.into(), &1.into()), "{report}");
}
