//! What people try who do not know feira yet, over real processes: records that no portal wrote, empty orders and lines
//! named twice, a cluster with too few nodes, the wrong folder, ids that nobody can name, words that are no command.
#![allow(clippy::unwrap_used)]

use std::process::Output;

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::process::Dialogue;
use serde_json::{Value, json};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The tool must end with this exit code, having said this on standard error.
#[track_caller]
fn ends(output: &Output, code: i32, saying: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}\n{}", out(output), err(output));
    for what in saying {
        assert!(err(output).contains(what), "{what} is not in: {}", err(output));
    }
}

fn document(output: &Output) -> Value {
    let said = out(output);
    serde_json::from_str(said.lines().next().unwrap()).unwrap_or_else(|e| panic!("{e}: {said}"))
}

async fn market() -> Cluster {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let both = "insert-client ana {}; insert-product fig description=Fig quantity=9 price=2";
    ends(&cluster.tool(&["admin", "-c", both]), 0, &[]);
    cluster
}

#[tokio::test]
async fn one_record_that_no_portal_wrote_took_the_list_of_products_down() {
    let cluster = market().await;
    ends(&cluster.tool(&["kv", "set", "p/{bad}", "banana"]), 0, &[]);
    let told = "warning: left out the record p/{bad}, which is damaged";
    for list in [&["admin", "list-products"][..], &["shop", "--cid", "ana", "products"]] {
        let listed = cluster.tool(list);
        ends(&listed, 0, &[told, "feira kv get 'p/{bad}'"]);
        assert!(out(&listed).contains("fig") && out(&listed).contains("products: 1"), "{}", out(&listed));
        let listed = cluster.tool(&[&["--json"], list].concat());
        ends(&listed, 0, &[told]);
        assert_eq!((document(&listed)[0]["pid"].clone(), out(&listed).lines().count()), (json!("fig"), 1));
    }
    let got = cluster.tool(&["--json", "admin", "get-product", "bad"]);
    ends(&got, 1, &["the record p/{bad} is damaged", "feira kv get"]);
    assert_eq!(document(&got)["error"]["reason"], "DAMAGED_RECORD");
    ends(&cluster.tool(&["audit"]), 1, &["p/{bad}"]);
    ends(&cluster.tool(&["kv", "del", "p/{bad}"]), 0, &[]);
    let listed = cluster.tool(&["admin", "list-products"]);
    ends(&listed, 0, &[]);
    assert!(!err(&listed).contains("warning"), "{}", err(&listed));
    ends(&cluster.tool(&["audit"]), 0, &[]);
}

#[tokio::test]
async fn an_order_without_lines_is_told_and_one_of_zero_is_refused() {
    let cluster = market().await;
    let shop = |words: &[&str]| cluster.tool(&[&["shop", "--cid", "ana"], words].concat());
    ends(&shop(&["create-order", "fig=0"]), 1, &["lines[0].quantity", "a new order has none"]);
    let none = cluster.tool(&["--json", "shop", "--cid", "ana", "list-orders"]);
    assert_eq!(document(&none), json!([]), "nothing was opened");
    let empty = shop(&["create-order"]);
    ends(&empty, 0, &[]);
    assert!(out(&empty).contains("it has no lines yet: modify-order"), "{}", out(&empty));
    ends(&cluster.tool(&["admin", "delete-client", "ana"]), 1, &["held by open orders", "--cascade"]);
    let twice = shop(&["create-order", "fig=2", "fig=1"]);
    ends(&twice, 0, &[]);
    let told = out(&twice);
    assert!(told.contains("added up: fig=3") && told.contains("total 6.00"), "{told}");
    assert!(!told.contains("(open)"), "{told}");
    ends(&shop(&["get-order", "nope"]), 1, &["look for the right id: list-orders"]);
    ends(&shop(&["admin"]), 2, &["there is no command \"admin\"", "help lists the commands"]);
    let helped = shop(&["create-order", "--help"]);
    ends(&helped, 0, &["such as: create-order banana-prata=3"]);
    ends(&cluster.tool(&["audit"]), 0, &[]);
}

#[tokio::test]
async fn ids_that_nobody_can_name_and_fine_prices() {
    let cluster = market().await;
    let admin = |words: &[&str]| cluster.tool(&[&["admin"], words].concat());
    ends(&admin(&["insert-client", " ", "{}"]), 1, &["begins or ends with a blank"]);
    ends(&admin(&["insert-client", "--cid", "--help", "{}"]), 1, &["cid: begins with -"]);
    let fine = admin(&["insert-product", "description=Kiwi", "quantity=1", "price=1.999"]);
    ends(&fine, 0, &[]);
    assert!(out(&fine).contains("the price 1.999 has 3 decimals"), "{}", out(&fine));
    let comma = admin(&["update-product", "kiwi", "price=1,99"]);
    ends(&comma, 0, &[]);
    assert!(out(&comma).contains("1.99") && !out(&comma).contains("decimals"), "{}", out(&comma));
    ends(&admin(&["update-product", "kiwi", "price=1,999"]), 1, &["not a comma"]);
}

#[tokio::test]
async fn what_needs_all_nodes_and_what_needs_a_majority_is_told_apart() {
    let mut cluster = market().await;
    let leader = cluster.leader().await;
    let others: Vec<String> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
    let id = |node: &str| node.trim_start_matches("node-").to_owned();
    cluster.kill(&others[0]);
    let start = format!("feira node start {}", id(&others[0]));
    let audit = cluster.tool(&["audit"]);
    ends(&audit, 3, &["an audit needs every replica", &start]);
    assert!(!err(&audit).contains("majority"), "{}", err(&audit));
    let status = cluster.tool(&["status"]);
    ends(&status, 0, &[]);
    assert!(out(&status).contains("broker (") && out(&status).contains("is up"), "{}", out(&status));
    cluster.kill(&others[1]);
    let status = cluster.tool(&["--json", "status"]);
    ends(&status, 3, &["no quorum: 1 of 3 voters answer, 2 are needed", &start]);
    let told = document(&status);
    assert_eq!((&told["serving"], &told["broker"]["state"]), (&json!(false), &json!("up")), "{told}");
    assert!(told["nodes"].as_array().unwrap().iter().any(|node| node["log_time_lag_ms"].is_i64()), "{told}");
}

#[test]
fn outside_of_a_clusters_folder_the_addresses_asked_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(feira_tests::feira!());
        command.current_dir(folder.path()).args(arguments).env_remove("FEIRA_CONFIG");
        Dialogue::start(command).output_within(PATIENCE)
    };
    // Whether a cluster of somebody else answers there is no matter.
    let status = run(&["status"]);
    let told = "no feira.toml here: asking 127.0.0.1:7401, 127.0.0.1:7402, 127.0.0.1:7403 (the defaults";
    assert!(err(&status).contains(told), "{}", err(&status));
    let wrong = run(&["--json", "nonsense"]);
    ends(&wrong, 2, &["unrecognized subcommand"]);
    let error = &document(&wrong)["error"];
    assert_eq!((&error["kind"], &error["exit"]), (&json!("usage"), &json!(2)), "{error}");
    assert!(error["message"].as_str().unwrap().contains("nonsense"), "{error}");
    ends(&run(&["nonsense"]), 2, &["unrecognized subcommand"]);
    assert_eq!(out(&run(&["nonsense"])), "");
}
