//! The command-line tools by their binary: scripts on standard input, `-c` and words; answers
//! that come out of order, with numbers; `--json`; the specification's names; each exit code; wrong words and wrong
//! configurations, explained.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Output;

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::port::Port;
use feira_tests::process::Dialogue;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// The shortest grace of `sair` for outstanding answers.
const GRACE: &str = "5";

fn only_store() -> Options {
    Options { admin_portals: 0, client_portals: 0, ..Options::default() }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn exits(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}\n{}", out(output), err(output));
}

/// With `--json` standard output is one document a line, and nothing else.
#[track_caller]
fn documents(output: &Output) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    out(output).lines().map(line).collect()
}

/// The answers of a `kv` run by their numbers.
#[track_caller]
fn numbered(output: &Output) -> Vec<Value> {
    let mut answers = documents(output);
    answers.retain(|answer| answer["number"].is_u64());
    answers.sort_by_key(|answer| answer["number"].as_u64());
    answers
}

#[tokio::test]
async fn every_operation_of_the_store_has_every_outcome_in_the_tool() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    // Each line: the command, the status, and version and data of the record that comes with it.
    let none = (0, "");
    let steps = [
        ("get 17", "ERROR", none),
        ("set 17 a --timestamp 5", "SUCCESS", none),
        ("create 17 b", "ERROR", (1, "a")),
        ("read 17", "SUCCESS", (1, "a")),
        ("testAndSet 18 1 x", "ERROR_NE", none),
        ("test-and-set 17 2 x", "ERROR_WV", (1, "a")),
        ("tas 17 1 c", "SUCCESS", (1, "a")),
        ("update 18 x", "ERROR_NE", none),
        ("atualizar 17 d", "SUCCESS", (2, "c")),
        ("delVersion 18 1", "ERROR_NE", none),
        ("del-version 17 1", "ERROR_WV", (3, "d")),
        ("del-version 17 3", "SUCCESS", (3, "d")),
        ("del 17", "ERROR", none),
        ("criar -12345678901234567890 'a long one'", "SUCCESS", none),
        ("ler -12345678901234567890", "SUCCESS", (1, "a long one")),
        ("set 0017 again", "SUCCESS", none),
        ("apagar 17", "SUCCESS", (1, "again")),
        ("set text:17 'another key' --request named", "SUCCESS", none),
        ("set text:17 'another key' --request named", "SUCCESS", none),
        ("set 2 two", "SUCCESS", none),
        ("set 10 ten", "SUCCESS", none),
    ];
    let script: String = steps.iter().map(|(command, ..)| format!("{command}\nwait\n")).collect();
    let output = cluster.tool_given(&["--json", "kv", "--quiet"], &script);
    exits(&output, 1);
    let answers = numbered(&output);
    assert_eq!(answers.len(), steps.len());
    for ((command, status, (version, data)), answer) in steps.iter().zip(&answers) {
        assert_eq!(answer["status"], *status, "{command}: {answer}");
        let record = &answer["record"];
        let told = (record["version"].as_u64().unwrap_or(0), record["data"].as_str().unwrap_or(""));
        assert_eq!(told, (*version, *data), "{command}: {answer}");
        assert!(answer["position"]["offset"].as_u64() > Some(0), "{command}: {answer}");
    }
    assert_eq!(answers[1]["version"], 1);
    assert_eq!(answers[2]["record"]["timestamp_ms"], 5);
    assert_eq!(answers[6]["version"], 2);
    assert_eq!(answers[17]["position"], answers[18]["position"], "the same request is done once");

    let script =
        "range -99999999999999999999 11\nscan\nget 2 --stale\noutcome text:17 named\noutcome 2 never\n";
    let output = cluster.tool_given(&["--json", "kv", "--quiet"], script);
    exits(&output, 0);
    let answers = numbered(&output);
    let keys = |answer: &Value| -> Vec<String> {
        let records = answer["records"].as_array().unwrap();
        records.iter().map(|found| found["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(&answers[0]), ["-12345678901234567890", "2", "10"], "integers are sorted as such");
    assert_eq!(keys(&answers[1]).len(), 4);
    assert_eq!(answers[2]["status"], "SUCCESS");
    assert_eq!((&answers[3]["verdict"], &answers[4]["verdict"]), (&json!("DONE"), &json!("NOT_DONE")));
}

#[tokio::test]
async fn invalid_commands_are_reported_and_the_valid_ones_are_sent() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    let script = "sett 1 x\nset 1\nset 1 x y\ndel-version 1 one\nget hex:0g\nset 1 x --no\nget 'open\n\
                  # a comment\n\nset 1 x; get 1\nscan --limit 0\nhelp set\nsair\nget 1\n";
    let output = cluster.tool_given(&["kv"], script);
    exits(&output, 2);
    let said = err(&output);
    for what in [
        "there is no command \"sett\"",
        "did you mean set?",
        "set: DATA is missing",
        "usage: set KEY DATA",
        "\"y\" is one word too many",
        "VERSION is \"one\", and must be a whole number from 0",
        "pairs of 0-9 and a-f",
        "there is no flag --no",
        "a quote does not close",
        "--limit is \"0\", and must be 1 to 1000",
        "creates a record; ERROR",
    ] {
        assert!(said.contains(what), "{what} is not in: {said}");
    }
    let answered = out(&output);
    assert!(answered.contains("#1 set 1: SUCCESS") && answered.contains("#2 get 1: SUCCESS"), "{answered}");
    assert!(!answered.contains("#3"), "nothing is sent after sair: {answered}");
    assert!(!said.contains("feira kv: the replicated store"), "the menu is for people: {said}");
}

/// Pauses the nodes that do not lead: writes wait for a majority, and stale reads do not.
async fn paused(cluster: &Cluster) -> (String, Vec<String>) {
    let leader = cluster.leader().await;
    let others: Vec<String> = cluster.nodes().into_iter().filter(|node| *node != leader).collect();
    (leader, others)
}

#[tokio::test]
async fn answers_come_out_of_order_with_numbers_and_sair_waits_for_those_outstanding() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    assert!(cluster.tool(&["kv", "set", "here", "already"]).status.success());
    cluster.wait_until_equal().await;
    let (_, others) = paused(&cluster).await;
    let mut tool = Dialogue::start(cluster.command(&["kv", "--quiet", "--set", "tool.patience_seconds=60"]));
    tool.say("get here\n");
    tool.hears("#1 get here: SUCCESS", PATIENCE);
    others.iter().for_each(|node| cluster.signal(node, Signal::SIGSTOP));
    tool.say("set late x\nget here --stale\nget here --stale\nsair\n");
    tool.hears("#4 get here: SUCCESS", PATIENCE);
    tool.hears("#3 get here: SUCCESS", PATIENCE);
    tool.hears("waiting up to", PATIENCE);
    assert!(!tool.said().contains("#2"), "the write has no majority: {}", tool.said());
    assert!(tool.ended().is_none(), "sair waits");
    others.iter().for_each(|node| cluster.signal(node, Signal::SIGCONT));
    tool.hears("#2 set late: SUCCESS", PATIENCE);
    let output = tool.output_within(PATIENCE);
    exits(&output, 0);
    let said = out(&output);
    assert!(said.find("#3 ") < said.find("#2 "), "out of order: {said}");
}

#[tokio::test]
async fn sair_lists_what_is_still_open_when_its_grace_is_over() {
    let cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    let (_, others) = paused(&cluster).await;
    others.iter().for_each(|node| cluster.signal(node, Signal::SIGSTOP));
    let arguments = ["--json", "kv", "--quiet", "--grace", GRACE, "--set", "tool.patience_seconds=60"];
    let begun = std::time::Instant::now();
    let output = cluster.tool_given(&arguments, "set a x\nset b y --request mine\nsair\n");
    assert!(begun.elapsed().as_secs() >= 5, "at least 5 s are given: {:?}", begun.elapsed());
    exits(&output, 5);
    for open in ["#1 set a: no answer yet; it may still happen", "#2 set b: no answer yet"] {
        assert!(err(&output).contains(open), "{open} is not in: {}", err(&output));
    }
    let settle = "what became of it, when the store answers again: outcome b mine";
    assert!(err(&output).contains(settle) && err(&output).contains("read the key when"), "{}", err(&output));
    let told = documents(&output);
    assert!(told.iter().all(|document| document["error"]["exit"] == 5), "{told:?}");
    others.iter().for_each(|node| cluster.signal(node, Signal::SIGCONT));
}

#[tokio::test]
async fn the_examples_run_as_their_comments_say() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let example = |name: &str| {
        let path = format!("{}/../examples/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let admin = cluster.tool_given(&["admin"], &example("admin.feira"));
    exits(&admin, 0);
    assert!(out(&admin).contains("conceicao-prado") && out(&admin).contains("16.50"), "{}", out(&admin));
    let shop = cluster.tool_given(&["shop"], &example("shop.feira"));
    exits(&shop, 0);
    assert!(out(&shop).contains("total 33.00"), "{}", out(&shop));
    let kv = cluster.tool_given(&["kv", "--quiet"], &example("kv.feira"));
    exits(&kv, 0);
    assert!(out(&kv).contains("#1 set 1: SUCCESS"), "{}", out(&kv));
    exits(&cluster.tool(&["audit"]), 0);
}

#[tokio::test]
async fn staff_and_shoppers_do_everything_by_script_in_either_language() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let script = "inserirCliente name='Ana Maria' city=Recife\ninsert-client bia '{\"name\":\"Bia\"}'\n\
                  modificarCliente ana-maria city=Olinda\nrecuperarCliente ana-maria\nlistarClientes\n\
                  inserirProduto description='Banana prata' quantity=10 price=6.90 unit=kg\n\
                  insert-product fig '{\"description\":\"Fig\",\"quantity\":5,\"price\":2.5}'\n\
                  modificarProduto fig price=3.00 quantity=8\najustarEstoque fig -1\nrecuperarProduto fig\n\
                  listarProdutos\nportal\nsair\nget-client nobody\n";
    let admin = cluster.tool_given(&["--json", "admin"], script);
    exits(&admin, 0);
    let told = documents(&admin);
    assert_eq!(told.len(), 12, "one document a command, none after sair");
    assert_eq!(told[0]["cid"], "ana-maria");
    assert_eq!(told[3]["data"], json!({ "name": "Ana Maria", "city": "Olinda" }));
    assert_eq!(told[4].as_array().unwrap().len(), 2);
    assert_eq!((&told[5]["pid"], &told[5]["extra"]), (&json!("banana-prata"), &json!({ "unit": "kg" })));
    assert_eq!((&told[9]["price"], &told[9]["quantity"]), (&json!("3.00"), &json!(7)));
    assert_eq!(told[10].as_array().unwrap().len(), 2);
    assert!(told[11]["groups"][0]["state"].is_string(), "{}", told[11]);

    let made =
        cluster.tool(&["--json", "shop", "--cid", "ana-maria", "criarPedido", "fig=2", "banana-prata=1"]);
    exits(&made, 0);
    let order = &documents(&made)[0];
    assert_eq!((&order["state"], &order["total"]), (&json!("open"), &json!("12.90")));
    let oid = order["oid"].as_str().unwrap();
    let script = format!(
        "entrar ana-maria\nmodificarPedido {oid} fig=4 banana-prata=0\nlistarPedido {oid}\nlistarPedidos\n\
         products fig\nproduct fig\nconfirmarPedido {oid}\ncriarPedido fig=1; sair\nproducts\n"
    );
    let shop = cluster.tool_given(&["--json", "shop"], &script);
    exits(&shop, 0);
    let told = documents(&shop);
    assert_eq!(told.len(), 8, "{told:?}");
    assert_eq!((&told[2]["total"], told[2]["lines"].as_array().unwrap().len()), (&json!("12.00"), 1));
    assert_eq!(told[3].as_array().unwrap().len(), 1);
    assert_eq!((&told[4][0]["stock"]["held"], &told[6]["state"]), (&json!(4), &json!("confirmed")));
    let other = told[7]["oid"].as_str().unwrap();
    let both = format!("use ana-maria; cancelarPedido {other}; cancel-order {other}; list-orders --limit 1");
    let cancelled = cluster.tool(&["--json", "shop", "-c", &both]);
    exits(&cancelled, 0);
    let told = documents(&cancelled);
    assert_eq!((&told[1], told.len()), (&told[2], 4), "a second cancel changes nothing");

    let plain = cluster.tool(&["shop", "--cid", "ana-maria", "get-order", oid]);
    exits(&plain, 0);
    let table = out(&plain);
    assert!(
        table.contains("SUBTOTAL") && table.contains("total 12.00") && !table.contains('\u{1b}'),
        "{table}"
    );
    let split = cluster.tool(&["admin", "insert-client", "a\nb", "{}"]);
    exits(&split, 1);
    let said = err(&split);
    assert!(said.contains("cid: has the control character U+000A at byte 1"), "an id splits no row: {said}");
    exits(&cluster.tool(&["admin", "delete-product", "fig", "--cascade"]), 0);
    exits(&cluster.tool(&["admin", "-c", "delete-client bia; apagarCliente ana-maria --cascade"]), 0);
    exits(&cluster.tool(&["audit"]), 0);
}

#[tokio::test]
async fn shoppers_order_with_one_tool_over_each_transport() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    exits(&cluster.tool(&["admin", "insert-client", "ana", "{}"]), 0);
    exits(
        &cluster.tool(&["admin", "insert-product", "fig", "description=Fig", "quantity=100", "price=1.5"]),
        0,
    );
    let listens = format!("http://{}", cluster.address("client-1"));
    for (at, via) in ["grpc", "http", "mqtt", &listens].into_iter().enumerate() {
        let shop = |words: &[&str]| {
            cluster.tool(&[&["--json", "shop", "--via", via, "--cid", "ana"], words].concat())
        };
        let id = format!("r-{at}");
        let order = ["create-order", "fig=2", "--request", &id];
        let [made, again] = [shop(&order), shop(&order)];
        exits(&made, 0);
        assert_eq!(documents(&again), documents(&made), "{via}");
        let oid = documents(&made)[0]["oid"].as_str().unwrap().to_owned();
        exits(&shop(&["modify-order", &oid, "fig=3"]), 0);
        let shown = shop(&["get-order", &oid]);
        assert_eq!(documents(&shown)[0]["total"], json!("4.50"), "{via}: {shown:?}");
        let short = shop(&["create-order", "fig=999"]);
        exits(&short, 1);
        assert!(err(&short).contains("left"), "{via}: {}", err(&short));
        exits(&shop(&["confirm-order", &oid]), 0);
        assert_eq!(documents(&shop(&["list-orders"]))[0].as_array().unwrap().len(), at + 1, "{via}");
        assert_eq!(documents(&shop(&["products", "f"]))[0][0]["pid"], json!("fig"), "{via}");
    }
    let status = cluster.tool(&["shop", "--via", "mqtt", "portal"]);
    exits(&status, 2);
    let nobody = cluster.tool(&[
        "--set",
        "tool.patience_seconds=1",
        "shop",
        "--via",
        "mqtt://127.0.0.1:1",
        "--cid",
        "ana",
        "list-orders",
    ]);
    exits(&nobody, 3);
    assert!(err(&nobody).contains("127.0.0.1:1"), "{}", err(&nobody));
    exits(&cluster.tool(&["shop", "--via", "amqp", "products"]), 2);
    exits(&cluster.tool(&["audit"]), 0);
}

#[tokio::test]
async fn a_script_ends_at_its_first_failure_with_its_line_and_class() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let script = "insert-client ana {}\n# two\ninsert-client ana {}\ninsert-client bia {}\n";
    let output = cluster.tool_given(&["--json", "admin"], script);
    exits(&output, 4);
    let told = documents(&output);
    assert_eq!(told.len(), 2, "nothing after the failure: {told:?}");
    let error = &told[1]["error"];
    assert_eq!(
        (&error["kind"], &error["exit"], &error["reason"]),
        (&json!("conflict"), &json!(4), &json!("ALREADY_EXISTS"))
    );
    assert!(error["message"].as_str().unwrap().starts_with("line 3: ALREADY_EXISTS"), "{error}");
    assert!(error["next"].as_str().is_some_and(|next| next.contains("id")), "{error}");
    exits(&cluster.tool(&["admin", "get-client", "bia"]), 1);
    for (script, code, saying) in [
        ("insert-clientt ana {}\n", 2, "did you mean insert-client?"),
        ("get-client\n", 2, "CID is missing"),
        ("adjust-stock fig some\n", 2, "AMOUNT is \"some\", and must be a whole number"),
        ("insert-product pid=x description\n", 2, "line 1"),
        ("update-client ana '{\"a\":1'\n", 2, "not a JSON object"),
        ("get-client ana \"\n", 2, "a quote does not close"),
    ] {
        let output = cluster.tool_given(&["admin"], script);
        exits(&output, code);
        assert!(err(&output).contains(saying), "{saying} is not in: {}", err(&output));
        assert_eq!(out(&output), "", "what is wrong goes to standard error");
    }
    let whose = cluster.tool(&["shop", "list-orders"]);
    exits(&whose, 2);
    assert!(
        err(&whose).contains("say who you are first") && err(&whose).contains("--cid"),
        "{}",
        err(&whose)
    );
}

#[tokio::test]
async fn each_class_has_its_exit_code() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let tool = |arguments: &[&str]| cluster.tool(arguments);
    exits(&tool(&["admin", "insert-client", "ana", "{}"]), 0);
    exits(&tool(&["admin", "insert-product", "fig", "description=Fig", "quantity=1", "price=1"]), 0);
    exits(&tool(&["kv", "set", "1", "x"]), 0);
    exits(&tool(&["--help"]), 0);
    exits(&tool(&["--version"]), 0);
    let short = tool(&["--json", "shop", "--cid", "ana", "create-order", "fig=2"]);
    exits(&short, 1);
    assert_eq!(documents(&short)[0]["error"]["reason"], "STOCK_SHORT");
    assert!(err(&short).contains("1 left"), "{}", err(&short));
    exits(&tool(&["shop", "--cid", "nobody", "list-orders"]), 1);
    exits(&tool(&["kv", "get", "2"]), 1);
    exits(&tool(&["kv", "gett", "2"]), 2);
    exits(&tool(&["no-such-command"]), 2);
    exits(&tool(&["kv", "--grace", "1"]), 2);
    for wrong in [
        &["admin", "--portal", "nonsense", "list-clients"][..],
        &["shop", "--portal", "127.0.0.1:0", "products"],
        &["kv", "--store", "127.0.0.1:99999", "scan"],
    ] {
        let output = tool(wrong);
        exits(&output, 2);
        assert!(err(&output).contains("such as 127.0.0.1:7411"), "{wrong:?}: {}", err(&output));
    }
    let nameless = tool(&["admin", "insert-client", "", "name=x"]);
    exits(&nameless, 2);
    assert!(
        err(&nameless).contains("CID is \"\", and must be an id of 1 to 128 bytes"),
        "{}",
        err(&nameless)
    );
    exits(&tool(&["admin", "list-clients", "--limit", "-1"]), 2);
    exits(&tool(&["shop", "--cid", "ana", "products", "--limit", "100001"]), 2);
    let nobody = Port::lease();
    let nobody = format!("127.0.0.1:{}", nobody.number);
    let impatient = ["--set", "tool.patience_seconds=1"];
    let none = tool(&[&impatient[..], &["kv", "--store", &nobody, "get", "1"]].concat());
    exits(&none, 3);
    let none = tool(&[&impatient[..], &["admin", "--portal", &nobody, "get-client", "ana"]].concat());
    exits(&none, 3);
    assert!(err(&none).contains(&nobody) && err(&none).contains("feira status"), "{}", err(&none));
    let none = tool(&[&impatient[..], &["admin", "--portal", &nobody, "insert-client", "x", "{}"]].concat());
    exits(&none, 3);
    exits(&tool(&["kv", "set", "1", "y"]), 4);
    exits(&tool(&["kv", "tas", "1", "7", "y"]), 4);
    exits(&tool(&["admin", "insert-client", "ana", "{}"]), 4);
    exits(&tool(&["admin", "update-client", "ana", "{}", "--if-match", "1"]), 4);
}

#[tokio::test]
async fn an_unknown_outcome_is_told_with_what_settles_it() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    exits(&cluster.tool(&["admin", "insert-client", "ana", "{}"]), 0);
    exits(&cluster.tool(&["admin", "insert-product", "fig", "description=Fig", "quantity=9", "price=1"]), 0);
    for (via, left) in [("grpc", 7), ("http", 5), ("mqtt", 3)] {
        // The portal takes the order and says nothing any more.
        cluster.signal("client-1", Signal::SIGSTOP);
        let shop = ["shop", "--via", via, "--cid", "ana", "create-order", "fig=2", "--request", via];
        let lost = cluster.tool(&[&["--set", "tool.patience_seconds=1"], &shop[..]].concat());
        exits(&lost, 5);
        let said = err(&lost);
        assert!(said.contains("outcome unknown") && said.contains(&format!("--request {via}")), "{said}");
        cluster.signal("client-1", Signal::SIGCONT);
        let order = [&["--json"], &shop[..]].concat();
        let [settled, again] = [cluster.tool(&order), cluster.tool(&order)];
        exits(&settled, 0);
        assert_eq!(documents(&settled), documents(&again));
        let shelf = cluster.tool(&["--json", "admin", "list-products"]);
        assert_eq!(documents(&shelf)[0][0]["quantity"], left, "ordered once");
    }

    let (_, others) = paused(&cluster).await;
    others.iter().for_each(|node| cluster.signal(node, Signal::SIGSTOP));
    let lost = cluster.tool(&["--set", "tool.patience_seconds=2", "kv", "set", "k", "x"]);
    others.iter().for_each(|node| cluster.signal(node, Signal::SIGCONT));
    // A leader that has stepped down before the write came has not taken it: then nothing happened.
    assert!(matches!(lost.status.code(), Some(3 | 5)), "{lost:?}");
}

#[tokio::test]
async fn status_and_logs_show_where_every_replica_stands() {
    let mut cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    exits(&cluster.tool(&["kv", "-c", "set 1 one; set 2 two"]), 0);
    cluster.wait_until_equal().await;
    let leader = cluster.leader().await;
    let off = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    let off_id = off.trim_start_matches("node-").to_owned();
    let status = cluster.tool(&["--json", "status"]);
    exits(&status, 0);
    let told = &documents(&status)[0];
    let roles: Vec<&str> =
        told["nodes"].as_array().unwrap().iter().map(|n| n["role"].as_str().unwrap()).collect();
    assert_eq!(roles.iter().filter(|role| **role == "leader").count(), 1, "{told}");
    assert_eq!(roles.iter().filter(|role| **role == "follower").count(), 2, "{told}");
    assert!(told["portals"].as_array().unwrap().iter().all(|p| p["groups"][0]["state"] == "LIVE"), "{told}");

    let running = cluster.tool(&["--json", "log", "show", &off_id, "--limit", "1000"]);
    exits(&running, 0);
    let of_node = documents(&running).remove(0);
    let entries = of_node["entries"].as_array().unwrap();
    assert!(entries.iter().any(|e| e["kind"] == "membership" && e["offset"] == 1), "{of_node}");
    assert!(entries.iter().all(|entry| entry["standing"] == "committed, applied"), "{of_node}");
    cluster.stop(&off);
    let stopped = cluster.tool(&["--json", "log", "show", &off_id, "--limit", "1000"]);
    exits(&stopped, 0);
    let of_folder = documents(&stopped).remove(0);
    let offsets = |of: &Value| {
        of["entries"].as_array().unwrap().iter().map(|e| e["offset"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        offsets(&of_folder)[..entries.len()],
        offsets(&of_node),
        "the folder holds what the node showed"
    );
    let status = cluster.tool(&["status"]);
    exits(&status, 0);
    assert!(out(&status).contains("down") && out(&status).contains("leader"), "{}", out(&status));
    let page = cluster.tool(&[
        "--json",
        "log",
        "show",
        leader.trim_start_matches("node-"),
        "--from",
        "1",
        "--limit",
        "2",
    ]);
    assert_eq!(offsets(&documents(&page)[0]), [json!(1), json!(2)]);
    exits(&cluster.tool(&["log", "show", "9"]), 2);
    exits(&cluster.tool(&["log", "plant", leader.trim_start_matches("node-")]), 1);
    for node in cluster.nodes() {
        cluster.kill(&node);
    }
    let dead = cluster.tool(&["status"]);
    exits(&dead, 3);
    assert!(err(&dead).contains("no node of the store answers"), "{}", err(&dead));
    exits(&cluster.tool(&["--set", "tool.patience_seconds=1", "audit"]), 3);
}

/// What verifying node 2's files tells; they must be whole.
#[track_caller]
fn verified(cluster: &Cluster, what: &str) -> Value {
    let output = cluster.tool(&["--json", what, "verify", "2"]);
    exits(&output, 0);
    documents(&output).remove(0)
}

/// Turns one bit of a file in a node's folder.
fn damage(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn every_byte_of_a_nodes_files_is_verified_and_damage_is_told_by_file_and_byte() {
    let store = "snapshot_seconds = 1\n";
    let mut cluster = Cluster::start(feira_tests::feira!(), Options { store, ..only_store() }).await;
    // A snapshot is taken when something was written since the last one.
    feira_tests::wait::until_blocking("a snapshot", PATIENCE, || {
        exits(&cluster.tool(&["kv", "-c", "set k x; del k"]), 0);
        let told = verified(&cluster, "snapshot");
        if told["snapshots"].as_array().unwrap().is_empty() { Err(told.to_string()) } else { Ok(()) }
    });
    let log = verified(&cluster, "log");
    assert_eq!((&log["whole"], &log["maybe_lost_tail"]), (&json!(true), &json!(false)), "{log}");
    assert!(log["files"].as_array().unwrap().len() > 1, "{log}");
    assert!(log["last"]["offset"].as_u64() >= log["commit_mark"].as_u64(), "{log}");
    let shown = cluster.tool(&["--json", "snapshot", "show", "2"]);
    exits(&shown, 0);
    let shown = documents(&shown).remove(0);
    assert!(!shown["shown"].as_array().unwrap().is_empty() && shown["damage"].is_null(), "{shown}");
    assert!(shown["of"]["position"]["offset"].as_u64() <= log["last"]["offset"].as_u64(), "{shown}");
    let plain = cluster.tool(&["snapshot", "show", "2"]);
    assert!(out(&plain).contains("the state at e"), "{}", out(&plain));
    exits(&cluster.tool(&["snapshot", "show", "2", "999"]), 2);
    exits(&cluster.tool(&["log", "verify", "9"]), 2);

    cluster.stop("node-2");
    let folder = cluster.path().join("data/node-2/groups/1");
    let newest = verified(&cluster, "log")["files"].as_array().unwrap().last().unwrap()["file"]
        .as_str()
        .unwrap()
        .to_owned();
    let snapshot = shown["file"].as_str().unwrap().to_owned();
    let at = usize::try_from(shown["shown"][0]["at"].as_u64().unwrap()).unwrap() + 40;
    damage(&folder.join(&snapshot), at);
    // In the header, which ends with a checksum.
    damage(&folder.join(&newest), 20);
    for (what, file) in [("snapshot", &snapshot), ("log", &newest)] {
        let output = cluster.tool(&["--json", what, "verify", "2"]);
        exits(&output, 1);
        assert_eq!(documents(&output)[0]["whole"], false, "{}", out(&output));
        assert!(err(&output).contains(&format!("{file} is damaged at byte ")), "{}", err(&output));
    }
    let plain = cluster.tool(&["log", "verify", "2"]);
    assert!(
        out(&plain).contains("DAMAGED (1)") && out(&plain).contains("damaged at byte"),
        "{}",
        out(&plain)
    );
}

#[tokio::test]
async fn a_wrong_configuration_is_told_by_key_before_anything_starts() {
    let folder = std::env::temp_dir().join(format!("feira-test-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("feira.toml");
    let run = |text: &str, arguments: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let mut command = std::process::Command::new(feira_tests::feira!());
        command.arg("--config").arg(&file).args(arguments);
        Dialogue::start(command).output_within(PATIENCE)
    };
    for (text, arguments, key) in [
        ("clusterr = \"x\"\n", &["config"][..], "clusterr"),
        ("cluster = \"São Paulo\"\n", &["config"], "cluster is \"São Paulo\""),
        ("[portal]\nlease_ms = \"soon\"\n", &["status"], "portal.lease_ms"),
        ("[portal]\nlease_ms = 5\n", &["up"], "portal.lease_ms is \"5\"; allowed: 100 to 60000"),
        ("[broker]\nkind = \"rabbit\"\n", &["up"], "broker.kind"),
        ("[[store.nodes]]\nid = 1\nlisten = \"here\"\n", &["store", "--node", "1"], "store.nodes[0].listen"),
        ("", &["--set", "store.tick_ms=0", "store", "--node", "1"], "store.tick_ms"),
        ("", &["--set", "lease", "admin", "get-client", "x"], "KEY=VALUE"),
        ("cluster = \n", &["config"], "TOML"),
    ] {
        let output = run(text, arguments);
        exits(&output, 2);
        assert!(err(&output).contains(key), "{key} is not in: {}", err(&output));
        assert_eq!(out(&output), "", "{key}");
    }
    let shown = run("[portal]\nlease_ms = 700\n", &["--json", "--set", "portal.deadline_ms=900", "config"]);
    exits(&shown, 0);
    let portal = &documents(&shown)[0]["portal"];
    assert_eq!((&portal["lease_ms"], &portal["deadline_ms"]), (&json!(700), &json!(900)));
    let template = run("", &["config", "--template"]);
    let shown = run(&out(&template), &["config"]);
    exits(&shown, 0);
    let absent = run("", &["--config", "no/such.toml", "status"]);
    exits(&absent, 2);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing was made beside the file");
    std::fs::remove_dir_all(&folder).unwrap();
}
