//! `feira member` over real processes: a group grows and shrinks while writes go on, lost and damaged folders are replaced,
//! the leader dies in the middle of changes, and a removed node serves nobody.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options, PATIENCE, with_timeout};
use feira_tests::place::{LONG, Place, damage_log};
use feira_tests::process::Dialogue;
use feira_tests::wait;
use nix::sys::signal::Signal;
use proto::store::{Freshness, GetRequest, Role, Route, freshness};
use serde_json::Value;
use store_client::{Config, Replicated, Store, StoreExt};
use tonic::Code;

/// Moments after the beginning of a change at which its leader is killed, milliseconds.
const MOMENTS_MS: [u64; 4] = [0, 4, 15, 60];

/// Writes until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<u64>,
}

fn store(place: &Place) -> Replicated {
    let nodes = place.status()["nodes"].as_array().unwrap().clone();
    let addresses = nodes.iter().map(|node| node["address"].as_str().unwrap().to_owned());
    let config = Config { deadline: Duration::from_secs(60), ..Config::of(addresses.collect()) };
    Replicated::new(config).unwrap()
}

impl Load {
    /// Counts acknowledged writes under keys of this name. The store is known by the nodes of the beginning alone.
    fn start(store: Replicated, name: &'static str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut written = 0;
            while !stopped.load(Ordering::Relaxed) {
                let identity = store_client::request_identity(fastrand::u128(..).to_le_bytes());
                let key = format!("{name}{written}");
                store.set(key.into(), 1, Bytes::from_static(b"v"), Some(identity)).await.unwrap();
                written += 1;
            }
            written
        });
        Load { stop, task }
    }

    /// Each write that was acknowledged is there.
    async fn end(self, store: &Replicated, name: &str) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let written = self.task.await.unwrap();
        for i in 0..written {
            let got = store.get(format!("{name}{i}").into(), Freshness::linearizable()).await.unwrap();
            assert!(got.record.is_some(), "{name}{i} was acknowledged and is gone");
        }
        written
    }
}

fn json(place: &Place, arguments: &[&str]) -> Value {
    serde_json::from_str(&place.done(&[&["--json"][..], arguments].concat())).unwrap()
}

/// Node and part of each member.
fn members(place: &Place) -> Vec<(u64, String)> {
    // What others than the leader know may be old.
    let listed = wait::until_blocking("a leader's list of members", PATIENCE, || {
        let listed = json(place, &["member", "list"]);
        if listed["leader"].is_null() { Err(listed.to_string()) } else { Ok(listed) }
    });
    let all = listed["members"].as_array().unwrap().clone();
    all.iter().map(|one| (one["node"].as_u64().unwrap(), one["part"].as_str().unwrap().to_owned())).collect()
}

fn voters(ids: &[u64]) -> Vec<(u64, String)> {
    ids.iter().map(|id| (*id, "voter".to_owned())).collect()
}

fn data(place: &Place, node: u64) -> PathBuf {
    place.path().join(format!("feira-data/node-{node}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_to_five_and_shrinks_to_three_while_writes_go_on() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports"]);
    place.done(&["admin", "insert-client", "ana", "{}"]);
    place.done(&["admin", "insert-product", "fig", "description=Fig", "quantity=5", "price=1"]);
    let load = Load::start(store(&place), "k");
    for id in ["4", "5"] {
        place.fails(&["member", "promote", id, "--wait", "0"], 1, "is not in the group");
        let added = json(&place, &["member", "add"]);
        assert_eq!((added["node"].to_string().as_str(), &added["started"]), (id, &Value::Bool(true)));
        assert_eq!(json(&place, &["member", "promote", id])["part"], "voter");
    }
    assert_eq!(members(&place), voters(&[1, 2, 3, 4, 5]));
    // Given again, what is so already is done; and mistakes are told.
    assert_eq!(json(&place, &["member", "promote", "5"])["changed"], false);
    place.fails(&["member", "add", "5"], 4, "in the group already");
    place.fails(&["member", "add", "0"], 2, "the id of a node");
    place.fails(&["member", "remove", "9"], 1, "neither in the group nor in the configuration");
    assert_eq!(json(&place, &["member", "replace", "2"])["changed"], false);

    // The leader goes, and one more.
    let leader = place.leader();
    let removed = json(&place, &["member", "remove", &leader]);
    assert_eq!((&removed["changed"], &removed["may_fail"]), (&Value::Bool(true), &1.into()), "{removed}");
    let other = place.leader();
    assert_ne!(other, leader);
    place.done(&["member", "remove", &format!("node-{other}")]);
    let left: Vec<u64> = (1..=5).filter(|id| ![&leader, &other].contains(&&id.to_string())).collect();
    assert_eq!(members(&place), voters(&left));
    place.fails(&["node", "start", &leader], 2, "there is no part");
    place.done(&["shop", "--cid", "ana", "create-order", "fig=2"]);
    assert!(load.end(&store(&place), "k").await > 0);
    place.done(&["audit"]);

    // It starts again as it is now; and who went may come back, with the folder that it left.
    place.done(&["down"]);
    up.ends_well();
    let up = place.up(&[]);
    assert_eq!(members(&place), voters(&left));
    place.done(&["member", "add", &leader]);
    place.done(&["member", "promote", &leader]);
    place.done(&["audit"]);
    place.done(&["down"]);
    up.ends_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_damaged_folder_does_not_stop_the_other_nodes_at_start() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports"]);
    place.done(&["kv", "set", "kept", "x"]);
    place.done(&["down"]);
    up.ends_well();

    std::fs::remove_dir_all(data(&place, 2)).unwrap();
    let mut up = place.up(&[]);
    up.tool.hears("node-2 is left out: the folder of node 2 is gone", PATIENCE);
    up.tool.hears("member replace 2", PATIENCE);
    let told: Value = serde_json::from_str(up.tool.said().lines().next().unwrap()).unwrap();
    assert_eq!(told["left_out"][0]["node"], 2, "{told}");
    place.fails(&["node", "start", "2"], 1, "member replace 2");
    let load = Load::start(store(&place), "k");
    let output = place.tool(&["--json", "member", "replace", "node-2"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !told.contains("in the group already"), "{told}");
    let replaced: Value = serde_json::from_slice(&output.stdout).unwrap();
    wait::until("the refusal of the lost folder to be forgotten", Duration::from_secs(30), || async {
        let problems: Vec<Value> =
            place.status()["nodes"].as_array().unwrap().iter().map(|node| node["problem"].clone()).collect();
        if problems.iter().all(|problem| problem == "") { Ok(()) } else { Err(format!("{problems:?}")) }
    })
    .await;
    assert_eq!((&replaced["part"], &replaced["aside"]), (&Value::from("voter"), &Value::Null), "{replaced}");
    assert_eq!(members(&place), voters(&[1, 2, 3]));
    // Nothing is lost when the other initial member that wrote with it goes.
    place.done(&["node", "kill", "1"]);
    assert!(place.done(&["kv", "get", "kept"]).contains("SUCCESS"));
    damage_log(&data(&place, 1).join("groups/1"));
    place.fails(&["node", "start", "1"], 1, "member replace 1");
    up.tool.hears("node-1 ended by itself", PATIENCE);
    up.tool.hears("bring it back: ", PATIENCE);
    assert!(!up.tool.complained().contains("start it again"), "one hint: {}", up.tool.complained());
    assert!(load.end(&store(&place), "k").await > 0);
    place.done(&["down"]);
    up.ends_well();

    let mut up = place.up(&[]);
    up.tool.hears("node-1 is left out: node-1 ended at its start", PATIENCE);
    assert!(!up.tool.complained().contains("start it again"), "one hint: {}", up.tool.complained());
    up.tool.hears("member replace 1", PATIENCE);
    assert!(place.done(&["kv", "get", "kept"]).contains("SUCCESS"));
    let replaced = json(&place, &["member", "replace", "1"]);
    let aside = PathBuf::from(replaced["aside"].as_str().unwrap());
    assert!(aside.join("groups/1/log.0").is_file(), "nothing is deleted: {}", aside.display());
    place.done(&["audit"]);
    place.done(&["down"]);
    up.ends_well();

    // Without a majority nothing is begun.
    for node in [1, 2] {
        std::fs::remove_dir_all(data(&place, node)).unwrap();
    }
    place.fails(&["up"], 1, "1 of 3 voters can be started, which is no majority");
    assert!(!data(&place, 1).exists());
}

/// Gives a command, and kills whoever leads at that moment of it. The command must do it all the same.
async fn change_and_kill(place: &Place, arguments: &[&str], moment_ms: u64) {
    let leader = place.leader();
    let mut command = Dialogue::start(place.command(arguments));
    command.hang_up();
    wait::pass(Duration::from_millis(moment_ms)).await;
    let killed = place.tool(&["node", "kill", &leader]);
    // A leader that was to go may have gone by then.
    let has_gone = arguments == ["member", "remove", &leader];
    let complained = String::from_utf8_lossy(&killed.stderr);
    let is_away = complained.contains("does not run") || complained.contains("there is no part");
    assert!(killed.status.success() || has_gone && is_away, "{complained}");
    let output = command.output_within(LONG);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} at {moment_ms} ms: {said}");
    // A leader that was to go is gone from the configuration; the others come back.
    if members(place).iter().any(|(node, _)| node.to_string() == leader) {
        place.done(&["node", "start", &leader]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_in_the_middle_of_changes_lose_nothing_and_the_changes_are_made() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports"]);
    let load = Load::start(store(&place), "k");
    for moment_ms in MOMENTS_MS {
        change_and_kill(&place, &["member", "add", "4"], moment_ms).await;
        assert_eq!(members(&place)[3], (4, "learner".to_owned()));
        change_and_kill(&place, &["member", "promote", "4"], moment_ms).await;
        assert_eq!(members(&place), voters(&[1, 2, 3, 4]));
        change_and_kill(&place, &["member", "remove", "4"], moment_ms).await;
        assert_eq!(members(&place), voters(&[1, 2, 3]));
    }
    assert!(load.end(&store(&place), "k").await > 0);
    place.done(&["audit"]);
    place.done(&["down"]);
    up.ends_well();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_started_by_hand_join_leave_and_serve_nobody_from_then_on() {
    let mut cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let said = |cluster: &Cluster, arguments: &[&str]| {
        let output = cluster.tool(arguments);
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), format!("{}{complained}", String::from_utf8_lossy(&output.stdout)))
    };
    let load = Load::start((*cluster.store()).clone(), "k");
    let (code, told) = said(&cluster, &["member", "add", "4"]);
    assert!(code == Some(0) && told.contains("store --node 4"), "the command is told: {told}");
    let (code, told) = said(&cluster, &["member", "promote", "4", "--wait", "0"]);
    assert!(code == Some(3) && told.contains("not caught up"), "it does not run: {told}");
    cluster.joined(4);
    cluster.run("node-4");
    let (code, told) = said(&cluster, &["member", "promote", "4"]);
    assert!(code == Some(0) && told.contains("node-4 is a voter"), "{told}");
    let (code, told) = said(&cluster, &["member", "remove", "4"]);
    assert!(code == Some(0) && told.contains("still runs"), "{told}");

    let freshness = Some(Freshness { kind: Some(freshness::Kind::Stale(true)), min_offset: 0 });
    let route = Some(Route::to(1, 1));
    let get = GetRequest { route, key: Bytes::from_static(b"k0"), freshness };
    let refused = wait::until("node-4 to know that it was removed", PATIENCE, || async {
        match cluster.kv("node-4").get(with_timeout(get.clone())).await {
            Ok(answer) => Err(format!("{answer:?}")),
            Err(status) => Ok(status),
        }
    })
    .await;
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("not a member of its group"), "{refused}");

    // A node that lost everything is replaced while it is down, and started by hand.
    cluster.kill("node-3");
    std::fs::remove_dir_all(cluster.data_of("node-3")).unwrap();
    let mut replace = Dialogue::start(cluster.command(&["member", "replace", "3"]));
    replace.hears("store --node 3", PATIENCE);
    cluster.run("node-3");
    let status = replace.ends_within(LONG);
    let told = replace.complained();
    assert!(status.success(), "{told}");
    let well = || async {
        let mut problems = Vec::new();
        for node in ["node-1", "node-2", "node-3"] {
            problems.push(cluster.status(node).await.map_err(|status| status.to_string())?.problem);
        }
        if problems.iter().all(String::is_empty) { Ok(()) } else { Err(format!("{problems:?}")) }
    };
    wait::until("the refusal of the lost folder to be forgotten", Duration::from_secs(30), well).await;
    assert!(!told.contains("in the group already"), "{told}");
    assert!(load.end(&cluster.store(), "k").await > 0);
    cluster.stop("node-4");
    cluster.wait_until_equal().await;
    let (code, told) = said(&cluster, &["audit"]);
    assert_eq!(code, Some(0), "{told}");
}

/// The leader goes while another voter's disk hangs, and then that voter stops altogether: it answered the change's round, and
/// without it nothing is committed by those who stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joint_membership_that_waits_is_named_with_the_node_that_it_waits_for_whether_anybody_leads_or_not()
{
    let options = Options { disks_hang: true, ..Options::default() };
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    cluster.wait_until_equal().await;
    let leader = cluster.leader().await;
    let waited_for = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    let id = |node: &str| node.trim_start_matches("node-").to_owned();
    let (disks, named) =
        (cluster.hung_disks.as_ref().unwrap(), format!("waits for node {}", id(&waited_for)));
    let is_named = || {
        for tool in [&["status"][..], &["member", "list"]] {
            wait::until_blocking(&format!("{tool:?} to say {named:?}"), LONG, || {
                let output = cluster.tool(tool);
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                if said.contains(&named) { Ok(()) } else { Err(said) }
            });
        }
    };
    disks.hang(&waited_for);
    let mut remove = Dialogue::start(cluster.command(&["member", "remove", &id(&leader), "--wait", "300"]));
    remove.hang_up();
    is_named();
    assert!(cluster.status(&leader).await.unwrap().role() == Role::Leader, "it is heard");
    cluster.signal(&waited_for, Signal::SIGSTOP);
    wait::until("nobody to lead", PATIENCE, || async {
        let role = cluster.status(&leader).await.map_err(|status| status.to_string())?.role();
        if role == Role::Leader { Err("it leads") } else { Ok(()) }.map_err(str::to_owned)
    })
    .await;
    is_named();
    remove.hears(&format!("no node leads; a change of members is under way and {named}"), PATIENCE);
    // As soon as it is back the change is made.
    disks.answer(&waited_for);
    cluster.signal(&waited_for, Signal::SIGCONT);
    let done = remove.output_within(LONG);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    cluster.leader().await;
    let listed = String::from_utf8(cluster.tool(&["member", "list"]).stdout).unwrap();
    assert!(listed.matches("voter").count() == 2 && !listed.contains("waits for"), "{listed}");
}
