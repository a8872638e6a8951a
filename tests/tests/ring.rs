//! A ring of three shards as its operators see it: founded, shown, used by the tools, and what is refused there.
#![allow(clippy::unwrap_used)]

use std::process::Output;

use feira_tests::cluster::{Cluster, Options};
use feira_tests::shop::{insert_client, insert_product, order};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn the_tools_show_every_shard_and_work_over_all_of_them() {
    let options = Options { shards: 3, nodes: 1, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let ring = said(&cluster.tool(&["ring"]));
    for part in ["a ring of 3 shards", "aaaaaaaaaaaaaaaa", "node-1", "node-2", "node-3"] {
        assert!(ring.contains(part), "{part}: {ring}");
    }
    let whose = said(&cluster.tool(&["ring", "where", "c/{c1}"]));
    assert!(whose.contains("is of shard 2"), "{whose}");
    let status = said(&cluster.tool(&["status"]));
    assert!(status.contains("SHARD") && status.contains("node-1, node-2, node-3 lead"), "{status}");

    // Keys of all shards, through one handle.
    for n in 1..=9 {
        assert!(cluster.tool(&["kv", "set", &n.to_string(), "kilos"]).status.success());
    }
    let scan = said(&cluster.tool(&["kv", "scan"]));
    // Beside them there may be the record of the shop, which the portals have written.
    assert_eq!(scan.matches("kilos").count(), 9, "{scan}");

    let (mut admin, mut shop) = (cluster.admin(1), cluster.shop(1));
    for n in 1..=4 {
        insert_client(&mut admin, &format!("c{n}")).await.unwrap();
        insert_product(&mut admin, &format!("p{n}"), 10, "1.50").await.unwrap();
    }
    let all = ["p1", "p2", "p3", "p4"].map(|pid| (pid, 1));
    for n in 1..=4 {
        order(&mut shop, &format!("c{n}"), &all).await.unwrap();
    }
    cluster.assert_audited().await;
    // What such an order wrote in the logs of the groups.
    let logs: Vec<String> =
        (1..=3).map(|node| said(&cluster.tool(&["--wide", "log", "show", &node.to_string()]))).collect();
    for kind in ["prepare", "decide", "finish", "forget"] {
        assert!(logs.iter().any(|log| log.contains(kind)), "{kind}: {logs:#?}");
    }
}

#[tokio::test]
async fn what_is_of_one_shard_says_so() {
    let options = Options { shards: 2, nodes: 1, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    let refused = |arguments: &[&str]| {
        let output = cluster.tool(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        said(&output)
    };
    assert!(refused(&["member", "add"]).contains("--shard 1 to 2"));
    assert!(refused(&["member", "remove", "9"]).contains("--shard 1 or 2"));
    assert!(refused(&["member", "promote", "1", "--shard", "2"]).contains("no replica of shard 2"));
    assert!(refused(&["log", "show", "--all"]).contains("--shard 1 or 2"));
    assert!(refused(&["--shard", "3", "member", "list"]).contains("the shards are 1 to 2"));
    assert!(refused(&["backup", "--out", "b", "--from", "1"]).contains("for a ring of one shard"));
    assert!(refused(&["--shard", "1", "kv", "get", "1"]).contains("not for one shard"));
    assert!(refused(&["kv", "--store", "127.0.0.1:1", "get", "1"]).contains("--config"));
    let members = said(&cluster.tool(&["member", "list"]));
    assert!(
        members.contains("shard 1: node 1 leads") && members.contains("shard 2: node 2 leads"),
        "{members}"
    );
    // In the folder of a shard that is not the first, too.
    assert!(said(&cluster.tool(&["log", "verify", "2"])).contains("log of node 2: whole"));
    let members = cluster.tool(&["--shard", "2", "member", "list"]);
    assert!(members.status.success() && said(&members).contains("node 2 leads"), "{}", said(&members));
}

#[tokio::test]
async fn a_replica_starts_only_with_as_many_shards_as_its_part_of_the_ring_is_of() {
    let options = Options { shards: 2, nodes: 1, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    cluster.stop("node-2");
    let (path, as_founded) = (cluster.config(), std::fs::read_to_string(cluster.config()).unwrap());
    let third = "[[store.nodes]]\nid = 3\nshard = 3\nlisten = \"127.0.0.1:1\"\n\n";
    let at = as_founded.find("[[store.nodes]]").unwrap();
    std::fs::write(&path, format!("{}{third}{}", &as_founded[..at], &as_founded[at..])).unwrap();
    let output = cluster.tool(&["store", "--node", "2"]);
    assert!(!output.status.success());
    for part in ["owns the hashes (ffffffffffffffff, 7fffffffffffffff]", "as one of 3 it would own"] {
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
    }
    std::fs::write(&path, as_founded).unwrap();
    cluster.run("node-2");
    cluster.leader_of(2).await;
}
