//! `feira up` as people use it: clusters of several shapes, the table of endpoints, parts broken and mended, a part
//! that dies, a clean end and a violent one, and folders that are lost or taken.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use feira_tests::cluster::PATIENCE;
use feira_tests::place::{LONG, Place, gone, is_there};
use feira_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn serves_as_told(shape: &[&str], expected: &[&str]) {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&[&["--any-ports", "--rehearsal"][..], shape].concat());
    let names: Vec<&str> = up.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, expected);
    let addresses = up.addresses();
    assert_eq!(addresses.len(), expected.len(), "{:?}", up.parts);
    for part in &up.parts {
        assert!(is_there(part.pid.unwrap()) && part.log.is_file(), "{part:?}");
        std::net::TcpStream::connect(&part.address).unwrap();
    }
    let file = std::fs::read_to_string(place.path().join("feira.toml")).unwrap();
    assert!(file.contains('#') && addresses.iter().all(|address| file.contains(address.as_str())), "{file}");
    // A portal serves before its cache does: it reads the store until then.
    let status = wait::until_blocking("every cache to be live", PATIENCE, || {
        let status = place.status();
        let live = |portal: &Value| portal["groups"][0]["state"] == "LIVE";
        let all = status["portals"].as_array().unwrap().iter().all(live);
        if all { Ok(status) } else { Err(status.to_string()) }
    });
    let listed = |kind: &str| expected.iter().filter(|name| name.starts_with(kind)).count();
    assert_eq!(status["nodes"].as_array().unwrap().len(), listed("node"));
    assert_eq!((&status["broker"]["state"], &status["serving"]), (&"up".into(), &true.into()), "{status}");
    assert_eq!(status["portals"].as_array().unwrap().len(), listed("admin") + listed("client"));
    place.done(&["admin", "insert-client", "ana", "{}"]);
    place.done(&["admin", "insert-product", "fig", "description=Fig", "quantity=5", "price=1"]);
    place.done(&["shop", "--cid", "ana", "create-order", "fig=2"]);
    place.done(&["audit"]);
    assert!(place.done(&["down"]).contains("stopped"));
    up.ends_well();

    // Started again, by its file alone, it has its data and its addresses.
    let up = place.up(&[]);
    assert_eq!(up.addresses(), addresses);
    assert!(place.done(&["shop", "--cid", "ana", "list-orders"]).contains("2.00"));
    place.done(&["audit"]);
    up.tool.signal(Signal::SIGTERM);
    up.ends_well();
}

#[test]
fn three_nodes_with_the_embedded_broker_serve_and_keep_their_data() {
    let parts = ["broker", "node-1", "node-2", "node-3", "admin-portal-1", "client-portal-1"];
    serves_as_told(&[], &parts);
}

#[test]
fn four_nodes_and_two_portals_of_each_kind_serve_with_mosquitto() {
    let shape = ["--nodes", "4", "--admin-portals", "2", "--client-portals", "2", "--broker", "mosquitto"];
    let nodes = ["broker", "node-1", "node-2", "node-3", "node-4"];
    let portals = ["admin-portal-1", "admin-portal-2", "client-portal-1", "client-portal-2"];
    serves_as_told(&shape, &[&nodes[..], &portals].concat());
}

fn faults_of_a_node_itself(place: &Place) {
    let leader = place.leader();
    place.done(&["node", "hold-commit", &leader]);
    place.done(&["kv", "set", "held", "x"]);
    place.done(&["node", "hold-commit", &leader, "--off"]);
    let heir = if leader == "1" { "2" } else { "1" };
    assert!(
        place
            .done(&["node", "transfer-leadership", heir])
            .contains(&format!("transferred leadership to node-{heir}"))
    );
    place.fails(
        &["node", "hold-commit", &leader],
        1,
        &format!("node-{leader} does not lead: node-{heir} does"),
    );
    place.fails(&["node", "hold-commit", "client-portal-1"], 2, "is no node of the store");
    place.fails(&["node", "kill", "9"], 2, "the parts are broker, node-1");
    place.fails(&["node", "kill", "1", "--off"], 2, "--off belongs to hold-commit");
}

#[test]
fn parts_are_broken_and_mended_on_request() {
    let place = Place::new(feira_tests::feira!());
    let mut up = place.up(&["--any-ports", "--rehearsal"]);
    place.done(&["admin", "insert-client", "ana", "{}"]);
    let leader = place.leader();
    let pid = up.pid(&format!("node-{leader}"));
    assert!(place.done(&["node", "kill", &leader]).contains("killed"));
    gone(&leader, pid);
    up.tool.hears(&format!("node-{leader} killed"), PATIENCE);
    assert_ne!(place.leader(), leader);
    place.done(&["admin", "update-client", "ana", "{\"n\":1}"]);
    for act in ["kill", "stop", "pause", "resume"] {
        place.fails(&["node", act, &leader], 1, &format!("feira node start node-{leader}"));
    }
    assert!(place.done(&["node", "restart", &leader]).contains("and serving"));
    let role = |id: &str| {
        let (status, id) = (place.status(), id.parse::<u64>().unwrap());
        let node = status["nodes"].as_array().unwrap().iter().find(|node| node["node"] == id).cloned();
        node.unwrap()["role"].clone()
    };
    assert_ne!(role(&leader), "down");

    // Stopped gracefully; paused, so that it hangs and answers nobody; resumed.
    assert!(place.done(&["node", "stop", &leader]).contains("stopped"));
    assert_eq!(role(&leader), "down");
    place.done(&["node", "restart", &leader]);
    let now = place.leader();
    assert!(place.done(&["node", "pause", &now]).contains("node-"));
    wait::until_blocking("another leader", PATIENCE, || {
        let other = place.leader();
        if other == now { Err("the paused one") } else { Ok(()) }
    });
    assert_eq!(role(&now), "down", "it hangs");
    place.done(&["node", "resume", &now]);
    wait::until_blocking("the resumed node to follow", PATIENCE, || {
        let role = role(&now);
        if role == "down" { Err(role.to_string()) } else { Ok(()) }
    });

    faults_of_a_node_itself(&place);

    // Portals and the broker are parts like any other.
    for part in ["broker", "admin-portal-1", "client-portal-1"] {
        place.done(&["node", "kill", part]);
        gone(part, up.pid(part));
        assert!(place.done(&["node", "restart", part]).contains("and serving"), "{part}");
    }
    assert!(place.done(&["admin", "get-client", "ana"]).contains("ana"));
    place.done(&["audit"]);
    up.tool.say("sair\n");
    let status = up.tool.ends_within(LONG);
    assert!(status.success(), "{status}: {}", up.tool.complained());
}

#[test]
fn a_part_that_dies_is_noticed_and_a_second_supervisor_is_refused() {
    let place = Place::new(feira_tests::feira!());
    place.fails(&["down"], 2, "there is no configuration file");
    let mut up = place.up(&["--any-ports", "--no-restart"]);
    place.fails(&["up"], 1, "another feira up runs the cluster in");
    place.fails(&["up", "--nodes", "4"], 2, "--nodes shapes a new cluster");
    kill(Pid::from_raw(up.pid("node-2")), Signal::SIGKILL).unwrap();
    up.tool.hears("node-2 ended by itself (signal: 9 (SIGKILL))", PATIENCE);
    up.tool.hears("feira node start node-2", PATIENCE);
    kill(Pid::from_raw(up.pid("client-portal-1")), Signal::SIGTERM).unwrap();
    up.tool.hears("client-portal-1 ended by itself (exit status: 0)", PATIENCE);
    place.done(&["node", "restart", "2"]);
    assert!(place.done(&["down"]).contains("stopped"));
    up.ends_well();
    place.fails(&["down"], 3, "no feira up runs the cluster in");
    place.fails(&["node", "kill", "1"], 3, "start it with feira up");
}

#[test]
fn a_part_that_ends_by_itself_is_started_again_after_a_pause_that_grows() {
    let place = Place::new(feira_tests::feira!());
    let mut up = place.up(&["--any-ports"]);
    let pid = |place: &Place, name: &str| {
        // Its log says nothing of its process: the supervisor's table at the start does, and then only /proc.
        let config = place.path().join("feira.toml").display().to_string();
        let arguments =
            name.replace("node-", "store\0--node\0").replace("client-portal-", "client-portal\0--instance\0");
        wait::until_blocking(name, PATIENCE, || process_with(&config, &arguments).ok_or("it does not run"))
    };
    let first = pid(&place, "node-2");
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    up.tool.hears("node-2 ended by itself (signal: 9 (SIGKILL))", PATIENCE);
    up.tool.hears("it is started again in 1 s", PATIENCE);
    up.tool.hears("node-2 was started again", PATIENCE);
    let second = pid(&place, "node-2");
    assert_ne!(first, second);
    kill(Pid::from_raw(second), Signal::SIGKILL).unwrap();
    up.tool.hears("it is started again in 2 s", PATIENCE);
    wait::until_blocking("the node to serve again", PATIENCE, || {
        let status = place.status();
        let down = status["nodes"].as_array().unwrap().iter().any(|node| node["role"] == "down");
        if down { Err(status.to_string()) } else { Ok(()) }
    });
    // Not what was stopped, by us or by somebody else; nor what says that its files are damaged.
    place.done(&["node", "kill", "1"]);
    kill(Pid::from_raw(pid(&place, "client-portal-1")), Signal::SIGTERM).unwrap();
    up.tool.hears("client-portal-1 ended by itself (exit status: 0)", PATIENCE);
    up.tool.hears("start it again with feira node start client-portal-1", PATIENCE);
    std::fs::write(place.path().join("feira-data/node-3/groups/1/meta"), b"nonsense").unwrap();
    kill(Pid::from_raw(pid(&place, "node-3")), Signal::SIGKILL).unwrap();
    up.tool.hears("node-3 was started again", PATIENCE);
    up.tool.hears("node-3 ended by itself (exit status: ", PATIENCE);
    up.tool.hears("member replace 3", PATIENCE);
    place.done(&["node", "start", "1"]);
    let said = up.tool.complained();
    let told = said.rfind("node-3 ended by itself (exit status: ").unwrap();
    assert!(!said[told..].contains("started again in"), "{said}");
    assert!(!said.contains("node-1 was started again") && !said.contains("client-portal-1 was"), "{said}");
    let log = std::fs::read_to_string(place.path().join("feira-data/log/up.log")).unwrap();
    assert!(log.contains("node-2 was started again"), "{log}");
    place.done(&["down"]);
    up.ends_well();
}

/// The process of this cluster with these arguments.
fn process_with(config: &str, arguments: &str) -> Option<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains(config) && line.contains(arguments)
    })
}

fn killed_with_all(shape: &[&str]) {
    let place = Place::new(feira_tests::feira!());
    let mut up = place.up(&[&["--any-ports"][..], shape].concat());
    place.done(&["kv", "set", "kept", "x"]);
    // One that hangs goes too.
    place.done(&["node", "pause", "1"]);
    up.tool.signal(Signal::SIGKILL);
    up.tool.ends_within(PATIENCE);
    // At once: the next one waits for the parts of this one, which are still ending.
    let next = place.up(&[]);
    up.all_gone();
    let up = next;
    assert!(place.done(&["kv", "get", "kept"]).contains("SUCCESS"));
    place.done(&["down"]);
    up.ends_well();
}

#[test]
fn kill_9_of_the_supervisor_takes_every_part_with_it() {
    killed_with_all(&[]);
}

#[test]
fn kill_9_of_the_supervisor_takes_mosquitto_with_it() {
    killed_with_all(&["--broker", "mosquitto"]);
}

#[test]
fn a_restart_does_not_wait_for_a_node_that_refuses_to_start() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports"]);
    place.fails(&["node", "start", "2"], 1, "node-2 runs already");
    place.done(&["node", "kill", "2"]);
    let meta = place.path().join("feira-data/node-2/groups/1/meta");
    let kept = std::fs::read(&meta).unwrap();
    std::fs::write(&meta, b"nonsense").unwrap();
    for act in ["start", "restart"] {
        let begun = std::time::Instant::now();
        let refused = place.tool(&["node", act, "2"]);
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        for what in ["node-2 ended at its start (exit status: ", "meta", "its whole log is ", "node-2.log"] {
            assert!(said.contains(what), "{what} is not in: {said}");
        }
        assert_eq!(said.matches("ended at its start").count(), 1, "{said}");
    }
    std::fs::write(&meta, kept).unwrap();
    assert!(place.done(&["node", "start", "2"]).contains("node-2 started and serving"));
    place.done(&["down"]);
    up.ends_well();
}

#[test]
fn what_is_wrong_with_a_cluster_folder_is_explained_and_nothing_is_made_anew() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--any-ports"]);
    place.done(&["kv", "set", "kept", "x"]);
    place.done(&["down"]);
    up.ends_well();
    let data = place.path().join("feira-data");
    let (node, aside) = (data.join("node-2"), place.path().join("aside"));
    std::fs::rename(&node, &aside).unwrap();
    place.fails(&["bootstrap"], 1, "the folder of node 2 is gone");
    place.fails(&["bootstrap"], 1, "member replace 2");
    assert!(!node.exists(), "an empty folder is another member");
    place.fails(&["store", "--node", "2"], 1, "node-2");
    std::fs::rename(&aside, &node).unwrap();
    place.fails(&["--set", "cluster=other", "up"], 1, "was founded as \"feira\"");
    // A node under another's folder is not believed.
    let other = data.join("node-1");
    std::fs::rename(&node, &aside).unwrap();
    let copied = Command::new("cp").arg("-r").args([&other, &node]).status().unwrap();
    assert!(copied.success());
    let refused = place.tool(&["store", "--node", "2"]);
    assert!(!refused.status.success(), "{refused:?}");
    std::fs::remove_dir_all(&node).unwrap();
    std::fs::rename(&aside, &node).unwrap();
    // A port that somebody else has: which part, and why, is said, and what was started is stopped.
    let file = std::fs::read_to_string(place.path().join("feira.toml")).unwrap();
    let portal = file.lines().rev().find_map(|line| line.strip_prefix("listen = ")).unwrap();
    let taken = std::net::TcpListener::bind(portal.trim_matches('"')).unwrap();
    let refused = place.tool(&["up"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("client-portal-1"), "{said}");
    assert!(said.contains("in use"), "{said}");
    drop(taken);
    let up = place.up(&[]);
    assert!(place.done(&["kv", "get", "kept"]).contains("SUCCESS"));
    place.done(&["down"]);
    up.ends_well();
}
