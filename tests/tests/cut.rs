//! Audits and backups of a ring of several shards over real processes: each is of one moment while orders cross the shards; nobody's
//! death leaves the shop standing still; and a ring is restored from one cut or not at all.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options};
use feira_tests::shop::{insert_client, insert_product, order, order_persistently, order_request};
use feira_tests::wait;
use futures::future::join_all;
use proto::portal::{Event, ListEventsRequest};
use proto::store::{CutRequest, FreezeRequest, Route, ShowLogRequest, ThawRequest, Txn};
use serde_json::Value;
use store_client::failure::failure_from;
use store_client::{Store as _, request_identity};

/// What a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Goods, whose shards are several, and clients.
const GOODS: [&str; 6] = ["fig", "plum", "pear", "lime", "kiwi", "date"];
const CLIENTS: [&str; 4] = ["ana", "bia", "caio", "davi"];
const STOCK: i64 = 1_000_000;
/// So many entries of a log lie between two checkpoints.
const CHECKPOINT_EVERY: u64 = 1_024;

fn ring_of(nodes: u64) -> Options {
    Options { shards: 3, nodes, ..Options::default() }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a command that must do well; what it says as JSON.
fn done(cluster: &Cluster, arguments: &[&str]) -> Value {
    let output = cluster.tool(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs a command that must be refused; what it says.
fn refused(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.tool(arguments);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn backup(cluster: &Cluster, out: &Path) -> Value {
    done(cluster, &["backup", "--out", out.to_str().unwrap()])
}

async fn opened(options: Options) -> Cluster {
    let cluster = Cluster::start(feira_tests::feira!(), options).await;
    for cid in CLIENTS {
        insert_client(&mut cluster.admin(1), cid).await.unwrap();
    }
    for pid in GOODS {
        insert_product(&mut cluster.admin(1), pid, STOCK, "0.50").await.unwrap();
    }
    cluster
}

/// What a buyer does whose order is not answered with an order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Temper {
    /// He asks again: leaders die.
    Patient,
    /// He takes it for a fault: a shop that stands still for a moment has him wait, and says nothing.
    Strict,
}

/// Buyers who order goods of all shards until told to stop.
struct Buyers {
    stop: Arc<AtomicBool>,
    orders: Arc<AtomicU64>,
    buying: Vec<tokio::task::JoinHandle<()>>,
}

impl Buyers {
    fn start(cluster: &Cluster, temper: Temper) -> Buyers {
        let (stop, orders) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let buying = CLIENTS.into_iter().map(|cid| {
            let (mut shop, stop, orders) = (cluster.shop(1), Arc::clone(&stop), Arc::clone(&orders));
            tokio::spawn(async move {
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let good = |at: usize| (GOODS[(turn + at) % GOODS.len()], 1);
                    let goods = [good(0), good(1), good(3)];
                    match temper {
                        Temper::Patient => {
                            order_persistently(&mut shop, &order_request(cid, &goods)).await;
                        }
                        Temper::Strict => drop(order(&mut shop, cid, &goods).await.unwrap()),
                    }
                    orders.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let buying = buying.collect();
        Buyers { stop, orders, buying }
    }

    fn count(&self) -> u64 {
        self.orders.load(Ordering::Relaxed)
    }

    /// Waits until some more orders are made.
    async fn more(&self) {
        let before = self.count();
        wait::until("orders", PATIENCE, || async {
            let now = self.count();
            let ended = self.buying.iter().filter(|buyer| buyer.is_finished()).count();
            let enough = now >= before + 8;
            if enough { Ok(()) } else { Err(format!("{now} after {before}; {ended} buyers gave up")) }
        })
        .await;
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for buyer in self.buying {
            buyer.await.unwrap();
        }
        self.orders.load(Ordering::Relaxed)
    }
}

fn route(shard: u64) -> Option<Route> {
    Some(Route::to(shard, 1))
}

/// Asks the leader of a shard for a freeze, as somebody who makes a cut.
async fn freeze(cluster: &Cluster, shard: u64, id: &Bytes) -> u64 {
    let leader = cluster.leader_of(shard).await;
    let request = FreezeRequest { route: route(shard), id: id.clone() };
    cluster.operator(&leader).freeze(request).await.unwrap().into_inner().offset
}

/// How many entries of a kind a shard's log has.
async fn log_has(cluster: &Cluster, shard: u64, kind: &str) -> usize {
    let leader = cluster.leader_of(shard).await;
    let mut count = 0;
    let mut from_offset = 1;
    loop {
        let request = ShowLogRequest { route: route(shard), from_offset, limit: 1_000 };
        let lines = cluster.operator(&leader).show_log(request).await.unwrap().into_inner().lines;
        let Some(last) = lines.last() else { return count };
        from_offset = last.position.unwrap().offset + 1;
        count += lines.iter().filter(|line| line.kind == kind).count();
    }
}

/// Waits until a shard's log has more freezes than so many.
async fn one_more_freeze(cluster: &Cluster, shard: u64, before: usize) {
    wait::until("a freeze", PATIENCE, || async {
        let now = log_has(cluster, shard, "freeze").await;
        if now > before { Ok(()) } else { Err(format!("{now} freezes of shard {shard}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audits_and_backups_under_orders_are_of_one_moment_and_a_ring_made_from_one_serves_on() {
    let cluster = opened(ring_of(1)).await;
    let folder = cluster.path().to_owned();
    let buyers = Buyers::start(&cluster, Temper::Strict);
    buyers.more().await;
    let mut orders = Vec::new();
    for _ in 0..5 {
        let before = buyers.count();
        let audit = done(&cluster, &["audit"]);
        let (found, after) = (audit["orders"].as_u64().unwrap(), buyers.count());
        // One that was not counted yet may be there, of each buyer.
        assert!((before..=after + CLIENTS.len() as u64).contains(&found), "{before} {found} {after}");
        let units = audit["available"].as_i64().unwrap() + audit["held"].as_i64().unwrap();
        assert_eq!(units, STOCK * GOODS.len() as i64, "no unit is lost or made");
        assert_eq!(audit["held"].as_i64(), Some(3 * found as i64), "and each order holds its own");
        orders.push(found);
        buyers.more().await;
    }
    assert!(orders.windows(2).all(|pair| pair[0] < pair[1]), "orders went on between: {orders:?}");
    let (one, two) = (folder.join("one"), folder.join("two"));
    let taken = backup(&cluster, &one);
    assert_eq!(taken["shards"].as_array().map(Vec::len), Some(3), "{taken}");
    buyers.more().await;
    backup(&cluster, &two);
    assert!(refused(&cluster, &["backup", "--out", one.to_str().unwrap()]).contains("there already"));
    let made = buyers.end().await;
    let whole = done(&cluster, &["audit"]);
    assert_eq!(whole["orders"].as_u64(), Some(made), "every order was made once");
    what_is_no_backup_is_refused(&cluster, &one, &two);

    // The ring made from the second.
    let mut ring = Cluster::prepare(feira_tests::feira!(), ring_of(1));
    let restored = done(&ring, &["restore", two.to_str().unwrap()]);
    assert_eq!(
        restored["cut"],
        serde_json::from_slice::<Value>(&std::fs::read(two.join("manifest.json")).unwrap()).unwrap()["cut"]
    );
    ring.run_all().await;
    let first = done(&ring, &["audit"]);
    let units = first["available"].as_i64().unwrap() + first["held"].as_i64().unwrap();
    assert_eq!(units, STOCK * GOODS.len() as i64);
    let there = first["orders"].as_u64().unwrap();
    assert!(there > orders[4] && there <= made, "{orders:?} {there} {made}");
    let buyers = Buyers::start(&ring, Temper::Strict);
    buyers.more().await;
    let more = buyers.end().await;
    assert_eq!(done(&ring, &["audit"])["orders"].as_u64(), Some(there + more));
}

/// What is not all of one cut, and configurations that do not fit.
fn what_is_no_backup_is_refused(cluster: &Cluster, one: &Path, two: &Path) {
    let verify = |folder: &Path| refused(cluster, &["restore", "--verify-only", folder.to_str().unwrap()]);
    let copy = |name: &str, change: &dyn Fn(&Path)| {
        let folder = one.with_file_name(name);
        std::fs::create_dir(&folder).unwrap();
        for file in std::fs::read_dir(one).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        change(&folder);
        folder
    };
    let mixed = copy("mixed", &|folder| {
        std::fs::copy(two.join("shard-2"), folder.join("shard-2")).unwrap();
    });
    assert!(verify(&mixed).contains("two moments are no state"));
    let doubled = copy("doubled", &|folder| {
        std::fs::copy(folder.join("shard-1"), folder.join("shard-2")).unwrap();
    });
    assert!(verify(&doubled).contains("it is the state of shard 1, not of shard 2"));
    let lacking = copy("lacking", &|folder| std::fs::remove_file(folder.join("shard-3")).unwrap());
    assert!(verify(&lacking).contains("shard-3 is not there"));
    let none = copy("none", &|folder| std::fs::remove_file(folder.join("manifest.json")).unwrap());
    assert!(verify(&none).contains("no backup of a ring"));
    let single = one.join("shard-1");
    assert!(verify(&single).contains("the state of shard 1 of a ring"));
    let other =
        Cluster::prepare(feira_tests::feira!(), Options { shards: 2, nodes: 1, ..Options::default() });
    let fewer = refused(&other, &["restore", one.to_str().unwrap()]);
    assert!(fewer.contains("a ring of 3 shards, and the configuration has 2"), "{fewer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_makes_a_cut_may_die_at_any_moment_and_the_shop_goes_on() {
    let cluster = opened(ring_of(1)).await;
    let buyers = Buyers::start(&cluster, Temper::Patient);
    buyers.more().await;
    // Somebody who freezes all shards, and is never heard of again.
    let id = Bytes::from_static(&[7; 16]);
    for shard in 1..=3 {
        freeze(&cluster, shard, &id).await;
    }
    buyers.more().await;
    for shard in 1..=3 {
        assert!(log_has(&cluster, shard, "thaw").await > 0, "the leader of shard {shard} ended it");
    }
    // And processes that are killed as soon as one of the shards stands still for them.
    for turn in 0..6_u64 {
        let shard = turn % 3 + 1;
        let before = log_has(&cluster, shard, "freeze").await;
        let mut command: Command = cluster.command(&["audit"]);
        let mut driver = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        one_more_freeze(&cluster, shard, before).await;
        driver.kill().unwrap();
        driver.wait().unwrap();
    }
    buyers.more().await;
    done(&cluster, &["audit"]);
    let made = buyers.end().await;
    assert_eq!(done(&cluster, &["audit"])["orders"].as_u64(), Some(made));
}

/// A leader dies while a backup's freeze is in force: the backup is whole, or there is none. Whether it is there, and of a later attempt than
/// the first.
async fn backup_that_loses_a_leader(cluster: &mut Cluster, shard: u64, folder: &Path) -> bool {
    // Somebody else's freeze of another shard voids the first attempt, so that it is not over before the leader dies.
    let other = shard % 3 + 1;
    let id = Bytes::copy_from_slice(&u128::from(100 + shard).to_be_bytes());
    freeze(cluster, other, &id).await;
    let before = log_has(cluster, shard, "freeze").await;
    let out = folder.join(format!("backup-{shard}"));
    let mut command = cluster.command(&["backup", "--out", out.to_str().unwrap()]);
    let driver = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    one_more_freeze(cluster, shard, before).await;
    let killed = cluster.leader_of(shard).await;
    cluster.kill(&killed);
    let output = tokio::task::spawn_blocking(move || driver.wait_with_output().unwrap()).await.unwrap();
    let is_whole = output.status.success();
    if is_whole {
        done(cluster, &["restore", "--verify-only", out.to_str().unwrap()]);
    } else {
        assert!(!out.exists(), "{}", text(&output));
    }
    let freezes = log_has(cluster, shard, "freeze").await;
    cluster.run(&killed);
    is_whole && freezes >= before + 2
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_whose_freeze_is_over_is_void_and_one_that_loses_a_leader_is_tried_again() {
    let mut cluster = opened(ring_of(3)).await;
    let buyers = Buyers::start(&cluster, Temper::Patient);
    buyers.more().await;
    let id = Bytes::from_static(&[9; 16]);
    let mut frozen_at = Vec::new();
    for shard in 1..=3 {
        frozen_at.push(freeze(&cluster, shard, &id).await);
    }
    // The freeze is in the log: the next leader has it, and ends it.
    let killed = cluster.leader_of(1).await;
    cluster.kill(&killed);
    buyers.more().await;
    for shard in 1..=3 {
        let leader = cluster.leader_of(shard).await;
        let at = frozen_at[usize::try_from(shard).unwrap() - 1];
        let request = CutRequest { route: route(shard), id: id.clone(), frozen_at: at, prefixes: Vec::new() };
        let refused = failure_from(&cluster.operator(&leader).cut(request).await.unwrap_err());
        assert!(refused.message.contains("the whole cut is void"), "{refused:?}");
    }
    // A freeze of the same id is another one.
    let again = freeze(&cluster, 2, &id).await;
    assert!(again > frozen_at[1]);
    let leader = cluster.leader_of(2).await;
    let request =
        CutRequest { route: route(2), id: id.clone(), frozen_at: frozen_at[1], prefixes: Vec::new() };
    assert!(cluster.operator(&leader).cut(request).await.is_err(), "the first freeze is over");
    cluster.operator(&leader).thaw(ThawRequest { route: route(2), id }).await.unwrap();
    cluster.run(&killed);
    let folder = cluster.path().to_owned();
    let mut retried = 0;
    for shard in 1..=3 {
        retried += usize::from(backup_that_loses_a_leader(&mut cluster, shard, &folder).await);
        buyers.more().await;
    }
    assert!(retried > 0, "no backup was of a later attempt than the first");
    let out = folder.join("last");
    backup(&cluster, &out);
    let made = buyers.end().await;
    cluster.wait_until_equal().await;
    let audit = done(&cluster, &["audit"]);
    assert_eq!(audit["orders"].as_u64(), Some(made), "every order was made once");
    assert_eq!(audit["held"].as_u64(), Some(3 * made));
}

/// All events of a shop, without the places that they have in it.
async fn events_of(cluster: &Cluster) -> Vec<(u64, Event)> {
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let asked = ListEventsRequest { after, limit: 1_000, ..Default::default() };
        let page = cluster.admin(1).list_events(asked).await.unwrap().into_inner();
        events.extend(
            page.events
                .into_iter()
                .map(|event| (event.group, Event { group: 0, cursor: String::new(), ..event })),
        );
        if !page.more {
            return events;
        }
        after = page.next;
    }
}

fn sorted(mut events: Vec<(u64, Event)>) -> Vec<Event> {
    events.sort_by_key(|(_, event)| event.offset);
    events.into_iter().map(|(_, event)| event).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_of_one_shard_is_restored_as_a_ring_of_three_that_has_all_of_it_once() {
    let small = opened(Options { nodes: 1, ..Options::default() }).await;
    let asked = order_request("ana", &[("fig", 1), ("plum", 2)]);
    let known = order_persistently(&mut small.shop(1), &asked).await;
    let buyers = Buyers::start(&small, Temper::Strict);
    buyers.more().await;
    buyers.end().await;
    // So long a log that checkpoints were noted on the way.
    let store = small.store();
    let put = |n: u64| store.txn(Txn::new().put(format!("n/{n}"), 0, "{}"), Some(request_identity([6; 16])));
    join_all((0..CHECKPOINT_EVERY).map(put))
        .await
        .into_iter()
        .for_each(|done| assert!(done.unwrap().success));
    let (before, events) = (done(&small, &["audit"]), events_of(&small).await);
    let file = small.path().join("whole");
    backup(&small, &file);
    let file = file.to_str().unwrap();

    let mut ring = Cluster::prepare(feira_tests::feira!(), ring_of(1));
    assert!(refused(&ring, &["restore", file]).contains("--shards 3"));
    assert!(
        refused(&ring, &["restore", file, "--shards", "2"]).contains("--shards 2, and the configuration")
    );
    let restored = done(&ring, &["restore", file, "--shards", "3"]);
    assert_eq!(restored["shards"].as_u64(), Some(3), "{restored}");
    ring.run_all().await;

    let after = done(&ring, &["audit"]);
    for count in ["clients", "products", "orders", "available", "held", "sold"] {
        assert_eq!(after[count], before[count], "{count}: {after} {before}");
    }
    let dealt = events_of(&ring).await;
    assert!((1..=3).all(|group| dealt.iter().any(|(of, _)| *of == group)), "each shard has some");
    assert_eq!(sorted(dealt), sorted(events), "each event once, at the offset that it had");
    let again = order_persistently(&mut ring.shop(1), &asked).await;
    assert_eq!(
        (again.oid, again.etag),
        (known.oid, known.etag),
        "a repeated request is answered and not done again"
    );
    let buyers = Buyers::start(&ring, Temper::Strict);
    buyers.more().await;
    let more = buyers.end().await;
    let whole = done(&ring, &["audit"]);
    assert_eq!(whole["orders"].as_u64(), before["orders"].as_u64().map(|orders| orders + more));

    let folder = ring.path().join("ring");
    backup(&ring, &folder);
    let other =
        Cluster::prepare(feira_tests::feira!(), Options { shards: 2, nodes: 1, ..Options::default() });
    let why = refused(&other, &["restore", folder.to_str().unwrap(), "--shards", "2"]);
    assert!(why.contains("only that of a store of one shard"), "{why}");
}
