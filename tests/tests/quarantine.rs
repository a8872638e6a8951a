//! Replicas whose database is wrong, over real processes and real files: bytes of a record change in `data.mdb` while
//! the node is stopped, as a disk or a hand might change them. The state hash finds a record that a transaction uses, on
//! a follower and on a leader; `feira audit` finds an unused one. Each time the replica heals.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options, with_timeout};
use feira_tests::shop::patient;
use feira_tests::wait;
use futures::StreamExt as _;
use nix::sys::signal::Signal;
use proto::portal::{GetClientRequest, InsertClientRequest};
use proto::store::{Freshness, GetRequest, ResyncRequest, Route, Status, TransferLeadershipRequest, Txn};
use store_client::{Cause, Error, Replicated, Store as _, request_identity};
use tonic::Code;

const ROUTE: Option<Route> = Some(Route::to(1, 1));
/// Tests share the machine with others.
const HEALED_WITHIN: Duration = Duration::from_secs(90);
/// More offsets than lie between two checkpoints.
const WRITES: u32 = 1_100;
const AT_ONCE: usize = 64;

const BEFORE: &str = "as-it-was-written-by-the-client-0001";
const AFTER: &str = "as-it-was-written-by-the-client-0009";

async fn cluster() -> Cluster {
    let options =
        Options { admin_portals: 0, client_portals: 0, embedded_broker: true, ..Options::default() };
    Cluster::start(feira_tests::feira!(), options).await
}

async fn execute(store: &Replicated, txn: Txn) {
    let answer = store.txn(txn, Some(request_identity([5; 16]))).await.unwrap();
    assert!(answer.success, "{:?}", answer.failed);
}

/// A record whose number counts, and which keeps the rest of itself.
async fn write_counter(store: &Replicated, key: &'static str) {
    let data = format!("{{\"state\":\"active\",\"open_orders\":0,\"data\":{{\"name\":\"{BEFORE}\"}}}}");
    execute(store, Txn::new().put(key, 1, data)).await;
}

/// Changes what stands for [`BEFORE`] in the database of a node that is stopped, wherever it stands.
fn change_bytes(cluster: &Cluster, node: &str) {
    let file = cluster.data_of(node).join("groups/1/db/data.mdb");
    let mut bytes = std::fs::read(&file).unwrap();
    let found: Vec<usize> = bytes
        .windows(BEFORE.len())
        .enumerate()
        .filter(|(_, at)| *at == BEFORE.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty(), "{} has the record", file.display());
    for at in found {
        bytes[at..at + AFTER.len()].copy_from_slice(AFTER.as_bytes());
    }
    std::fs::write(&file, bytes).unwrap();
}

/// What a replica itself holds.
async fn held(cluster: &Cluster, node: &str, key: &'static str) -> Result<String, tonic::Status> {
    let request = GetRequest { route: ROUTE, key: Bytes::from(key), freshness: Some(Freshness::stale()) };
    let answer = cluster.kv(node).get(request).await?.into_inner();
    assert_eq!(answer.status(), Status::Success);
    Ok(String::from_utf8_lossy(&answer.record.unwrap().data).into_owned())
}

/// Stops a follower, changes a record in its database, and starts it again: it notices nothing.
async fn spoil_a_follower(cluster: &mut Cluster, key: &'static str) -> String {
    cluster.wait_until_equal().await;
    let leader = cluster.leader().await;
    let victim = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    cluster.stop(&victim);
    change_bytes(cluster, &victim);
    cluster.run(&victim);
    let seen = wait::until("the changed record", HEALED_WITHIN, || async {
        held(cluster, &victim, key).await.map_err(|status| status.to_string())
    })
    .await;
    assert!(seen.contains(AFTER), "the database was trusted: {seen}");
    victim
}

async fn write_many(store: &Replicated) {
    let writes = (0..WRITES).map(|at| execute(store, Txn::new().put(format!("other/{at}"), 1, "x")));
    futures::stream::iter(writes).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

async fn healed(cluster: &Cluster, node: &str, key: &'static str) {
    wait::until("the replica has another state", HEALED_WITHIN, || async {
        let status = cluster.status(node).await.map_err(|status| status.to_string())?;
        let seen = held(cluster, node, key).await.map_err(|status| status.to_string())?;
        let is_healed = status.quarantined.is_empty() && seen.contains(BEFORE);
        if is_healed { Ok(()) } else { Err(format!("{}; {seen}", status.problem)) }
    })
    .await;
    cluster.wait_until_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_record_was_changed_is_quarantined_when_it_is_used_and_heals() {
    let mut cluster = cluster().await;
    let store = cluster.store();
    write_counter(&store, "counter").await;
    let victim = spoil_a_follower(&mut cluster, "counter").await;
    execute(&store, Txn::new().add("counter", 1, "/open_orders", 1, None)).await;
    write_many(&store).await;
    wait::until("it is quarantined", HEALED_WITHIN, || async {
        let log = cluster.log_of(&victim);
        if log.contains("it is quarantined") { Ok(()) } else { Err("not yet") }
    })
    .await;
    healed(&cluster, &victim, "counter").await;
    assert!(cluster.log_of(&victim).contains("serves again"));
    for node in cluster.nodes().iter().filter(|node| **node != victim) {
        assert!(!cluster.log_of(node).contains("it is quarantined"), "{node} was right");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_record_was_changed_steps_down_before_it_is_quarantined() {
    let mut cluster = cluster().await;
    let store = cluster.store();
    write_counter(&store, "counter").await;
    let victim = spoil_a_follower(&mut cluster, "counter").await;
    let leader = cluster.leader().await;
    let to = victim.trim_start_matches("node-").parse().unwrap();
    wait::until("the replica leads", HEALED_WITHIN, || async {
        let mut leads = cluster.operator(&leader);
        leads
            .transfer_leadership(TransferLeadershipRequest { route: ROUTE, to })
            .await
            .map_err(|status| status.to_string())
    })
    .await;
    assert_eq!(cluster.leader().await, victim);
    execute(&store, Txn::new().add("counter", 1, "/open_orders", 1, None)).await;
    write_many(&store).await;
    healed(&cluster, &victim, "counter").await;
    let log = cluster.log_of(&victim);
    let (quarantined, led) = (log.find("it is quarantined").unwrap(), log.rfind("role=Leader").unwrap());
    let stepped_down = log[led..].find("role=Follower").map(|at| led + at).unwrap();
    assert!(stepped_down < quarantined, "{log}");
}

/// Leadership goes to this node, which must have caught up.
async fn transfer_to(cluster: &Cluster, node: &str) {
    let to = node.trim_start_matches("node-").parse().unwrap();
    wait::until(&format!("{node} to lead"), HEALED_WITHIN, || async {
        let leader = cluster.leader().await;
        if leader == node {
            return Ok(());
        }
        let request = TransferLeadershipRequest { route: ROUTE, to };
        Err(cluster
            .operator(&leader)
            .transfer_leadership(request)
            .await
            .map_or_else(|e| e.to_string(), |_| "asked".to_owned()))
    })
    .await;
}

/// A portal read it from a leader whose state was wrong, which no change event ever told of.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_with_a_wrong_state_said_stays_in_no_cache() {
    let options = Options { embedded_broker: true, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let data = format!("{{\"name\":\"{BEFORE}\"}}");
    let request = InsertClientRequest { cid: "ana".into(), data, request: feira_tests::shop::request_id() };
    cluster.admin(1).insert_client(patient(request)).await.unwrap();
    let victim = spoil_a_follower(&mut cluster, "c/{ana}").await;
    let right = cluster.leader().await;
    let shown = async |cluster: &Cluster| {
        let request = patient(GetClientRequest { cid: "ana".into() });
        format!("{:?}", cluster.admin(1).get_client(request).await)
    };
    transfer_to(&cluster, &victim).await;
    wait::until("the wrong record to be shown", HEALED_WITHIN, || async {
        let seen = shown(&cluster).await;
        if seen.contains(AFTER) { Ok(()) } else { Err(seen) }
    })
    .await;
    transfer_to(&cluster, &right).await;
    let number = victim.trim_start_matches("node-");
    let resync = cluster.tool(&["node", "resync", number]);
    assert!(resync.status.success(), "{}", String::from_utf8_lossy(&resync.stderr));
    healed(&cluster, &victim, "c/{ana}").await;
    wait::until("the right record to be shown", Duration::from_secs(20), || async {
        let seen = shown(&cluster).await;
        if seen.contains(BEFORE) { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_nobody_uses_is_found_by_the_audit_and_mended_by_a_resync() {
    let mut cluster = cluster().await;
    let store = cluster.store();
    write_counter(&store, "c/{ana}").await;
    let victim = spoil_a_follower(&mut cluster, "c/{ana}").await;
    let audit = cluster.tool(&["audit"]);
    let told = String::from_utf8_lossy(&audit.stderr).into_owned();
    assert!(!audit.status.success());
    let number = victim.trim_start_matches("node-");
    assert!(told.contains(&format!("node {number} is in the minority")), "{told}");
    assert!(told.contains("c/{ana}") && told.contains(&format!("feira node resync {victim}")), "{told}");
    let leader = cluster.leader().await;
    let refused = cluster.operator(&leader).resync(ResyncRequest { route: ROUTE }).await;
    assert!(refused.unwrap_err().message().contains("this replica leads"));
    let resync = cluster.tool(&["node", "resync", &victim]);
    assert!(resync.status.success(), "{}", String::from_utf8_lossy(&resync.stderr));
    healed(&cluster, &victim, "c/{ana}").await;
    assert!(cluster.tool(&["audit"]).status.success());
}

/// Writes until the store refuses, because its two replicas have different states.
async fn divide(cluster: &Cluster, store: &Replicated) {
    execute(store, Txn::new().add("counter", 1, "/open_orders", 1, None)).await;
    wait::until("writes to be refused", HEALED_WITHIN, || async {
        let writes = (0..AT_ONCE).map(|at| {
            store.txn(Txn::new().put(format!("other/{at}"), 1, "x"), Some(request_identity([5; 16])))
        });
        let refused = futures::future::join_all(writes).await.into_iter().find_map(Result::err);
        match refused {
            Some(Error::Retry { cause: Cause::Diverged, .. }) => Ok(()),
            refused => Err(format!("{refused:?}; {:?}", cluster.status("node-1").await)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diverged_store_is_told_at_once_with_who_says_so_until_somebody_decides() {
    let options = Options { client_portals: 2, embedded_broker: true, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    // Of two that differ nobody can say which is right.
    let removed = cluster.tool(&["member", "remove", "3"]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    cluster.stop("node-3");
    let store = cluster.store();
    let both = "insert-client ana {}; insert-product fig description=Fig quantity=9 price=2";
    assert!(cluster.tool(&["admin", "-c", both]).status.success());
    write_counter(&store, "counter").await;
    let victim = spoil_a_follower(&mut cluster, "counter").await;
    divide(&cluster, &store).await;

    let order = ["--json", "shop", "--cid", "ana", "create-order", "fig=1"];
    let begun = Instant::now();
    let refused = cluster.tool(&[&["--set", "tool.patience_seconds=60"][..], &order].concat());
    assert!(begun.elapsed() < Duration::from_secs(30), "it is not waited for: {:?}", begun.elapsed());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    for what in ["the replicas have different states", "client portal 127.0.0.1:", "feira audit"] {
        assert!(said.contains(what), "{what} is not in: {said}");
    }
    let told: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    let error = &told["error"];
    assert_eq!((&error["reason"], &error["exit"]), (&"STORE_DIVERGED".into(), &3.into()), "{error}");
    assert!(error["from"].as_str().unwrap().starts_with("client portal 127.0.0.1:"), "{error}");
    let health = cluster.tool(&["health"]);
    assert_eq!(health.status.code(), Some(3), "{}", String::from_utf8_lossy(&health.stdout));

    // As `docs/OPERATIONS.md` says: one that is right leads, and another takes its state.
    let right = if victim == "node-1" { "node-2" } else { "node-1" };
    wait::until("the one that is right to lead", HEALED_WITHIN, || async {
        let leader = cluster.leader().await;
        let output = cluster.tool(&["node", "transfer-leadership", right.trim_start_matches("node-")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if leader == right { Ok(()) } else { Err(said) }
    })
    .await;
    let resync = cluster.tool(&["node", "resync", &victim]);
    assert!(resync.status.success(), "{}", String::from_utf8_lossy(&resync.stderr));
    healed(&cluster, &victim, "counter").await;
    let healthy = cluster.tool(&["health", "--wait", "45"]);
    assert!(healthy.status.success(), "{}", String::from_utf8_lossy(&healthy.stdout));
    let done = cluster.tool(&order);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    cluster.assert_audited().await;
}

/// Fences a node whose peers stand still from then on, so that it cannot heal.
async fn quarantine_alone(cluster: &Cluster, node: &str) {
    let others: Vec<String> = cluster.nodes().into_iter().filter(|other| other != node).collect();
    let signal = |signal| others.iter().for_each(|other| cluster.signal(other, signal));
    wait::until("it is quarantined while its peers stand still", HEALED_WITHIN, || async {
        // It takes a while to notice that its leader is silent; on a slow machine it may have noticed already.
        signal(Signal::SIGSTOP);
        let mut asked = cluster.operator(node);
        let told = asked.resync(with_timeout(ResyncRequest { route: ROUTE })).await;
        if told.is_err() {
            signal(Signal::SIGCONT);
        }
        told.map(drop).map_err(|status| status.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_replica_refuses_stale_reads_and_stays_quarantined_after_a_kill() {
    let mut cluster = cluster().await;
    let store = cluster.store();
    write_counter(&store, "counter").await;
    cluster.wait_until_equal().await;
    let leader = cluster.leader().await;
    let victim = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    quarantine_alone(&cluster, &victim).await;
    for _ in 0..2 {
        let quarantined = wait::until("it says that it is quarantined", HEALED_WITHIN, || async {
            let status = cluster.status(&victim).await.map_err(|status| status.to_string())?;
            if status.quarantined.is_empty() { Err("not yet".to_owned()) } else { Ok(status) }
        })
        .await;
        assert!(
            quarantined.problem.starts_with("quarantined: an operator asked for it"),
            "{}",
            quarantined.problem
        );
        let refused = held(&cluster, &victim, "counter").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        assert!(refused.message().starts_with("quarantined: "), "{refused}");
        cluster.kill(&victim);
        cluster.run(&victim);
    }
    for other in cluster.nodes().iter().filter(|node| **node != victim) {
        cluster.signal(other, Signal::SIGCONT);
    }
    healed(&cluster, &victim, "counter").await;
}
