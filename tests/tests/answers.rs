//! Answers that tell the truth, over real processes: the obstacle and its reporter, at once or after the
//! patience that it deserves; exit codes of lost output, of health and of status; the server at a wrong address.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use feira_tests::chaos::disk::SmallDisk;
use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::preload::clock_ahead;
use feira_tests::process::Dialogue;
use feira_tests::wait;
use nix::sys::signal::Signal;
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

/// The first document on standard output.
#[track_caller]
fn document(output: &Output) -> Value {
    let said = out(output);
    let line = said.lines().next().unwrap_or_else(|| panic!("nothing was said; {}", err(output)));
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {said}"))
}

/// A shop with a client and a product.
fn stocked(cluster: &Cluster) {
    let both = "insert-client ana {}; insert-product fig description=Fig quantity=9 price=2";
    ends(&cluster.tool(&["admin", "-c", both]), 0, &[]);
}

fn pause_the_others(cluster: &Cluster, leader: &str, signal: Signal) {
    cluster.nodes().iter().filter(|node| *node != leader).for_each(|node| cluster.signal(node, signal));
}

const ORDER: [&str; 6] = ["--json", "shop", "--cid", "ana", "create-order", "fig=1"];

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_are_told_at_once_with_their_reason_and_who_gave_it() {
    let store = "disk_reserve_bytes = 8388608\nmap_bytes = 268435456";
    let options = Options { embedded_broker: true, client_portals: 2, store, ..Options::default() };
    let mut cluster = Cluster::prepare(feira_tests::feira!(), options);
    let mut disks = BTreeMap::new();
    for node in ["node-1", "node-2", "node-3"] {
        match SmallDisk::mount(&cluster.data_of(node), 192 << 20) {
            Ok(disk) => disks.insert(node.to_owned(), disk),
            Err(why) => {
                eprintln!("LEFT OUT, full disks: {why}");
                return;
            }
        };
    }
    cluster.begin().await;
    stocked(&cluster);
    disks.values().for_each(|disk| disk.fill(2 << 20));
    // Whichever is full first gives its place away, until nobody can take it.
    let health = wait::until("health to say that writes are refused", PATIENCE, || async {
        let health = cluster.tool(&["--json", "health"]);
        let told = document(&health);
        let problem = told["problem"].as_str().unwrap_or_default();
        if problem.contains("writes are refused") { Ok(health) } else { Err(format!("{told}")) }
    })
    .await;
    ends(&health, 3, &[]);
    ends(&cluster.tool(&["status"]), 3, &["writes are refused"]);

    let begun = Instant::now();
    let patient = [&["--set", "tool.patience_seconds=60"][..], &ORDER].concat();
    let refused = cluster.tool(&patient);
    ends(&refused, 3, &["full up to its reserve", "client portal 127.0.0.1:", "tell the shop's staff"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "it is not waited for: {:?}", begun.elapsed());
    let error = &document(&refused)["error"];
    assert_eq!((&error["reason"], &error["exit"]), (&json!("STORE_OUT_OF_SPACE"), &json!(3)), "{error}");
    assert!(error["from"].as_str().unwrap().starts_with("client portal 127.0.0.1:"), "{error}");
    let refused = cluster.tool(&["--json", "kv", "set", "k", "x"]);
    ends(&refused, 3, &["full up to its reserve", "free disk space"]);
    assert_eq!(document(&refused)["error"]["reason"], "OUT_OF_SPACE");
    ends(&cluster.tool(&["shop", "--cid", "ana", "products"]), 0, &[]);

    disks.values().for_each(SmallDisk::empty);
    ends(&cluster.tool(&["health", "--wait", "60"]), 0, &[]);
    ends(&cluster.tool(&ORDER), 0, &[]);
}

#[tokio::test]
async fn a_clock_that_is_ahead_is_told_at_once_with_who_says_so() {
    let options = Options { nodes: 1, embedded_broker: true, client_portals: 2, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    stocked(&cluster);
    let ahead = clock_ahead(cluster.path(), Duration::from_secs(7_200));
    let begun = Instant::now();
    let mut order = cluster.command(&[&["--set", "tool.patience_seconds=60"][..], &ORDER].concat());
    order.envs(ahead);
    let refused = Dialogue::start(order).output_within(PATIENCE * 2);
    ends(&refused, 3, &["client portal 127.0.0.1:", " says so)", "compare date -u"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "it is not waited for: {:?}", begun.elapsed());
    let error = &document(&refused)["error"];
    assert_eq!((&error["reason"], &error["exit"]), (&json!("CLOCKS_APART"), &json!(3)), "{error}");
    assert!(error["from"].as_str().unwrap().starts_with("client portal 127.0.0.1:"), "{error}");
    // Nothing was done, and whose clock is right is served.
    let orders = cluster.tool(&["--json", "shop", "--cid", "ana", "list-orders"]);
    assert_eq!(document(&orders), json!([]));
    ends(&cluster.tool(&ORDER), 0, &[]);
}

#[tokio::test]
async fn no_quorum_is_waited_for_and_then_told_with_its_reason() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    stocked(&cluster);
    let leader = cluster.leader().await;
    pause_the_others(&cluster, &leader, Signal::SIGSTOP);
    let begun = Instant::now();
    let lost = cluster.tool(&[&["--set", "tool.patience_seconds=8"][..], &ORDER].concat());
    assert!(begun.elapsed() >= Duration::from_secs(5), "it is waited for: {:?}", begun.elapsed());
    // Which of both it is depends on whether the leader took the order before it gave its place up.
    assert!(matches!(lost.status.code(), Some(3 | 5)), "{}", err(&lost));
    let error = &document(&lost)["error"];
    assert!(error["from"].as_str().unwrap().starts_with("client portal 127.0.0.1:"), "{error}");
    let why = error["message"].as_str().unwrap();
    assert!(!why.contains("no answer from client portal"), "{why}");
    // A person sees it meanwhile, on a line that is rewritten.
    let mut order = Dialogue::on_terminal(cluster.command(&ORDER[1..]));
    order.hears("s left: ", PATIENCE);
    pause_the_others(&cluster, &leader, Signal::SIGCONT);
    let status = order.ends_within(PATIENCE * 2);
    assert!(status.success(), "{}", order.said());
    let said = order.said();
    assert!(said.contains("\u{1b}[2K") || said.contains("\u{1b}[K"), "the line is taken away: {said:?}");
}

#[tokio::test]
async fn output_that_a_full_disk_cuts_is_no_success() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    stocked(&cluster);
    let full = |arguments: &[&str]| {
        let mut command = cluster.command(arguments);
        command.stdin(Stdio::null()).stdout(File::options().write(true).open("/dev/full").unwrap());
        command.output().unwrap()
    };
    for arguments in [
        &["--json", "admin", "list-clients"][..],
        &["admin", "list-clients"],
        &["--json", "kv", "set", "1", "x"],
        &["--json", "status"],
        &["config"],
    ] {
        let cut = full(arguments);
        let code = cut.status.code().unwrap();
        assert!(code == 1, "{arguments:?}: {code}: {}", err(&cut));
        assert!(err(&cut).contains("cannot write to standard output: No space left"), "{}", err(&cut));
    }
    // A script goes no further than its first answer that was lost.
    let script = "get-client ana; insert-client bia {}";
    ends(&full(&["admin", "-c", script]), 1, &["cannot write to standard output"]);
    ends(&cluster.tool(&["admin", "get-client", "bia"]), 1, &[]);
    // The command's own failure is told too, and is the class.
    ends(
        &full(&["--json", "kv", "set", "1", "y"]),
        4,
        &["did not succeed", "cannot write to standard output"],
    );
    assert_eq!(full(&["--help"]).status.code(), Some(1));
    // A reader that wants no more is no failure.
    let mut command = cluster.command(&["--json", "admin", "list-clients"]);
    let mut closed = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(closed.stdout.take());
    assert!(closed.wait().unwrap().success());
}

#[tokio::test]
async fn health_and_status_tell_whether_people_can_work() {
    let options = Options { client_portals: 2, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let well = cluster.tool(&["health", "--wait", "30", "--strict"]);
    ends(&well, 0, &[]);
    assert!(out(&well).starts_with("well: node-") && out(&well).lines().count() == 1, "{}", out(&well));

    cluster.kill("client-1");
    let degraded = cluster.tool(&["health"]);
    ends(&degraded, 0, &[]);
    assert!(out(&degraded).contains("client-portal-1: is down"), "{}", out(&degraded));
    let strict = cluster.tool(&["--json", "health", "--strict"]);
    ends(&strict, 3, &[]);
    assert_eq!((&document(&strict)["serving"], out(&strict).lines().count()), (&json!(true), 1));
    ends(&cluster.tool(&["status"]), 0, &[]);

    cluster.kill("client-2");
    let health = cluster.tool(&["health"]);
    ends(&health, 3, &[]);
    assert!(out(&health).contains("no portal serves shoppers"), "{}", out(&health));
    assert_eq!(out(&health).lines().count(), 1, "one line: {}", out(&health));
    let status = cluster.tool(&["--json", "status"]);
    ends(&status, 3, &["no portal serves shoppers"]);
    assert_eq!(document(&status)["serving"], false);
    let mut waits = Dialogue::start(cluster.command(&["health", "--wait", "120"]));
    cluster.run("client-2");
    assert!(waits.ends_within(PATIENCE * 2).success(), "{}", waits.said());

    // A portal that runs and does not reach the store serves nobody.
    cluster.nodes().iter().for_each(|node| cluster.signal(node, Signal::SIGSTOP));
    let health = cluster.tool(&["--json", "health"]);
    cluster.nodes().iter().for_each(|node| cluster.signal(node, Signal::SIGCONT));
    ends(&health, 3, &[]);
    let told = document(&health);
    assert!(told["serving"] == false && told["problem"].is_string(), "{told}");
}

#[tokio::test]
async fn a_tool_at_a_wrong_address_says_who_answers_there() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let (admin, shop) = (cluster.address("admin-1").to_owned(), cluster.address("client-1").to_owned());
    let node = cluster.address("node-1").to_owned();
    let impatient = ["--set", "tool.patience_seconds=1"];
    let refused = cluster.tool(&["admin", "--portal", &shop, "list-clients"]);
    ends(&refused, 1, &["answers the portal", "which is no admin portal", &shop, "feira config"]);
    let refused = cluster.tool(&["shop", "--portal", &admin, "--cid", "ana", "products"]);
    ends(&refused, 1, &["which is no client portal"]);
    let refused = cluster.tool(&["admin", "--portal", &node, "list-clients"]);
    ends(&refused, 1, &["node 1 of the store, which is no admin portal"]);
    let none = cluster.tool(&[&impatient[..], &["kv", "--store", &shop, "get", "1"]].concat());
    ends(&none, 3, &["is no node of the store"]);
}

#[tokio::test]
async fn the_tools_use_every_portal_from_the_start() {
    let options = Options { admin_portals: 2, client_portals: 2, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    stocked(&cluster);
    for tool in [&["admin", "portal"][..], &["shop", "portal"]] {
        let mut asked = BTreeMap::new();
        // With two portals, one in 2^19 such runs asks only one of them.
        for _ in 0..20 {
            let told = cluster.tool(&[&["--json"], tool].concat());
            ends(&told, 0, &[]);
            *asked.entry(document(&told)["address"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        assert_eq!(asked.len(), 2, "{asked:?}");
    }
}

#[tokio::test]
async fn lists_that_are_cut_and_scripts_that_fail_say_how_much() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    stocked(&cluster);
    let more = "insert-product kiwi description=Kiwi quantity=1 price=1; insert-product lime description=Lime quantity=1 price=1";
    ends(&cluster.tool(&["admin", "-c", more]), 0, &[]);
    let there_are_more = "2 products shown, there are more: --after kiwi or --limit 0";
    for list in [&["admin", "list-products"][..], &["shop", "--cid", "ana", "products"]] {
        ends(&cluster.tool(&[list, &["--limit", "2"]].concat()), 0, &[there_are_more]);
        let cut = cluster.tool(&[&["--json"], list, &["--limit", "2"]].concat());
        ends(&cut, 0, &[there_are_more]);
        assert_eq!(document(&cut).as_array().unwrap().len(), 2);
        let whole = cluster.tool(&[list, &["--limit", "3"]].concat());
        ends(&whole, 0, &[]);
        assert!(!err(&whole).contains("there are more"), "{}", err(&whole));
        // What is told goes on from there, and flags of the screen may stand behind the command.
        let rest = cluster.tool(&[list, &["--after", "kiwi", "--limit", "0", "--json"]].concat());
        ends(&rest, 0, &[]);
        let rest = document(&rest);
        assert_eq!((rest.as_array().unwrap().len(), rest[0]["pid"].as_str()), (1, Some("lime")), "{rest}");
    }
    let script = "get-product fig\nget-product figg\nget-product kiwi; get-product qqq\nget-product lime\n";
    let stopped = cluster.tool_given(&["admin"], script);
    let not_run = "3 commands after it were not run; --keep-going runs them all the same";
    ends(&stopped, 1, &["line 2: NOT_FOUND", "did you mean fig?", not_run]);
    let on = cluster.tool_given(&["admin", "--keep-going"], script);
    ends(
        &on,
        1,
        &["line 2: NOT_FOUND", "line 3: NOT_FOUND", "2 of 5 commands did not succeed; the first: line 2"],
    );
    assert!(out(&on).contains("Lime"), "{}", out(&on));
    let script = cluster.tool_given(&["kv", "--quiet"], "set 1 a\nnonsense\nset 2 b\nget 1\n");
    ends(&script, 2, &["1 of 4 commands did not succeed"]);
}

#[tokio::test]
async fn a_removal_says_how_many_may_still_fail_and_the_last_voter_stays() {
    let options = Options { admin_portals: 0, client_portals: 0, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let removed = cluster.tool(&["member", "remove", "3"]);
    ends(&removed, 0, &[]);
    assert!(out(&removed).contains("2 voters left: none may fail any more"), "{}", out(&removed));
    let one = Cluster::start(feira_tests::feira!(), Options { nodes: 1, ..options }).await;
    let refused = one.tool(&["--json", "member", "remove", "1"]);
    ends(&refused, 1, &["node 1 is the last voter"]);
    assert_eq!(document(&refused)["error"]["kind"], "refused");
    ends(&one.tool(&["kv", "set", "1", "x"]), 0, &[]);
}

#[tokio::test]
async fn only_the_leader_hands_over_and_holds_and_others_say_who_leads() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let leader = cluster.leader().await;
    let other = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    let refused = cluster.tool(&["--json", "node", "hold-commit", &other]);
    ends(&refused, 1, &[&format!("{other} does not lead: {leader} does"), "node hold-commit"]);
    assert_eq!(document(&refused)["error"]["reason"], "NOT_LEADER");
    let held = cluster.tool(&["node", "hold-commit", &leader]);
    ends(&held, 0, &[]);
    let told = out(&held);
    assert!(told.contains("on the other nodes") && told.contains("commits, applies and answers"), "{told}");
    ends(&cluster.tool(&["kv", "set", "held", "x"]), 0, &[]);
    ends(&cluster.tool(&["node", "hold-commit", &leader, "--off"]), 0, &[]);

    cluster.wait_until_equal().await;
    let handed = cluster.tool(&["node", "transfer-leadership", &other]);
    ends(&handed, 0, &[]);
    assert!(out(&handed).contains(&format!("transferred leadership to {other}")), "{}", out(&handed));
    assert_eq!(cluster.leader().await, other);
    let already = cluster.tool(&["node", "transfer-leadership", &other]);
    ends(&already, 0, &[]);
    assert!(out(&already).contains("leads already"), "{}", out(&already));
    assert_eq!(cluster.leader().await, other);
    let id = other.trim_start_matches("node-");
    let shown = cluster.tool(&["log", "show", id, "--from", "1", "--limit", "1"]);
    ends(&shown, 0, &[]);
    assert!(out(&shown).contains("settled: voters 1 at"), "{}", out(&shown));
}
