//! `feira backup` and `feira restore` over real processes: what a backup holds, taken while orders come; that a cluster
//! made from one serves on and cannot be mixed up with the old one; and what is refused, with nothing half done.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options};
use feira_tests::process::Dialogue;
use feira_tests::shop::{insert_client, insert_product, order_persistently, order_request, patient, product};
use feira_tests::wait;
use proto::portal::ListOrdersRequest;
use proto::store::{Freshness, Role, Txn};
use serde_json::Value;
use store_client::{Replicated, Store, request_identity};

/// What a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A restored cluster goes on so many offsets later.
const OFFSETS_SKIPPED: u64 = 1_000_000_000_000;
/// Keys that one transaction sets alike.
const KEYS: u64 = 10;

fn store_with(nodes: u64, store: &'static str) -> Options {
    Options { nodes, admin_portals: 0, client_portals: 0, store, ..Options::default() }
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

/// Runs a command that must be refused with this exit code; what it says.
fn refused(cluster: &Cluster, arguments: &[&str], code: i32) -> String {
    let output = cluster.tool(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn backup(cluster: &Cluster, out: &Path, more: &[&str]) -> Value {
    done(cluster, &[&["backup", "--out", out.to_str().unwrap()], more].concat())
}

/// A cluster made from a backup, and started.
async fn restored(from: &Path, options: Options) -> Cluster {
    let mut cluster = Cluster::prepare(feira_tests::feira!(), options);
    done(&cluster, &["restore", from.to_str().unwrap()]);
    cluster.run_all().await;
    cluster
}

fn audited(cluster: &Cluster) {
    let output = cluster.tool(&["audit"]);
    assert!(output.status.success(), "{}", text(&output));
}

/// Names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let Ok(listed) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Buyers who order until told to stop.
struct Buyers {
    stop: Arc<AtomicBool>,
    /// Orders made.
    orders: Arc<AtomicU64>,
    buying: Vec<tokio::task::JoinHandle<()>>,
}

impl Buyers {
    fn start(cluster: &Cluster) -> Buyers {
        let stop = Arc::new(AtomicBool::new(false));
        let orders = Arc::new(AtomicU64::new(0));
        let buying = (0..4)
            .map(|_| {
                let (mut shop, stop, orders) = (cluster.shop(1), Arc::clone(&stop), Arc::clone(&orders));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        order_persistently(&mut shop, &order_request("ana", &[("fig", 1), ("plum", 2)]))
                            .await;
                        orders.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Buyers { stop, orders, buying }
    }

    /// Waits until some more orders are made.
    async fn more(&self) {
        let before = self.orders.load(Ordering::Relaxed);
        wait::until("orders", PATIENCE, || async {
            let now = self.orders.load(Ordering::Relaxed);
            let ended = self.buying.iter().filter(|buyer| buyer.is_finished()).count();
            if now >= before + 8 {
                Ok(())
            } else {
                Err(format!("{now} after {before}; {ended} buyers gave up"))
            }
        })
        .await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for buyer in self.buying {
            buyer.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_backup_under_orders_is_a_state_that_was_and_a_cluster_made_from_it_serves_on() {
    let cluster = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let folder = cluster.path().to_owned();
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    for pid in ["fig", "plum"] {
        insert_product(&mut cluster.admin(1), pid, 1_000_000, "0.50").await.unwrap();
    }
    // An order whose answer got lost: it will be asked for again, of the restored cluster.
    let repeated = order_request("ana", &[("fig", 7)]);
    let first = order_persistently(&mut cluster.shop(1), &repeated).await;
    let buyers = Buyers::start(&cluster);
    let mut last = 0;
    let mut files = Vec::new();
    for from in ["", "1", "2", "3"] {
        buyers.more().await;
        let out = folder.join(format!("backup-{from}"));
        let more: &[&str] = if from.is_empty() { &[] } else { &["--from", from] };
        let told = backup(&cluster, &out, more);
        let offset = told["position"]["offset"].as_u64().unwrap();
        assert!(offset > last, "a later backup holds more, from whichever node: {told}");
        assert!(told["records"].as_u64().unwrap() > 6, "{told}");
        assert_eq!(told["bytes"].as_u64().unwrap(), std::fs::metadata(&out).unwrap().len());
        let checked = done(&cluster, &["restore", "--verify-only", out.to_str().unwrap()]);
        assert_eq!((&checked["position"], &checked["state_hash"]), (&told["position"], &told["state_hash"]));
        last = offset;
        files.push((out, offset));
    }
    buyers.more().await;
    buyers.end().await;
    assert!(names(&folder).iter().all(|name| !name.ends_with(".part")), "{:?}", names(&folder));
    let old = cluster.status("node-1").await.unwrap();
    let old_log =
        cluster.store().get(Bytes::from_static(b"c/{ana}"), Freshness::linearizable()).await.unwrap();
    for (out, offset) in [&files[0], &files[3]] {
        let new = restored(out, Options::default()).await;
        audited(&new);
        new.wait_until_equal().await;
        let status = new.status("node-1").await.unwrap();
        assert!(status.last.unwrap().offset > offset + OFFSETS_SKIPPED, "{status:?}");
        assert_ne!(status.incarnation, old.incarnation);
        let log = new.store().get(Bytes::from_static(b"c/{ana}"), Freshness::linearizable()).await.unwrap();
        assert_ne!(log.log_id, old_log.log_id, "caches of the old cluster know that it is another");
        // What was done is not done again.
        let stock = product(&mut new.admin(1), "fig").await.unwrap();
        let again = order_persistently(&mut new.shop(1), &repeated).await;
        assert_eq!(again.oid, first.oid);
        assert_eq!(product(&mut new.admin(1), "fig").await.unwrap().stock, stock.stock);
        order_persistently(&mut new.shop(1), &order_request("ana", &[("fig", 1)])).await;
        let listed = ListOrdersRequest { cid: "ana".to_owned(), ..ListOrdersRequest::default() };
        assert!(!new.shop(1).list_orders(patient(listed)).await.unwrap().into_inner().orders.is_empty());
        audited(&new);
    }
    audited(&cluster);
}

/// One transaction after the other, each of which sets all keys to its own number, until told to stop; the last number.
fn count_up(store: Arc<Replicated>, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<u64> {
    tokio::spawn(async move {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let data = Bytes::from((number + 1).to_string());
            let put = |txn: Txn, key| txn.put(Bytes::from(format!("count/{key}")), 0, data.clone());
            let txn = (0..KEYS).fold(Txn::new(), put);
            assert!(store.txn(txn, Some(request_identity([6; 16]))).await.unwrap().success);
            number += 1;
        }
        number
    })
}

/// The number that all keys have, which must be one.
async fn counted(store: &Replicated) -> u64 {
    let mut numbers = Vec::new();
    for key in 0..KEYS {
        let got = store.get(Bytes::from(format!("count/{key}")), Freshness::linearizable()).await.unwrap();
        let record = got.record.expect("it was set before the first snapshot");
        numbers.push(String::from_utf8(record.data.to_vec()).unwrap().parse::<u64>().unwrap());
    }
    assert!(numbers.windows(2).all(|pair| pair[0] == pair[1]), "mixed: {numbers:?}");
    numbers[0]
}

#[tokio::test]
async fn every_snapshot_and_every_backup_is_one_state_that_the_memory_was_in() {
    let mut cluster = Cluster::start(feira_tests::feira!(), store_with(3, "snapshot_seconds = 1")).await;
    let folder = cluster.path().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let counting = count_up(cluster.store(), Arc::clone(&stop));
    // Snapshots are copied as they appear: three are taken while numbers change.
    let snapshots = cluster.data_of("node-2").join("groups/1");
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    let mut newest = 1;
    for number in 2..=4 {
        // The newest one there is: on a busy machine those between two looks are gone already.
        let copied;
        (newest, copied) = wait::until("another snapshot", PATIENCE, || async {
            let listed = names(&snapshots);
            let numbers = listed.iter().filter_map(|name| name.strip_prefix("snap.")?.parse::<u64>().ok());
            let later = numbers.max().filter(|last| *last > newest).ok_or(format!("{listed:?}"))?;
            let copy = folder.join(format!("copy-{number}"));
            let copied = std::fs::copy(snapshots.join(format!("snap.{later}")), &copy);
            copied.map(|_| (later, copy)).map_err(|error| error.to_string())
        })
        .await;
        let told = done(&cluster, &["restore", "--verify-only", copied.to_str().unwrap()]);
        files.push((told["position"]["offset"].as_u64().unwrap(), copied));
        let out = folder.join(format!("backup-{number}"));
        let told = backup(&cluster, &out, &["--from", "3"]);
        files.push((told["position"]["offset"].as_u64().unwrap(), out));
    }
    stop.store(true, Ordering::Relaxed);
    let last = counting.await.unwrap();
    for node in cluster.nodes() {
        cluster.stop(&node);
    }
    files.sort();
    let mut before = 0;
    for (_, file) in &files {
        let mut one = restored(file, store_with(1, "")).await;
        let number = counted(&one.store()).await;
        assert!((before..=last).contains(&number) && number > 0, "{number} after {before}, of {last}");
        before = number;
        one.stop("node-1");
    }
}

/// A cluster of three with six megabytes that cannot be packed.
async fn with_six_megabytes(store: &'static str) -> Cluster {
    let cluster = Cluster::start(feira_tests::feira!(), store_with(3, store)).await;
    let store = cluster.store();
    for at in 0..96 {
        let data: Bytes = std::iter::repeat_with(|| fastrand::u8(..)).take(64 << 10).collect();
        let txn = Txn::new().put(Bytes::from(format!("big/{at}")), 0, data);
        assert!(store.txn(txn, Some(request_identity([7; 16]))).await.unwrap().success);
    }
    cluster
}

#[tokio::test]
async fn a_backup_that_cannot_be_taken_leaves_no_file_and_harms_none() {
    let mut cluster = with_six_megabytes("snapshot_bytes_per_second = 1048576").await;
    let folder = cluster.path().join("backups");
    std::fs::create_dir(&folder).unwrap();
    let out = folder.join("shop");
    let file = out.to_str().unwrap().to_owned();
    // No such node, no such folder, a folder for a name.
    assert!(refused(&cluster, &["backup", "--out", &file, "--from", "9"], 2).contains("there is no node 9"));
    let nowhere = folder.join("none/shop");
    let said = refused(&cluster, &["backup", "--out", nowhere.to_str().unwrap()], 1);
    assert!(said.contains("there is no folder"), "{said}");
    assert!(refused(&cluster, &["backup", "--out", folder.to_str().unwrap()], 2).contains("is a folder"));
    // The node dies in the middle.
    let mut taking = Dialogue::start(cluster.command(&["backup", "--out", &file, "--from", "2"]));
    let part = folder.join("shop.part/backup.part");
    wait::until("a part of the backup", PATIENCE, || async {
        let bytes = std::fs::metadata(&part).map_or(0, |part| part.len());
        if bytes > 1 << 20 { Ok(()) } else { Err(bytes) }
    })
    .await;
    cluster.kill("node-2");
    let status = taking.ends_within(PATIENCE);
    assert_eq!(status.code(), Some(3), "{} {}", taking.said(), taking.complained());
    assert!(taking.complained().contains("no file was written"), "{}", taking.complained());
    assert_eq!(names(&folder), [""; 0]);
    cluster.run("node-2");
    // A file that is there stays, unless it is to be replaced.
    std::fs::write(&out, "something else").unwrap();
    let said = refused(&cluster, &["backup", "--out", &file], 1);
    assert!(said.contains("is there already") && said.contains("--force"), "{said}");
    assert_eq!(std::fs::read(&out).unwrap(), b"something else");
    let told = backup(&cluster, &out, &["--force"]);
    assert_eq!(told["bytes"].as_u64().unwrap(), std::fs::metadata(&out).unwrap().len());
    assert!(told["records"].as_u64().unwrap() >= 96, "{told}");
    assert_eq!(names(&folder), ["shop"]);
    // One node is enough, if nothing better is to be had.
    cluster.stop("node-1");
    cluster.stop("node-3");
    wait::until("node 2 to know that it leads nobody", PATIENCE, || async {
        let status = cluster.status("node-2").await.map_err(|error| error.to_string())?;
        if status.role() == Role::Leader { Err("it leads".to_owned()) } else { Ok(()) }
    })
    .await;
    let alone = folder.join("alone");
    let said = text(&cluster.tool(&["backup", "--out", alone.to_str().unwrap()]));
    assert!(said.contains("no node leads now"), "{said}");
    assert_eq!(
        done(&cluster, &["restore", "--verify-only", alone.to_str().unwrap()])["records"],
        told["records"]
    );
    cluster.stop("node-2");
    let said = refused(&cluster, &["backup", "--out", folder.join("none").to_str().unwrap()], 3);
    assert!(said.contains("no node of the store answers"), "{said}");
    assert_eq!(names(&folder), ["alone", "shop"]);
}

/// A backup's file with the format version of a program that is not written yet.
fn of_the_future(whole: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: usize = 512;
    let mut bytes = whole.to_vec();
    bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[tokio::test]
async fn a_file_that_is_no_whole_backup_makes_no_cluster() {
    let cluster = Cluster::start(feira_tests::feira!(), store_with(1, "")).await;
    let store = cluster.store();
    for at in 0..200 {
        let txn = Txn::new().put(Bytes::from(format!("k/{at}")), 0, Bytes::from(at.to_string()));
        assert!(store.txn(txn, Some(request_identity([8; 16]))).await.unwrap().success);
    }
    let good = cluster.path().join("good");
    backup(&cluster, &good, &[]);
    let whole = std::fs::read(&good).unwrap();
    let new = Cluster::prepare(feira_tests::feira!(), store_with(3, ""));
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let middle = whole.len() / 2;
    let last = whole.len() - 1;
    let longer = [&whole[..], b"more"].concat();
    let log = std::fs::read(cluster.data_of("node-1").join("groups/1/log.0")).unwrap();
    let bad: [(&str, Vec<u8>, &str); 11] = [
        ("empty", Vec::new(), "is no backup"),
        ("words", b"cluster = \"test\"\n".repeat(100), "is no backup"),
        ("a log file", log, "is no backup"),
        ("cut in its header", whole[..100].to_vec(), "is no backup"),
        ("cut behind its header", whole[..512].to_vec(), "cut off at byte 512"),
        ("cut in the middle", whole[..middle].to_vec(), "cut off at byte"),
        ("cut at the end", whole[..last].to_vec(), "cut off at byte"),
        ("a byte of the header", flipped(30), "its checksum is wrong"),
        ("a byte in the middle", flipped(middle), "damaged or cut off at byte"),
        ("a byte at the end", flipped(last), "damaged or cut off at byte"),
        ("longer", longer, "damaged or cut off at byte"),
    ];
    let file = new.path().join("bad");
    let path = file.to_str().unwrap();
    for (what, bytes, problem) in bad {
        std::fs::write(&file, bytes).unwrap();
        for arguments in [vec!["restore", "--verify-only", path], vec!["restore", path]] {
            let said = refused(&new, &arguments, 1);
            assert!(said.contains(problem) && said.contains(path), "{what}: {said}");
            assert!(!new.path().join("data").exists(), "{what}: nothing was made");
        }
    }
    std::fs::write(&file, of_the_future(&whole)).unwrap();
    let said = refused(&new, &["restore", path], 1);
    assert!(said.contains("newer feira") && said.contains("format version is 9"), "{said}");
    std::fs::remove_file(&file).unwrap();
    assert!(refused(&new, &["restore", path], 1).contains("is not there"));
    assert!(!names(new.path()).iter().any(|name| name.starts_with("data")), "{:?}", names(new.path()));
}

#[tokio::test]
async fn a_restore_beside_a_cluster_that_is_here_is_refused() {
    let cluster = Cluster::start(feira_tests::feira!(), store_with(1, "")).await;
    let good = cluster.path().join("good");
    backup(&cluster, &good, &[]);
    let good = good.to_str().unwrap();
    let key = std::fs::read(cluster.path().join("cluster.key")).unwrap();
    let said = refused(&cluster, &["--set", "folder=other", "restore", good], 1);
    assert!(said.contains("is the configuration of a cluster that is here"), "{said}");
    let by_variable = cluster.command(&["restore", good]).env("FEIRA_FOLDER", "other").output().unwrap();
    let said = String::from_utf8_lossy(&by_variable.stderr).into_owned();
    assert!(said.contains("is the configuration of a cluster that is here"), "{said}");
    assert_eq!(std::fs::read(cluster.path().join("cluster.key")).unwrap(), key, "its key is still its own");
    assert!(!cluster.path().join("other").exists());
    done(&cluster, &["--set", "folder=other", "restore", "--verify-only", good]);
}

#[tokio::test]
async fn a_restore_wants_an_empty_place_and_makes_all_or_nothing() {
    let cluster = Cluster::start(feira_tests::feira!(), store_with(3, "")).await;
    let good = cluster.path().join("good");
    backup(&cluster, &good, &[]);
    let good = good.to_str().unwrap();
    // Over a cluster that is there, even the same: never.
    let said = refused(&cluster, &["restore", good], 1);
    assert!(said.contains("is not empty"), "{said}");
    let mut new = Cluster::prepare(feira_tests::feira!(), store_with(3, ""));
    let data = new.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("mine"), "keep this").unwrap();
    let said = refused(&new, &["restore", good], 1);
    assert!(said.contains("is not empty") && said.contains("mine"), "{said}");
    assert_eq!(std::fs::read(data.join("mine")).unwrap(), b"keep this");
    std::fs::remove_file(data.join("mine")).unwrap();
    // Only looked at: nothing is made.
    done(&new, &["restore", "--verify-only", good]);
    assert_eq!(names(&data), [""; 0]);
    // What a restore that was cut off left aside gives way; what somebody else made under such a name stays.
    let aside = new.path().join("data.restoring-2");
    std::fs::create_dir_all(aside.join("node-1/groups/1")).unwrap();
    std::fs::write(aside.join("node-1/groups/1/meta"), "half").unwrap();
    std::fs::write(aside.join(".feira-aside"), "").unwrap();
    let others = new.path().join("data.restoring/mine");
    std::fs::create_dir_all(&others).unwrap();
    let told = done(&new, &["restore", good]);
    let (of, begins) = (&told["position"]["offset"], &told["begins_after"]["offset"]);
    assert_eq!(begins.as_u64().unwrap(), of.as_u64().unwrap() + OFFSETS_SKIPPED, "{told}");
    assert!(!aside.exists() && others.is_dir());
    assert_eq!(names(&data), ["cluster.json", "node-1", "node-2", "node-3"]);
    // Founded: nobody can found it anew, and it starts.
    assert!(refused(&new, &["restore", good], 1).contains("is not empty"));
    new.found();
    new.run_all().await;
    audited(&new);
    new.wait_until_equal().await;
}
