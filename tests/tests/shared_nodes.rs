//! Nodes that hold a replica of each of several shards, in one process each: three processes are a ring of three shards. A process
//! that is killed takes all of its replicas along, and a folder that is lost comes back shard by shard.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::place::{Place, damage_log};
use feira_tests::shop::{insert_client, insert_product, order, patient, product};
use feira_tests::wait;
use proto::portal::CreateOrderRequest;
use serde_json::Value;

/// Goods, whose shards are several.
const PIDS: [&str; 4] = ["p1", "p2", "p3", "p4"];
/// Orders of each stretch of the test.
const ORDERS: i64 = 12;

async fn orders(cluster: &Cluster, from: i64) {
    let all = PIDS.map(|pid| (pid, 1));
    for n in from..from + ORDERS {
        let request = CreateOrderRequest {
            cid: format!("c{}", n % 4 + 1),
            lines: feira_tests::shop::lines(&all),
            request: feira_tests::shop::request_id(),
            ..CreateOrderRequest::default()
        };
        feira_tests::shop::order_persistently(&mut cluster.shop(1), &request).await;
    }
}

#[tokio::test]
async fn three_processes_are_a_ring_of_three_shards_and_lose_one_that_leads() {
    let options = Options { shards: 3, shared: true, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    assert_eq!(cluster.nodes(), ["node-1", "node-2", "node-3"]);
    for shard in cluster.shards() {
        let spread = || async {
            let leader = cluster.leader_of(shard).await;
            if leader == format!("node-{shard}") { Ok(()) } else { Err(leader) }
        };
        wait::until("each node to lead a shard", PATIENCE, spread).await;
    }
    let (mut admin, mut shop) = (cluster.admin(1), cluster.shop(1));
    for (n, pid) in (1..).zip(PIDS) {
        insert_client(&mut admin, &format!("c{n}")).await.unwrap();
        insert_product(&mut admin, pid, 100, "1.50").await.unwrap();
    }
    order(&mut shop, "c1", &PIDS.map(|pid| (pid, 1))).await.unwrap();
    orders(&cluster, 0).await;

    let killed = cluster.leader_of(2).await;
    cluster.kill(&killed);
    orders(&cluster, ORDERS).await;
    for shard in cluster.shards() {
        assert_ne!(cluster.leader_of(shard).await, killed, "shard {shard} is led by another");
    }
    let status = cluster.tool(&["--json", "status"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let rows = status["nodes"].as_array().unwrap();
    let down = rows.iter().filter(|row| row["role"] == "down").map(|row| row["shard"].as_u64().unwrap());
    assert_eq!((rows.len(), down.collect::<Vec<_>>()), (9, vec![1, 2, 3]), "{status}");
    assert_eq!(status["degraded"], serde_json::json!([format!("{killed} is down")]));

    cluster.run(&killed);
    orders(&cluster, 2 * ORDERS).await;
    cluster.assert_audited().await;
    for pid in PIDS {
        let left = product(&mut admin, pid).await.unwrap();
        assert_eq!(left.stock.unwrap().available, 100 - 1 - 3 * ORDERS, "{pid}");
    }
    // All at once: nothing is lost that was acknowledged, and the ring goes on.
    for node in cluster.nodes() {
        cluster.kill(&node);
    }
    cluster.run_all().await;
    orders(&cluster, 3 * ORDERS).await;
    cluster.assert_audited().await;
    assert!(admin.get_product(patient(proto::portal::GetProductRequest { pid: "p1".into() })).await.is_ok());
}

fn json(place: &Place, arguments: &[&str]) -> Value {
    serde_json::from_str(&place.done(&[&["--json"][..], arguments].concat())).unwrap()
}

fn folder(place: &Place, node: u64, shard: u64) -> PathBuf {
    place.path().join(format!("feira-data/node-{node}/groups/{shard}"))
}

/// The voters of each shard.
fn voters(place: &Place) -> Vec<Vec<u64>> {
    wait::until_blocking("leaders' lists of members, settled", PATIENCE, || {
        let listed = json(place, &["member", "list"]);
        let mut all = Vec::new();
        for shard in listed.as_array().unwrap() {
            let members = shard["members"].as_array().unwrap();
            let moves = members.iter().any(|one| one["part"] == "incoming" || one["part"] == "outgoing");
            if shard["leader"].is_null() || moves {
                return Err(listed.to_string());
            }
            let voters = members.iter().filter(|one| one["part"] == "voter");
            all.push(voters.map(|one| one["node"].as_u64().unwrap()).collect());
        }
        Ok(all)
    })
}

/// The shards that a command has told of.
fn shards(told: &Value) -> Vec<u64> {
    told["shards"].as_array().unwrap().iter().map(|one| one["shard"].as_u64().unwrap()).collect()
}

/// The books are right, and all replicas are equal: each can be read once it has caught up.
fn audited(place: &Place) {
    wait::until_blocking("an audit of every replica", PATIENCE, || {
        let audit = place.tool(&["audit"]);
        if audit.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&audit.stderr).into_owned()) }
    });
}

fn open_shop(place: &Place) {
    place.done(&["admin", "insert-client", "ana", "{}"]);
    for pid in PIDS {
        place.done(&["admin", "insert-product", pid, "description=x", "quantity=50", "price=1"]);
    }
    buy(place);
}

fn buy(place: &Place) {
    place.done(&["shop", "--cid", "ana", "create-order", "p1=1", "p2=1", "p3=1", "p4=1"]);
}

#[test]
fn what_a_node_lost_comes_back_shard_by_shard() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports", "--shards", "3"]);
    open_shop(&place);
    let killed = place.done(&["node", "kill", "2"]);
    assert!(killed.contains("node-2 killed, with its replicas of the shards 1, 2, 3"), "{killed}");
    place.done(&["node", "start", "2"]);
    place.fails(&["node", "resync", "2"], 2, "--shard 1, 2 or 3");
    place.fails(&["node", "kill", "2", "--shard", "1"], 2, "the whole process");
    place.fails(&["log", "show", "2"], 2, "--shard 1, 2 or 3");
    assert!(place.done(&["log", "show", "2", "--shard", "3"]).contains("log of node 2"));
    place.done(&["down"]);
    up.ends_well();

    // One replica: its node is left out whole, and told what brings it back.
    std::fs::remove_dir_all(folder(&place, 3, 2)).unwrap();
    let mut up = place.up(&[]);
    up.tool.hears("node-3 is left out: node 3 holds no replica of shard 2 any more", PATIENCE);
    up.tool.hears("member replace 3", PATIENCE);
    place.fails(&["node", "start", "3"], 1, "holds no replica of shard 2 of node 3");
    buy(&place);
    place.fails(&["member", "replace", "3", "--shard", "1"], 1, "has lost its replica of shard 2 too");
    let one = json(&place, &["member", "replace", "3"]);
    assert_eq!((&one["part"], &one["aside"]), (&Value::from("voter"), &Value::Null), "{one}");
    assert_eq!(voters(&place), vec![vec![1, 2, 3]; 3]);
    audited(&place);

    // A whole node.
    place.done(&["node", "kill", "1"]);
    std::fs::remove_dir_all(place.path().join("feira-data/node-1")).unwrap();
    buy(&place);
    let all = json(&place, &["member", "replace", "1"]);
    assert_eq!(shards(&all), [1, 2, 3], "{all}");
    assert_eq!(json(&place, &["member", "replace", "1"])["changed"], false);
    audited(&place);

    // A damaged replica beside others that are right: only it is replaced.
    place.done(&["node", "stop", "2"]);
    damage_log(&folder(&place, 2, 3));
    place.fails(&["node", "start", "2"], 1, "member replace 2 --shard 3");
    place.fails(&["member", "replace", "2"], 1, "no replica of node 2 is lost");
    buy(&place);
    let damaged = json(&place, &["member", "replace", "2", "--shard", "3"]);
    let aside = PathBuf::from(damaged["aside"].as_str().unwrap());
    assert!(aside.join("log.0").is_file() && aside.ends_with("groups/3"), "{damaged}");
    assert_eq!(voters(&place), vec![vec![1, 2, 3]; 3]);
    buy(&place);
    audited(&place);
    place.done(&["down"]);
    up.ends_well();
}

#[test]
fn a_node_joins_the_groups_of_all_shards_leaves_one_and_then_the_others() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports", "--shards", "2"]);
    open_shop(&place);
    let added = json(&place, &["member", "add"]);
    assert_eq!((&added["node"], shards(&added)), (&Value::from(4), vec![1, 2]), "{added}");
    let promoted = json(&place, &["member", "promote", "4"]);
    assert_eq!((&promoted["part"], shards(&promoted)), (&Value::from("voter"), vec![1, 2]));
    assert_eq!(voters(&place), vec![vec![1, 2, 3, 4]; 2]);
    buy(&place);

    let left = json(&place, &["member", "remove", "4", "--shard", "2"]);
    assert_eq!((&left["changed"], &left["voters"]), (&Value::Bool(true), &Value::from(3)), "{left}");
    assert_eq!(voters(&place), [vec![1, 2, 3, 4], vec![1, 2, 3]]);
    place.fails(&["member", "promote", "4", "--shard", "2"], 2, "gives node 4 no replica of shard 2");
    buy(&place);
    audited(&place);
    // It comes back into the group that it left, and another leaves both.
    let back = json(&place, &["member", "add", "4", "--shard", "2"]);
    assert_eq!(back["changed"], true, "{back}");
    json(&place, &["member", "promote", "4", "--shard", "2"]);
    assert_eq!(voters(&place), vec![vec![1, 2, 3, 4]; 2]);
    let gone = json(&place, &["member", "remove", "3"]);
    assert_eq!((shards(&gone), &gone["may_fail"]), (vec![1, 2], &Value::from(1)), "{gone}");
    assert_eq!(voters(&place), vec![vec![1, 2, 4]; 2]);
    buy(&place);
    audited(&place);
    place.done(&["down"]);
    up.ends_well();
    let mut up = place.up(&[]);
    up.tool.hears("everything serves", PATIENCE);
    buy(&place);
    audited(&place);
    place.done(&["down"]);
    up.ends_well();
}
