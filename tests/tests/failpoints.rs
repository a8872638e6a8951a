//! A real process ends at every named step of what it does with its files, and comes back: rotation, snapshots, removal,
//! votes, truncation, installing a snapshot, changes of members, recovery itself ([`store_log::fault::FAIL_POINTS`]). It
//! does so by itself, nothing that was acknowledged is lost, the replicas agree, and the shop's books are right.
//!
//! The process ends itself there (`FAILPOINTS_ABORT_AT`), as kill -9 would: the kernel has the written bytes. Power losses
//! are simulated (`store/log/src/tests/faults.rs`, `tests/simulator`).
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options, with_timeout};
use feira_tests::shop::{insert_client, insert_product, order_persistently, order_request};
use feira_tests::wait;
use feira_tests::writers::{Load, verify};
use proto::store::change_members_request::Change;
use proto::store::{
    ChangeMembersRequest, MemberName, MemberPart, ResyncRequest, Role, Route, ShowLogRequest, Txn,
};
use store_client::{Store, request_identity};
use store_log::fault::FAIL_POINTS;
use tokio::task::JoinSet;

const ROUTE: Option<Route> = Some(Route::to(1, 1));
const SIGABRT: i32 = 6;
const PLANTINGS_MAX: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);
/// The newest of each alone is kept, so that files go soon.
const OFTEN: &str = "snapshot_seconds = 1\nfiles_kept = 1";

/// A cluster with a shop, under writers and with what they and the shoppers were promised.
struct Fixture {
    cluster: Cluster,
    load: Option<Load>,
    acknowledged: BTreeMap<Bytes, Bytes>,
    rounds: u64,
}

impl Fixture {
    async fn open(store: &'static str) -> Fixture {
        let cluster = Cluster::start(feira_tests::feira!(), Options { store, ..Options::default() }).await;
        insert_client(&mut cluster.admin(1), "ana").await.unwrap();
        insert_product(&mut cluster.admin(1), "fig", 1_000, "0.50").await.unwrap();
        Fixture { cluster, load: None, acknowledged: BTreeMap::new(), rounds: 0 }
    }

    fn load(&mut self) {
        self.load = Some(Load::start(&self.cluster, self.rounds));
        self.rounds += 1;
    }

    /// Writes large records until it is dropped, several at a time: however slowly one goes, a file fills before the log rolls.
    fn much(&self) -> JoinSet<()> {
        let mut writers = JoinSet::new();
        for writer in 0..8_u8 {
            let store = self.cluster.store();
            writers.spawn(async move {
                loop {
                    let txn = Txn::new().put(vec![b'm', writer], 0, vec![7; 512 << 10]);
                    // A leader that ends here leaves the outcome open; it matters to nobody.
                    let _ = store.txn(txn, Some(request_identity([9; 16]))).await;
                }
            });
        }
        writers
    }

    async fn rest(&mut self) {
        if let Some(load) = self.load.take() {
            self.acknowledged.append(&mut load.end().await);
        }
    }

    /// Starts a node that ends at `point`, waits until it has, and starts it again.
    async fn ends_at(&mut self, node: &str, point: &str) {
        assert!(FAIL_POINTS.contains(&point), "{point}");
        self.cluster.run_with(node, &[("FAILPOINTS_ABORT_AT", point)]);
        self.ended(node, point).await;
        self.cluster.run(node);
    }

    async fn ended(&mut self, node: &str, point: &str) {
        eprintln!("{node} is to end at {point}");
        let status = self.cluster.ended(node).await;
        assert_eq!(status.signal(), Some(SIGABRT), "{point}: {}", self.cluster.log_of(node));
    }

    /// A stopped node whose log ends with entries that nobody else has.
    async fn with_a_conflict(&mut self) -> String {
        // A late publish mark may take the place that is planted: then it is done again.
        for _ in 0..PLANTINGS_MAX {
            let leader = published(&self.cluster).await;
            let node = self.cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
            self.cluster.stop(&node);
            // Another epoch begins, so that what is planted in this one is nobody's.
            self.cluster.stop(&leader);
            self.cluster.run(&leader);
            self.cluster.leader().await;
            let id = node.strip_prefix("node-").unwrap();
            let planted = self.cluster.tool(&["log", "plant", id, "--entries", "3"]);
            if planted.status.success() {
                return node;
            }
            eprintln!("not planted: {}", String::from_utf8_lossy(&planted.stderr));
            self.cluster.run(&node);
        }
        panic!("the cluster does not rest");
    }

    /// Everything is as it should be, on disk and for those who were promised something.
    async fn close(mut self) {
        self.rest().await;
        order_persistently(&mut self.cluster.shop(1), &order_request("ana", &[("fig", 1)])).await;
        self.cluster.wait_until_equal().await;
        verify(&self.cluster, &self.acknowledged).await;
        self.cluster.assert_audited().await;
        for id in ["1", "2", "3"] {
            for kind in ["log", "snapshot"] {
                let said = self.cluster.tool(&[kind, "verify", id]);
                assert!(said.status.success(), "{kind}: {}", String::from_utf8_lossy(&said.stderr));
            }
            let names = std::fs::read_dir(self.cluster.data_of(&format!("node-{id}")).join("groups/1"));
            let names = names.unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let left: Vec<String> = names.filter(|name| name.ends_with(".part")).collect();
            // One that is being written now is no leftover.
            assert!(left.len() <= 1, "{left:?}");
        }
        self.cluster.all_run();
    }
}

/// The points of these places.
fn of(places: &[&str]) -> Vec<&'static str> {
    let is_of = |point: &&&str| {
        places.iter().any(|place| point.strip_prefix(place).is_some_and(|it| it.starts_with('.')))
    };
    FAIL_POINTS.iter().filter(is_of).copied().collect()
}

/// The victims take turns, so that leaders are among them.
fn victim(at: usize) -> String {
    format!("node-{}", at % 3 + 1)
}

#[tokio::test]
async fn a_node_that_ends_at_a_step_of_rotation_or_of_a_snapshot_comes_back() {
    let points = of(&["append", "roll", "snapshot", "remove", "remove-snapshot"]);
    assert_eq!(points.len(), 18);
    let mut fixture = Fixture::open(OFTEN).await;
    fixture.load();
    for (at, point) in points.into_iter().enumerate() {
        let node = victim(at);
        fixture.cluster.kill(&node);
        // A log file grows only beyond what it was made with.
        let growth = (point == "append.extended").then(|| fixture.much());
        fixture.ends_at(&node, point).await;
        drop(growth);
        fixture.load.as_ref().unwrap().more(20).await;
        order_persistently(&mut fixture.cluster.shop(1), &order_request("ana", &[("fig", 1)])).await;
    }
    fixture.close().await;
}

#[tokio::test]
async fn a_node_that_ends_at_a_step_of_recovery_or_of_a_vote_comes_back() {
    let points = of(&["recover", "boot", "vote"]);
    assert_eq!(points.len(), 13);
    let mut fixture = Fixture::open(OFTEN).await;
    for (at, point) in points.into_iter().enumerate() {
        let node = victim(at);
        fixture.load();
        fixture.load.as_ref().unwrap().more(20).await;
        fixture.cluster.kill(&node);
        if point == "recover.removed" {
            // Something to remove: a write that a crash had cut off.
            std::fs::write(fixture.cluster.data_of(&node).join("groups/1/vote.part"), "cut").unwrap();
        }
        if point.starts_with("vote.") {
            // It votes in the election for which the others have no majority without it.
            let (other, third) = (victim(at + 1), victim(at + 2));
            fixture.cluster.kill(&other);
            wait::until("the third node to lead nobody", PATIENCE, || async {
                let status = fixture.cluster.status(&third).await.map_err(|error| error.to_string())?;
                if status.role() == Role::Leader { Err("it leads".to_owned()) } else { Ok(()) }
            })
            .await;
            fixture.ends_at(&node, point).await;
            fixture.cluster.run(&other);
        } else {
            fixture.ends_at(&node, point).await;
        }
        fixture.load.as_ref().unwrap().more(20).await;
        fixture.rest().await;
    }
    fixture.close().await;
}

#[tokio::test]
async fn a_node_that_ends_at_a_step_of_installing_a_snapshot_comes_back() {
    let points = of(&["install", "reset"]);
    assert_eq!(points.len(), 11);
    let mut fixture = Fixture::open(OFTEN).await;
    for point in points {
        let node = "node-3";
        fixture.cluster.kill(node);
        let last = |status: proto::store::StatusResponse| status.last.unwrap().offset;
        let leader = fixture.cluster.leader().await;
        let behind = last(fixture.cluster.status(&leader).await.unwrap());
        fixture.load();
        // Until nobody has the log any more that it would need.
        wait::until("the log behind it to be gone", PATIENCE, || async {
            for other in ["node-1", "node-2"] {
                let folder = fixture.cluster.data_of(other).join("groups/1");
                let disk = store_log::RealDisk::peek(folder).map_err(|error| error.to_string())?;
                let report = store_log::verify_log(&disk).map_err(|error| error.to_string())?;
                let base =
                    report.files.first().and_then(|file| file.header).map_or(0, |file| file.base.offset.0);
                if base <= behind {
                    return Err(format!("{other}: {base} of {behind}"));
                }
            }
            Ok(())
        })
        .await;
        fixture.ends_at(node, point).await;
        fixture.load.as_ref().unwrap().more(20).await;
        fixture.rest().await;
        fixture.cluster.wait_until_equal().await;
    }
    fixture.close().await;
}

#[tokio::test]
async fn a_node_that_ends_at_a_step_of_replacing_its_state_comes_back() {
    let points = of(&["fence", "adopt", "unfence"]);
    assert_eq!(points.len(), 10);
    let mut fixture = Fixture::open(OFTEN).await;
    fixture.load();
    for point in points {
        fixture.load.as_ref().unwrap().more(20).await;
        let leader = fixture.cluster.leader().await;
        let node = fixture.cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
        fixture.cluster.kill(&node);
        fixture.cluster.run_with(&node, &[("FAILPOINTS_ABORT_AT", point)]);
        // It is told that its state is wrong until it has ended: at first it knows no leader.
        wait::until("its end", PATIENCE, || async {
            let asked = with_timeout(ResyncRequest { route: ROUTE });
            let told = fixture.cluster.operator(&node).resync(asked).await;
            if fixture.cluster.is_running(&node) { Err(format!("{told:?}")) } else { Ok(()) }
        })
        .await;
        fixture.ended(&node, point).await;
        fixture.cluster.run(&node);
        wait::until("a state that is right", PATIENCE, || async {
            let status = fixture.cluster.status(&node).await.map_err(|error| error.to_string())?;
            if status.quarantined.is_empty() { Ok(()) } else { Err(status.quarantined) }
        })
        .await;
    }
    fixture.close().await;
}

#[tokio::test]
async fn a_node_that_ends_at_a_step_of_a_truncation_comes_back() {
    let mut points = of(&["truncate"]);
    // A cut over several files: the simulated crashes of store/log go there.
    points.retain(|point| *point != "truncate.removed");
    assert_eq!(points.len(), 4);
    let mut fixture = Fixture::open("").await;
    for point in points {
        fixture.load();
        fixture.load.as_ref().unwrap().more(20).await;
        fixture.rest().await;
        let node = fixture.with_a_conflict().await;
        fixture.load();
        fixture.load.as_ref().unwrap().more(20).await;
        fixture.ends_at(&node, point).await;
        fixture.load.as_ref().unwrap().more(20).await;
        fixture.rest().await;
        fixture.cluster.wait_until_equal().await;
    }
    fixture.close().await;
}

/// Waits until nobody writes any more, the publisher of changes included; who leads.
async fn published(cluster: &Cluster) -> String {
    wait::until("the change publisher to be done", PATIENCE, || async {
        let leader = cluster.leader().await;
        let last = cluster.status(&leader).await.map_err(|error| error.to_string())?.last.unwrap().offset;
        let request = ShowLogRequest { route: ROUTE, from_offset: last, limit: 1 };
        let shown = cluster.operator(&leader).show_log(request).await;
        let shown = shown.map_err(|error| error.to_string())?.into_inner();
        let kind = shown.lines.last().map(|line| line.kind.clone()).unwrap_or_default();
        if kind == "publish-mark" { Ok(()) } else { Err(kind) }
    })
    .await;
    cluster.wait_until_equal().await;
    cluster.leader().await
}

/// Removes a voter of four; the leader ends at `point` while it appends the change's first or second entry.
async fn member_change_cut_off_at(point: &str, entry: u64) {
    let options = Options { nodes: 4, admin_portals: 0, client_portals: 0, ..Options::default() };
    let mut cluster = Cluster::prepare(feira_tests::feira!(), options);
    cluster.found();
    let path = cluster.path().to_owned();
    let armed = |node: &str| path.join(format!("armed-{node}"));
    for id in 1..=4 {
        let (node, at) = (format!("node-{id}"), format!("{point}:{entry}"));
        let condition = armed(&node).to_str().unwrap().to_owned();
        cluster.run_with(&node, &[("FAILPOINTS_ABORT_AT", &at), ("FAILPOINTS_ABORT_IF", &condition)]);
    }
    cluster.run_all().await;
    let load = Load::start(&cluster, 0);
    load.more(100).await;
    let acknowledged = load.end().await;
    let leader = published(&cluster).await;
    let gone = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    let incarnation = cluster.status(&gone).await.unwrap().incarnation;
    let gone: u64 = gone.strip_prefix("node-").unwrap().parse().unwrap();
    // Nothing is written now: what the leader appends next is the change.
    std::fs::write(armed(&leader), "").unwrap();
    let removal = || ChangeMembersRequest {
        route: ROUTE,
        change: Some(Change::Remove(MemberName { node: gone, incarnation })),
    };
    let cut_off = cluster.operator(&leader).change_members(removal()).await;
    assert!(cut_off.is_err(), "{point}:{entry} {cut_off:?}");
    let status = cluster.ended(&leader).await;
    assert_eq!(status.signal(), Some(SIGABRT), "{point}:{entry} {}", cluster.log_of(&leader));
    std::fs::remove_file(armed(&leader)).unwrap();
    cluster.run(&leader);
    // Asked again, it is done: begun anew, or finished by whoever leads now.
    wait::until("the change", PATIENCE, || async {
        let leader = cluster.leader().await;
        let changed = cluster.operator(&leader).change_members(removal()).await;
        changed.map_err(|status| status.to_string())
    })
    .await;
    let stays: Vec<u64> = (1..=4).filter(|id| *id != gone).collect();
    for id in &stays {
        wait::until("the new members everywhere", PATIENCE, || async {
            let status = cluster.status(&format!("node-{id}")).await.map_err(|error| error.to_string())?;
            let part = |one: &proto::store::MemberStatus| (one.member.as_ref().unwrap().node, one.part());
            let found: Vec<(u64, MemberPart)> = status.members.iter().map(part).collect();
            let wanted: Vec<(u64, MemberPart)> = stays.iter().map(|id| (*id, MemberPart::Voter)).collect();
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
    cluster.kill(&format!("node-{gone}"));
    let load = Load::start(&cluster, 1);
    load.more(20).await;
    let mut all = load.end().await;
    all.extend(acknowledged);
    cluster.wait_until_equal().await;
    verify(&cluster, &all).await;
}

#[tokio::test]
async fn a_leader_that_ends_at_a_step_of_a_change_of_members_leaves_one_that_is_finished() {
    for point in ["append.begin", "append.written", "append.synced"] {
        for entry in [1, 2] {
            member_change_cut_off_at(point, entry).await;
        }
    }
}
