//! First mistakes of people new to feira, over real processes: records that no portal wrote, empty orders and lines
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
async fn one_record_that_no_portal_wrote_leaves_the_other_products_readable() {
    let cluster = market().await;
    ends(&cluster.tool(&["kv", "set", "p/{bad}", "banana"]), 0, &[]);
    let told = "warning: left out the record p/{bad}, which is damaged";
    let (staff, shopper) = (&["admin", "list-products"][..], &["shop", "--cid", "ana", "products"][..]);
    for (list, next) in [(staff, "feira kv get 'p/{bad}'"), (shopper, "tell the shop's staff")] {
        let listed = cluster.tool(list);
        ends(&listed, 0, &[told, next]);
        assert!(out(&listed).contains("fig") && out(&listed).contains("products: 1"), "{}", out(&listed));
        let listed = cluster.tool(&[&["--json"], list].concat());
        ends(&listed, 0, &[told]);
        assert_eq!((document(&listed)[0]["pid"].clone(), out(&listed).lines().count()), (json!("fig"), 1));
    }
    let got = cluster.tool(&["--json", "admin", "get-product", "bad"]);
    ends(&got, 1, &["the record p/{bad} is damaged", "feira kv get"]);
    assert_eq!(document(&got)["error"]["reason"], "DAMAGED_RECORD");
    ends(&cluster.tool(&["audit"]), 1, &["p/{bad}"]);
    // All replicas have it: none is taken out for it.
    for node in cluster.nodes() {
        let status = cluster.status(&node).await.unwrap();
        assert_eq!((status.quarantined.as_str(), status.problem.as_str()), ("", ""), "{node}");
        assert!(!cluster.log_of(&node).contains("LMDB reports"), "{node}");
    }
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
    ends(
        &shop(&["create-order", "fig=0"]),
        1,
        &["lines[0].quantity", "quantity 0 makes no sense in a new order"],
    );
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
    assert!(err(&fine).contains("the price 1.999 has 3 decimals"), "{}", err(&fine));
    let comma = admin(&["update-product", "kiwi", "price=1,99"]);
    ends(&comma, 0, &[]);
    assert!(out(&comma).contains("1.99") && !err(&comma).contains("decimals"), "{}", err(&comma));
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

#[tokio::test]
async fn nothing_that_is_typed_is_dropped_and_nothing_shown_means_another_thing() {
    let cluster = market().await;
    let admin = |line: &str| cluster.tool(&["admin", "-c", line]);
    // A number sign inside a line is a letter as any other; a name twice is a mistake, as in JSON.
    ends(&admin("insert-product #12 description=Twelve quantity=5 price=1"), 0, &[]);
    let order = cluster.tool(&["shop", "--cid", "ana", "-c", "create-order #12=3 fig=1"]);
    ends(&order, 0, &[]);
    assert!(out(&order).contains("total 5.00"), "{}", out(&order));
    let twice = "insert-product lime description=Lime quantity=1 price=1 price=9";
    ends(&admin(twice), 2, &["\"price\" is given twice"]);
    let slip = "insert-product lime description=Lime quantity=1 price=1 pric=50";
    ends(&admin(slip), 2, &["did you mean price?", "--new pric makes it"]);
    ends(&admin("update-client ana nam=Ana"), 2, &["did you mean name?", "--new nam makes it"]);
    ends(&admin("update-client ana name="), 1, &["data.name", "is empty"]);
    ends(&admin("insert-client bia --cid carla name=Bia"), 2, &["two ids are given"]);
    let both = cluster.tool(&["admin", "-c", "get-client ana", "list-clients"]);
    ends(&both, 2, &["cannot be used with"]);
    let free = admin(&format!("{slip} --new pric; update-product lime price=0"));
    ends(&free, 0, &["warning: the price is 0"]);
    // A quantity is written over what is left.
    let over = admin("update-product fig quantity=3");
    ends(&over, 0, &["wrote over what was left: 8 before, 3 now", "adjust-stock fig -5"]);
    // Keys are shown as they are to be typed.
    let kv = |line: &str| cluster.tool(&["kv", "-c", line]);
    ends(&kv("set text:text:abc one; set abc two; set 'a b' three; del text:text:abc"), 0, &[]);
    let left = kv("get abc; get text:text:abc; scan a");
    assert!(out(&left).contains("get text:text:abc: ERROR"), "{}", out(&left));
    assert!(out(&left).contains("data two") && out(&left).contains("'a b'"), "{}", out(&left));
    // A cascade says what it changed, and the id stays taken.
    let gone = admin("delete-client ana --cascade");
    ends(&gone, 0, &[]);
    assert!(out(&gone).contains("cancelled 1 order: "), "{}", out(&gone));
    ends(&admin("insert-client ana name=Ana"), 4, &["kept for the orders", "ana-2 is free"]);
    ends(&admin("get-client ana"), 1, &["was removed"]);
    ends(&cluster.tool(&["audit"]), 0, &[]);
}

/// The nodes of a configuration in one line, as no tool would write them.
fn with_nodes_inline(text: &str) -> String {
    let mut nodes = Vec::new();
    let (mut rest, mut lines) = (String::new(), text.lines());
    while let Some(line) = lines.next() {
        if line == "[[store.nodes]]" {
            nodes.push(format!("{{ {}, {} }}", lines.next().unwrap(), lines.next().unwrap()));
        } else {
            rest.push_str(&format!("{line}\n"));
        }
    }
    assert_eq!(rest.matches("[store]\n").count(), 1, "{rest}");
    rest.replace("[store]\n", &format!("[store]\nnodes = [{}]\n", nodes.join(", ")))
}

#[tokio::test]
async fn a_command_that_is_refused_has_done_nothing() {
    let cluster = market().await;
    let path = |name: &str| cluster.path().join(name);
    let named = |name: &str| path(name).to_str().unwrap().to_owned();
    // An import onto its own input, or to where nothing can be written.
    let input = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n\
                 1,A,Apple,2,d,1.00,501,X\n2,A,Apple,some,d,1.00,502,X\n";
    std::fs::write(path("shop.csv"), input).unwrap();
    std::fs::hard_link(path("shop.csv"), path("other.csv")).unwrap();
    let import = |refused: &str| {
        let file = named("shop.csv");
        cluster.tool(&["import", "--format", "online-retail", &file, "--refused", &named(refused)])
    };
    for own in ["shop.csv", "other.csv", "./shop.csv"] {
        ends(&import(own), 2, &["is the file that is imported"]);
    }
    ends(&import("no/refused.csv"), 1, &["cannot write", "no/refused.csv"]);
    assert_eq!(std::fs::read_to_string(path("shop.csv")).unwrap(), input);
    let clients = cluster.tool(&["admin", "list-clients"]);
    assert!(out(&clients).contains("clients: 1"), "nothing was sent: {}", out(&clients));
    // A backup leaves alone what is beside it.
    std::fs::create_dir(path("shop.backup.part")).unwrap();
    std::fs::write(path("shop.backup.part/mine"), "mine").unwrap();
    ends(&cluster.tool(&["backup", "--out", &named("shop.backup")]), 0, &[]);
    assert_eq!(std::fs::read_to_string(path("shop.backup.part/mine")).unwrap(), "mine");
    // A node that could not listen.
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = stranger.local_addr().unwrap().to_string();
    let before = std::fs::read_to_string(cluster.config()).unwrap();
    ends(
        &cluster.tool(&["member", "add", "4", "--listen", &at]),
        1,
        &["node 4 cannot listen at", "nothing was made"],
    );
    assert_eq!(std::fs::read_to_string(cluster.config()).unwrap(), before);
    assert!(!cluster.data_of("node-4").exists());
    // A removal that could not be written into the configuration.
    let text = with_nodes_inline(&std::fs::read_to_string(cluster.config()).unwrap());
    std::fs::write(cluster.config(), &text).unwrap();
    ends(&cluster.tool(&["member", "remove", "3"]), 1, &["by hand: without node 3"]);
    let members = cluster.tool(&["member", "list"]);
    assert_eq!(out(&members).matches("voter").count(), 3, "{}", out(&members));
    assert_eq!(std::fs::read_to_string(cluster.config()).unwrap(), text);
    let there: Vec<String> = std::fs::read_dir(cluster.path())
        .unwrap()
        .map(|one| one.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".new") || name.contains(".part-"))
        .collect();
    assert_eq!(there, Vec::<String>::new(), "nothing is left behind");
}

#[tokio::test]
async fn a_quantity_is_written_over_a_sale_only_by_who_has_seen_what_is_left() {
    let cluster = market().await;
    let shown = document(&cluster.tool(&["--json", "admin", "get-product", "fig"]));
    let etag = shown["etag"].to_string();
    ends(&cluster.tool(&["shop", "--cid", "ana", "create-order", "fig=4"]), 0, &[]);
    let update = |flags: &[&str]| {
        let words = ["admin", "update-product", "fig", "quantity=20", "--if-match", etag.as_str()];
        cluster.tool(&[&words[..], flags].concat())
    };
    ends(&update(&[]), 2, &["--if-match says nothing", "--if-left N"]);
    ends(&update(&["--if-left", "9"]), 4, &["5 of fig are left, not 9; nothing was changed"]);
    let shown = document(&cluster.tool(&["--json", "admin", "get-product", "fig"]));
    assert_eq!(shown["stock"]["available"], 5, "{shown}");
    ends(&update(&["--if-left", "5"]), 0, &[]);
    let shown = document(&cluster.tool(&["--json", "admin", "get-product", "fig"]));
    assert_eq!(shown["stock"]["available"], 20, "{shown}");
    ends(&cluster.tool(&["audit"]), 0, &[]);
}
